// The two matrices of experts that are pairs, each of one side's parts, and the sums of a factored plan between them.
// What the banks of layers/monet_experts.hpp are made of.
#pragma once

#include <vector>

#include "headgate/core/expected.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/kernels/product.hpp"
#include "headgate/routing/factored_plan.hpp"

namespace headgate::inline HEADGATE_ABI {

inline Status check_shape(const char* rows, ConstRows matrix, index_t num_rows, const char* cols,
                          index_t num_cols) noexcept {
  if (Status status = check_view(matrix); !status.ok()) return status;
  if (matrix.rows != num_rows) return Status::mismatch(rows, matrix.rows, num_rows);
  if (matrix.cols != num_cols) return Status::mismatch(cols, matrix.cols, num_cols);
  return Status::success();
}

// FactoredInput: the first matrix of one side's parts: a = act(U x + u), (parts * width) of a token.
template <class Backend>
class FactoredInput {
 public:
  // u: (parts * width, hidden_size), bias: (parts * width).
  static Status check(ConstRows u, std::span<const float> bias, index_t parts, index_t hidden_size) noexcept {
    if (Status status = check_shape("", u, u.rows, "columns of u against hidden_size", hidden_size); !status.ok()) {
      return status;
    }
    if (u.rows < parts || u.rows % parts != 0) {
      return Status::mismatch("rows of u, which are a multiple of its side,", u.rows, parts);
    }
    const auto count = static_cast<std::int64_t>(bias.size());
    return count == u.rows ? Status::success() : Status::mismatch("bias of u against its rows", count, u.rows);
  }
  FactoredInput(ConstRows u, std::span<const float> bias) : u_(u), bias_(bias.begin(), bias.end()) {}

  index_t cols() const noexcept { return u_.rows(); }
  index_t hidden_size() const noexcept { return u_.cols(); }

  // out (tokens, parts * width), which is checked: an activation could hide what is not finite.
  Status apply(Activation activation, ConstRows x, Rows out, Context& ctx) const {
    product<Backend>(u_.view(), x, out, ctx);
    const index_t n = ctx.slices(x.rows);
    return ctx.try_parallel(n, [&](index_t i) {
      const Slice tokens = Slice::of(x.rows, n, i);
      Status failure;
      for (index_t t = tokens.first; t < tokens.last && failure.ok(); ++t) {
        float* const row = out.row_data(t);
        Backend::axpy(1.0f, bias_.data(), out.cols, row);
        bool is_finite = Backend::all_finite(row, out.cols);
        Backend::activate(activation, row, out.cols, row);
        is_finite = is_finite && Backend::all_finite(row, out.cols);
        if (!is_finite) failure = Status::not_finite("output of an expert is not finite", -1, t);
      }
      return failure;
    });
  }

 private:
  Panel16<F32> u_;  // (parts * width, hidden_size)
  std::vector<float> bias_;
};

// FactoredOutput: the last matrix of one side's parts, the outer one; its input is made of
//   share_o = sum_h g_ho sum_n g_hn,   mixed_o = sum_h g_ho sum_n g_hn a_n,   and share_o a'_o, a' the side's own
//   numbers
// where it has any. What is removed is left out of the sums.
template <class Backend>
class FactoredOutput {
 public:
  // own: (outputs, parts * own width) or empty; other: (outputs, parts * width); bias: (parts, outputs).
  static Status check(ConstRows own, ConstRows other, ConstRows bias, index_t outputs) noexcept {
    if (own.rows != 0) {
      const Status status = check_shape("rows of v against outputs", own, outputs, "", own.cols);
      if (!status.ok()) return status;
    }
    if (Status status = check_shape("rows of v against outputs", other, outputs, "", other.cols); !status.ok()) {
      return status;
    }
    return check_shape("", bias, bias.rows, "columns of b against outputs", outputs);
  }
  FactoredOutput(index_t side, ConstRows own, ConstRows other, ConstRows bias)
      : side_(side),
        parts_(bias.rows),
        own_cols_(own.rows == 0 ? 0 : own.cols),
        other_cols_(other.cols),
        joined_(other.rows, own_cols_ + other.cols + bias.rows) {
    std::vector<float> row(as_size(joined_.cols()));
    for (index_t r = 0; r < other.rows; ++r) {
      float* to = row.data();
      for (index_t c = 0; c < own_cols_; ++c) *to++ = own.row_data(r)[c];
      for (index_t c = 0; c < other_cols_; ++c) *to++ = other.row_data(r)[c];
      for (index_t o = 0; o < parts_; ++o) *to++ = bias.row_data(o)[r];
      joined_.set_row(r, row.data());
    }
  }

  // y (tokens, outputs) += ...; own (tokens, parts * own width) where there is one, other (tokens, inner parts *
  // width).
  void add(const FactoredPlan& plan, ConstRows own, ConstRows other, Rows y, Context& ctx) const {
    const Workspace::Mark mark(ctx.workspace);
    const index_t width = other_cols_ / parts_;
    const index_t n = ctx.slices(y.rows);
    const Rows in = ctx.workspace.take_rows(y.rows, joined_.cols());
    const Rows out = ctx.workspace.take_rows(y.rows, joined_.rows());
    const Rows sums = ctx.workspace.take_rows(n, width);
    ctx.parallel(n, [&](index_t i) {
      const Slice tokens = Slice::of(y.rows, n, i);
      for (index_t t = tokens.first; t < tokens.last; ++t) {
        float* const mixed = in.row_data(t) + own_cols_;
        float* const share = mixed + other_cols_;
        mix(plan, t, other.row_data(t), width, share, mixed, sums.row_data(i));
        for (index_t c = 0; c < own_cols_; ++c) {
          in.row_data(t)[c] = share[c / (own_cols_ / parts_)] * own.row_data(t)[c];
        }
      }
    });
    product<Backend>(joined_.view(), in, out, ctx);
    for (index_t t = 0; t < y.rows; ++t) Backend::axpy(1.0f, out.row_data(t), y.cols, y.row_data(t));
  }

 private:
  // share (parts) and mixed (parts * width) of a token; inner: numbers a (parts of the other side, width). scratch:
  // (width). Sums go over heads, then over a row's entries.
  void mix(const FactoredPlan& plan, index_t token, const float* inner, index_t width, float* share, float* mixed,
           float* scratch) const noexcept {
    const RoutingPlan& of_outer = plan.side[side_];
    const RoutingPlan& of_inner = plan.side[1 - side_];
    std::fill_n(share, parts_, 0.0f);
    std::fill_n(mixed, std::int64_t{parts_} * width, 0.0f);
    for (index_t row = token * plan.heads; row < (token + 1) * plan.heads; ++row) {
      float total = 0.0f;
      const auto sum_inner = [&](ExpertId o) {  // of what is not removed; o -1: of all
        total = 0.0f;
        std::fill_n(scratch, width, 0.0f);
        for (std::size_t e = 0; e < of_inner.experts(row).size(); ++e) {
          const ExpertId n = of_inner.experts(row)[e];
          if (o >= 0 && (side_ == 0 ? plan.is_removed(o, n) : plan.is_removed(n, o))) continue;
          total += of_inner.weights(row)[e];
          Backend::axpy(of_inner.weights(row)[e], inner + std::int64_t{n} * width, width, scratch);
        }
      };
      if (plan.removed.empty()) sum_inner(-1);
      for (std::size_t e = 0; e < of_outer.experts(row).size(); ++e) {
        const ExpertId o = of_outer.experts(row)[e];
        if (!plan.removed.empty()) sum_inner(o);
        share[o] += of_outer.weights(row)[e] * total;
        Backend::axpy(of_outer.weights(row)[e], scratch, width, mixed + std::int64_t{o} * width);
      }
    }
  }

  index_t side_;
  index_t parts_;
  index_t own_cols_;
  index_t other_cols_;
  Panel16<F32> joined_;  // (outputs, own | other | bias')
};

}  // namespace headgate::inline HEADGATE_ABI
