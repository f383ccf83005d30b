// FirState: what a causal convolution over positions remembers of one text: the last rows that went into it, a finite
// impulse response's past. A convolution of K taps reads K - 1 rows before a row, zeros before position 0. Its law is a
// window's: it goes back to the beginning of the last pass, as far as the spare rows reach, to a snapshot, or to 0.
//
// Rows lie one after the other, so that a kernel reads one stretch; when the buffer is full the last ones are moved
// down.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "headgate/attention/sequence_state.hpp"
#include "headgate/core/matrix_view.hpp"

namespace headgate::inline HEADGATE_ABI {

class FirState {
 public:
  // Bytes of a state without snapshots.
  static constexpr std::int64_t bytes(const StateSize& size, index_t taps, index_t width) noexcept {
    return std::int64_t{sizeof(float)} * row_count(size, taps) * width;
  }

  // taps - 1 rows of zeros. Preconditions: no size is negative, taps >= 1. Throws std::bad_alloc.
  FirState(const StateSize& size, index_t taps, index_t width)
      : size_(size), before_(taps - 1), width_(width), rows_(as_size(row_count(size, taps)) * as_size(width)) {}

  index_t context_size() const noexcept { return size_.context_size; }
  index_t rows_per_pass() const noexcept { return size_.rows_per_pass; }
  index_t position() const noexcept { return position_; }
  index_t taps() const noexcept { return before_ + 1; }
  index_t width() const noexcept { return width_; }

  index_t nearest(index_t positions) const noexcept {
    if (is_held(positions)) return positions;
    for (auto snapshot = snapshots_.rbegin(); snapshot != snapshots_.rend(); ++snapshot) {
      if (snapshot->position <= positions) return snapshot->position;
    }
    return 0;
  }
  void truncate(index_t positions) noexcept {
    while (!snapshots_.empty() && snapshots_.back().position > positions) snapshots_.pop_back();
    if (!is_held(positions)) {
      first_ = positions;
      if (positions == 0) {
        std::fill_n(rows_.data(), as_size(before_) * as_size(width_), 0.0f);
      } else {
        std::copy(snapshots_.back().rows.begin(), snapshots_.back().rows.end(), rows_.begin());
      }
    }
    position_ = positions;
  }
  bool keeps_present(index_t positions, bool is_one_pass) const noexcept {
    return is_one_pass || position_ == 0 || positions <= size_.spare ||
           (!snapshots_.empty() && snapshots_.back().position == position_);
  }
  void snapshot() {
    if (!snapshots_.empty() && snapshots_.back().position == position_) return;
    const float* const past = row(position_) - std::int64_t{before_} * width_;
    snapshots_.push_back({position_, {past, past + std::int64_t{before_} * width_}});
  }
  FirState clone() const { return *this; }
  std::int64_t bytes() const noexcept {
    std::size_t floats = rows_.size();
    for (const Snapshot& snapshot : snapshots_) floats += snapshot.rows.size();
    return static_cast<std::int64_t>(floats * sizeof(float));
  }

  // Room for the next rows (rows, width), to be filled; taps - 1 rows before it lie right in front of them.
  // Precondition: rows <= rows_per_pass, and the context has room.
  Rows append(index_t rows) noexcept {
    if (position_ - first_ + rows > capacity()) {
      const index_t kept = std::min(position_ - first_, size_.spare) + before_;
      std::memmove(rows_.data(), row(position_) - std::int64_t{kept} * width_,
                   sizeof(float) * as_size(kept) * as_size(width_));
      first_ = position_ - (kept - before_);
    }
    float* const next = row(position_);
    position_ += rows;
    return {next, rows, width_};
  }

 private:
  struct Snapshot {
    index_t position;
    std::vector<float> rows;  // (taps - 1, width) before it
  };

  // Those before a pass, the spare ones and the rows of a pass, but no more than a text has.
  static constexpr std::int64_t row_count(const StateSize& size, index_t taps) noexcept {
    return taps - 1 + std::min<std::int64_t>(std::int64_t{size.spare} + size.rows_per_pass, size.context_size);
  }
  std::int64_t capacity() const noexcept { return row_count(size_, 1); }
  // Whether the rows before this position are there.
  bool is_held(index_t positions) const noexcept { return positions >= first_; }
  float* row(index_t position) noexcept { return rows_.data() + std::int64_t{position - first_ + before_} * width_; }

  StateSize size_;
  index_t before_;  // taps - 1
  index_t width_;
  index_t first_ = 0;     // position of the row behind the first `before_` ones
  index_t position_ = 0;  // of the next row
  std::vector<float> rows_;
  std::vector<Snapshot> snapshots_;  // by position, ascending
};
static_assert(SequenceState<FirState>);

}  // namespace headgate::inline HEADGATE_ABI
