// Json: a small JSON document as a tree whose values know where they stood in the file. JsonObject: one object of it,
// read by key, with the type and range that the reader wants. A refusal names file, key, byte offset, what was found
// and what is allowed. Nothing is converted: "64", 64.0 and true are not the integer 64.
#pragma once

#include "headgate/core/error.hpp"
#include "headgate/core/types.hpp"

#include <charconv>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace headgate::inline HEADGATE_ABI {

struct JsonMember;

struct Json {
  using Array = std::vector<Json>;
  using Object = std::vector<JsonMember>;  // in the order of the file; keys are distinct unless JsonRules say otherwise

  // A number without fraction and exponent that fits 64 signed bits is an integer; every other one is a double.
  std::variant<std::monostate, bool, std::int64_t, double, std::string, Array, Object> value;
  std::int64_t offset = -1;  // of its first byte in the file

  bool is_null() const noexcept { return std::holds_alternative<std::monostate>(value); }

  // For messages.
  std::string describe() const;
};

struct JsonMember {
  std::string key;
  std::int64_t offset = -1;  // of the key
  Json value;
  std::string stored = {};  // what messages call it, whatever object it is in; empty: by the path of keys to it
};

namespace detail {
inline std::string to_text(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}
}  // namespace detail

inline std::string Json::describe() const {
  switch (value.index()) {
    case 0:
      return "null";
    case 1:
      return std::get<bool>(value) ? "true" : "false";
    case 2:
      return std::to_string(std::get<std::int64_t>(value));
    case 3:
      return "the number " + detail::to_text(std::get<double>(value));
    case 4:
      return "the string \"" + escaped(std::get<std::string>(value), 80) + "\"";
    case 5:
      return "a list of " + std::to_string(std::get<Array>(value).size());
    default:
      return "an object";
  }
}

class JsonObject {
 public:
  // json outlives the object and what its readers return by reference. path: the keys that lead to it, for messages;
  // empty for a whole document.
  JsonObject(const Json& json, std::string file, std::string path = "")
      : file_(std::move(file)), path_(std::move(path)), offset_(json.offset) {
    const auto* const members = std::get_if<Json::Object>(&json.value);
    if (members == nullptr) {
      throw Error(ErrorCode::bad_file, {file_, path_, offset_, "expected an object, found " + json.describe()});
    }
    members_ = *members;
    read_.resize(members_.size());
  }
  JsonObject(const Json&&, std::string, std::string = "") = delete;

  // Whether the key has a value; null is none.
  bool has(std::string_view key) const { return find(key) != nullptr; }

  // Each reader comes in two forms: the key is required, or has a default that its absence (or null) means.
  std::int64_t get_integer(std::string_view key, std::int64_t low, std::int64_t high) const {
    return integer(key, require(key, describe_range(low, high)), low, high);
  }
  std::int64_t get_integer(std::string_view key, std::int64_t low, std::int64_t high, std::int64_t absent) const {
    const Json* const json = find(key);
    return json == nullptr ? absent : integer(key, *json, low, high);
  }
  // An integer where it counts something.
  index_t get_index(std::string_view key, index_t low, index_t high) const {
    return static_cast<index_t>(get_integer(key, low, high));
  }
  index_t get_index(std::string_view key, index_t low, index_t high, index_t absent) const {
    return static_cast<index_t>(get_integer(key, low, high, absent));
  }
  // Integers are numbers too.
  double get_number(std::string_view key, double low, double high) const {
    return number(key, require(key, describe_range(low, high)), low, high);
  }
  double get_number(std::string_view key, double low, double high, double absent) const {
    const Json* const json = find(key);
    return json == nullptr ? absent : number(key, *json, low, high);
  }
  bool get_bool(std::string_view key) const { return get<bool>(key, "true or false"); }
  bool get_bool(std::string_view key, bool absent) const { return has(key) ? get_bool(key) : absent; }
  const std::string& get_string(std::string_view key) const { return get<std::string>(key, "a string"); }
  std::string get_string(std::string_view key, std::string absent) const { return has(key) ? get_string(key) : absent; }
  JsonObject get_object(std::string_view key) const { return {require(key, "an object"), file_, path_of(key)}; }
  std::span<const Json> get_list(std::string_view key) const { return get<Json::Array>(key, "a list"); }
  std::vector<std::int64_t> get_integers(std::string_view key, std::int64_t low, std::int64_t high) const {
    std::vector<std::int64_t> values;
    for (const Json& json : get_list(key)) values.push_back(integer(key, json, low, high));
    return values;
  }
  std::vector<double> get_numbers(std::string_view key, double low, double high) const {
    std::vector<double> values;
    for (const Json& json : get_list(key)) values.push_back(number(key, json, low, high));
    return values;
  }
  std::vector<std::string> get_strings(std::string_view key) const {
    std::vector<std::string> values;
    for (const Json& json : get_list(key)) values.push_back(as<std::string>(key, json, "a string"));
    return values;
  }
  // The value as it is (null too), or null pointer. A key with two values is refused.
  const Json* value(std::string_view key) const {
    const Json* found = nullptr;
    for (std::size_t i = 0; i < members_.size(); ++i) {
      if (members_[i].key != key) continue;
      read_[i] = true;
      if (found != nullptr) {
        ignore(key);  // a third one, too
        throw Error(ErrorCode::bad_file,
                    {file_, path_of(key), members_[i].offset, "the key occurs twice in one object"});
      }
      found = &members_[i].value;
    }
    return found;
  }

  // Says that the key is known and its value of no consequence, so that it is no unread key.
  void ignore(std::string_view key) const {
    for (std::size_t i = 0; i < members_.size(); ++i) {
      if (members_[i].key == key) read_[i] = true;
    }
  }

  std::span<const JsonMember> members() const noexcept { return members_; }
  std::vector<std::string> keys() const {
    std::vector<std::string> names;
    for (const JsonMember& member : members_) names.push_back(member.key);
    return names;
  }
  // The keys that nobody has asked this object about.
  std::vector<std::string> unread_keys() const {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < members_.size(); ++i) {
      if (!read_[i]) names.push_back(members_[i].key);
    }
    return names;
  }

  const std::string& file() const noexcept { return file_; }
  // Refuses the value of a key for a reason that needs more than its type and range.
  [[noreturn]] void fail(std::string_view key, std::string what, ErrorCode code = ErrorCode::bad_file) const {
    const Json* const json = value(key);
    throw Error(code, {file_, path_of(key), json == nullptr ? offset_ : json->offset, std::move(what)});
  }

 private:
  const Json* find(std::string_view key) const {
    const Json* const json = value(key);
    return json == nullptr || json->is_null() ? nullptr : json;
  }
  const Json& require(std::string_view key, const std::string& expected) const {
    const Json* const json = value(key);
    if (json == nullptr) fail(key, "the key is missing, expected " + expected);
    return *json;
  }
  template <class T>
  const T& get(std::string_view key, const char* expected) const {
    return as<T>(key, require(key, expected), expected);
  }
  template <class T>
  const T& as(std::string_view key, const Json& json, const char* expected) const {
    const T* const found = std::get_if<T>(&json.value);
    if (found == nullptr) refuse(key, json, expected);
    return *found;
  }
  std::int64_t integer(std::string_view key, const Json& json, std::int64_t low, std::int64_t high) const {
    const auto* const found = std::get_if<std::int64_t>(&json.value);
    if (found == nullptr || *found < low || *found > high) refuse(key, json, describe_range(low, high));
    return *found;
  }
  double number(std::string_view key, const Json& json, double low, double high) const {
    const auto* const whole = std::get_if<std::int64_t>(&json.value);
    const auto* const real = std::get_if<double>(&json.value);
    const double found = whole != nullptr ? static_cast<double>(*whole) : real != nullptr ? *real : low;
    if ((whole == nullptr && real == nullptr) || !(found >= low && found <= high)) {
      refuse(key, json, describe_range(low, high));
    }
    return found;
  }
  [[noreturn]] void refuse(std::string_view key, const Json& json, const std::string& expected) const {
    throw Error(ErrorCode::bad_file,
                {file_, path_of(key), json.offset, "expected " + expected + ", found " + json.describe()});
  }

  static std::string describe_range(std::int64_t low, std::int64_t high) {
    return "an integer from " + std::to_string(low) + " to " + std::to_string(high);
  }
  static std::string describe_range(double low, double high) {
    return "a number from " + detail::to_text(low) + " to " + detail::to_text(high);
  }
  std::string path_of(std::string_view key) const {
    for (const JsonMember& member : members_) {
      if (member.key == key && !member.stored.empty()) return member.stored;
    }
    return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
  }

  std::string file_;
  std::string path_;
  std::int64_t offset_;
  std::span<const JsonMember> members_;
  mutable std::vector<bool> read_;
};

}  // namespace headgate::inline HEADGATE_ABI
