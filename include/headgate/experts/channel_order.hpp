// The channels of a feed-forward network in another order: rows of gate and up and columns of down trade places, and
// what it computes stays what it was, but for the order of a sum. So a partition is an order and a cut
// (experts/split_ffn.hpp). deal_channels is that of He et al. 2025, "Understanding and Harnessing Sparsity in Unified
// Multimodal Models", 2512.02351: follows dense_to_moe_with_explicit_shared of its code.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <vector>

#include "headgate/experts/split_ffn.hpp"

namespace headgate::inline HEADGATE_ABI {

// A network's own copy of another's weights, channel i being order[i] of that.
class OrderedFfn {
 public:
  // dense: as split_ffn takes it. order (channels): each channel once. usage: it is no such order, sizes that do not
  // fit each other.
  static Expected<OrderedFfn> create(const GluMatrices& dense, std::span<const index_t> order) {
    if (Expected<SplitFfn> whole = split_ffn(dense, {.num_parts = 1}); !whole) return whole.error();
    const index_t channels = dense.up.rows;
    if (static_cast<std::int64_t>(order.size()) != channels) {
      return Status::mismatch("channels of an order", static_cast<std::int64_t>(order.size()), channels);
    }
    std::vector<bool> is_there(order.size(), false);
    for (const index_t channel : order) {
      if (channel < 0 || channel >= channels) return Status::mismatch("channel of an order", channel, channels - 1);
      if (is_there[as_size(channel)]) return Status{ErrorCode::usage, "an order has a channel twice"};
      is_there[as_size(channel)] = true;
    }
    return OrderedFfn(dense, order);
  }

  // Views of it, which it outlives; so they are those of where it is now.
  GluMatrices matrices() const noexcept {
    const auto rows = [&](const std::vector<float>& values) {
      return values.empty() ? ConstRows() : ConstRows(values.data(), channels_, hidden_size_);
    };
    return {rows(gate_), rows(up_), {down_.data(), hidden_size_, channels_}, gate_bias_, up_bias_, down_bias_};
  }

 private:
  OrderedFfn(const GluMatrices& dense, std::span<const index_t> order)
      : channels_(dense.up.rows),
        hidden_size_(dense.up.cols),
        down_bias_(dense.down_bias.begin(), dense.down_bias.end()) {
    for (const index_t channel : order) {
      const auto add = [&](ConstRows from, std::vector<float>& to) {
        if (from.rows > 0) to.insert(to.end(), from.row_data(channel), from.row_data(channel) + hidden_size_);
      };
      const auto add_bias = [&](std::span<const float> from, std::vector<float>& to) {
        if (!from.empty()) to.push_back(from[as_size(channel)]);
      };
      add(dense.gate, gate_);
      add(dense.up, up_);
      add_bias(dense.gate_bias, gate_bias_);
      add_bias(dense.up_bias, up_bias_);
    }
    for (index_t r = 0; r < hidden_size_; ++r) {
      for (const index_t channel : order) down_.push_back(dense.down.row_data(r)[channel]);
    }
  }

  index_t channels_;
  index_t hidden_size_;
  std::vector<float> gate_;  // (channels, hidden_size), as the next; empty without a gate
  std::vector<float> up_;
  std::vector<float> down_;  // (hidden_size, channels)
  std::vector<float> gate_bias_;
  std::vector<float> up_bias_;
  std::vector<float> down_bias_;
};

// The order in which parts are equally important: the most important channels are the shared ones, the others are dealt
// out to the parts, best first, to and fro (part 0, 1, 2, 2, 1, 0, 0, ...); within a part they descend. Equal ones keep
// their order. importance (channels): any measure, such as the mean of |h_c| times the norm of column c of down. usage:
// parts that do not divide the channels; not_finite.
inline Expected<std::vector<index_t>> deal_channels(std::span<const float> importance, const FfnSplit& how) {
  if (static_cast<std::int64_t>(importance.size()) > max_index) {
    return Status::mismatch("channels of a network", static_cast<std::int64_t>(importance.size()), max_index);
  }
  const auto channels = static_cast<index_t>(importance.size());
  if (Status status = how.check(channels); !status.ok()) return status;
  for (const float value : importance) {
    if (!std::isfinite(value)) return Status::not_finite("importance of a channel is not finite", -1, -1);
  }
  std::vector<index_t> best(importance.size());
  std::iota(best.begin(), best.end(), 0);
  std::stable_sort(best.begin(), best.end(),
                   [&](index_t a, index_t b) { return importance[as_size(a)] > importance[as_size(b)]; });
  std::vector<index_t> order(best.begin(), best.begin() + how.shared_channels);
  for (index_t part = 0; part < how.num_parts; ++part) {
    for (index_t first = how.shared_channels, round = 0; first < channels; first += how.num_parts, ++round) {
      order.push_back(best[as_size(first + (round % 2 == 0 ? part : how.num_parts - 1 - part))]);
    }
  }
  return order;
}

}  // namespace headgate::inline HEADGATE_ABI
