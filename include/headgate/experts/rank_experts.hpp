// RankExperts: every rank of one or several LoRAs is an expert, as MoRA has them (Lu et al. 2025, arXiv 2506.21035,
// section 3; its router is routing/mora_router.hpp):
//   E_i(x) = s_i (a_i . x) b_i,  a_i (in_size) a row of A, b_i (out_size) a column of B, s_i the scale of its LoRA
// With all of them at weight 1 the LoRAs themselves, to rounding (experts/lora_experts.hpp, which is quicker where
// whole LoRAs are chosen). A token's ranks are walked one by one: dot product, then b_i added, where a matrix product
// of one row would compute sixteen.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "headgate/core/expected.hpp"
#include "headgate/experts/lora_experts.hpp"

namespace headgate::inline HEADGATE_ABI {

// Table of structures: RankExperts | every rank of a LoRA is an expert | Lu et al. 2025, 2506.21035
template <class Backend = NativeBackend>
class RankExperts {
 public:
  // The ranks of these LoRAs, one LoRA after the other. usage: matrices of other widths than in_size and out_size, or
  // of two ranks; no rank at all. numeric: a scale that is not finite. Throws std::bad_alloc.
  static Expected<RankExperts> create(index_t in_size, index_t out_size, std::span<const LoraMatrices> loras) {
    if (in_size < 1) return Status::mismatch("in_size of low-rank experts, at least", in_size, 1);
    if (out_size < 1) return Status::mismatch("out_size of low-rank experts, at least", out_size, 1);
    std::int64_t ranks = 0;
    for (const LoraMatrices& lora : loras) {
      if (Status status = lora.check(in_size, out_size); !status.ok()) return status;
      ranks += lora.a.rows;
    }
    if (ranks < 1) return Status::mismatch("ranks as experts, at least", ranks, 1);
    if (ranks > max_index) return Status::mismatch("ranks as experts, at most", ranks, max_index);
    RankExperts bank(in_size, out_size);
    bank.a_.reserve(as_size(ranks) * as_size(in_size));
    bank.b_.reserve(as_size(ranks) * as_size(out_size));
    for (const LoraMatrices& lora : loras) {
      for (index_t i = 0; i < lora.a.rows; ++i) {
        bank.a_.insert(bank.a_.end(), lora.a.row_data(i), lora.a.row_data(i) + in_size);
        for (index_t o = 0; o < out_size; ++o) bank.b_.push_back(lora.b.row_data(o)[i]);
        bank.scales_.push_back(lora.scale);
      }
    }
    return bank;
  }
  // Throws the same error.
  RankExperts(index_t in_size, index_t out_size, std::span<const LoraMatrices> loras)
    requires has_exceptions
      : RankExperts(create(in_size, out_size, loras).value()) {}

  index_t num_experts() const noexcept { return static_cast<index_t>(scales_.size()); }
  index_t in_size() const noexcept { return in_size_; }
  index_t out_size() const noexcept { return out_size_; }
  index_t hidden_size() const noexcept { return in_size_; }  // of the rows that it reads
  std::int64_t expert_bytes() const noexcept {
    return (std::int64_t{in_size_} + out_size_) * std::int64_t{sizeof(float)};
  }
  // (num_experts, in_size), what MoRA routes by; borrowed.
  ConstRows a() const noexcept { return {a_.data(), num_experts(), in_size_}; }

  // y (tokens, out_size) += sum over the row's entries of weight * E_i(x_t), x (tokens, in_size). On an error y is as
  // it was.
  Status apply(const RoutingPlan& plan, ConstRows x, Rows y, Context& ctx) const {
    if (Status status = check_apply(plan, x, y, num_experts(), in_size_, out_size_); !status.ok()) return status;
    if (Status status = check_finite<Backend>(plan, x); !status.ok()) return status;
    const Workspace::Mark mark(ctx.workspace);
    const ExpertMajor by_expert = ExpertMajor::of(plan, ctx.workspace);
    const std::span<float> factors = ctx.workspace.take<float>(plan.entries());
    const index_t n = ctx.slices(by_expert.size());
    ctx.parallel(n, [&](index_t s) {
      const Slice slice = Slice::of(by_expert.size(), n, s);
      for (index_t i = slice.first; i < slice.last; ++i) activate(by_expert, i, x, factors);
    });
    for (index_t i = 0; i < by_expert.size(); ++i) {
      for (index_t j = by_expert.offsets[as_size(i)]; j < by_expert.offsets[as_size(i) + 1]; ++j) {
        if (std::isfinite(factors[as_size(j)])) continue;
        return Status::not_finite("output of an expert is not finite", -1, by_expert.tokens[as_size(j)],
                                  by_expert.experts[as_size(i)]);
      }
    }
    const index_t lines = divide_up(out_size_, 16);
    const index_t m = ctx.slices(lines);
    ctx.parallel(m, [&](index_t s) {
      const Slice columns = Slice::of(lines, m, s);
      add(by_expert, factors, {16 * columns.first, std::min(16 * columns.last, out_size_)}, y);
    });
    return Status::success();
  }

 private:
  RankExperts(index_t in_size, index_t out_size) : in_size_(in_size), out_size_(out_size) {}

  const float* a_row(ExpertId e) const noexcept { return a_.data() + std::int64_t{e} * in_size_; }
  const float* b_row(ExpertId e) const noexcept { return b_.data() + std::int64_t{e} * out_size_; }

  // factors: of the entries of the i-th expert, weight * s (a . x).
  void activate(const ExpertMajor& plan, index_t i, ConstRows x, std::span<float> factors) const noexcept {
    const ExpertId e = plan.experts[as_size(i)];
    for (index_t j = plan.offsets[as_size(i)]; j < plan.offsets[as_size(i) + 1]; ++j) {
      const float u = Backend::dot(a_row(e), x.row_data(plan.tokens[as_size(j)]), in_size_);
      factors[as_size(j)] = plan.weights[as_size(j)] * scales_[as_size(e)] * u;
    }
  }
  // y += factor b in ascending expert id, in some columns.
  void add(const ExpertMajor& plan, std::span<const float> factors, Slice columns, Rows y) const noexcept {
    for (index_t i = 0; i < plan.size(); ++i) {
      const float* const b = b_row(plan.experts[as_size(i)]) + columns.first;
      for (index_t j = plan.offsets[as_size(i)]; j < plan.offsets[as_size(i) + 1]; ++j) {
        Backend::axpy(factors[as_size(j)], b, columns.last - columns.first,
                      y.row_data(plan.tokens[as_size(j)]) + columns.first);
      }
    }
  }

  index_t in_size_;
  index_t out_size_;
  std::vector<float> a_;       // (ranks, in_size)
  std::vector<float> b_;       // (ranks, out_size)
  std::vector<float> scales_;  // (ranks)
};

}  // namespace headgate::inline HEADGATE_ABI
