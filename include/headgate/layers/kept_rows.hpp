// KeptRows: the rows of a pass that a gate of tokens keeps (token_gate.hpp): taken out in order, and put back. It lies
// in the workspace, for as long as the caller's mark.
#pragma once

#include <algorithm>
#include <span>

#include "headgate/attention/thinned_state.hpp"
#include "headgate/core/exactly_equal.hpp"
#include "headgate/kernels/fused_multiply_add.hpp"
#include "headgate/layers/token_gate.hpp"

namespace headgate::inline HEADGATE_ABI {

class KeptRows {
 public:
  KeptRows(std::span<const SequenceRows> sequences, Context& ctx) noexcept : sequences_(sequences), ctx_(ctx) {}

  // What the gate says of x, whose rows are those of the sequences.
  Status choose(const TokenGate& gate, ConstRows x) {
    kept_ = ctx_.workspace.take<std::uint8_t>(x.rows);
    weights_ = ctx_.workspace.take<float>(x.rows);
    if (Status status = gate.choose(x, sequences_, kept_, weights_, ctx_); !status.ok()) return status;
    rows_ = ctx_.workspace.take<index_t>(std::count(kept_.begin(), kept_.end(), 1));
    std::size_t next = 0;
    for (index_t t = 0; t < x.rows; ++t) {
      if (kept_[as_size(t)] != 0) rows_[next++] = t;
    }
    return Status::success();
  }

  // Of the pass, ascending.
  std::span<const index_t> rows() const noexcept { return rows_; }
  index_t count() const noexcept { return static_cast<index_t>(rows_.size()); }

  // (count, cols) of a matrix of all rows; empty where that is.
  Rows of(ConstRows all) const {
    if (all.data == nullptr) return {};
    const Rows out = ctx_.workspace.take_rows(count(), all.cols);
    for (index_t i = 0; i < count(); ++i) std::copy_n(all.row_data(rows_[as_size(i)]), all.cols, out.row_data(i));
    return out;
  }
  std::span<const std::int32_t> of(std::span<const std::int32_t> all) const {
    const std::span<std::int32_t> out = ctx_.workspace.take<std::int32_t>(all.empty() ? 0 : count());
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = all[as_size(rows_[i])];
    return out;
  }
  // How many of each sequence, after those that the states (one a sequence, or none) hold already.
  std::span<const SequenceRows> sequences(std::span<AnyState* const> states) const {
    const std::span<SequenceRows> out = ctx_.workspace.take<SequenceRows>(static_cast<std::int64_t>(sequences_.size()));
    index_t row = 0;
    for (std::size_t s = 0; s < out.size(); ++s) {
      const auto first = kept_.begin() + row;
      row += sequences_[s].rows;
      const auto number = std::count(first, kept_.begin() + row, 1);
      out[s] = {static_cast<index_t>(number), states.empty() ? 0 : states[s]->position()};
    }
    return out;
  }

  // x_t += weight * (y - x_t) of the kept rows, which is y where the weight is 1.
  void put_back(ConstRows y, Rows x) const noexcept {
    for (index_t i = 0; i < count(); ++i) {
      const index_t t = rows_[as_size(i)];
      const float weight = weights_[as_size(t)];
      const bool is_plain = exactly_equal(weight, 1.0f);
      const float* const from = y.row_data(i);
      float* const to = x.row_data(t);
      for (index_t c = 0; c < x.cols; ++c) {
        to[c] = is_plain ? from[c] : fused_multiply_add(weight, from[c] - to[c], to[c]);
      }
    }
  }
  // One state a sequence.
  void note(std::span<AnyState* const> states) const {
    index_t row = 0;
    for (std::size_t s = 0; s < states.size(); ++s) {
      ThinnedState& state = *states[s]->get_if<ThinnedState>();
      for (index_t i = 0; i < sequences_[s].rows; ++i, ++row) {
        if (kept_[as_size(row)] != 0) state.keep(sequences_[s].first_position + i);
      }
      state.append(sequences_[s].rows);
    }
  }

 private:
  std::span<const SequenceRows> sequences_;
  Context& ctx_;
  std::span<std::uint8_t> kept_;  // (rows of the pass)
  std::span<float> weights_;      // (rows of the pass)
  std::span<index_t> rows_;
};

}  // namespace headgate::inline HEADGATE_ABI
