// Reading JSON from files nobody vouches for. The one door to nlohmann-json, of which only the event parser is used.
//
// parse_json(text, file) makes a tree of a small document; parse_json(text, file, handler) reports events, so that a
// large document (a tokenizer.json) never becomes a tree. Both refuse, with file and byte offset: text that is not
// strict JSON in UTF-8 (byte order marks, NUL bytes, comments, NaN, text behind the end), a key that occurs twice in an
// object, and nesting deeper than a limit. JsonRules loosen this to what Python's json takes. Neither recurses while it
// reads.
#pragma once

#include "headgate/core/error.hpp"
#include "headgate/core/types.hpp"
#include "headgate/io/json_object.hpp"
#include "headgate/io/mapped_file.hpp"
#include "headgate/io/non_finite.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace headgate::inline HEADGATE_ABI {

struct JsonRules {
  index_t depth = 64;             // nested lists and objects
  index_t tree_values = 1 << 20;  // values in memory at a time; events have no such limit
  bool non_finite = false;        // NaN, Infinity, -Infinity and numbers beyond a double are numbers, as in Python
  bool repeated_keys = false;     // are events as others; a JsonObject refuses them where they are read
};

namespace detail {
class JsonGuard;
}

// Receives the events of a document in order. Throws Error (fail) to stop.
class JsonHandler {
 public:
  virtual ~JsonHandler() = default;
  virtual void start_object() = 0;
  virtual void end_object() = 0;
  virtual void start_array() = 0;
  virtual void end_array() = 0;
  virtual void key(std::string_view name) = 0;
  virtual void string(std::string_view value) = 0;
  virtual void number(std::int64_t value) = 0;
  virtual void number(double value) = 0;  // written with fraction or exponent, or too large for 64 signed bits
  virtual void boolean(bool value) = 0;
  virtual void null() = 0;
  // Whether the handler itself refuses a key that occurs twice in the present object: it keeps the keys of a large one
  // anyway.
  virtual bool keeps_keys() const { return false; }

  // Where the token of the present event begins, in bytes from the start of the file.
  std::int64_t offset() const noexcept { return offset_; }
  const std::string& file() const noexcept { return file_; }
  // The document is not as it should be, here. field: the key, name or id concerned.
  [[noreturn]] void fail(std::string field, std::string what) const {
    throw Error(ErrorCode::bad_file, {file_, std::move(field), offset_, std::move(what)});
  }

 private:
  friend class detail::JsonGuard;
  std::string file_;
  std::int64_t offset_ = -1;
};

namespace detail {

// Between the parser and a handler: finds where tokens begin, and refuses depth and duplicate keys. Its member
// functions are the ones nlohmann::json::sax_parse calls.
class JsonGuard {
 public:
  static void run(std::string_view text, const std::string& file, JsonHandler& handler, std::int64_t first_byte,
                  const JsonRules& rules) {
    handler.file_ = file;
    const auto refuse_at = [&](std::size_t position, const char* what) {
      handler.offset_ = first_byte + static_cast<std::int64_t>(position);
      handler.fail("", what);
    };
    if (text.starts_with("\xef\xbb\xbf")) refuse_at(0, "not valid JSON: the text begins with a byte order mark");
    if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff")) refuse_at(0, "not valid JSON: UTF-16, not UTF-8");
    // Versions of the parser word this differently.
    if (text.empty()) refuse_at(0, "not valid JSON: unexpected end of input in an empty text");
    // The parser takes a NUL for the end.
    if (const std::size_t nul = text.find('\0'); nul != text.npos) refuse_at(nul, "not valid JSON: a NUL byte");
    std::optional<NonFinite> non_finite;
    if (rules.non_finite) text = non_finite.emplace(std::string(text)).text();
    JsonGuard guard(text, handler, first_byte, rules, non_finite ? &*non_finite : nullptr);
    nlohmann::json::sax_parse(text.begin(), text.end(), &guard);
  }

  bool null() { return next_token(), handler_.null(), true; }
  bool boolean(bool value) { return next_token(), handler_.boolean(value), true; }
  bool number_integer(std::int64_t value) { return next_token(), handler_.number(value), true; }
  bool number_unsigned(std::uint64_t value) {
    if (std::in_range<std::int64_t>(value)) return number_integer(static_cast<std::int64_t>(value));
    return number_float(static_cast<double>(value), "");
  }
  bool number_float(double value, const std::string&) {
    next_token();
    if (non_finite_ != nullptr) value = non_finite_->at(first_).value_or(value);
    handler_.number(value);
    return true;
  }
  bool string(std::string& value) { return next_token(), handler_.string(value), true; }
  bool binary(nlohmann::json::binary_t&) { return false; }  // JSON text has none
  bool start_object(std::size_t) { return enter(), handler_.start_object(), true; }
  bool end_object() { return leave(), handler_.end_object(), true; }
  bool start_array(std::size_t) { return enter(), handler_.start_array(), true; }
  bool end_array() { return leave(), handler_.end_array(), true; }
  bool key(std::string& name) {
    next_token();
    if (!rules_.repeated_keys && !handler_.keeps_keys() && !keys_.back().insert(name).second) {
      handler_.fail(name, "the key occurs twice in one object");
    }
    handler_.key(name);
    return true;
  }
  template <class Exception>
  [[noreturn]] bool parse_error(std::size_t bytes_read, const std::string&, const Exception& error) {
    const std::string_view text = error.what();
    const std::size_t prefix = text.find("] ");  // nlohmann's name for the exception
    handler_.offset_ = first_byte_ + static_cast<std::int64_t>(bytes_read > 0 ? bytes_read - 1 : 0);
    handler_.fail("", "not valid JSON: " + escaped(text.substr(prefix == text.npos ? 0 : prefix + 2), 300));
  }

 private:
  JsonGuard(std::string_view text, JsonHandler& handler, std::int64_t first_byte, const JsonRules& rules,
            const NonFinite* non_finite)
      : text_(text), handler_(handler), first_byte_(first_byte), rules_(rules), non_finite_(non_finite) {}

  // The parser has accepted everything up to the end of the present token, so these scans stay inside the text.
  void next_token() {
    first_ = text_.find_first_not_of(" \t\r\n,:", end_);
    handler_.offset_ = first_byte_ + static_cast<std::int64_t>(first_);
    const char c = text_[first_];
    end_ = first_ + 1;
    if (c == '"') {
      while (text_[end_] != '"') end_ += text_[end_] == '\\' ? 2u : 1u;
      ++end_;
    } else if (c != '{' && c != '}' && c != '[' && c != ']') {
      end_ = std::min(text_.find_first_of(" \t\r\n,]}", end_), text_.size());
    }
  }
  void enter() {
    next_token();
    if (static_cast<index_t>(keys_.size()) == rules_.depth) {
      handler_.fail("", "lists and objects are nested too deep (allowed " + std::to_string(rules_.depth) + ")");
    }
    keys_.emplace_back();
  }
  void leave() {
    next_token();
    keys_.pop_back();
  }

  std::string_view text_;
  JsonHandler& handler_;
  std::int64_t first_byte_;
  JsonRules rules_;
  const NonFinite* non_finite_;
  std::size_t first_ = 0;                    // of the present token
  std::size_t end_ = 0;                      // behind it
  std::vector<std::set<std::string>> keys_;  // of each open object: a tree, because no choice of keys makes it slow
};

// Builds the tree. The open lists and objects are a path down from the root; a value goes to the last of them. With a
// sink, the root is an object whose members are handed over and forgotten as soon as each is complete.
class JsonTreeBuilder final : public JsonHandler {
 public:
  using Sink = std::function<void(const JsonMember&)>;
  explicit JsonTreeBuilder(index_t max_values, Sink sink = {})
      : max_values_(max_values), left_(max_values), sink_(std::move(sink)) {}
  Json take() { return std::move(root_); }

  void start_object() override { open_.push_back(&add(Json::Object{})); }
  void end_object() override { close(); }
  void start_array() override { open_.push_back(&add(Json::Array{})); }
  void end_array() override { close(); }
  void key(std::string_view name) override {
    std::get<Json::Object>(open_.back()->value).push_back({std::string(name), offset(), {}});
  }
  void string(std::string_view value) override { add_whole(std::string(value)); }
  void number(std::int64_t value) override { add_whole(value); }
  void number(double value) override { add_whole(value); }
  void boolean(bool value) override { add_whole(value); }
  void null() override { add_whole(std::monostate{}); }

 private:
  template <class T>
  Json& add(T value) {
    if (left_-- == 0) {
      throw Error(
          ErrorCode::limit,
          {file(), "", offset(), "the document holds too many values (allowed " + std::to_string(max_values_) + ")"});
    }
    Json& place = next_place();
    place.value = std::move(value);
    place.offset = offset();
    if (sink_ && open_.empty() && !std::holds_alternative<Json::Object>(place.value)) {
      fail("", "expected an object, found " + place.describe());
    }
    return place;
  }
  template <class T>
  void add_whole(T value) {
    add(std::move(value));
    hand_over();
  }
  void close() {
    open_.pop_back();
    hand_over();
  }
  // Only the innermost open value grows, so the pointers to the others stay valid.
  Json& next_place() {
    if (open_.empty()) return root_;
    if (auto* const list = std::get_if<Json::Array>(&open_.back()->value)) return list->emplace_back();
    return std::get<Json::Object>(open_.back()->value).back().value;
  }
  void hand_over() {
    if (!sink_ || open_.size() != 1) return;
    auto& members = std::get<Json::Object>(root_.value);
    sink_(members.back());
    members.clear();
    left_ = max_values_;
  }

  Json root_;
  std::vector<Json*> open_;
  index_t max_values_;
  index_t left_;
  Sink sink_;
};

}  // namespace detail

// file: for messages. first_byte: where the text begins in it.
inline void parse_json(std::string_view text, const std::string& file, JsonHandler& handler,
                       std::int64_t first_byte = 0, const JsonRules& rules = {}) {
  detail::JsonGuard::run(text, file, handler, first_byte, rules);
}

inline Json parse_json(std::string_view text, const std::string& file, std::int64_t first_byte = 0,
                       const JsonRules& rules = {}) {
  detail::JsonTreeBuilder builder(rules.tree_values);
  parse_json(text, file, builder, first_byte, rules);
  return builder.take();
}

// The members of a document that is one object, one after the other: a large document of many small parts.
inline void for_each_json_member(std::string_view text, const std::string& file,
                                 std::function<void(const JsonMember&)> use, std::int64_t first_byte = 0,
                                 const JsonRules& rules = {}) {
  detail::JsonTreeBuilder builder(rules.tree_values, std::move(use));
  parse_json(text, file, builder, first_byte, rules);
}

// A document of at most max_bytes from a file.
inline Json read_json(const std::string& path, std::uint64_t max_bytes = std::uint64_t{64} << 20) {
  return parse_json(read_small_file(path, max_bytes), path);
}

}  // namespace headgate::inline HEADGATE_ABI
