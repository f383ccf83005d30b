// AlignedBuffer: owned bytes, 64-byte aligned and zero. Large ones are aligned to 2 MiB and offered to the kernel as
// huge pages: random access to expert weights is twice as fast with them. Their zeros are the system's: a page takes
// memory, and time, when it is first written.
#pragma once

#include <cstdint>
#include <cstdlib>
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
  explicit AlignedBuffer(std::size_t bytes) : AlignedBuffer(bytes, std::nothrow) {
    if (size_ != bytes) HEADGATE_THROW(std::bad_alloc());
  }
  // Empty where there is no memory.
  AlignedBuffer(std::size_t bytes, const std::nothrow_t& nothrow) noexcept {
    if (bytes == 0) return;
    if (bytes >= huge) {
      if (bytes > SIZE_MAX - huge) return;
      allocated_ = std::calloc(bytes + huge, 1);
      if (allocated_ == nullptr) return;
      const auto address = reinterpret_cast<std::uintptr_t>(allocated_);
      data_ = static_cast<std::byte*>(allocated_) + (huge - address % huge) % huge;
#if defined(MADV_HUGEPAGE)
      madvise(data_, bytes, MADV_HUGEPAGE);  // advice: a refusal changes nothing
#endif
    } else {
      data_ = static_cast<std::byte*>(::operator new(bytes, std::align_val_t{line}, nothrow));
      if (data_ == nullptr) return;
      std::memset(data_, 0, bytes);
    }
    size_ = bytes;
  }
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        allocated_(std::exchange(other.allocated_, nullptr)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(allocated_, other.allocated_);
    return *this;
  }
  ~AlignedBuffer() {
    if (allocated_ != nullptr) {
      std::free(allocated_);
    } else if (data_ != nullptr) {
      ::operator delete(data_, std::align_val_t{line});
    }
  }

  std::byte* data() noexcept { return data_; }
  const std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }

 private:
  static constexpr std::size_t line = 64;
  static constexpr std::size_t huge = std::size_t{2} << 20;

  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  void* allocated_ = nullptr;  // of a large one, by calloc; data_ lies within
};

}  // namespace headgate::inline HEADGATE_ABI
