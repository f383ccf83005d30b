// Mixer: what a decoder layer asks of that which mixes a row of a text with the rows before it: an attention, a
// convolution, a recurrence. The mixer itself is immutable; what it remembers of a text is a State that the caller owns
// (sequence_state.hpp).
//
// The rows of a pass belong to several texts. Every row is computed by the same function of itself and the state of its
// text, in the order of positions from 0 up, so it has the same bits whatever stands beside it: in a prompt whole, in
// chunks or token by token, alone or among other texts, on any number of threads.
#pragma once

#include <span>

#include "headgate/attention/sequence_state.hpp"
#include "headgate/core/context.hpp"
#include "headgate/core/matrix_view.hpp"

namespace headgate::inline HEADGATE_ABI {

class Rope;

// Consecutive rows of a pass that belong to one text.
struct SequenceRows {
  index_t rows = 0;
  index_t first_position = 0;  // of the first row; the state holds every position before it
};

// The sequence of a row, for rows that are asked for in ascending order.
struct SequenceCursor {
  std::span<const SequenceRows> sequences;
  std::size_t index = 0;  // of the sequence
  index_t first_row = 0;  // of that sequence in the pass

  // Precondition: the row exists and lies not before the last one.
  constexpr void seek(index_t row) noexcept {
    while (row - first_row >= sequences[index].rows) first_row += sequences[index++].rows;
  }
  constexpr index_t position(index_t row) const noexcept { return sequences[index].first_position + row - first_row; }
};

struct MixerInput {
  ConstRows hidden;                         // (rows, hidden_size), normalised
  std::span<const SequenceRows> sequences;  // in the order of their rows, which add up to hidden.rows
  ConstRows cosines;                        // (rows, half) of the mixer's rope at the rows' positions; empty without
  ConstRows sines;                          // (rows, half)
};

// How large a pass is, to know its scratch before anything is packed.
struct PassSize {
  std::int64_t rows = 0;       // of all texts
  std::int64_t sequences = 0;  // texts
  std::int64_t positions = 0;  // of the longest text, after the pass
  std::int64_t threads = 1;
};

// A mixer that holds what is cached of every position in other types than float32 says in which. (A few rows of a
// convolution are no cache of positions: ShortConvolution holds them in float32 with any type.)
template <class M>
concept HoldsCaches = requires(const M& mixer, CacheType type) {
  { mixer.holds(type) } noexcept -> std::same_as<bool>;
};
template <class M>
constexpr bool holds_cache(const M& mixer, CacheType type) noexcept {
  if constexpr (HoldsCaches<M>) return mixer.holds(type);
  return type == CacheType::f32;
}

template <class M>
concept Mixer = SequenceState<typename M::State> &&
                requires(const M& mixer, const MixerInput& in, std::span<typename M::State* const> states, Rows y,
                         Context& ctx, const StateSize& size) {
                  { mixer.hidden_size() } noexcept -> std::same_as<index_t>;
                  { mixer.weight_bytes() } noexcept -> std::same_as<std::int64_t>;  // read for any number of rows
                  { mixer.rope() } noexcept -> std::same_as<const Rope*>;           // null: no rotary positions
                  { mixer.make_state(size) } -> std::same_as<typename M::State>;    // throws std::bad_alloc
                  // y (rows, hidden_size) = the mixed rows; the residual is the caller's. One state a sequence, to
                  // which its rows are appended; where the status is an error, they may or may not have been.
                  // Status.token is the row of the pass.
                  { mixer.forward(in, states, y, ctx) } -> std::same_as<Status>;
                };

// What every mixer checks before it computes. half: cosines of a row, 0 without a rope. A State here says how many
// positions it takes, context_size(), and how many of them in a pass, rows_per_pass(), where that is limited.
template <class State>
Status check_mixer(const MixerInput& in, std::span<State* const> states, Rows y, index_t hidden_size,
                   index_t half) noexcept {
  const index_t rows = in.hidden.rows;
  for (const ConstRows& matrix : {in.hidden, in.cosines, in.sines}) {
    if (Status status = check_view(matrix); !status.ok()) return status;
  }
  if (Status status = check_view(y); !status.ok()) return status;
  if (in.hidden.cols != hidden_size)
    return Status::mismatch("width of x against hidden_size", in.hidden.cols, hidden_size);
  if (y.rows != rows) return Status::mismatch("rows of y against rows of x", y.rows, rows);
  if (y.cols != hidden_size) return Status::mismatch("width of y against hidden_size", y.cols, hidden_size);
  if (half > 0) {
    if (in.cosines.rows != rows) return Status::mismatch("rows of cosines against rows of x", in.cosines.rows, rows);
    if (in.sines.rows != rows) return Status::mismatch("rows of sines against rows of x", in.sines.rows, rows);
    if (in.cosines.cols != half)
      return Status::mismatch("cosines of a row against half of the rotary width", in.cosines.cols, half);
    if (in.sines.cols != half)
      return Status::mismatch("sines of a row against half of the rotary width", in.sines.cols, half);
  }
  if (states.size() != in.sequences.size()) {
    return Status::mismatch("states against sequences", static_cast<std::int64_t>(states.size()),
                            static_cast<std::int64_t>(in.sequences.size()));
  }
  std::int64_t row = 0;
  for (std::size_t s = 0; s < states.size(); ++s) {
    const auto [count, first] = in.sequences[s];
    const auto at_row = [&](Status status) {
      status.token = static_cast<index_t>(row < rows ? row : rows);
      return status;
    };
    if (states[s] == nullptr) return at_row({ErrorCode::usage, "a sequence without a state"});
    for (std::size_t other = 0; other < s; ++other) {
      if (states[other] == states[s]) return at_row({ErrorCode::usage, "a state of two sequences of a pass"});
    }
    if (count < 0) return at_row(Status::mismatch("rows of a sequence, at least", count, 0));
    if (first != states[s]->position())
      return at_row(Status::mismatch("first position against positions of the state", first, states[s]->position()));
    if (std::int64_t{first} + count > states[s]->context_size()) {
      return at_row({ErrorCode::limit, "positions against the size of the context", std::int64_t{first} + count,
                     states[s]->context_size()});
    }
    if constexpr (requires { states[s]->rows_per_pass(); }) {
      if (count > states[s]->rows_per_pass())
        return at_row(Status::mismatch("rows of a sequence, at most", count, states[s]->rows_per_pass()));
    }
    row += count;
  }
  if (row != rows) return Status::mismatch("rows of all sequences against rows of x", row, rows);
  return Status::success();
}

}  // namespace headgate::inline HEADGATE_ABI
