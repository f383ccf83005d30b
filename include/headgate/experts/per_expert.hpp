// PerExpert<E>: a bank of any type that can do one expert's work, for experts that are no feed-forward network or live
// in somebody else's library. forward(in, out) sees the gathered rows of one expert, (rows, hidden_size) both, and
// fills out; experts run on different threads at the same time. Weighing and adding, in ascending id, are done here. An
// exception that leaves forward reaches the caller of apply.
#pragma once

#include <vector>

#include "headgate/core/expected.hpp"
#include "headgate/experts/experts.hpp"
#include "headgate/kernels/native.hpp"

namespace headgate::inline HEADGATE_ABI {

template <class E>
concept Expert = requires(const E& expert, ConstRows in, Rows out) { expert.forward(in, out); };

template <Expert E, class Backend = NativeBackend>
class PerExpert {
 public:
  static Expected<PerExpert> create(index_t hidden_size, std::vector<E> experts) {
    if (hidden_size < 1) return Status::mismatch("hidden_size, at least", hidden_size, 1);
    if (static_cast<std::int64_t>(experts.size()) > max_index) {
      return Status::mismatch("number of experts", static_cast<std::int64_t>(experts.size()), max_index);
    }
    return PerExpert(hidden_size, std::move(experts), Checked{});
  }
  PerExpert(index_t hidden_size, std::vector<E> experts)
    requires has_exceptions
      : PerExpert(create(hidden_size, std::move(experts)).value()) {}

  index_t num_experts() const noexcept { return static_cast<index_t>(experts_.size()); }
  index_t hidden_size() const noexcept { return hidden_size_; }
  // What the experts say, the largest; 0 where they do not.
  std::int64_t expert_bytes() const noexcept {
    std::int64_t largest = 0;
    if constexpr (requires(const E& expert) { std::int64_t{expert.bytes()}; }) {
      for (const E& expert : experts_) largest = expert.bytes() > largest ? expert.bytes() : largest;
    }
    return largest;
  }

  Status apply(const RoutingPlan& plan, ConstRows x, Rows y, Context& ctx) const {
    return apply_by_expert<Backend>(*this, plan, x, y, ctx);
  }
  // The same for a checked plan that stands by expert already.
  Status apply(const ExpertMajor& plan, ConstRows x, Rows y, Context& ctx) const {
    const Workspace::Mark mark(ctx.workspace);
    const index_t entries = plan.offsets.back();
    const Rows in = ctx.workspace.take_rows(entries, hidden_size());
    const Rows out = ctx.workspace.take_rows(entries, hidden_size());
    ctx.parallel(plan.size(), [&](index_t i) {
      const index_t first = plan.offsets[as_size(i)];
      const std::span<const index_t> tokens = plan.tokens_of(i);
      const auto count = static_cast<index_t>(tokens.size());
      for (index_t r = 0; r < count; ++r) {
        std::memcpy(in.row_data(first + r), x.row_data(tokens[as_size(r)]), as_size(hidden_size()) * sizeof(float));
      }
      experts_[as_size(plan.experts[as_size(i)])].forward(in.middle_rows(first, count), out.middle_rows(first, count));
    });
    for (index_t i = 0; i < plan.size(); ++i) {
      for (index_t entry = plan.offsets[as_size(i)]; entry < plan.offsets[as_size(i) + 1]; ++entry) {
        const index_t token = plan.tokens[as_size(entry)];
        if (!Backend::all_finite(out.row_data(entry), hidden_size())) {
          return Status::not_finite("output of an expert is not finite", -1, token, plan.experts[as_size(i)]);
        }
        Backend::axpy(plan.weights[as_size(entry)], out.row_data(entry), hidden_size(), y.row_data(token));
      }
    }
    return Status::success();
  }

 private:
  struct Checked {};
  PerExpert(index_t hidden_size, std::vector<E> experts, Checked)
      : hidden_size_(hidden_size), experts_(std::move(experts)) {}

  index_t hidden_size_;
  std::vector<E> experts_;
};

}  // namespace headgate::inline HEADGATE_ABI
