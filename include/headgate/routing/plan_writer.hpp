// PlanWriter: fills a plan from many threads: every token has room for max_row entries, its row is closed once, in any
// order, and finish() moves the rows together. How routers write; append_row is the serial way. The plan has no rows
// until finish(), and rows are checked as append_row checks them.
#pragma once

#include "headgate/routing/routing_plan.hpp"

namespace headgate::inline HEADGATE_ABI {

class PlanWriter {
 public:
  explicit PlanWriter(RoutingPlan& plan) noexcept : plan_(plan) {}
  PlanWriter(const PlanWriter&) = delete;
  PlanWriter& operator=(const PlanWriter&) = delete;
  ~PlanWriter() {
    if (finished_) return;
    plan_.experts_.clear();
    plan_.weights_.clear();
    if (!plan_.offsets_.empty()) cut(plan_.offsets_, 1);
  }

  // First. Room for `tokens` rows of up to max_row entries; more than a 32-bit index counts is an error.
  Status open(index_t num_experts, index_t tokens, index_t max_row) {
    plan_.clear(num_experts);
    const std::int64_t entries = std::int64_t{tokens} * max_row;
    if (Status status = plan_.reserve(tokens, entries); !status.ok()) return status;
    plan_.offsets_.resize(as_size(tokens) + 1);
    plan_.experts_.resize(as_size(entries));
    plan_.weights_.resize(as_size(entries));
    max_row_ = max_row;
    return Status::success();
  }

  index_t max_row() const noexcept { return max_row_; }
  // Room of one token, (max_row).
  std::span<ExpertId> experts(index_t token) noexcept { return room(plan_.experts_, token); }
  std::span<float> weights(index_t token) noexcept { return room(plan_.weights_, token); }

  // Scratch that one thread lends to close_row: all zero, and left so.
  std::int64_t scratch_size() const noexcept { return RoutingPlan::slots_for(max_row_); }
  // The row of a token is the first `count` entries of its room.
  Status close_row(index_t token, index_t count, std::span<index_t> scratch) noexcept {
    plan_.offsets_[as_size(token) + 1] = count;
    return RoutingPlan::check_row(plan_.num_experts_, token, experts(token).first(as_size(count)),
                                  weights(token).first(as_size(count)), scratch);
  }
  // Last, when every row is closed and sound.
  void finish() noexcept {
    std::size_t next = 0;
    for (std::size_t t = 0; t + 1 < plan_.offsets_.size(); ++t) {
      const std::size_t first = t * as_size(max_row_);
      const std::size_t count = as_size(plan_.offsets_[t + 1]);
      if (first != next) {
        for (std::size_t i = 0; i < count; ++i) {
          plan_.experts_[next + i] = plan_.experts_[first + i];
          plan_.weights_[next + i] = plan_.weights_[first + i];
        }
      }
      next += count;
      plan_.offsets_[t + 1] = static_cast<index_t>(next);
    }
    cut(plan_.experts_, next);
    cut(plan_.weights_, next);
    finished_ = true;
  }

 private:
  // The first `size` elements stay. Not resize, which could grow: g++ 12 warns of what would happen then.
  template <class T>
  static void cut(std::vector<T>& values, std::size_t size) noexcept {
    values.erase(values.begin() + static_cast<std::ptrdiff_t>(size), values.end());
  }
  template <class T>
  std::span<T> room(std::vector<T>& values, index_t token) const noexcept {
    return std::span(values).subspan(as_size(token) * as_size(max_row_), as_size(max_row_));
  }

  RoutingPlan& plan_;
  index_t max_row_ = 0;
  bool finished_ = false;
};

}  // namespace headgate::inline HEADGATE_ABI
