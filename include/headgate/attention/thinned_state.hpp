// ThinnedState: the state of a mixer that sees only some positions of a text (layers/token_gate.hpp): it remembers
// which. Its position is the text's; the mixer's own state holds as many as were kept.
#pragma once

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "headgate/attention/any_mixer.hpp"

namespace headgate::inline HEADGATE_ABI {

class ThinnedState {
 public:
  // own: empty. Throws std::bad_alloc.
  ThinnedState(AnyState own, index_t context_size) : own_(std::move(own)), context_size_(context_size) {
    kept_.reserve(as_size(context_size));
  }

  AnyState& own() noexcept { return own_; }
  // Positions kept, ascending.
  std::span<const index_t> kept() const noexcept { return kept_; }
  index_t context_size() const noexcept { return context_size_; }
  index_t position() const noexcept { return position_; }

  index_t nearest(index_t positions) const noexcept {
    const index_t count = kept_before(positions);
    const index_t found = own_.nearest(std::min(count, own_.position()));
    // Further on up to the position that the mixer would have to see again.
    return found == count ? positions : kept_[as_size(found)];
  }
  void truncate(index_t positions) noexcept {
    const index_t count = kept_before(positions);
    own_.truncate(std::min(count, own_.position()));
    kept_.resize(as_size(count));
    position_ = positions;
  }
  bool keeps_present(index_t positions, bool is_one_pass) const noexcept {
    return own_.keeps_present(positions, is_one_pass);
  }
  void snapshot() { own_.snapshot(); }
  ThinnedState clone() const {
    ThinnedState copy(own_.clone(), context_size_);
    copy.kept_.assign(kept_.begin(), kept_.end());
    copy.position_ = position_;
    return copy;
  }
  std::int64_t bytes() const noexcept {
    return own_.bytes() + static_cast<std::int64_t>(kept_.capacity() * sizeof(index_t));
  }

  // The mixer has seen the next kept position. Preconditions: ascending, not before position(), below context_size().
  void keep(index_t position) { kept_.push_back(position); }
  // So many more positions, kept or not.
  void append(index_t rows) noexcept { position_ += rows; }

 private:
  index_t kept_before(index_t positions) const noexcept {
    return static_cast<index_t>(std::lower_bound(kept_.begin(), kept_.end(), positions) - kept_.begin());
  }

  AnyState own_;
  std::vector<index_t> kept_;
  index_t context_size_;
  index_t position_ = 0;
};
static_assert(SequenceState<ThinnedState>);

}  // namespace headgate::inline HEADGATE_ABI
