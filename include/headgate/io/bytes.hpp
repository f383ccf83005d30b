// Bytes: a cursor over the bytes of a file. Every take is compared with what is left before it happens, and a refusal
// names file and offset. Sizes read from a file are multiplied and added only by the checked functions below.
#pragma once

#include "headgate/core/error.hpp"
#include "headgate/core/types.hpp"

#include <bit>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace headgate::inline HEADGATE_ABI {

// Nothing when the result does not fit 64 bits.
inline std::optional<std::uint64_t> checked_multiply(std::uint64_t a, std::uint64_t b) noexcept {
  std::uint64_t product;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}
inline std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) noexcept {
  std::uint64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

class Bytes {
 public:
  // The bytes outlive the cursor. file: for messages.
  Bytes(std::span<const std::byte> bytes, std::string file) noexcept : bytes_(bytes), file_(std::move(file)) {}
  Bytes(const std::vector<std::byte>&&, std::string) = delete;

  std::uint64_t position() const noexcept { return position_; }
  std::uint64_t remaining() const noexcept { return bytes_.size() - position_; }

  // The next count bytes; field names them in the error.
  std::span<const std::byte> take(std::uint64_t count, std::string_view field) {
    if (count > remaining()) {
      fail(field, "the file ends too early (needs " + std::to_string(count) + " bytes, has " +
                      std::to_string(remaining()) + ")");
    }
    const std::span<const std::byte> taken = bytes_.subspan(position_, count);
    position_ += count;
    return taken;
  }
  std::string_view take_text(std::uint64_t count, std::string_view field) {
    const std::span<const std::byte> taken = take(count, field);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }

  // Little-endian, as is the machine (core/config.hpp).
  std::uint32_t take_u32(std::string_view field) { return take_number<std::uint32_t>(field); }
  std::uint64_t take_u64(std::string_view field) { return take_number<std::uint64_t>(field); }

  // The file is not what it says, here.
  [[noreturn]] void fail(std::string_view field, std::string what) const {
    throw Error(ErrorCode::bad_file,
                {file_, std::string(field), static_cast<std::int64_t>(position_), std::move(what)});
  }

 private:
  template <class T>
  T take_number(std::string_view field) {
    T value;
    std::memcpy(&value, take(sizeof(T), field).data(), sizeof(T));
    return value;
  }

  std::span<const std::byte> bytes_;
  std::string file_;
  std::size_t position_ = 0;
};

}  // namespace headgate::inline HEADGATE_ABI
