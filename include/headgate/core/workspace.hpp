// Workspace: scratch memory of one caller. Takes only go up; a Mark gives everything taken since back when it leaves
// its scope. What is taken stays where it is until then.
//
// A pass that needs more than is held gets further blocks; when it is over, that is when nothing is taken any more, one
// block that holds all of it takes their place. So after the first pass of a given size no call allocates, and what is
// held follows from the largest pass alone, whatever the order of passes: held_for(its bytes), at most.
#pragma once

#include <algorithm>
#include <bit>
#include <span>
#include <vector>

#include "headgate/core/aligned_buffer.hpp"
#include "headgate/core/matrix_view.hpp"

namespace headgate::inline HEADGATE_ABI {

class Workspace {
 public:
  class Mark {
   public:
    explicit Mark(Workspace& workspace) noexcept : workspace_(workspace), place_(workspace.place_) {}
    Mark(const Mark&) = delete;
    Mark& operator=(const Mark&) = delete;
    ~Mark() {
      workspace_.place_ = place_;
      if (place_.taken == 0 && workspace_.blocks_.size() > 1) workspace_.join_blocks();
    }

   private:
    friend class Workspace;
    Workspace& workspace_;
    struct Place {
      std::size_t block = 0;  // the block takes come from
      std::size_t used = 0;   // bytes of it in use
      std::size_t taken = 0;  // bytes in use of all blocks
    } place_;
  };

  // count elements of a trivial type, 64-byte aligned, not initialised. Throws std::bad_alloc.
  template <class T>
  std::span<T> take(std::int64_t count) {
    static_assert(std::is_trivially_destructible_v<T> && alignof(T) <= line);
    if (count < 0 || as_size(count) > max_bytes / sizeof(T)) HEADGATE_THROW(std::bad_alloc());
    return {reinterpret_cast<T*>(take_bytes(as_size(count) * sizeof(T))), as_size(count)};
  }
  // (rows, cols) of them.
  template <class T = float>
  MatrixView<T> take_rows(index_t rows, index_t cols) {
    return {take<T>(std::int64_t{rows} * cols).data(), rows, cols};
  }

  // Where nothing is taken yet: one block for a pass that will take so many bytes at a time, so that not even the first
  // holds more than held_for them. Throws std::bad_alloc.
  void reserve(std::size_t bytes) {
    if (place_.taken != 0 || capacity() >= bytes) return;
    blocks_.clear();
    blocks_.emplace_back(held_for(bytes));
    place_ = {};
  }

  // Bytes held, whether taken or not.
  std::size_t capacity() const noexcept {
    std::size_t total = 0;
    for (const AlignedBuffer& block : blocks_) total += block.size();
    return total;
  }
  // Bytes held after passes that took at most so many at a time, each take rounded up to whole lines of 64 bytes: up to
  // a quarter more than was taken, so that passes that get longer step by step seldom allocate.
  static constexpr std::size_t held_for(std::size_t taken) noexcept {
    if (taken <= min_block) return min_block;
    const std::size_t step = std::bit_floor(taken) / 4;
    return (taken + step - 1) / step * step;
  }

 private:
  static constexpr std::size_t line = 64;
  static constexpr std::size_t min_block = std::size_t{1} << 16;
  static constexpr std::size_t max_bytes = std::size_t{1} << 62;

  std::byte* take_bytes(std::size_t bytes) {
    const std::size_t rounded = (bytes + line - 1) / line * line;
    Mark::Place place = place_;
    while (place.block < blocks_.size() && blocks_[place.block].size() - place.used < rounded) {
      ++place.block;
      place.used = 0;
    }
    if (place.block == blocks_.size()) {
      // Nothing lies in the blocks behind the one in use: all were too small, and a larger one takes their place.
      place.block = place_.used == 0 ? place_.block : place_.block + 1;
      blocks_.erase(blocks_.begin() + static_cast<std::ptrdiff_t>(place.block), blocks_.end());
      blocks_.emplace_back(place.block == 0 ? held_for(std::max(rounded, most_taken_)) : std::max(rounded, min_block));
    }
    std::byte* const first = blocks_[place.block].data() + place.used;
    place.used += rounded;
    place.taken += rounded;
    if (place.taken > most_taken_) most_taken_ = place.taken;
    place_ = place;
    return first;
  }
  // Precondition: nothing is taken. Where there is no memory, nothing is held until the next take.
  void join_blocks() noexcept {
    blocks_.clear();
    AlignedBuffer joined(held_for(most_taken_), std::nothrow);
    if (joined.size() != 0) blocks_.push_back(std::move(joined));  // there was room for more than one
  }

  std::vector<AlignedBuffer> blocks_;
  Mark::Place place_;
  std::size_t most_taken_ = 0;  // bytes taken at a time so far
};

}  // namespace headgate::inline HEADGATE_ABI
