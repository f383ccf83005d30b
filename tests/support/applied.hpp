// What a bank of experts adds for a plan, and the law that every bank obeys.
#pragma once

#include <algorithm>
#include <vector>

#include "headgate/core/context.hpp"
#include "support/catch.hpp"
#include "support/reference_moe.hpp"
#include "support/status.hpp"
#include "support/thread_executor.hpp"

namespace reference {

// y and what the bank adds to it.
template <class Bank>
Matrix applied(const Bank& bank, const headgate::RoutingPlan& plan, const Matrix& x, Matrix y,
               headgate::ExecutorRef threads = {}) {
  headgate::Context ctx(threads);
  headgate::throw_if_error(bank.apply(plan, x.view(), y.view(), ctx));
  return y;
}
template <class Bank>
Matrix applied(const Bank& bank, const headgate::RoutingPlan& plan, const Matrix& x,
               headgate::ExecutorRef threads = {}) {
  return applied(bank, plan, x, Matrix(x.rows, x.cols), threads);
}

// On the threads, and with the workspace, of a context.
template <class Bank>
Matrix applied(const Bank& bank, const headgate::RoutingPlan& plan, const Matrix& x, headgate::Context& ctx) {
  Matrix y(x.rows, x.cols);
  headgate::throw_if_error(bank.apply(plan, x.view(), y.view(), ctx));
  return y;
}

// Every row has the same bits on any number of threads, and alone.
template <class Bank>
void check_rows_and_threads(const Bank& bank, const headgate::RoutingPlan& plan, const Matrix& x) {
  const Matrix wanted = applied(bank, plan, x);
  for (const index_t n : {2, 3, 8}) {
    ThreadExecutor threads(n);
    CHECK(applied(bank, plan, x, threads) == wanted);
  }
  for (index_t t = 0; t < x.rows; ++t) {
    headgate::RoutingPlan one;
    one.clear(plan.num_experts());
    headgate::throw_if_error(one.append_row(plan.experts(t), plan.weights(t)));
    Matrix row(1, x.cols);
    std::copy_n(x.view().row_data(t), x.cols, row.values.begin());
    const Matrix y = applied(bank, one, row);
    CHECK(std::equal(y.values.begin(), y.values.end(), wanted.view().row_data(t)));
  }
}

}  // namespace reference
