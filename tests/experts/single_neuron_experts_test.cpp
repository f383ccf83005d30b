#include "headgate/experts/single_neuron_experts.hpp"

#include "headgate/experts/any_experts.hpp"
#include "headgate/experts/glu_experts.hpp"
#include "headgate/kernels/scalar.hpp"
#include "support/applied.hpp"
#include "support/catch.hpp"
#include "support/reference_moe.hpp"
#include "support/status.hpp"
#include "support/thread_executor.hpp"

using namespace headgate;
using reference::applied;
using reference::Matrix;

namespace {

constexpr GluShape shape_of(index_t experts, index_t hidden_size, ActivationKind kind) {
  return {experts, hidden_size, 1, {kind}, false, false};
}

// A reference bank of experts of one neuron, and the same as (experts, hidden_size) matrices.
struct Neurons {
  Neurons(index_t experts, index_t hidden_size, ActivationKind kind, unsigned seed)
      : bank(shape_of(experts, hidden_size, kind), seed), input(experts, hidden_size), output(experts, hidden_size) {
    for (index_t e = 0; e < experts; ++e) {
      for (index_t c = 0; c < hidden_size; ++c) {
        input.view().row_data(e)[c] = bank.up[as_size(e)].values[as_size(c)];
        output.view().row_data(e)[c] = bank.down[as_size(e)].values[as_size(c)];
      }
    }
  }
  template <class Backend>
  SingleNeuronExperts<Backend> experts() const {
    return SingleNeuronExperts<Backend>(input.view(), output.view(), bank.shape.activation);
  }
  reference::Bank bank;
  Matrix input, output;
};

}  // namespace

TEST_CASE("experts of one neuron compute the formula, for any width, activation and backend") {
  for (const ActivationKind kind : {ActivationKind::gelu, ActivationKind::silu, ActivationKind::gelu_tanh,
                                    ActivationKind::relu, ActivationKind::relu2}) {
    for (const index_t width : {1, 14, 24, 37, 64}) {
      const Neurons neurons(11, width, kind, 1);
      std::mt19937 rng(2);
      const Matrix x = Matrix::random(19, width, 1.0f, rng);
      const RoutingPlan plan = reference::random_plan(19, 11, [](index_t t) { return t % 12; }, 3);
      const auto expected = neurons.bank.layer(plan, x.view());
      Context ctx;
      CHECK(reference::worst(expected, applied(neurons.experts<NativeBackend>(), plan, x, ctx).view()) <= 1.0);
      CHECK(reference::worst(expected, applied(neurons.experts<Scalar>(), plan, x, ctx).view()) <= 1.0);
    }
  }
}

TEST_CASE(
    "experts of one neuron add to y in ascending id, whatever the order of a row, with the bits of their threads") {
  const Neurons neurons(40, 37, ActivationKind::gelu, 4);
  const auto bank = neurons.experts<NativeBackend>();
  std::mt19937 rng(5);
  const Matrix x = Matrix::random(21, 37, 1.0f, rng);
  const RoutingPlan plan = reference::random_plan(21, 40, [](index_t t) { return t * 2; }, 6);
  RoutingPlan sorted;
  sorted.clear(40);
  for (index_t t = 0; t < 21; ++t) {
    std::vector<ExpertId> ids(plan.experts(t).begin(), plan.experts(t).end());
    std::sort(ids.begin(), ids.end());
    std::vector<float> weights;
    for (const ExpertId e : ids) {
      const auto place = std::find(plan.experts(t).begin(), plan.experts(t).end(), e) - plan.experts(t).begin();
      weights.push_back(plan.weights(t)[static_cast<std::size_t>(place)]);
    }
    REQUIRE(sorted.append_row(ids, weights).ok());
  }
  Context serial;
  const Matrix y = applied(bank, plan, x, serial);
  CHECK(applied(bank, sorted, x, serial) == y);
  CHECK(applied(AnyExperts(neurons.experts<NativeBackend>()), plan, x, serial) == y);
  for (const index_t threads : {2, 3, 8, 30}) {
    ThreadExecutor executor(threads);
    Context ctx(executor);
    CHECK(applied(bank, plan, x, ctx) == y);
    for (index_t t = 0; t < 21; t += 5) {
      RoutingPlan one;
      REQUIRE(one.copy_rows(plan, t, 1).ok());
      Matrix row(1, 37);
      std::copy_n(x.view().row_data(t), 37, row.values.begin());
      const Matrix alone = applied(bank, one, row, ctx);
      CHECK(std::equal(alone.values.begin(), alone.values.end(), y.view().row_data(t)));
    }
  }
  // What stands in y stays, and a row without experts adds nothing.
  Matrix given(21, 37, 0.5f);
  REQUIRE(bank.apply(plan, x.view(), given.view(), serial).ok());
  CHECK(given.values[0] == 0.5f);
  CHECK(given.values.back() != 0.5f);
}

TEST_CASE("memory to apply experts of one neuron follows from the plan, not from their number") {
  const index_t experts = 1 << 18;
  const std::vector<float> zeros(as_size(experts) * 2);
  const SingleNeuronExperts<> bank({zeros.data(), experts, 2}, {zeros.data(), experts, 2}, {ActivationKind::gelu});
  CHECK(bank.num_experts() == experts);
  CHECK(bank.hidden_size() == 2);
  CHECK(bank.expert_bytes() == 16);
  RoutingPlan plan;
  plan.clear(experts);
  const ExpertId ids[] = {experts - 1, 5};
  const float weights[] = {1.0f, 2.0f};
  REQUIRE(plan.append_row(ids, weights).ok());
  Context ctx;
  CHECK(applied(bank, plan, Matrix(1, 2, 1.0f), ctx) == Matrix(1, 2));
  CHECK(ctx.workspace.capacity() <= Workspace::held_for(0));
  RoutingPlan none;
  none.clear(experts);
  CHECK(applied(bank, none, Matrix(0, 2), ctx).values.empty());
}

TEST_CASE("experts of one neuron that do not fit or are not finite are refused") {
  const float w[] = {1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f};
  const auto error = [](ConstRows in, ConstRows out, Activation activation = {ActivationKind::relu}) {
    return refused(SingleNeuronExperts<>::create(in, out, activation));
  };
  CHECK(error({w, 2, 3}, {w, 2, 3}) == "made");
  CHECK(error({w, 0, 3}, {w, 0, 3}) == "made");
  CHECK(error({w, 2, 0}, {w, 2, 0}) == "hidden_size, at least (got 0, allowed 1)");
  CHECK(error({w, 2, 3}, {w, 1, 3}) == "rows of output against experts (got 1, allowed 2)");
  CHECK(error({w, 2, 3}, {w, 2, 2}) == "columns of output against hidden_size (got 2, allowed 3)");
  CHECK(error({nullptr, 2, 3}, {w, 2, 3}) == "rows of a matrix without data");
  CHECK(error({w, 2, 3}, {w, 2, 3}, {ActivationKind::clamped_swiglu}) ==
        "a single neuron has no gate for clamped_swiglu");

  // relu would hide what is not finite.
  const float large[] = {-3e38f, -3e38f, 1.0f, 1.0f};
  const SingleNeuronExperts<> bank({large, 2, 2}, {large, 2, 2}, {ActivationKind::relu});
  RoutingPlan plan;
  plan.clear(2);
  const ExpertId ids[] = {1, 0};
  const float weights[] = {1.0f, 1.0f};
  for (int t = 0; t < 9; ++t) REQUIRE(plan.append_row(ids, weights).ok());
  for (const index_t threads : {1, 2, 3}) {
    ThreadExecutor executor(threads);
    Context ctx(executor);
    Matrix x(9, 2, 0.5f);
    x.values[2 * 5] = x.values[2 * 5 + 1] = x.values[2 * 7] = x.values[2 * 7 + 1] = 2.0f;
    Matrix y(9, 2);
    CHECK(said(bank.apply(plan, x.view(), y.view(), ctx)) ==
          "numeric: output of an expert is not finite, token 5, expert 0");
    x.values[2 * 3] = std::numeric_limits<float>::quiet_NaN();
    CHECK(said(bank.apply(plan, x.view(), y.view(), ctx)) ==
          "numeric: input of an expert is not finite, token 3, expert 1");
    CHECK(said(bank.apply(plan, Matrix(8, 2).view(), y.view(), ctx)) ==
          "usage: rows of x against tokens of the plan (got 8, allowed 9)");
  }
}
