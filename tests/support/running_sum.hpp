// RunningSum: the smallest mixer, y_t = the sum of the rows of the text up to t, with a recurrent state: one sum stands
// for all positions, so it goes back to its snapshots alone.
#pragma once

#include <algorithm>
#include <vector>

#include "headgate/attention/mixer.hpp"

class RunningSumState {
 public:
  RunningSumState(const headgate::StateSize& size, headgate::index_t width)
      : context_size_(size.context_size), snapshots_{{0, std::vector<float>(headgate::as_size(width))}} {
    present_ = snapshots_[0];
  }

  headgate::index_t context_size() const noexcept { return context_size_; }
  std::span<float> sum() noexcept { return present_.sum; }
  void append() noexcept { ++present_.position; }

  headgate::index_t position() const noexcept { return present_.position; }
  headgate::index_t nearest(headgate::index_t positions) const noexcept {
    return positions == position() ? positions : before(positions).position;
  }
  void truncate(headgate::index_t positions) noexcept {
    if (positions == position()) return;
    while (snapshots_.back().position > positions) snapshots_.pop_back();
    present_.position = positions;
    std::copy(snapshots_.back().sum.begin(), snapshots_.back().sum.end(), present_.sum.begin());
  }
  bool keeps_present(headgate::index_t /*positions*/, bool /*is_one_pass*/) const noexcept {
    return snapshots_.back().position == position();
  }
  void snapshot() {
    if (position() != snapshots_.back().position) snapshots_.push_back(present_);
  }
  RunningSumState clone() const { return *this; }
  std::int64_t bytes() const noexcept {
    return static_cast<std::int64_t>((snapshots_.size() + 1) * present_.sum.size() * sizeof(float));
  }

 private:
  struct Moment {
    headgate::index_t position = 0;
    std::vector<float> sum;
  };
  const Moment& before(headgate::index_t positions) const noexcept {
    const Moment* found = snapshots_.data();  // of position 0
    for (const Moment& moment : snapshots_) found = moment.position <= positions ? &moment : found;
    return *found;
  }

  headgate::index_t context_size_;
  std::vector<Moment> snapshots_;  // ascending, the first at 0
  Moment present_;
};

struct RunningSum {
  using State = RunningSumState;
  headgate::index_t channels = 1;

  headgate::index_t hidden_size() const noexcept { return channels; }
  std::int64_t weight_bytes() const noexcept { return 42; }
  const headgate::Rope* rope() const noexcept { return nullptr; }
  State make_state(const headgate::StateSize& size) const { return {size, channels}; }
  headgate::Status forward(const headgate::MixerInput& in, std::span<State* const> states, headgate::Rows y,
                           headgate::Context&) const {
    if (headgate::Status status = headgate::check_mixer(in, states, y, channels, 0); !status.ok()) return status;
    headgate::index_t row = 0;
    for (std::size_t s = 0; s < states.size(); ++s) {
      for (headgate::index_t t = 0; t < in.sequences[s].rows; ++t, ++row) {
        for (headgate::index_t i = 0; i < channels; ++i) {
          float& sum = states[s]->sum()[headgate::as_size(i)];
          sum += in.hidden.row_data(row)[i];
          y.row_data(row)[i] = sum;
        }
        states[s]->append();
      }
    }
    return headgate::Status::success();
  }
};
