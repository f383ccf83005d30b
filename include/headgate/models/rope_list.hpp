// RopeList: the distinct rotary positions of a decoder's mixers. The angles of each are computed once a pass.
#pragma once

#include <vector>

#include "headgate/attention/rope.hpp"

namespace headgate::inline HEADGATE_ABI {

class RopeList {
 public:
  static constexpr index_t none = -1;

  // Which of the list it is; it is added where there is none like it. Null: none. rope outlives the list.
  index_t add(const Rope* rope) {
    if (rope == nullptr) return none;
    for (std::size_t i = 0; i < ropes_.size(); ++i) {
      if (ropes_[i]->settings() == rope->settings()) return static_cast<index_t>(i);
    }
    ropes_.push_back(rope);
    return static_cast<index_t>(ropes_.size() - 1);
  }

  std::span<const Rope* const> all() const noexcept { return ropes_; }
  // Cosines and sines of one row.
  std::int64_t floats_per_row() const noexcept {
    std::int64_t floats = 0;
    for (const Rope* const rope : ropes_) floats += 2 * rope->half();
    return floats;
  }

 private:
  std::vector<const Rope*> ropes_;
};

}  // namespace headgate::inline HEADGATE_ABI
