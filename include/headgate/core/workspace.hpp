// Workspace: scratch memory of one caller. Takes only go up; a Mark gives everything taken since back when it leaves
// its scope. After the first pass of a given size no call allocates.
#pragma once

#include <span>
#include <vector>

#include "headgate/core/aligned_buffer.hpp"

namespace headgate::inline HEADGATE_ABI {

class Workspace {
 public:
  class Mark {
   public:
    explicit Mark(Workspace& workspace) noexcept
        : workspace_(workspace), block_(workspace.block_), used_(workspace.used_) {}
    Mark(const Mark&) = delete;
    Mark& operator=(const Mark&) = delete;
    ~Mark() {
      workspace_.block_ = block_;
      workspace_.used_ = used_;
    }

   private:
    Workspace& workspace_;
    std::size_t block_;
    std::size_t used_;
  };

  // count elements of a trivial type, 64-byte aligned, not initialised. Throws std::bad_alloc.
  template <class T>
  std::span<T> take(std::int64_t count) {
    static_assert(std::is_trivially_destructible_v<T> && alignof(T) <= 64);
    return {reinterpret_cast<T*>(take_bytes(as_size(count) * sizeof(T))), as_size(count)};
  }

  // Bytes held, whether taken or not.
  std::size_t capacity() const noexcept {
    std::size_t total = 0;
    for (const AlignedBuffer& block : blocks_) total += block.size();
    return total;
  }

 private:
  static constexpr std::size_t min_block = std::size_t{1} << 16;
  static constexpr std::size_t max_block = std::size_t{1} << 20;  // unless more is taken at once

  std::byte* take_bytes(std::size_t bytes) {
    const std::size_t rounded = (bytes + 63) & ~std::size_t{63};
    while (block_ < blocks_.size() && blocks_[block_].size() - used_ < rounded) {
      ++block_;
      used_ = 0;
    }
    if (block_ == blocks_.size()) {
      // Small blocks double; a large take gets a block of its own size, so that no memory is held for nothing.
      const std::size_t held = capacity();
      const std::size_t block = held < min_block ? min_block : held < max_block ? held : max_block;
      blocks_.emplace_back(rounded > block ? rounded : block);
      used_ = 0;
    }
    std::byte* const first = blocks_[block_].data() + used_;
    used_ += rounded;
    return first;
  }

  std::vector<AlignedBuffer> blocks_;
  std::size_t block_ = 0;  // the block takes come from
  std::size_t used_ = 0;   // bytes of it in use
};

}  // namespace headgate::inline HEADGATE_ABI
