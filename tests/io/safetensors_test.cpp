#include "headgate/io/safetensors.hpp"

#include "io/refusal.hpp"
#include "io/safetensors_writer.hpp"
#include "support/catch.hpp"

#include <chrono>

namespace {

using namespace headgate;
using io_test::bytes_of;
using io_test::contains;
using io_test::error_of;
using io_test::little_endian;
using io_test::safetensors;

std::vector<Tensor> read(std::string_view file) { return read_safetensors(bytes_of(file), "model.safetensors"); }

// F32 (2, 3) named "a" and BF16 (5) named "b": 34 bytes of data.
constexpr std::string_view a_entry = R"("a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]})";
constexpr std::string_view b_entry = R"("b":{"dtype":"BF16","shape":[5],"data_offsets":[24,34]})";
constexpr std::size_t data_size = 34;
const std::string good = "{" + std::string(a_entry) + "," + std::string(b_entry) + "}";

// The good header with one entry of "a" written differently.
std::string with_a(std::string_view fields) {
  return "{\"a\":{" + std::string(fields) + "}," + std::string(b_entry) + "}";
}
std::string with_dtype(std::string_view json) {
  return with_a("\"dtype\":" + std::string(json) + R"(,"shape":[2,3],"data_offsets":[0,24])");
}
std::string with_shape(std::string_view json) {
  return with_a(R"("dtype":"F32","shape":)" + std::string(json) + R"(,"data_offsets":[0,24])");
}
std::string with_offsets(std::string_view json) {
  return with_a(R"("dtype":"F32","shape":[2,3],"data_offsets":)" + std::string(json));
}
std::string repeated(std::string_view part, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += part;
  return text;
}

struct BadHeader {
  std::string id;  // of the catalogue
  std::string header;
  std::string token;  // the error's offset is where this begins in the header; empty: not compared
  std::string part;   // of the message
};

void check_refused(const BadHeader& bad) {
  INFO(bad.id << ": " << bad.header.substr(0, 200));
  const Error error = error_of([&] { read(safetensors(bad.header, data_size)); });
  INFO(error.what());
  CHECK(error.code() == ErrorCode::bad_file);
  CHECK(contains(error.what(), "model.safetensors: "));
  CHECK(contains(error.what(), bad.part));
  CHECK(error.detail().offset >= 0);
  if (!bad.token.empty()) CHECK(error.detail().offset == static_cast<std::int64_t>(8 + bad.header.find(bad.token)));
}

struct BadFile {
  std::string id;
  std::string bytes;
  std::int64_t offset;
  std::string part;
};

void check_refused(const BadFile& bad) {
  INFO(bad.id);
  const Error error = error_of([&] { read(bad.bytes); });
  INFO(error.what());
  CHECK(error.code() == ErrorCode::bad_file);
  CHECK(contains(error.what(), "model.safetensors: "));
  CHECK(contains(error.what(), bad.part));
  CHECK(error.detail().offset == bad.offset);
}

}  // namespace

TEST_CASE("the tensors of a safetensors file come sorted by name with type, shape and bytes") {
  const std::string file = safetensors("{" + std::string(b_entry) + "," + std::string(a_entry) + "}", data_size);
  const std::vector<Tensor> tensors = read(file);
  REQUIRE(tensors.size() == 2);
  CHECK(tensors[0].name == "a");
  CHECK(tensors[0].dtype == DType::f32);
  CHECK(tensors[0].shape == Shape{2, 3});
  CHECK(tensors[0].bytes.size() == 24);
  CHECK(tensors[0].offset == file.size() - 34);
  CHECK(tensors[0].bytes.data() == bytes_of(file).subspan(file.size() - 34).data());
  CHECK(tensors[1].name == "b");
  CHECK(tensors[1].dtype == DType::bf16);
  CHECK(tensors[1].shape == Shape{5});
  CHECK(tensors[1].offset == file.size() - 10);
}

TEST_CASE("a safetensors file whose header length is wrong is refused before anything of that size is read") {
  const std::string rest = good + std::string(data_size, '\x01');
  const std::uint64_t size = good.size();
  const std::string big_endian = [&] {
    std::string bytes = little_endian(size);
    return std::string(bytes.rbegin(), bytes.rend());
  }();
  const std::vector<BadFile> files = {
      {"A1 0 bytes", "", 0, "needs 8 bytes, has 0"},
      {"A1 1 byte", "x", 0, "needs 8 bytes, has 1"},
      {"A1 7 bytes", "xxxxxxx", 0, "needs 8 bytes, has 7"},
      {"A2", little_endian(2), 0, "has 2 bytes, allowed 0"},
      {"A3", little_endian(0) + rest, 8, "unexpected end of input"},
      {"A4", little_endian(8 + rest.size()) + rest, 0, "allowed " + std::to_string(rest.size())},
      {"A5 2^63", little_endian(std::uint64_t{1} << 63) + rest, 0, "has 9223372036854775808 bytes"},
      {"A5 2^64-1", little_endian(~std::uint64_t{0}) + rest, 0, "has 18446744073709551615 bytes"},
      {"A5 2^64-8", little_endian(~std::uint64_t{7}) + rest, 0, "has 18446744073709551608 bytes"},
      {"A5 2^64-7", little_endian(~std::uint64_t{6}) + rest, 0, "has 18446744073709551609 bytes"},
      {"A6", little_endian(size + (std::uint64_t{1} << 32)) + rest, 0, "the header does not fit"},
      {"A7 short", little_endian(size - 1) + rest, static_cast<std::int64_t>(8 + size - 1), "unexpected end of input"},
      {"A7 long", little_endian(size + 1) + rest, static_cast<std::int64_t>(8 + good.find("34]")), "found 34"},
      {"A7 long, no data", little_endian(3) + "{}x", 10, "expected end of input"},
      {"A8", big_endian + rest, 0, "big-endian"},
      {"A47 zeros", std::string(65536, '\0'), 8, "unexpected end of input"},
      {"A47 ff", std::string(65536, '\xff'), 0, "the header does not fit"},
  };
  for (const BadFile& file : files) check_refused(file);
}

TEST_CASE("a header longer than the limit is refused, one at the limit is read") {
  SafetensorsLimits limits;
  limits.header_bytes = good.size();
  const std::string file = safetensors(good, data_size);
  CHECK(read_safetensors(bytes_of(file), "f", limits).size() == 2);
  limits.header_bytes = good.size() - 1;
  const Error error = error_of([&] { read_safetensors(bytes_of(file), "f", limits); });
  CHECK(error.code() == ErrorCode::bad_file);
  CHECK(contains(error.what(),
                 "has " + std::to_string(good.size()) + " bytes, allowed " + std::to_string(good.size() - 1)));
}

TEST_CASE("a file of another format under the name of a safetensors file is called by its name") {
  const auto padded = [](std::string text) { return text + std::string(4096, 'x'); };
  const std::vector<BadFile> files = {
      {"A46 lfs", "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 5\n", 0, "git-lfs pointer"},
      {"A46 HTML", padded("<!DOCTYPE html><html>"), 0, "HTML"},
      {"A46 HTML behind a new line", padded("\n<html>"), 0, "HTML"},
      {"A46 gzip", padded(std::string("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", 10)), 0, "gzip"},
      // As a length, these eight bytes would fit a large file: the header tells.
      {"A46 gzip, large", std::string("\x1f\x8b\x08\0\0\0\0\0", 8) + std::string(600'000, '\xa5'), 0, "gzip"},
      {"A46 zip", padded(std::string("PK\x03\x04\x00\x00\x08\x08", 8)), 0, "zip archive, as PyTorch"},
      {"A46 pickle", padded("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9"), 0, "pickle"},
      {"A46 pickle 4", padded(std::string("\x80\x04\x95\x42\x00\x00\x00\x00", 8)), 0, "pickle"},
      {"A46 GGUF", padded(std::string("GGUF\x03\x00\x00\x00", 8)), 0, "GGUF"},
      {"A46 JSON", R"({"weight_map": {"a": "b"}})", 0, "JSON document"},
  };
  for (const BadFile& file : files) check_refused(file);
}

TEST_CASE("a header that is not one strict JSON object is refused at the byte where it stops being one") {
  const std::string b = std::string(b_entry);
  const auto named = [&](const std::string& name) {
    return "{\"" + name + R"(":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)" + b + "}";
  };
  const std::vector<BadHeader> headers = {
      {"A10 BOM", "\xef\xbb\xbf" + good, "\xef", "byte order mark"},
      {"A10 UTF-16", std::string("\xff\xfe{\0}\0", 6), "\xff", "UTF-16"},
      {"A10 UTF-16 without mark", std::string("{\0}\0", 4), std::string("\0", 1), "NUL byte"},
      {"A12 NUL padding", good + std::string(6, '\0'), std::string("\0", 1), "NUL byte"},
      {"A12 text behind", good + " x", "x", "expected end of input"},
      {"A12 two objects", good + "{}", "{}", "expected end of input"},
      {"A13 array", "[]", "[", "expected an object, found a list"},
      {"A13 null", "null", "null", "expected an object, found null"},
      {"A13 string", "\"a\"", "\"", "expected an object, found the string \"a\""},
      {"A13 number", "17", "17", "expected an object, found 17"},
      {"A13 true", "true", "true", "expected an object, found true"},
      {"A14 unclosed", good.substr(0, good.size() - 1), "", "unexpected end of input"},
      {"A14 trailing comma", good.substr(0, good.size() - 1) + ",}", "", "expected string literal"},
      {"A14 single quotes", "{'a':1}", "'", "expected string literal"},
      {"A14 comment", "/*c*/" + good, "", "not valid JSON"},
      {"A14 NaN", with_shape("[NaN]"), "", "invalid literal"},
      {"A15 ff", named("a\xff"), "\xff", "ill-formed UTF-8"},
      {"A15 overlong", named("a\xc0\x80"), "\xc0", "ill-formed UTF-8"},
      {"A15 lone surrogate", named("a\\ud800"), "", "surrogate"},
      {"A15 surrogate in UTF-8", named("a\xed\xa0\x80"), "", "ill-formed UTF-8"},
      {"A16 raw new line", named("a\nb"), "\n", "must be escaped"},
      {"A16 bad escape", named("a\\x41"), "x41", "forbidden character after backslash"},
      {"A22 arrays", with_shape(std::string(100'000, '[')), "", "nested too deep"},
      {"A22 arrays, closed", with_shape(std::string(100'000, '[') + std::string(100'000, ']')), "", "nested too deep"},
      {"A22 objects", with_a("\"x\":" + repeated("{\"a\":", 50'000)), "", "nested too deep"},
  };
  for (const BadHeader& bad : headers) check_refused(bad);
}

TEST_CASE("a name that occurs twice is refused at its second place") {
  const std::string a = std::string(a_entry);
  const std::vector<BadHeader> headers = {
      {"A20 same", "{" + a + "," + a + "}", "", "a at byte "},
      {"A20 other", "{" + a + R"(,"a":{"dtype":"U8","shape":[10],"data_offsets":[24,34]}})", "",
       "the key occurs twice"},
      {"A20 spelled otherwise", "{" + a + R"(,"\u0061":{"dtype":"U8","shape":[10],"data_offsets":[24,34]}})", "\"\\u",
       "the key occurs twice"},
      {"A20 in an entry", with_a(R"("dtype":"F32","dtype":"F32","shape":[2,3],"data_offsets":[0,24])"), "",
       "the key occurs twice"},
      {"A21 twice", R"({"__metadata__":{},"__metadata__":{}})", "", "the key occurs twice"},
  };
  for (const BadHeader& bad : headers) check_refused(bad);
}

TEST_CASE("metadata that is not a map from strings to strings is refused") {
  const auto with = [](std::string_view json) {
    return "{\"__metadata__\":" + std::string(json) + "," + good.substr(1);
  };
  const std::vector<BadHeader> headers = {
      {"A21 number value", with(R"({"k":77})"), "77", "__metadata__.k at byte "},
      {"A21 object value", with(R"({"k":{"l":"m"}})"), "{\"l", "expected a string, found an object"},
      {"A21 null value", with(R"({"k":null})"), "null", "expected a string, found null"},
      {"A21 array", with(R"(["k"])"), "[\"k", "expected an object, found a list"},
      {"A21 string", with(R"("k")"), "\"k", "expected an object, found the string"},
      {"A21 number", with("77"), "77", "expected an object, found 77"},
  };
  for (const BadHeader& bad : headers) check_refused(bad);
  CHECK(read(safetensors(with("null"), data_size)).size() == 2);
  CHECK(read(safetensors(with(R"({"format":"pt"})"), data_size)).size() == 2);
}

TEST_CASE("an entry that lacks a field or has one of a wrong kind is refused with tensor and field") {
  const std::vector<BadHeader> headers = {
      {"A24 no dtype", with_a(R"("shape":[2,3],"data_offsets":[0,24])"), "{\"shape", "a.dtype at byte "},
      {"A24 no shape", with_a(R"("dtype":"F32","data_offsets":[0,24])"), "{\"dtype", "a.shape at byte "},
      {"A24 no data_offsets", with_a(R"("dtype":"F32","shape":[2,3])"), "{\"dtype", "a.data_offsets at byte "},
      {"A24 array", "{\"a\":[]," + std::string(b_entry) + "}", "[]", "a at byte "},
      {"A24 null", "{\"a\":null," + std::string(b_entry) + "}", "null", "expected an object, found null"},
      {"A26 number", with_dtype("32"), "32", "expected a string, found 32"},
  };
  for (const BadHeader& bad : headers) check_refused(bad);
}

TEST_CASE("a shape that is no list of sizes, or does not fit the bytes, is refused") {
  constexpr std::string_view not_integer = "expected an integer from 0 to 9223372036854775807, found ";
  const auto is_not = [&](const std::string& found) { return std::string(not_integer) + found; };
  const std::vector<BadHeader> headers = {
      {"A28", with_dtype("\"F64\""), "[0,24]", "F64 of shape (2, 3) takes 48 bytes, found 24"},
      {"A29 negative", with_shape("[-2,3]"), "-2", is_not("-2")},
      {"A29 float", with_shape("[2.0,3]"), "2.0", is_not("the number 2")},
      {"A29 exponent", with_shape("[2e0,3]"), "2e0", is_not("the number 2")},
      {"A29 string", with_shape("[\"2\",3]"), "\"2", is_not("the string \"2\"")},
      {"A29 bool", with_shape("[true,6]"), "true", is_not("true")},
      {"A29 null", with_shape("[null,6]"), "null", is_not("null")},
      {"A29 nested", with_shape("[[2,3]]"), "[2,3]", is_not("a list of 2")},
      {"A29 no list", with_shape("6"), "6", "expected a list, found 6"},
      {"A29 2^64", with_shape("[18446744073709551616,3]"), "184", is_not("the number 18446744073709551616")},
      {"A29 2^63", with_shape("[9223372036854775808,3]"), "922", is_not("the number 9223372036854775808")},
      {"A29 n+2^64", with_shape("[18446744073709551618,3]"), "184", is_not("the number 18446744073709551616")},
      {"A29 1e400", with_shape("[1e400,3]"), "", "number overflow"},
      {"A29 leading zero", with_shape("[02,3]"), "", "not valid JSON"},
      {"A30 2^32 x 2^32", with_shape("[4294967296,4294967296]"), "[429", "more elements than 64 bits can count"},
      {"A30 (2^63-1) x 2", with_shape("[9223372036854775807,2]"), "[922", "more elements than 64 bits can count"},
      {"A31", with_shape("[4194305,4194305,211106198978564]"), "[419", "more elements than 64 bits can count"},
      {"A32", with_shape("[4611686018427387905]"), "[461", "more elements than 64 bits can count"},
      {"A33 rank 9 of another size", with_shape("[1,1,1,1,1,1,1,2,4]"), "[0,24]", "takes 32 bytes, found 24"},
      {"A36", with_offsets("[0,4]"), "[0,4]", "F32 of shape (2, 3) takes 24 bytes, found 4"},
      {"A48", with_shape("[2,4]"), "[0,24]", "takes 32 bytes, found 24"},
  };
  for (const BadHeader& bad : headers) check_refused(bad);
}

TEST_CASE("a tensor of a type or rank that is not known here lies beside the others as bytes, with the reason") {
  struct Case {
    std::string id;
    std::string header;
    std::string reason;
  };
  const std::vector<Case> cases = {
      {"A26 unknown", with_dtype("\"F33\""), "unknown type \"F33\" (known: BOOL, "},
      {"A26 lower case", with_dtype("\"f32\""), "unknown type \"f32\""},
      {"A26 empty", with_dtype("\"\""), "unknown type \"\""},
      {"A26 control bytes", with_dtype(R"("\u001b[31m")"), "unknown type \"\\x1b[31m\""},
      {"A50 F8_E8M0", with_dtype("\"F8_E8M0\""), "unknown type \"F8_E8M0\""},
      {"A50 F4, A28 of an odd count", with_dtype("\"F4\""), "unknown type \"F4\""},
      {"A33 rank 9", with_shape("[1,1,1,1,1,1,1,2,3]"), "at most 8 sizes, found 9"},
      {"A33 rank 100,000", with_shape("[6" + repeated(",1", 99'999) + "]"), "at most 8 sizes, found 100000"},
  };
  for (const Case& c : cases) {
    INFO(c.id);
    const std::vector<Tensor> tensors = read(safetensors(c.header, data_size));
    REQUIRE(tensors.size() == 2);
    CHECK(contains(tensors[0].opaque, c.reason));
    CHECK(tensors[0].dtype == DType::u8);
    CHECK(tensors[0].shape == Shape{24});
    CHECK(tensors[0].bytes.size() == 24);
    CHECK(tensors[1].opaque.empty());
    CHECK(tensors[1].dtype == DType::bf16);
  }
  // Its place in the file is still checked.
  check_refused(BadHeader{"hole",
                          R"({"a":{"dtype":"F4","shape":[48],"data_offsets":[0,23]},)" + std::string(b_entry) + "}", "",
                          "1 bytes before it belong to no tensor"});
}

TEST_CASE("data offsets that are no range inside the data are refused") {
  const std::string outside = "expected an integer from 0 to 34, found ";
  const std::vector<BadHeader> headers = {
      {"A34 reversed", with_offsets("[24,0]"), "[24,0]", "begin <= end, found [24, 0]"},
      {"A34 negative", with_offsets("[-24,0]"), "-24", outside + "-24"},
      {"A34 one", with_offsets("[24]"), "[24]", "found 1 integers"},
      {"A34 three", with_offsets("[0,12,24]"), "[0,12", "found 3 integers"},
      {"A34 none", with_offsets("[]"), "[]", "found 0 integers"},
      {"A34 float", with_offsets("[0.0,24]"), "0.0", outside + "the number 0"},
      {"A34 string", with_offsets("[0,\"24\"]"), "\"24", outside + "the string \"24\""},
      {"A34 null", with_offsets("null"), "null", "expected a list, found null"},
      {"A35 past the end", with_offsets("[0,35]"), "35", outside + "35"},
      {"A35 2^63-1", with_offsets("[0,9223372036854775807]"), "922", outside + "9223372036854775807"},
      {"A35 2^64-24", with_offsets("[18446744073709551592,0]"), "184", outside + "the number 18446744073709551616"},
      {"A37 alias",
       R"({"b":{"dtype":"U8","shape":[34],"data_offsets":[0,34]},"a":{"dtype":"U8","shape":[34],)"
       R"("data_offsets":[0,34]}})",
       "", "overlaps that of \""},
  };
  for (const BadHeader& bad : headers) check_refused(bad);
}

TEST_CASE("tensors that do not tile the data are refused at the byte where they fail to") {
  const auto two = [](std::string_view first, std::string_view second) {
    return "{\"a\":{\"dtype\":\"U8\"," + std::string(first) + "},\"b\":{\"dtype\":\"U8\"," + std::string(second) + "}}";
  };
  const std::string head = R"("shape":[24],"data_offsets":[0,24])";
  const std::string overlap = two(head, R"("shape":[11],"data_offsets":[23,34])");
  const std::string hole = two(head, R"("shape":[9],"data_offsets":[25,34])");
  const std::string late = two(R"("shape":[23],"data_offsets":[1,24])", R"("shape":[10],"data_offsets":[24,34])");
  const auto end = [](const std::string& header) { return static_cast<std::int64_t>(8 + header.size()); };
  const std::vector<BadFile> files = {
      {"A37 overlap by a byte", safetensors(overlap, data_size), end(overlap) + 23, "b at byte "},
      {"A38 hole", safetensors(hole, data_size), end(hole) + 24, "1 bytes before it belong to no tensor"},
      {"A38 first not at 0", safetensors(late, data_size), end(late), "a at byte "},
      {"A39 one byte", safetensors(good, data_size + 1), end(good) + 34, "1 bytes at the end belong to no tensor"},
      {"A39 zip", safetensors(good, std::string(data_size, 'd') + "PK\x03\x04 and more"), end(good) + 34,
       "13 bytes at the end belong to no tensor"},
      {"A39 pickle", safetensors(good, std::string(data_size, 'd') + "\x80\x04."), end(good) + 34,
       "3 bytes at the end belong to no tensor"},
      {"A39 only a tail", safetensors("{}", 5), 10, "5 bytes at the end belong to no tensor"},
  };
  for (const BadFile& file : files) check_refused(file);
}

TEST_CASE("a file cut anywhere is refused when it is opened") {
  // A40, at every byte: a reader that accepted one of them would touch what is not there.
  const std::string file = safetensors(good, data_size);
  for (std::size_t size = 0; size < file.size(); ++size) {
    const std::string cut = file.substr(0, size);
    const Error error = error_of([&] { read(cut); });
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(contains(error.what(), "model.safetensors: "));
  }
  CHECK(read(file).size() == 2);
}

TEST_CASE("many tensors over the same bytes are refused") {
  std::string header = "{";
  for (int i = 0; i < 100'000; ++i) {
    header += (i == 0 ? "\"t" : ",\"t") + std::to_string(i) + R"(":{"dtype":"U8","shape":[16],"data_offsets":[0,16]})";
  }
  check_refused(BadHeader{"A44", header + "}", "", "overlaps"});
}

TEST_CASE("names that are too long or hold control bytes are refused safely") {
  const auto named = [](const std::string& name, std::string_view shape) {
    return "{\"" + name + "\":{\"dtype\":\"U8\",\"shape\":" + std::string(shape) + ",\"data_offsets\":[0,34]}}";
  };
  CHECK(read(safetensors(named(std::string(1024, 'n'), "[34]"), data_size)).size() == 1);
  check_refused(BadHeader{"name limit", named(std::string(1025, 'n'), "[34]"), "\"n", "has 1025 bytes, allowed 1024"});
  check_refused(BadHeader{"A18", named("\\u001b[31mred\\u0007", "[33]"), "[0,34]", "\\x1b[31mred\\x07"});
  const BadHeader long_name{"A19", named(std::string(1 << 20, 'n'), "[33]"), "\"n", "nnn...nnn"};
  check_refused(long_name);
  CHECK(std::string(error_of([&] { read(safetensors(long_name.header, data_size)); }).what()).size() < 500);
}

TEST_CASE("unusual but correct safetensors files are read") {
  const auto names = [](const std::string& header, std::size_t size) {
    std::vector<std::string> found;
    for (const Tensor& tensor : read(safetensors(header, size))) found.push_back(tensor.name);
    return found;
  };
  using Names = std::vector<std::string>;
  const std::string a = std::string(a_entry);
  const std::string b = std::string(b_entry);
  SECTION("A9 white space in front") {
    CHECK(names(" \t\r\n" + good, data_size) == Names{"a", "b"});
    // A length whose first byte looks like the beginning of an HTML page.
    CHECK(names(std::string(0x13c - good.size(), ' ') + good, data_size) == Names{"a", "b"});
  }
  SECTION("A11 spaces behind") { CHECK(names(good + "     ", data_size) == Names{"a", "b"}); }
  SECTION("A23 metadata of 8 MiB") {
    CHECK(names("{\"__metadata__\":{\"k\":\"" + std::string(8 << 20, 'm') + "\"}," + a + "," + b + "}", data_size) ==
          Names{"a", "b"});
  }
  SECTION("A25 a field nobody knows") {
    CHECK(names(with_a(R"("dtype":"F32","shape":[2,3],"x":[{"y":1.5}],"data_offsets":[0,24])"), data_size) ==
          Names{"a", "b"});
  }
  SECTION("A41 empty tensors, shared offsets, a number alone") {
    const std::string header = R"({"z":{"dtype":"F32","shape":[0,7],"data_offsets":[4,4]},)"
                               R"("y":{"dtype":"F32","shape":[0],"data_offsets":[4,4]},)"
                               R"("x":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                               R"("w":{"dtype":"U8","shape":[3,0,9],"data_offsets":[0,0]}})";
    const std::vector<Tensor> tensors = read(safetensors(header, 4));
    REQUIRE(tensors.size() == 4);
    CHECK(tensors[1].name == "x");
    CHECK(tensors[1].shape.rank() == 0);
    CHECK(tensors[1].bytes.size() == 4);
    CHECK(tensors[3].bytes.empty());
  }
  SECTION("A41 an empty tensor inside another one is an overlap") {
    const std::string inside = R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                               R"("b":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})";
    CHECK(contains(error_of([&] { read(safetensors(inside, 4)); }).what(), "overlaps"));
  }
  SECTION("A45 pretty-printed, escaped, reversed, at an odd offset") {
    const std::string header =
        "{\n  \"b\" : { \"data_offsets\" : [ 24 , 34 ],\n \"shape\" : [ 5 ], \"dtype\" : \"BF16\" },\n"
        "  \"\\u0061\\/x\" : { \"shape\" : [ 2, 3 ], \"dtype\" : \"F32\", \"data_offsets\" : [0,24] }\n}";
    const std::string odd = header.size() % 2 == 0 ? header + " " : header;
    CHECK(names(odd, data_size) == Names{"a/x", "b"});
  }
  SECTION("no tensors") { CHECK(names("{}", 0).empty()); }
  SECTION("A17 a name with an escaped NUL is another name") {
    CHECK(names(R"({"a\u0000":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})", 3) == Names{std::string("a\0", 2)});
  }
  SECTION("every known type") {
    std::string header = "{";
    std::int64_t end = 0;
    std::size_t known = 0;
    for (const DTypeInfo& type : dtypes) {
      if (type.block != 1) continue;
      ++known;
      header += (end == 0 ? "\"" : ",\"") + std::string(type.name) + "\":{\"dtype\":\"" + std::string(type.name) +
                "\",\"shape\":[1],\"data_offsets\":[" + std::to_string(end) + "," + std::to_string(end + type.size) +
                "]}";
      end += type.size;
    }
    CHECK(read(safetensors(header + "}", static_cast<std::size_t>(end))).size() == known);
  }
  SECTION("a quantized type of GGUF files is unknown here") {
    const auto found = read(safetensors(R"({"w":{"dtype":"Q4_0","shape":[32],"data_offsets":[0,18]}})", 18));
    CHECK(found[0].opaque.find("unknown type") != std::string::npos);
  }
}

TEST_CASE("the time to read a header grows with its length, not with its square") {
  // A43. A quadratic check of 50,000 names takes minutes.
  std::string header = "{";
  for (int i = 0; i < 50'000; ++i) {
    header += (i == 0 ? "\"extra." : ",\"extra.") + std::to_string(i) +
              R"(":{"dtype":"U8","shape":[1],"data_offsets":[)" + std::to_string(i) + "," + std::to_string(i + 1) +
              "]}";
  }
  const std::string file = safetensors(header + "}", 50'000);
  const auto start = std::chrono::steady_clock::now();
  CHECK(read(file).size() == 50'000);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
}

TEST_CASE("more tensors than the limit are refused") {
  SafetensorsLimits limits;
  limits.tensors = 1;
  const std::string file = safetensors(good, data_size);
  const Error error = error_of([&] { read_safetensors(bytes_of(file), "f", limits); });
  CHECK(error.code() == ErrorCode::limit);
  CHECK(contains(error.what(), "b at byte "));
  CHECK(contains(error.what(), "too many tensors (allowed 1)"));
}

TEST_CASE("after a refusal the next good file is read") {
  CHECK_THROWS_AS(read(safetensors(with_shape("[2]"), data_size)), Error);
  CHECK(read(safetensors(good, data_size)).size() == 2);
}

TEST_CASE("the limits of safetensors are the reference implementation's and our own") {
  CHECK(SafetensorsLimits{}.header_bytes == 100'000'000);
  CHECK(SafetensorsLimits{}.name_bytes == 1024);
  CHECK(SafetensorsLimits{}.tensors == 1'000'000);
  const std::string file = safetensors(good, data_size);
  const auto outcome = [&](const SafetensorsLimits& limits) -> std::string {
    try {
      return std::to_string(read_safetensors(bytes_of(file), "f", limits).size());
    } catch (const Error& error) {
      return error.what();
    }
  };
  CHECK(outcome({.header_bytes = good.size()}) == "2");
  CHECK(contains(outcome({.header_bytes = good.size() - 1}), "the header does not fit"));
  CHECK(outcome({.name_bytes = 1}) == "2");
  CHECK(contains(outcome({.name_bytes = 0}), "the name is too long (has 1 bytes, allowed 0)"));
  CHECK(outcome({.tensors = 2}) == "2");
  CHECK(contains(outcome({.tensors = 1}), "too many tensors (allowed 1)"));
}

TEST_CASE("what a foreign file is called depends on its first bytes alone") {
  using detail::foreign_format;
  constexpr std::string_view json = "a JSON document";
  CHECK(foreign_format("").empty());
  CHECK(foreign_format(" \t\r\n").empty());
  CHECK(foreign_format("x").empty());
  CHECK(foreign_format("\x80").empty());
  CHECK(foreign_format("\x80\x01").empty());
  CHECK(foreign_format("\x80\x02") == "a Python pickle");
  CHECK(foreign_format("\x80\x05") == "a Python pickle");
  CHECK(foreign_format("\x80\x06").empty());
  CHECK(foreign_format("\x81\x02").empty());
  CHECK(foreign_format("{") == json);
  CHECK(foreign_format(" \t\r\n{") == json);
  CHECK(foreign_format("<") == "an HTML or XML page");
  // A NUL among the first eight bytes: a length.
  CHECK(foreign_format(std::string_view("\0 {", 3)).empty());
  CHECK(foreign_format(std::string_view("{123456\0", 8)).empty());
  CHECK(foreign_format(std::string_view("{1234567\0", 9)) == json);
  CHECK(foreign_format("GGUF") == "a GGUF file");
  CHECK(foreign_format("GGU").empty());
  // The first 512 bytes are looked at.
  const auto what = [](std::size_t spaces) {
    return std::string(error_of([&] { read(std::string(spaces, ' ') + "<html>"); }).what());
  };
  CHECK(contains(what(511), "this is an HTML or XML page, not safetensors"));
  CHECK(contains(what(512), "the header does not fit (has 2314885530818453536 bytes, allowed 510)"));
}

TEST_CASE("a length in big-endian byte order is known by the braces that it leads to") {
  const auto what = [](std::string_view header, std::uint64_t length) {
    const std::string bytes = little_endian(length);
    const std::string file = std::string(bytes.rbegin(), bytes.rend()) + std::string(header);
    return std::string(error_of([&] { read(file); }).what());
  };
  CHECK(contains(what("{}", 2), "big-endian byte order, expected little-endian"));
  CHECK(contains(what("{} ", 3), "big-endian"));
  CHECK(contains(what("{}xx", 2), "big-endian"));
  CHECK(contains(what("{}", 3), "does not fit (has 216172782113783808 bytes, allowed 2)"));
  CHECK(contains(what("{}", 1), "does not fit"));
  CHECK(contains(what("{x", 2), "does not fit"));
  CHECK(contains(what("x}", 2), "does not fit"));
}

TEST_CASE("messages about shapes and types show as much as fits") {
  std::vector<std::int64_t> sizes(16, 1);
  sizes[0] = 7;
  std::string text = "(7";
  for (int i = 1; i < 16; ++i) text += ", 1";
  CHECK(detail::describe(sizes) == text + ")");
  sizes.push_back(9);
  CHECK(detail::describe(sizes) == text + ", ...)");
  CHECK(detail::describe({}) == "()");
  const auto reason = [](const std::string& type) {
    return read(safetensors(with_dtype("\"" + type + "\""), data_size))[0].opaque;
  };
  CHECK(reason(std::string(40, 'T')).starts_with("unknown type \"" + std::string(40, 'T') + "\" (known: BOOL, "));
  CHECK(reason(std::string(41, 'T'))
            .starts_with("unknown type \"" + std::string(20, 'T') + "..." + std::string(20, 'T') + "\" (known: "));
  CHECK(reason("X").ends_with(", F8_E5M2)"));
}

TEST_CASE("a tensor of eight sizes is read, and every one knows its place in the file") {
  const std::string header = with_shape("[1,1,1,1,1,1,2,3]");
  const std::vector<Tensor> tensors = read(safetensors(header, data_size));
  CHECK(tensors[0].opaque.empty());
  CHECK(tensors[0].dtype == DType::f32);
  CHECK(tensors[0].shape == Shape{1, 1, 1, 1, 1, 1, 2, 3});
  CHECK(tensors[0].offset == 8 + header.size());
  CHECK(tensors[1].offset == 8 + header.size() + 24);
  CHECK(tensors[1].bytes.size() == 10);
}

TEST_CASE("a refusal of a whole tensor stands at its key") {
  const std::string file = safetensors(good, data_size);
  const auto at = [&](const SafetensorsLimits& limits) {
    const Error error = error_of([&] { read_safetensors(bytes_of(file), "f", limits); });
    return std::pair(error.detail().field, error.detail().offset - 8);
  };
  CHECK(at({.name_bytes = 0}) == std::pair(std::string("a"), std::int64_t{1}));
  CHECK(at({.tensors = 1}) == std::pair(std::string("b"), static_cast<std::int64_t>(good.find("\"b\":"))));
  CHECK(at({.tensors = 0}) == std::pair(std::string("a"), std::int64_t{1}));
  // Which of two that overlap lies behind, and which before.
  const std::string overlap = R"({"x":{"dtype":"U8","shape":[4],"data_offsets":[2,6]},)"
                              R"("y":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})";
  CHECK(std::string(error_of([&] { read(safetensors(overlap, 6)); }).what()) ==
        "model.safetensors: x at byte " + std::to_string(8 + overlap.size() + 2) + ": its data overlaps that of \"y\"");
}
