#include "headgate/io/gguf_metadata.hpp"

#include "io/gguf_writer.hpp"
#include "io/refusal.hpp"
#include "io/safetensors_writer.hpp"
#include "support/catch.hpp"

#include <limits>

using namespace headgate;
using namespace io_test;

TEST_CASE("values of GGUF keys have the type and range that is asked for") {
  GgufWriter writer;
  writer.key("u8", raw(std::uint32_t{0}) + raw(std::uint8_t{200}));
  writer.key("i8", raw(std::uint32_t{1}) + raw(std::int8_t{-3}));
  writer.key("u16", raw(std::uint32_t{2}) + raw(std::uint16_t{65535}));
  writer.key("i16", raw(std::uint32_t{3}) + raw(std::int16_t{-300}));
  writer.key("u32", gguf_value(std::uint32_t{4000000000u}));
  writer.key("u64", raw(std::uint32_t{10}) + raw(std::numeric_limits<std::uint64_t>::max()));
  writer.key("i64", raw(std::uint32_t{11}) + raw(std::int64_t{-5}));
  writer.key("f64", raw(std::uint32_t{12}) + raw(0.1));
  writer.key("f32", gguf_value(0.22f));
  writer.key("yes", gguf_value(true));
  writer.key("text", gguf_value("caf\xc3\xa9"));
  writer.key("empty", gguf_value(""));
  writer.key("words", gguf_array(8, 2, gguf_string("one") + gguf_string("")));
  writer.key("floats", gguf_array(6, 2, raw(1.5f) + raw(-2.0f)));
  writer.key("flags", gguf_array(7, 2, std::string("\1\0", 2)));
  writer.key("none", gguf_array(4, 0, ""));
  const std::string bytes = writer.file();
  const GgufMetadata keys = read_gguf(bytes_of(bytes), "model.gguf").metadata;
  CHECK(keys.get_integer("u8", 0, 255) == 200);
  CHECK(keys.get_integer("i8", -3, 0) == -3);
  CHECK(keys.get_integer("u16", 0, 65535) == 65535);
  CHECK(keys.get_integer("i16", -300, 0) == -300);
  CHECK(keys.get_integer("u32", 0, 4000000000) == 4000000000);
  CHECK(keys.get_integer("i64", -5, -5) == -5);
  CHECK(keys.get_number("f32", 0.0, 1.0) == 0.22);
  CHECK(keys.get_number("f64", 0.0, 1.0) == 0.1);
  CHECK(keys.get_number("u8", 0.0, 255.0) == 200.0);
  CHECK(keys.get_bool("yes"));
  CHECK(keys.get_string("text") == "caf\xc3\xa9");
  CHECK(keys.get_string("empty").empty());
  CHECK(keys.get_strings("words") == std::vector<std::string_view>{"one", ""});
  CHECK(keys.get_floats("floats") == std::vector<float>{1.5f, -2.0f});
  CHECK(keys.get_integers("flags", 0, 1) == std::vector<std::int64_t>{1, 0});
  CHECK(keys.get_integers("none", 0, 1).empty());
  CHECK(keys.get_integer("absent", 0, 9, 4) == 4);
  CHECK(keys.get_string("absent", "so") == "so");
  CHECK_FALSE(keys.has("absent"));

  const auto refused = [&](auto&& read_it) { return std::string(error_of([&] { read_it(keys); }).what()); };
  CHECK(contains(refused([](auto& k) { k.get_integer("u64", 0, INT64_MAX); }), "found 18446744073709551615"));
  CHECK(contains(refused([](auto& k) { k.get_integer("i8", 0, 9); }), "expected integers from 0 to 9, found -3"));
  CHECK(contains(refused([](auto& k) { k.get_integer("text", 0, 9); }), "expected an integer, found string"));
  CHECK(contains(refused([](auto& k) { k.get_integer("yes", 0, 9); }), "expected an integer, found bool"));
  CHECK(contains(refused([](auto& k) { k.get_integer("f32", 0, 9); }), "expected an integer, found f32"));
  CHECK(contains(refused([](auto& k) { k.get_integer("floats", 0, 9); }), "expected one value, found a list of 2"));
  CHECK(contains(refused([](auto& k) { k.get_integers("u8", 0, 9); }), "expected a list, found u8"));
  CHECK(contains(refused([](auto& k) { k.get_floats("flags"); }), "expected a list of f32"));
  CHECK(contains(refused([](auto& k) { k.get_strings("floats"); }), "expected a list of strings"));
  CHECK(contains(refused([](auto& k) { k.get_bool("u8"); }), "expected a bool, found u8"));
  CHECK(contains(refused([](auto& k) { k.get_string("none"); }), "expected one value"));
  CHECK(contains(refused([](auto& k) { k.get_number("f32", 0.5, 1.0); }), "found 0.22"));
  CHECK(contains(refused([](auto& k) { k.get_number("text", 0.5, 1.0); }), "expected a number"));
  CHECK(contains(refused([](auto& k) { k.get_string("gone"); }), "gone: the key is missing"));
}
