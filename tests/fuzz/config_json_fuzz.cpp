// A JSON text of arbitrary bytes is refused with an Error or becomes a tree, whose values every reader of a config
// takes or refuses with an Error. By the rules of Python's json more texts are read, and none less.
#include "headgate/io/json.hpp"

#include <cstddef>
#include <cstdint>
#include <string>

namespace {

void require(bool holds) {
  if (!holds) __builtin_trap();
}

template <class Read>
void attempt(Read&& read) {
  try {
    read();
  } catch (const headgate::Error& error) {
    require(std::string_view(error.what()).size() <= 4096);
    require(error.code() == headgate::ErrorCode::bad_file || error.code() == headgate::ErrorCode::limit);
    require(error.detail().offset >= 0);
  }
}

void use(const headgate::Json& json) {
  if (const auto* const list = std::get_if<headgate::Json::Array>(&json.value)) {
    for (const headgate::Json& element : *list) use(element);
  }
  if (!std::holds_alternative<headgate::Json::Object>(json.value)) return;
  const headgate::JsonObject object(json, "fuzz");
  for (const headgate::JsonMember& member : object.members()) {
    const std::string& key = member.key;
    attempt([&] { require(object.get_index(key, 1, 4096, 1) <= 4096); });
    attempt([&] { require(object.get_number(key, 0, 1e6) <= 1e6); });
    attempt([&] { object.get_bool(key, false); });
    attempt([&] { object.get_string(key); });
    attempt([&] { object.get_integers(key, 0, 100); });
    attempt([&] { object.get_strings(key); });
    attempt([&] { object.get_object(key).keys(); });
    use(member.value);
  }
  require(object.unread_keys().empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  bool is_strict = false;
  attempt([&] {
    use(headgate::parse_json(text, "fuzz"));
    is_strict = true;
  });
  bool is_python = false;
  attempt([&] {
    use(headgate::parse_json(text, "fuzz", 0, {.non_finite = true, .repeated_keys = true}));
    is_python = true;
  });
  require(is_python || !is_strict);
  return 0;
}
