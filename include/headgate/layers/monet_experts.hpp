// Monet's experts (Park et al. 2024, arXiv 2412.04139): I J experts made of I + J parts, applied to a factored
// plan without ever making one of them. relu2 in the models.
//   horizontal (HDE)   E_ij(x) = V_j act(U_i x + u_i) + b_j
//   vertical (VDE)     a1_i = act(U1_i x + c1_i), a2_j = act(U2_j x + c2_j)
//                      E_ij(x) = (V11_i a1_i + V12_i a2_j + b1_i, V21_j a1_i + V22_j a2_j + b2_j), two halves of y
// Sums over h, i, j of g1_hi g2_hj E_ij(x) come apart: of one side's part o and the other's numbers a_n,
//   share_o = sum_h g_ho sum_n g_hn,   mixed_o = sum_h g_ho sum_n g_hn a_n
// are all that the matrices V and b are multiplied by. Follows dmis-lab/Monet, of which golden vectors come, but for
// shares: its code takes sum_n g_hn for 1, which it is until experts are removed.
#pragma once

#include <concepts>

#include "headgate/core/expected.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/layers/factored_parts.hpp"

namespace headgate::inline HEADGATE_ABI {

// apply adds to y (tokens, hidden_size) what the plan says; x and y do not overlap.
template <class B>
concept FactoredExperts =
    requires(const B& bank, const FactoredPlan& plan, ConstRows x, Rows y, Context& ctx, index_t s) {
      { bank.side(s) } noexcept -> std::same_as<index_t>;  // I, J
      { bank.hidden_size() } noexcept -> std::same_as<index_t>;
      { bank.apply(plan, x, y, ctx) } -> std::same_as<Status>;
    };

// What both banks check before they compute.
template <class Backend>
Status check_factored(const FactoredPlan& plan, ConstRows x, Rows y, index_t first, index_t second,
                      index_t hidden_size) noexcept {
  if (Status status = plan.check(); !status.ok()) return status;
  if (plan.side[0].num_experts() != first) {
    return Status::mismatch("first side of the plan against the bank", plan.side[0].num_experts(), first);
  }
  if (plan.side[1].num_experts() != second) {
    return Status::mismatch("second side of the plan against the bank", plan.side[1].num_experts(), second);
  }
  if (x.rows != plan.tokens()) return Status::mismatch("rows of x against tokens of the plan", x.rows, plan.tokens());
  if (y.rows != plan.tokens()) return Status::mismatch("rows of y against tokens of the plan", y.rows, plan.tokens());
  if (x.cols != hidden_size) return Status::mismatch("width of x against hidden_size", x.cols, hidden_size);
  if (y.cols != hidden_size) return Status::mismatch("width of y against hidden_size", y.cols, hidden_size);
  if (Status status = check_apart(x, y); !status.ok()) return status;
  for (index_t t = 0; t < x.rows; ++t) {
    if (!Backend::all_finite(x.row_data(t), x.cols)) {
      return Status::not_finite("input of an expert is not finite", -1, t);
    }
  }
  return Status::success();
}

// And when they are made.
inline Status check_sides(index_t first, index_t second, index_t hidden_size, Activation activation) noexcept {
  if (first < 1 || second < 1) return Status::mismatch("side of a bank, at least", std::min(first, second), 1);
  if (hidden_size < 1) return Status::mismatch("hidden_size, at least", hidden_size, 1);
  if (std::int64_t{first} * second > max_index) {
    return Status::mismatch("number of experts", std::int64_t{first} * second, max_index);
  }
  if (activation.kind != ActivationKind::clamped_swiglu) return Status::success();
  return {ErrorCode::usage, "experts of Monet have no gate for clamped_swiglu"};
}

// Tensors of a layer (moe.*); a bank keeps copies. m: moe_dim.
struct HorizontalWeights {
  ConstRows u;                    // u.weight (I * m, hidden_size)
  std::span<const float> u_bias;  // u.bias (I * m)
  ConstRows v;                    // v.weight (hidden_size, J * m)
  ConstRows b;                    // b (J, hidden_size)
};

// Table of structures: HorizontalExperts, VerticalExperts | I J experts made of I + J parts, none of them ever made |
//   Park et al. 2024, 2412.04139
template <class Backend = NativeBackend>
class HorizontalExperts {
 public:
  // first: I. J is the rows of b.
  static Expected<HorizontalExperts> create(const HorizontalWeights& w, index_t first, Activation activation) {
    if (Status status = check_sides(first, w.b.rows, w.u.cols, activation); !status.ok()) return status;
    if (Status status = Input::check(w.u, w.u_bias, first, w.u.cols); !status.ok()) return status;
    if (Status status = Output::check({}, w.v, w.b, w.u.cols); !status.ok()) return status;
    const std::int64_t columns = std::int64_t{w.b.rows} * (w.u.rows / first);
    if (w.v.cols != columns) return Status::mismatch("columns of v against J m", w.v.cols, columns);
    return HorizontalExperts({w.u, w.u_bias}, {1, {}, w.v, w.b}, first, w.b.rows, activation);
  }

  index_t side(index_t s) const noexcept { return sides_[s]; }
  index_t hidden_size() const noexcept { return input_.hidden_size(); }

  Status apply(const FactoredPlan& plan, ConstRows x, Rows y, Context& ctx) const {
    const Status fits = check_factored<Backend>(plan, x, y, side(0), side(1), hidden_size());
    if (!fits.ok()) return fits;
    const Workspace::Mark mark(ctx.workspace);
    const Rows a = ctx.workspace.take_rows(x.rows, input_.cols());
    if (Status status = input_.apply(activation_, x, a, ctx); !status.ok()) return status;
    output_.add(plan, {}, a, y, ctx);
    return Status::success();
  }

 private:
  using Input = FactoredInput<Backend>;
  using Output = FactoredOutput<Backend>;
  HorizontalExperts(Input input, Output output, index_t first, index_t second, Activation activation)
      : sides_{first, second}, activation_(activation), input_(std::move(input)), output_(std::move(output)) {}

  index_t sides_[2];
  Activation activation_;
  Input input_;    // of side 0
  Output output_;  // of side 1
};

// m: moe_dim / 2.
struct VerticalWeights {
  ConstRows u[2];                    // u1, u2 .weight (I * m, hidden_size), (J * m, hidden_size)
  std::span<const float> u_bias[2];  // u1, u2 .bias
  ConstRows v11, v12;                // .weight (hidden_size / 2, I * m): upper half of y, for a1 and a2
  ConstRows v21, v22;                // .weight (hidden_size / 2, J * m): lower half
  ConstRows b[2];                    // b1 (I, hidden_size / 2), b2 (J, hidden_size / 2)
};

template <class Backend = NativeBackend>
class VerticalExperts {
 public:
  // I and J are the rows of b. hidden_size is even; m of both sides the same.
  static Expected<VerticalExperts> create(const VerticalWeights& w, Activation activation) {
    const index_t hidden_size = w.u[0].cols;
    if (Status status = check_sides(w.b[0].rows, w.b[1].rows, hidden_size, activation); !status.ok()) return status;
    if (hidden_size % 2 != 0) return Status::mismatch("hidden_size of two halves, which is even,", hidden_size, 2);
    for (const index_t s : {0, 1}) {
      const Status status = Input::check(w.u[s], w.u_bias[s], w.b[s].rows, hidden_size);
      if (!status.ok()) return status;
      const ConstRows own = s == 0 ? w.v11 : w.v22;
      const ConstRows other = s == 0 ? w.v12 : w.v21;
      if (own.rows == 0) return Status::mismatch("rows of v against outputs", 0, hidden_size / 2);
      if (Status of_v = Output::check(own, other, w.b[s], hidden_size / 2); !of_v.ok()) return of_v;
      for (const ConstRows& v : {own, other}) {
        if (v.cols != w.u[s].rows) return Status::mismatch("columns of v against rows of u", v.cols, w.u[s].rows);
      }
    }
    if (w.u[0].rows / w.b[0].rows != w.u[1].rows / w.b[1].rows) {
      return Status::mismatch("m of the second side against the first", w.u[1].rows / w.b[1].rows,
                              w.u[0].rows / w.b[0].rows);
    }
    return VerticalExperts({w.u[0], w.u_bias[0]}, {w.u[1], w.u_bias[1]}, {0, w.v11, w.v12, w.b[0]},
                           {1, w.v22, w.v21, w.b[1]}, w.b[0].rows, w.b[1].rows, activation);
  }

  index_t side(index_t s) const noexcept { return sides_[s]; }
  index_t hidden_size() const noexcept { return inputs_[0].hidden_size(); }

  Status apply(const FactoredPlan& plan, ConstRows x, Rows y, Context& ctx) const {
    const Status fits = check_factored<Backend>(plan, x, y, side(0), side(1), hidden_size());
    if (!fits.ok()) return fits;
    const Workspace::Mark mark(ctx.workspace);
    const index_t half = hidden_size() / 2;
    Rows a[2];
    for (const index_t s : {0, 1}) {
      a[s] = ctx.workspace.take_rows(x.rows, inputs_[s].cols());
      if (Status status = inputs_[s].apply(activation_, x, a[s], ctx); !status.ok()) return status;
    }
    for (const index_t s : {0, 1}) {
      outputs_[s].add(plan, a[s], a[1 - s], Rows(y.data + s * half, y.rows, half, y.stride), ctx);
    }
    return Status::success();
  }

 private:
  using Input = FactoredInput<Backend>;
  using Output = FactoredOutput<Backend>;
  VerticalExperts(Input first, Input second, Output upper, Output lower, index_t i, index_t j, Activation activation)
      : sides_{i, j},
        activation_(activation),
        inputs_{std::move(first), std::move(second)},
        outputs_{std::move(upper), std::move(lower)} {}

  index_t sides_[2];
  Activation activation_;
  Input inputs_[2];
  Output outputs_[2];
};
static_assert(FactoredExperts<HorizontalExperts<>> && FactoredExperts<VerticalExperts<>>);

}  // namespace headgate::inline HEADGATE_ABI
