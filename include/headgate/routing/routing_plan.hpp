// RoutingPlan: which experts, with which weights, for which token. The only thing that crosses from routing to compute:
//   y_t = sum over the entries i of row t of weight_i * E_{expert_i}(x_t)
// Ragged (CSR by token), because k may differ from token to token; a row may be empty or long. Entries stand in order
// of selection: the position in a row is the rank. Ids are distinct in a row and below num_experts; weights are finite,
// of any sign and sum. Null experts never appear. A plan that exists keeps these invariants: rows are checked when
// appended.
#pragma once

#include <algorithm>
#include <cmath>

#include "headgate/core/expected.hpp"
#include "headgate/core/workspace.hpp"
#include "headgate/routing/expert_places.hpp"

namespace headgate::inline HEADGATE_ABI {

class RoutingPlan {
 public:
  // A plan of no rows over a bank of num_experts >= 0. Keeps its memory.
  void clear(index_t num_experts) {
    num_experts_ = num_experts;
    experts_.clear();
    weights_.clear();
    offsets_.assign(1, 0);
  }
  // Memory for rows and entries, so that appending does not allocate. A size beyond a 32-bit index is an error.
  Status reserve(std::int64_t tokens, std::int64_t entries) {
    if (tokens < 0 || tokens >= max_index) return Status::mismatch("number of tokens in a plan", tokens, max_index - 1);
    if (entries < 0 || entries > max_index) return Status::mismatch("number of entries in a plan", entries, max_index);
    offsets_.reserve(as_size(tokens) + 1);
    experts_.reserve(as_size(entries));
    weights_.reserve(as_size(entries));
    return Status::success();
  }
  // Appends the row of the next token, which may be a row of this plan. On an error the plan is unchanged and the
  // status names token and expert. Throws std::bad_alloc, and then too the plan is unchanged.
  Status append_row(std::span<const ExpertId> experts, std::span<const float> weights) {
    if (experts.size() != weights.size()) {
      return Status::mismatch("number of weights in a row", static_cast<std::int64_t>(weights.size()),
                              static_cast<std::int64_t>(experts.size()));
    }
    if (static_cast<std::int64_t>(experts.size()) > max_index - entries() || tokens() >= max_index - 1) {
      return Status::mismatch("number of entries in a plan", entries() + static_cast<std::int64_t>(experts.size()),
                              max_index);
    }
    const std::size_t slots_needed = as_size(slots_for(static_cast<index_t>(experts.size())));
    if (slots_.size() < slots_needed) slots_.resize(slots_needed);
    if (Status status = check_row(num_experts_, tokens(), experts, weights, slots_); !status.ok()) return status;
    // The row may lie in the memory that was outgrown.
    const auto old_experts = make_room(experts_, experts.size());
    const auto old_weights = make_room(weights_, weights.size());
    const auto old_offsets = make_room(offsets_, 2);
    if (offsets_.empty()) offsets_.push_back(0);
    for (const ExpertId e : experts) experts_.push_back(e);
    for (const float w : weights) weights_.push_back(w);
    offsets_.push_back(entries());
    return Status::success();
  }
  // Replaces the plan by `count` rows of another, from row `first` on.
  Status copy_rows(const RoutingPlan& from, index_t first, index_t count) {
    if (&from == this) return {ErrorCode::usage, "rows copied from a plan to itself"};
    if (first < 0 || count < 0)
      return Status::mismatch("rows to copy from a plan, at least", std::min(first, count), 0);
    if (count > from.tokens() - first) {
      return Status::mismatch("rows to copy from a plan", std::int64_t{first} + count, from.tokens());
    }
    clear(from.num_experts_);
    if (count == 0) return Status::success();
    const index_t begin = from.offsets_[as_size(first)];
    const index_t end = from.offsets_[as_size(first) + as_size(count)];
    if (Status status = reserve(count, end - begin); !status.ok()) return status;
    experts_.assign(from.experts_.begin() + begin, from.experts_.begin() + end);
    weights_.assign(from.weights_.begin() + begin, from.weights_.begin() + end);
    for (std::size_t t = 1; t <= as_size(count); ++t) offsets_.push_back(from.offsets_[as_size(first) + t] - begin);
    return Status::success();
  }

  index_t tokens() const noexcept { return offsets_.empty() ? 0 : static_cast<index_t>(offsets_.size()) - 1; }
  index_t entries() const noexcept { return static_cast<index_t>(experts_.size()); }
  index_t num_experts() const noexcept { return num_experts_; }

  std::span<const ExpertId> experts(index_t token) const noexcept { return row(experts_, token); }
  std::span<const float> weights(index_t token) const noexcept { return row(weights_, token); }
  // Whole arrays: offsets (tokens + 1; empty for a plan never cleared), experts and weights (entries).
  std::span<const index_t> offsets() const noexcept { return offsets_; }
  std::span<const ExpertId> experts() const noexcept { return experts_; }
  std::span<const float> weights() const noexcept { return weights_; }

  friend bool operator==(const RoutingPlan&, const RoutingPlan&) = default;

 private:
  template <class T>
  std::span<const T> row(const std::vector<T>& values, index_t token) const noexcept {
    const index_t first = offsets_[as_size(token)];
    return {values.data() + first, as_size(offsets_[as_size(token) + 1] - first)};
  }
  // For `more` elements, so that appending them cannot fail. Returns the memory that was outgrown. Throws
  // std::bad_alloc.
  template <class T>
  static std::vector<T> make_room(std::vector<T>& values, std::size_t more) {
    const std::size_t size = values.size() + more;
    std::vector<T> other;
    if (size <= values.capacity()) return other;
    other.reserve(size > 2 * values.capacity() ? size : 2 * values.capacity());
    other.assign(values.begin(), values.end());
    other.swap(values);
    return other;
  }
  friend class PlanWriter;
  // Slots of the table that finds ids which repeat: none for few entries, where comparing pairs is quicker.
  static constexpr index_t few = 32;
  static constexpr std::int64_t slots_for(index_t entries) noexcept {
    return entries > few ? ExpertPlaces::slots_for(entries) : 0;
  }
  // table: at least slots_for(entries) zeros, and left so.
  static Status check_row(index_t num_experts, index_t token, std::span<const ExpertId> experts,
                          std::span<const float> weights, std::span<index_t> table) noexcept {
    const auto entries = static_cast<index_t>(experts.size());
    if (entries <= few) {
      return check_entries(num_experts, token, experts, weights, [&](std::size_t i) {
        bool again = false;
        for (std::size_t j = 0; j < i; ++j) again |= experts[j] == experts[i];
        return again;
      });
    }
    ExpertPlaces places(table, entries);
    return check_entries(num_experts, token, experts, weights,
                         [&](std::size_t i) { return places.find_or_enter(experts.first(i), experts[i]) >= 0; });
  }
  // stands_before(i): whether the id of entry i does.
  template <class StandsBefore>
  static Status check_entries(index_t num_experts, index_t token, std::span<const ExpertId> experts,
                              std::span<const float> weights, StandsBefore stands_before) noexcept {
    for (std::size_t i = 0; i < experts.size(); ++i) {
      const ExpertId e = experts[i];
      Status status;
      if (e < 0 || e >= num_experts) {
        status = Status::mismatch("expert id", e, num_experts - 1);
      } else if (!std::isfinite(weights[i])) {
        status = Status::not_finite("combine weight is not finite", -1, -1);
      } else if (stands_before(i)) {
        status = Status::mismatch("times an expert stands in one row", 2, 1);
      } else {
        continue;
      }
      status.token = token;
      status.expert = e;
      return status;
    }
    return Status::success();
  }

  index_t num_experts_ = 0;
  std::vector<index_t> offsets_;   // (tokens + 1)
  std::vector<ExpertId> experts_;  // (entries)
  std::vector<float> weights_;     // (entries)
  struct Scratch : std::vector<index_t> {
    friend bool operator==(const Scratch&, const Scratch&) noexcept { return true; }  // no part of the plan's value
  } slots_;                                                                           // zeros between calls
};

// The same plan by expert: what banks iterate. Stable, so the rows of an expert ascend. Memory is the workspace's.
struct ExpertMajor {
  std::span<const ExpertId> experts;  // those that occur, ascending
  std::span<const index_t> offsets;   // (experts + 1) into the next two
  std::span<const index_t> tokens;    // (entries) row of x and y
  std::span<const float> weights;     // (entries)
  std::span<const index_t> entries;   // (entries) position in the plan's arrays

  index_t size() const noexcept { return static_cast<index_t>(experts.size()); }
  std::span<const index_t> tokens_of(index_t i) const noexcept { return part(tokens, i); }
  std::span<const float> weights_of(index_t i) const noexcept { return part(weights, i); }

  static ExpertMajor of(const RoutingPlan& plan, Workspace& workspace) {
    const index_t num_experts = plan.num_experts();
    const std::span<index_t> next = workspace.take<index_t>(std::int64_t{num_experts} + 1);
    for (index_t& count : next) count = 0;
    for (const ExpertId e : plan.experts()) ++next[as_size(e)];
    index_t occurring = 0;
    for (index_t e = 0; e < num_experts; ++e) occurring += next[as_size(e)] != 0 ? 1 : 0;

    const std::span<ExpertId> experts = workspace.take<ExpertId>(occurring);
    const std::span<index_t> offsets = workspace.take<index_t>(std::int64_t{occurring} + 1);
    index_t first = 0;
    index_t i = 0;
    for (index_t e = 0; e < num_experts; ++e) {
      const index_t count = next[as_size(e)];
      if (count == 0) continue;
      experts[as_size(i)] = e;
      offsets[as_size(i)] = first;
      next[as_size(e)] = first;
      first += count;
      ++i;
    }
    offsets[as_size(i)] = first;

    const std::span<index_t> tokens = workspace.take<index_t>(plan.entries());
    const std::span<float> weights = workspace.take<float>(plan.entries());
    const std::span<index_t> entries = workspace.take<index_t>(plan.entries());
    index_t entry = 0;
    for (index_t t = 0; t < plan.tokens(); ++t) {
      for (const ExpertId e : plan.experts(t)) {
        const index_t place = next[as_size(e)]++;
        tokens[as_size(place)] = t;
        weights[as_size(place)] = plan.weights()[as_size(entry)];
        entries[as_size(place)] = entry++;
      }
    }
    return {experts, offsets, tokens, weights, entries};
  }

 private:
  template <class T>
  std::span<const T> part(std::span<const T> values, index_t i) const noexcept {
    return values.subspan(as_size(offsets[as_size(i)]), as_size(offsets[as_size(i) + 1] - offsets[as_size(i)]));
  }
};

}  // namespace headgate::inline HEADGATE_ABI
