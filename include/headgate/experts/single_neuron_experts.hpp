// SingleNeuronExperts: a bank of very many experts of one neuron each (PEER, He 2024, arXiv 2407.04153):
//   E_i(x) = act(u_i . x) v_i
// Nothing in it grows with the number of experts but the weights themselves: a plan is walked token by token, for a
// gathered dot product beats a matrix product where experts are hardly ever shared. u and v of an expert lie side by
// side, as they are read.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "headgate/core/aligned_buffer.hpp"
#include "headgate/core/expected.hpp"
#include "headgate/experts/experts.hpp"
#include "headgate/kernels/native.hpp"

namespace headgate::inline HEADGATE_ABI {

// Table of structures: SingleNeuronExperts | millions of experts of one neuron, walked token by token |
//   He 2024, 2407.04153
template <class Backend = NativeBackend>
class SingleNeuronExperts {
 public:
  // input: u, output: v, both (num_experts, hidden_size), copied. Throws std::bad_alloc.
  static Expected<SingleNeuronExperts> create(ConstRows input, ConstRows output, Activation activation) {
    for (const ConstRows& matrix : {input, output}) {
      if (Status status = check_view(matrix); !status.ok()) return status;
    }
    if (input.cols < 1) return Status::mismatch("hidden_size, at least", input.cols, 1);
    if (output.rows != input.rows) return Status::mismatch("rows of output against experts", output.rows, input.rows);
    if (output.cols != input.cols) {
      return Status::mismatch("columns of output against hidden_size", output.cols, input.cols);
    }
    if (activation.kind == ActivationKind::clamped_swiglu) {
      return Status{ErrorCode::usage, "a single neuron has no gate for clamped_swiglu"};
    }
    SingleNeuronExperts bank(input.rows, input.cols, activation);
    for (ExpertId e = 0; e < input.rows; ++e) {
      std::memcpy(bank.input(e), input.row_data(e), as_size(input.cols) * sizeof(float));
      std::memcpy(bank.output(e), output.row_data(e), as_size(input.cols) * sizeof(float));
    }
    return bank;
  }
  // Throws the same error.
  SingleNeuronExperts(ConstRows input, ConstRows output, Activation activation)
    requires has_exceptions
      : SingleNeuronExperts(create(input, output, activation).value()) {}

  index_t num_experts() const noexcept { return num_experts_; }
  index_t hidden_size() const noexcept { return hidden_size_; }
  std::int64_t expert_bytes() const noexcept { return 2 * row_bytes(); }

  Status apply(const RoutingPlan& plan, ConstRows x, Rows y, Context& ctx) const {
    if (Status status = check_apply(plan, x, y, num_experts(), hidden_size()); !status.ok()) return status;
    if (Status status = check_finite<Backend>(plan, x); !status.ok()) return status;
    const Workspace::Mark mark(ctx.workspace);
    const std::span<Entry> order = ctx.workspace.take<Entry>(plan.entries());
    const std::span<float> factors = ctx.workspace.take<float>(plan.entries());
    sort_rows(plan, order, ctx);
    if (Status status = activate(plan, order, x, factors, ctx); !status.ok()) return status;
    add_outputs(plan, order, factors, y, ctx);
    return Status::success();
  }

 private:
  SingleNeuronExperts(index_t num_experts, index_t hidden_size, Activation activation)
      : num_experts_(num_experts),
        hidden_size_(hidden_size),
        activation_(activation),
        weights_(as_size(num_experts) * as_size(2 * row_bytes())) {}

  std::int64_t row_bytes() const noexcept { return std::int64_t{hidden_size_} * std::int64_t{sizeof(float)}; }
  const float* input(ExpertId e) const noexcept {
    return reinterpret_cast<const float*>(weights_.data() + e * expert_bytes());
  }
  const float* output(ExpertId e) const noexcept { return input(e) + hidden_size_; }
  float* input(ExpertId e) noexcept { return reinterpret_cast<float*>(weights_.data() + e * expert_bytes()); }
  float* output(ExpertId e) noexcept { return input(e) + hidden_size_; }

  // One of a plan: its expert, and behind it its place in the plan, so that they sort as one number.
  using Entry = std::uint64_t;
  static ExpertId expert_of(Entry entry) noexcept { return static_cast<ExpertId>(entry >> 32); }
  static std::size_t place_of(Entry entry) noexcept { return static_cast<std::uint32_t>(entry); }

  // order: the entries of every row, in ascending expert id.
  static void sort_rows(const RoutingPlan& plan, std::span<Entry> order, Context& ctx) {
    const index_t n = ctx.slices(plan.tokens());
    ctx.parallel(n, [&](index_t i) {
      const Slice tokens = Slice::of(plan.tokens(), n, i);
      for (index_t t = tokens.first; t < tokens.last; ++t) {
        const Slice row = entries_of(plan, t);
        for (index_t entry = row.first; entry < row.last; ++entry) {
          order[as_size(entry)] =
              Entry{as_size(plan.experts()[as_size(entry)])} << 32 | static_cast<std::uint32_t>(entry);
        }
        std::sort(order.begin() + row.first, order.begin() + row.last);
      }
    });
  }
  static Slice entries_of(const RoutingPlan& plan, index_t token) noexcept {
    return {plan.offsets()[as_size(token)], plan.offsets()[as_size(token) + 1]};
  }

  static index_t token_of(const RoutingPlan& plan, index_t entry) noexcept {
    const std::span<const index_t> offsets = plan.offsets();
    return static_cast<index_t>(std::upper_bound(offsets.begin(), offsets.end(), entry) - offsets.begin()) - 1;
  }

  // use(first, rows, count) for the entries of a slice in the order, some at a time: rows[r] = row_of(expert).
  template <class RowOf, class Use>
  static void gather(std::span<const Entry> order, Slice slice, RowOf row_of, Use use) {
    constexpr index_t most = 64;
    const float* rows[most];
    for (index_t first = slice.first; first < slice.last; first += most) {
      const index_t count = std::min(most, slice.last - first);
      for (index_t r = 0; r < count; ++r) rows[r] = row_of(expert_of(order[as_size(first + r)]));
      use(first, rows, count);
    }
  }

  // factors = weight act(u . x), in the order. Threads share the entries, so that one token keeps all of them busy.
  Status activate(const RoutingPlan& plan, std::span<const Entry> order, ConstRows x, std::span<float> factors,
                  Context& ctx) const {
    const index_t n = ctx.slices(plan.entries());
    return ctx.try_parallel(n, [&](index_t i) {
      const Slice slice = Slice::of(plan.entries(), n, i);
      index_t last = slice.first;  // what follows is not computed, or not finite
      for (index_t token = token_of(plan, slice.first); last < slice.last; ++token) {
        const index_t end = std::min(plan.offsets()[as_size(token) + 1], slice.last);
        gather(
            order, {last, end}, [&](ExpertId e) { return input(e); },
            [&](index_t first, const float* const* rows, index_t count) {
              Backend::gather_dots(rows, count, x.row_data(token), hidden_size_, factors.data() + first);
            });
        while (last < end && std::isfinite(factors[as_size(last)])) ++last;
        if (last < end) break;
      }
      float* const own = factors.data() + slice.first;
      Backend::activate(activation_, own, last - slice.first, own);
      for (index_t entry = slice.first; entry < last; ++entry) {
        factors[as_size(entry)] *= plan.weights()[place_of(order[as_size(entry)])];
        if (!std::isfinite(factors[as_size(entry)])) last = entry;
      }
      if (last == slice.last) return Status::success();
      return Status::not_finite("output of an expert is not finite", -1, token_of(plan, last),
                                expert_of(order[as_size(last)]));
    });
  }

  // y += factor v in ascending expert id. Threads share the tokens, or, where these are few, the columns.
  void add_outputs(const RoutingPlan& plan, std::span<const Entry> order, std::span<const float> factors, Rows y,
                   Context& ctx) const {
    const bool by_token = plan.tokens() >= ctx.executor.size();
    const index_t lines = divide_up(hidden_size_, 16);
    const index_t n = ctx.slices(by_token ? plan.tokens() : lines);
    ctx.parallel(n, [&](index_t i) {
      const Slice tokens = by_token ? Slice::of(plan.tokens(), n, i) : Slice{0, plan.tokens()};
      const Slice of_lines = by_token ? Slice{0, lines} : Slice::of(lines, n, i);
      const index_t first = 16 * of_lines.first;
      const index_t columns = std::min(16 * of_lines.last, hidden_size_) - first;
      for (index_t t = tokens.first; t < tokens.last; ++t) {
        gather(
            order, entries_of(plan, t), [&](ExpertId e) { return output(e) + first; },
            [&](index_t entry, const float* const* rows, index_t count) {
              Backend::gather_axpy(factors.data() + entry, rows, count, columns, y.row_data(t) + first);
            });
      }
    });
  }

  index_t num_experts_;
  index_t hidden_size_;
  Activation activation_;
  AlignedBuffer weights_;  // (num_experts, 2, hidden_size)
};
static_assert(Experts<SingleNeuronExperts<>>);

}  // namespace headgate::inline HEADGATE_ABI
