// GgufMetadata: the keys and values of a GGUF file, read by key with the type and range that the reader wants. Values
// refer to the bytes of the file, which outlive them; nothing is allocated for an array before it is asked for. A
// refusal names file, key, offset, what was found and what is allowed.
#pragma once

#include "headgate/core/utf8.hpp"
#include "headgate/io/bytes.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace headgate::inline HEADGATE_ABI {

// By their numbers in files.
enum class GgufType : std::uint8_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

struct GgufValue {
  std::string_view key;
  GgufType type = GgufType::u8;  // of each element of an array
  bool is_array = false;
  std::uint64_t count = 1;           // elements
  std::span<const std::byte> bytes;  // of all elements, as the file has them; a string is u64 length, text
  std::int64_t offset = -1;          // of the key in the file
};

namespace detail {

struct GgufTypeInfo {
  std::string_view name;
  std::uint64_t size;  // bytes; of a string: at least
};
inline constexpr GgufTypeInfo gguf_types[] = {{"u8", 1},  {"i8", 1},  {"u16", 2},  {"i16", 2},    {"u32", 4},
                                              {"i32", 4}, {"f32", 4}, {"bool", 1}, {"string", 8}, {"array", 0},
                                              {"u64", 8}, {"i64", 8}, {"f64", 8}};
constexpr const GgufTypeInfo& info(GgufType type) noexcept { return gguf_types[static_cast<int>(type)]; }
inline bool is_integer(GgufType type) noexcept {
  return type != GgufType::f32 && type != GgufType::f64 && type != GgufType::boolean && type != GgufType::string &&
         type != GgufType::array;
}

// A number of things that take at least so many bytes each, all of them still to come.
inline std::uint64_t take_gguf_count(Bytes& cursor, std::string_view field, std::uint64_t least) {
  const Bytes place = cursor;
  const std::uint64_t count = cursor.take_u64(field);
  if (count > cursor.remaining() / least) {
    place.fail(field,
               "found " + std::to_string(count) + ", but only " + std::to_string(cursor.remaining()) + " bytes follow");
  }
  return count;
}

}  // namespace detail

class GgufMetadata {
 public:
  GgufMetadata() = default;  // without keys
  // So many keys from here on.
  static GgufMetadata read(Bytes& cursor, std::uint64_t count, std::string file) {
    GgufMetadata metadata;
    metadata.file_ = std::move(file);
    for (std::uint64_t i = 0; i < count; ++i) metadata.values_.push_back(read_value(cursor));
    std::vector<GgufValue>& values = metadata.values_;
    std::sort(values.begin(), values.end(), [](const GgufValue& a, const GgufValue& b) {
      return std::pair(a.key, a.offset) < std::pair(b.key, b.offset);
    });
    for (std::size_t i = 1; i < values.size(); ++i) {
      if (values[i].key == values[i - 1].key) {
        throw Error(ErrorCode::bad_file,
                    {metadata.file_, std::string(values[i].key), values[i].offset, "the key occurs twice"});
      }
    }
    return metadata;
  }

  const std::string& file() const noexcept { return file_; }
  std::span<const GgufValue> values() const noexcept { return values_; }  // sorted by key
  // Null when there is none.
  const GgufValue* find(std::string_view key) const noexcept {
    const auto place = std::lower_bound(values_.begin(), values_.end(), key,
                                        [](const GgufValue& value, std::string_view k) { return value.key < k; });
    return place != values_.end() && place->key == key ? &*place : nullptr;
  }
  bool has(std::string_view key) const noexcept { return find(key) != nullptr; }

  // Each reader comes in two forms: the key is required, or has a default that its absence means.
  // Of any integer type.
  std::int64_t get_integer(std::string_view key, std::int64_t low, std::int64_t high) const {
    return get_integers(require(key, false), low, high).front();
  }
  std::int64_t get_integer(std::string_view key, std::int64_t low, std::int64_t high, std::int64_t absent) const {
    return has(key) ? get_integer(key, low, high) : absent;
  }
  // Of any type of numbers. A float is the decimal number with the fewest digits that it can stand for, as whoever
  // wrote it has typed it: 0.22, not 0.2199999988079071.
  double get_number(std::string_view key, double low, double high) const {
    const GgufValue& value = require(key, false);
    double found = 0.0;
    if (detail::is_integer(value.type)) {
      found = static_cast<double>(get_integers(value, INT64_MIN, INT64_MAX).front());
    } else if (value.type == GgufType::f32) {
      found = typed(load<float>(value, 0));
    } else if (value.type == GgufType::f64) {
      found = load<double>(value, 0);
    } else {
      refuse(value, "a number");
    }
    if (!(found >= low && found <= high)) {
      fail(key, "expected a number from " + text_of(low) + " to " + text_of(high) + ", found " + text_of(found));
    }
    return found;
  }
  double get_number(std::string_view key, double low, double high, double absent) const {
    return has(key) ? get_number(key, low, high) : absent;
  }
  bool get_bool(std::string_view key) const {
    const GgufValue& value = require(key, false);
    if (value.type != GgufType::boolean) refuse(value, "a bool");
    return value.bytes[0] != std::byte{0};
  }
  bool get_bool(std::string_view key, bool absent) const { return has(key) ? get_bool(key) : absent; }
  std::string_view get_string(std::string_view key) const {
    const GgufValue& value = require(key, false);
    if (value.type != GgufType::string) refuse(value, "a string");
    return strings_of(value).front();
  }
  std::string_view get_string(std::string_view key, std::string_view absent) const {
    return has(key) ? get_string(key) : absent;
  }
  std::vector<std::string_view> get_strings(std::string_view key) const {
    const GgufValue& value = require(key, true);
    if (value.type != GgufType::string) refuse(value, "a list of strings");
    return strings_of(value);
  }
  // Of type f32.
  std::vector<float> get_floats(std::string_view key) const {
    const GgufValue& value = require(key, true);
    if (value.type != GgufType::f32) refuse(value, "a list of f32");
    std::vector<float> floats(static_cast<std::size_t>(value.count));
    if (!floats.empty()) std::memcpy(floats.data(), value.bytes.data(), value.bytes.size());
    return floats;
  }
  // Of any integer type, or bool.
  std::vector<std::int64_t> get_integers(std::string_view key, std::int64_t low, std::int64_t high) const {
    return get_integers(require(key, true), low, high);
  }

  // Refuses the value of a key for a reason that needs more than its type and range.
  [[noreturn]] void fail(std::string_view key, std::string what) const {
    const GgufValue* const value = find(key);
    throw Error(ErrorCode::bad_file, {file_, std::string(key), value == nullptr ? -1 : value->offset, std::move(what)});
  }

 private:
  static GgufValue read_value(Bytes& cursor) {
    constexpr std::uint64_t max_key = 65535;
    const Bytes start = cursor;
    const std::uint64_t size = cursor.take_u64("length of a key");
    if (size < 1 || size > max_key) {
      start.fail("length of a key", "expected 1 to " + std::to_string(max_key) + ", found " + std::to_string(size));
    }
    GgufValue value;
    value.offset = static_cast<std::int64_t>(start.position());
    value.key = cursor.take_text(size, "key");
    if (find_invalid_utf8(value.key) != value.key.npos || value.key.find('\0') != value.key.npos) {
      start.fail("key", "\"" + escaped(value.key, 80) + "\" is no UTF-8 text");
    }
    value.type = take_type(cursor, value.key);
    if (value.type == GgufType::array) {
      value.is_array = true;
      value.type = take_type(cursor, value.key);
      if (value.type == GgufType::array) start.fail(value.key, "lists of lists are not supported");
      value.count = detail::take_gguf_count(cursor, value.key, detail::info(value.type).size);
    }
    if (value.type != GgufType::string) {
      value.bytes = cursor.take(value.count * detail::info(value.type).size, value.key);
    } else {
      Bytes strings = cursor;
      for (std::uint64_t i = 0; i < value.count; ++i) strings.take(strings.take_u64(value.key), value.key);
      value.bytes = cursor.take(strings.position() - cursor.position(), value.key);
    }
    if (value.type == GgufType::boolean) {
      for (const std::byte byte : value.bytes) {
        if (byte > std::byte{1}) {
          start.fail(value.key, "expected a bool, 0 or 1, found " + std::to_string(std::to_integer<int>(byte)));
        }
      }
    }
    return value;
  }
  static GgufType take_type(Bytes& cursor, std::string_view key) {
    const Bytes place = cursor;
    const std::uint32_t type = cursor.take_u32(key);
    if (type >= std::size(detail::gguf_types)) place.fail(key, "unknown type " + std::to_string(type) + " of a value");
    return static_cast<GgufType>(type);
  }

  const GgufValue& require(std::string_view key, bool is_array) const {
    const GgufValue* const value = find(key);
    if (value == nullptr) fail(key, "the key is missing");
    if (value->is_array != is_array) refuse(*value, is_array ? "a list" : "one value");
    return *value;
  }
  [[noreturn]] void refuse(const GgufValue& value, const std::string& expected) const {
    const std::string found(detail::info(value.type).name);
    fail(value.key, "expected " + expected + ", found " +
                        (value.is_array ? "a list of " + std::to_string(value.count) + " of type " + found : found));
  }
  template <class T>
  static T load(const GgufValue& value, std::uint64_t i) noexcept {
    T element;
    std::memcpy(&element, &value.bytes[static_cast<std::size_t>(i) * sizeof element], sizeof element);
    return element;
  }
  std::vector<std::int64_t> get_integers(const GgufValue& value, std::int64_t low, std::int64_t high) const {
    std::vector<std::int64_t> found;
    found.reserve(static_cast<std::size_t>(value.count));
    const auto add = [&]<class T>(T) {
      for (std::uint64_t i = 0; i < value.count; ++i) {
        const T element = load<T>(value, i);
        if (std::cmp_less(element, low) || std::cmp_greater(element, high)) {
          fail(value.key, "expected integers from " + std::to_string(low) + " to " + std::to_string(high) + ", found " +
                              std::to_string(element));
        }
        found.push_back(static_cast<std::int64_t>(element));
      }
    };
    switch (value.type) {
      case GgufType::boolean:
        if (!value.is_array) refuse(value, "an integer");
        [[fallthrough]];
      case GgufType::u8:
        add(std::uint8_t{});
        break;
      case GgufType::i8:
        add(std::int8_t{});
        break;
      case GgufType::u16:
        add(std::uint16_t{});
        break;
      case GgufType::i16:
        add(std::int16_t{});
        break;
      case GgufType::u32:
        add(std::uint32_t{});
        break;
      case GgufType::i32:
        add(std::int32_t{});
        break;
      case GgufType::u64:
        add(std::uint64_t{});
        break;
      case GgufType::i64:
        add(std::int64_t{});
        break;
      default:
        refuse(value, value.is_array ? "a list of integers" : "an integer");
    }
    return found;
  }
  static std::vector<std::string_view> strings_of(const GgufValue& value) {
    std::vector<std::string_view> strings;
    strings.reserve(static_cast<std::size_t>(value.count));
    const auto* const text = reinterpret_cast<const char*>(value.bytes.data());
    for (std::size_t at = 0; strings.size() < value.count;) {
      std::uint64_t size;
      std::memcpy(&size, text + at, sizeof size);
      strings.emplace_back(text + at + sizeof size, static_cast<std::size_t>(size));
      at += sizeof size + static_cast<std::size_t>(size);
    }
    return strings;
  }
  static double typed(float value) {
    char text[32];
    const char* const end = std::to_chars(text, text + sizeof text, value).ptr;
    double found = value;
    if (std::isfinite(value)) std::from_chars(text, end, found);
    return found;
  }
  static std::string text_of(double value) {
    char text[32];
    return {text, std::to_chars(text, text + sizeof text, value).ptr};
  }

  std::string file_;
  std::vector<GgufValue> values_;
};

}  // namespace headgate::inline HEADGATE_ABI
