// SequenceState: what a mixer (mixer.hpp) remembers of one text, owned by the caller. It grows by the positions that a
// forward appends, and each kind has a law of its own for going back:
//   positions   keys and values, latents                  to any position
//   window      the last rows of a text                   as far as the spare rows reach (StateSize::spare), to a
//                                                         snapshot, or to 0
//   recurrence  one state for all that has been           to a snapshot, or to 0
// So truncate is asked first: nearest says how far back it can go. To go on from there, the caller appends what lies
// between again.
#pragma once

#include <concepts>

#include "headgate/core/cache_type.hpp"
#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

// What a state is made for.
struct StateSize {
  index_t context_size = 0;   // positions that a text may reach
  index_t rows_per_pass = 0;  // most rows of one text in a pass
  index_t spare = 0;          // positions that truncate can go back at least, for states that hold the end of a text
  CacheType cache = CacheType::f32;  // of what is held of every position
};

template <class S>
concept SequenceState = std::movable<S> && requires(S& state, const S& constant, index_t positions, bool is_one_pass) {
  { constant.position() } noexcept -> std::same_as<index_t>;  // positions appended
  // The largest m <= positions that truncate can go back to; 0 always is one. Precondition: 0 <= positions <=
  // position(). Where the rows of the last pass are forgotten, nearest(its first position) is that position, unless the
  // state is recurrent.
  { constant.nearest(positions) } noexcept -> std::same_as<index_t>;
  // Whether this position can still be gone back to when so many more have been appended, in one pass or in any number
  // of passes.
  { constant.keeps_present(positions, is_one_pass) } noexcept -> std::same_as<bool>;
  // Forgets what was appended from `positions` on. Precondition: nearest(positions) == positions.
  { state.truncate(positions) } noexcept -> std::same_as<void>;
  // Makes this position one that truncate can go back to, until it goes back further. Throws std::bad_alloc.
  { state.snapshot() } -> std::same_as<void>;
  { constant.clone() } -> std::same_as<S>;                      // with its snapshots; throws std::bad_alloc
  { constant.bytes() } noexcept -> std::same_as<std::int64_t>;  // held
};

}  // namespace headgate::inline HEADGATE_ABI
