// AlignedBuffer: owned bytes, 64-byte aligned and zeroed. Large ones are aligned to 2 MiB and offered to the kernel as
// huge pages: random access to expert weights is twice as fast with them.
#pragma once

#include <cstring>
#include <new>
#include <utility>

#if __has_include(<sys/mman.h>)
#include <sys/mman.h>
#endif

#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // Throws std::bad_alloc.
  explicit AlignedBuffer(std::size_t bytes) : size_(bytes), alignment_(alignment_for(bytes)) {
    if (bytes == 0) return;
    data_ = static_cast<std::byte*>(::operator new(bytes, std::align_val_t{alignment_}));
    clear();
  }
  // Empty where there is no memory.
  AlignedBuffer(std::size_t bytes, const std::nothrow_t& nothrow) noexcept : alignment_(alignment_for(bytes)) {
    if (bytes == 0) return;
    data_ = static_cast<std::byte*>(::operator new(bytes, std::align_val_t{alignment_}, nothrow));
    if (data_ == nullptr) return;
    size_ = bytes;
    clear();
  }
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        alignment_(other.alignment_) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(alignment_, other.alignment_);
    return *this;
  }
  ~AlignedBuffer() {
    if (data_ != nullptr) ::operator delete(data_, std::align_val_t{alignment_});
  }

  std::byte* data() noexcept { return data_; }
  const std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }

 private:
  static constexpr std::size_t line = 64;
  static constexpr std::size_t huge = std::size_t{2} << 20;

  static constexpr std::size_t alignment_for(std::size_t bytes) noexcept { return bytes >= huge ? huge : line; }
  void clear() noexcept {
#if defined(MADV_HUGEPAGE)
    if (alignment_ == huge) madvise(data_, size_, MADV_HUGEPAGE);  // advice: a refusal changes nothing
#endif
    std::memset(data_, 0, size_);
  }

  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t alignment_ = line;
};

}  // namespace headgate::inline HEADGATE_ABI
