#include "headgate/io/gguf.hpp"

#include "headgate/io/tensor_source.hpp"
#include "io/gguf_writer.hpp"
#include "io/refusal.hpp"
#include "io/safetensors_writer.hpp"
#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

#include <chrono>
#include <limits>

namespace {

using namespace headgate;
using namespace io_test;

GgufFile read(std::string_view file) { return read_gguf(bytes_of(file), "model.gguf"); }

// F32 (2, 3) and Q8_0 (1, 64), an architecture and a list.
GgufWriter good() {
  GgufWriter writer;
  writer.key("general.architecture", gguf_value("llama"));
  writer.key("list", gguf_array(5, 2, raw(std::int32_t{-1}) + raw(std::int32_t{7})));
  writer.tensor("a", {3, 2}, 0, std::string(24, '\1'));
  writer.tensor("b", {64}, 8, std::string(68, '\2'));
  return writer;
}

void check_refused(const std::string& id, const std::string& file, const std::string& part) {
  INFO(id);
  const Error error = error_of([&] { read(file); });
  INFO(error.what());
  CHECK(error.code() == ErrorCode::bad_file);
  CHECK(contains(error.what(), "model.gguf: "));
  CHECK(contains(error.what(), part));
  CHECK(error.detail().offset >= 0);
}
void check_key(const std::string& id, const std::string& bytes, const std::string& part) {
  GgufWriter writer = good();
  writer.raw_key(bytes);
  check_refused(id, writer.file(), part);
}
// A tensor announced like this behind the good ones.
void check_tensor(const std::string& id, const std::string& info, const std::string& part) {
  GgufWriter writer = good();
  writer.raw_tensor(info, std::string(64, '\3'));
  check_refused(id, writer.file(), part);
}
std::string tensor_info(std::string_view name, const std::vector<std::uint64_t>& sizes, std::uint32_t type,
                        std::uint64_t offset = 128) {
  std::string info = gguf_string(name) + raw(static_cast<std::uint32_t>(sizes.size()));
  for (const std::uint64_t size : sizes) info += raw(size);
  return info + raw(type) + raw(offset);
}
constexpr std::uint64_t max_u64 = std::numeric_limits<std::uint64_t>::max();
const std::string huge_counts[] = {raw(max_u64), raw(std::uint64_t{1} << 63), raw(std::uint64_t{1} << 61),
                                   raw(std::uint64_t{1} << 32)};

}  // namespace

TEST_CASE("a GGUF file is its keys and its tensors, sizes outermost first") {
  const std::string bytes = good().file();
  const GgufFile file = read(bytes);
  REQUIRE(file.tensors.size() == 2);
  CHECK(file.tensors[0].name == "a");
  CHECK(file.tensors[0].dtype == DType::f32);
  CHECK(file.tensors[0].shape == Shape{2, 3});
  CHECK(file.tensors[0].bytes.size() == 24);
  CHECK(file.tensors[0].offset % 32 == 0);
  CHECK(file.tensors[1].dtype == DType::q8_0);
  CHECK(file.tensors[1].bytes[0] == std::byte{2});
  CHECK(file.metadata.get_string("general.architecture") == "llama");
  CHECK(file.metadata.get_integers("list", -1, 7) == std::vector<std::int64_t>{-1, 7});
  CHECK(file.metadata.values().size() == 2);
  GgufWriter old = good();
  old.version = 2;
  CHECK(read(old.file()).tensors.size() == 2);
}

TEST_CASE("C1 to C6: a file that is no whole GGUF header is refused") {
  const std::string file = good().file();
  for (const std::size_t size : {std::size_t{0}, std::size_t{3}, std::size_t{4}, std::size_t{6}})
    check_refused("C1", file.substr(0, size), "ends too early");
  check_refused("C1", file.substr(0, 20), "found 2, but only 4 bytes follow");
  check_refused("C2", "FUGG" + file.substr(4), "expected \"GGUF\", found \"FUGG\"");
  check_refused("C2", "PK\x03\x04" + file.substr(4), "a zip archive");
  check_refused("C2", "version https://git-lfs.github.com/spec/v1\n", "a git-lfs pointer");
  for (const std::uint32_t version : {0u, 1u, 4u, 0xffffffffu}) {
    GgufWriter writer = good();
    writer.version = version;
    check_refused("C3", writer.file(), "expected 2 or 3, found " + std::to_string(version));
  }
  GgufWriter swapped = good();
  swapped.version = 3u << 24;
  check_refused("C3", swapped.file(), "big-endian");
  for (const std::int64_t more : {std::int64_t{1}, std::int64_t{-1}, std::int64_t{1} << 32, std::int64_t{1} << 61,
                                  std::int64_t{-3}, std::numeric_limits<std::int64_t>::max()}) {
    GgufWriter tensors = good();
    tensors.more_tensors = more;
    check_refused("C4", tensors.file(), "");
    GgufWriter keys = good();
    keys.more_keys = more;
    check_refused("C5", keys.file(), "");
  }
  GgufWriter empty;
  CHECK(read(empty.file()).metadata.values().empty());  // C6: whoever needs a key refuses it
}

TEST_CASE("C7 to C16: a key or value that is not as GGUF has them is refused") {
  const std::string value = gguf_value(std::uint32_t{1});
  for (const std::string& count : huge_counts) check_key("C7", count + "k" + value, "length of a key");
  check_key("C7", raw(std::uint64_t{60000}) + "k" + value, "ends too early");
  check_key("C8", gguf_string("") + value, "expected 1 to 65535, found 0");
  check_key("C8", gguf_string(std::string(65536, 'k')) + value, "found 65536");
  for (const std::string_view key :
       {std::string_view("\xff"), std::string_view("a\0b", 3), std::string_view("\xc0\x80"),
        std::string_view("\xed\xa0\x80"), std::string_view("\xf4\x90\x80\x80"), std::string_view("\xe2\x82")}) {
    check_key("C8", gguf_string(key) + value, "no UTF-8 text");
  }
  check_key("C9", gguf_string("list") + value, "the key occurs twice");
  GgufWriter unknown = good();
  unknown.key("who.knows", gguf_array(8, 0, "")).key("what", gguf_value(""));
  const std::string file = unknown.file();
  CHECK(read(file).metadata.values().size() == 4);  // C10
  for (const std::uint32_t type : {13u, 255u, 0xffffffffu}) {
    check_key("C11", gguf_string("k") + raw(type) + "12345678", "unknown type " + std::to_string(type));
    check_key("C15", gguf_string("k") + gguf_array(type, 1, "12345678"), "unknown type " + std::to_string(type));
  }
  check_key("C12", gguf_string("k") + raw(std::uint32_t{7}) + "\2", "expected a bool, 0 or 1, found 2");
  check_key("C12", gguf_string("k") + gguf_array(7, 3, std::string("\1\0\3", 3)), "found 3");
  for (const std::string& count : huge_counts) {
    check_key("C13", gguf_string("k") + raw(std::uint32_t{8}) + count, "ends too early");
    for (const std::uint32_t type : {0u, 5u, 8u, 10u}) {
      check_key("C14", gguf_string("k") + raw(std::uint32_t{9}) + raw(type) + count, "bytes follow");
    }
  }
  check_key("C14", gguf_string("k") + gguf_array(8, 2, gguf_string("one") + raw(max_u64)), "ends too early");
  check_key("C16", gguf_string("k") + gguf_array(9, 1, gguf_array(4, 0, "")), "lists of lists");
  std::string deep;
  for (int i = 0; i < 10000; ++i) deep += raw(std::uint32_t{9}) + raw(std::uint64_t{1});
  check_key("C16", gguf_string("k") + raw(std::uint32_t{9}) + deep, "lists of lists");
}

TEST_CASE("C17: an alignment is a power of two of type u32") {
  const auto with = [](const std::string& value) {
    GgufWriter writer = good();
    writer.key("general.alignment", value);
    return writer.file();
  };
  for (const std::uint32_t alignment : {0u, 3u, 1u << 31, 1u << 20}) {
    check_refused("C17", with(gguf_value(alignment)), "general.alignment");
  }
  check_refused("C17", with(gguf_value(std::int32_t{32})), "type u32");
  check_refused("C17", with(gguf_value("32")), "type u32");
  check_refused("C17", with(gguf_array(4, 1, raw(std::uint32_t{32}))), "type u32");
  GgufWriter wide;
  wide.alignment = 256;
  wide.key("general.alignment", gguf_value(std::uint32_t{256}));
  wide.tensor("a", {3}, 0, std::string(12, '\1')).tensor("b", {2}, 1, std::string(4, '\1'));
  const std::string bytes = wide.file();
  CHECK(read(bytes).tensors[1].offset % 256 == 0);
}

TEST_CASE("C29 to C37: a tensor that no file can hold is refused") {
  for (const std::string& count : huge_counts) check_tensor("C29", count + "c", "length of a tensor's name");
  check_tensor("C29", tensor_info("", {1}, 0), "expected 1 to 64, found 0");
  check_tensor("C29", tensor_info(std::string(65, 'n'), {1}, 0), "found 65");
  check_tensor("C29", tensor_info(std::string(4096, 'n'), {1}, 0), "found 4096");
  check_tensor("C29", tensor_info("a", {1}, 0), "two tensors have this name");
  check_tensor("C29", tensor_info(std::string_view("c\0d", 3), {1}, 0), "no UTF-8 text");
  check_tensor("C30", tensor_info("c", {}, 0), "expected 1 to 4 sizes, found 0");
  check_tensor("C30", tensor_info("c", {1, 1, 1, 1, 1}, 0), "found 5");
  check_tensor("C30", gguf_string("c") + raw(0xffffffffu), "found 4294967295");
  check_tensor("C31", tensor_info("c", {0}, 0), "a size of it is 0");
  check_tensor("C31", tensor_info("c", {4, 0}, 0), "a size of it is 0");
  check_tensor("C31", tensor_info("c", {std::uint64_t{1} << 63}, 0), "a size of it is 9223372036854775808");
  check_tensor("C31", tensor_info("c", {max_u64}, 0), "a size of it is 18446744073709551615");
  check_tensor("C32", tensor_info("c", {std::uint64_t{1} << 32, std::uint64_t{1} << 32}, 0), "more bytes than 64 bits");
  check_tensor("C32", tensor_info("c", {std::uint64_t{1} << 31, std::uint64_t{1} << 31, 4}, 24), "more bytes than");
  check_tensor("C33", tensor_info("c", {std::uint64_t{1} << 62}, 0), "more bytes than 64 bits can count");
  check_tensor("C33", tensor_info("c", {(std::uint64_t{1} << 62) - 1}, 0), "the file ends too early");
  GgufWriter two = good();
  two.raw_tensor(tensor_info("c", {(std::uint64_t{1} << 61) - 8}, 0, 128), "");
  two.raw_tensor(tensor_info("d", {(std::uint64_t{1} << 61) - 8}, 0, (std::uint64_t{1} << 63) - 32 + 128), "");
  check_refused("C34", two.file(), "the file ends too early");
  for (const std::uint32_t type : {4u, 64u, 999u, 0xffffffffu}) {
    check_tensor("C35", tensor_info("c", {32}, type), "unknown type " + std::to_string(type));
  }
  check_tensor("C36", tensor_info("c", {48}, 2), "rows of 48 elements are no whole blocks of 32 (Q4_0)");
  check_tensor("C36", tensor_info("c", {32}, 12), "rows of 32 elements are no whole blocks of 256 (Q4_K)");
  check_tensor("C36", tensor_info("c", {128}, 10), "no whole blocks of 256 (Q2_K)");
}

TEST_CASE("C38 to C40: tensors lie one after the other, and all of the file is theirs") {
  check_tensor("C38", tensor_info("c", {16}, 0, 129), "its data begins at 129, expected 128");
  check_tensor("C38", tensor_info("c", {16}, 0, 0), "its data begins at 0, expected 128");
  check_tensor("C38", tensor_info("c", {16}, 0, 96), "expected 128");
  check_tensor("C38", tensor_info("c", {16}, 0, 160), "expected 128");
  check_tensor("C38", tensor_info("c", {16}, 0, max_u64 - 31), "expected 128");
  const std::string file = good().file();
  const std::size_t data = file.size() - 128;
  check_refused("C39", file.substr(0, data + 99), "the file ends too early");
  check_refused("C39", file.substr(0, data + 20), "the file ends too early");
  check_refused("C39", file.substr(0, data), "the file ends too early");
  check_refused("C39", file.substr(0, data - 1), "");
  check_refused("C40", file + "x", "1 bytes at the end belong to no tensor");
  check_refused("C40", file + std::string(64, 'x'), "64 bytes at the end");
  CHECK(read(file.substr(0, data + 100)).tensors.size() == 2);  // padding behind the last tensor may be missing
}

TEST_CASE("tensors of types that only ggml knows lie beside the others as bytes") {
  GgufWriter writer = good();
  writer.tensor("c", {256}, 16, std::string(66, '\1')).tensor("d", {2}, 26, std::string(8, '\1'));
  const std::string file = writer.file();
  const std::vector<Tensor> tensors = read(file).tensors;
  REQUIRE(tensors.size() == 4);
  CHECK(tensors[2].opaque == "the type IQ2_XXS is not supported");
  CHECK(tensors[2].shape == Shape{66});
  CHECK(tensors[3].dtype == DType::i32);  // C37: no weights are of that type
}

TEST_CASE("C44: 20,000 keys and tensors are read in a moment, and one name twice among them is refused") {
  GgufWriter writer;
  for (int i = 0; i < 20000; ++i) writer.key("key." + std::to_string(i), gguf_value(true));
  for (int i = 0; i < 20000; ++i) writer.tensor("tensor." + std::to_string(i), {1}, 0, std::string(4, '\1'));
  const std::string file = writer.file();
  const auto start = std::chrono::steady_clock::now();
  CHECK(read(file).tensors.size() == 20000);
  writer.key("key.77", gguf_value(true));
  check_refused("C44", writer.file(), "the key occurs twice");
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
}

TEST_CASE("a GGUF model in several files is one source, of the files that its first one counts") {
  const ScratchFolder folder;
  const auto part = [&](std::uint32_t number, std::uint32_t count, const std::string& name, std::int32_t total = 3) {
    GgufWriter writer;
    if (number == 0) writer.key("general.architecture", gguf_value("llama"));
    writer.key("split.no", raw(std::uint32_t{2}) + raw(static_cast<std::uint16_t>(number)));
    writer.key("split.count", raw(std::uint32_t{2}) + raw(static_cast<std::uint16_t>(count)));
    writer.key("split.tensors.count", gguf_value(total));
    writer.tensor(name, {2}, 0, std::string(8, static_cast<char>(number + 1)));
    return writer.file();
  };
  const auto write = [&](const std::string& name, const std::string& bytes) { folder.write(name, bytes); };
  const std::string first = folder.path() + "/m-00001-of-00003.gguf";
  write("m-00001-of-00003.gguf", part(0, 3, "c"));
  write("m-00002-of-00003.gguf", part(1, 3, "a"));
  const auto error = [&](const std::string& path) { return error_of([&] { TensorSource::open(path); }); };
  CHECK(error(first).code() == ErrorCode::io);  // C43: a file is missing
  write("m-00003-of-00003.gguf", part(2, 3, "b"));
  const TensorSource source = TensorSource::open(first);
  CHECK(source.names() == std::vector<std::string>{"a", "b", "c"});
  CHECK(source.files().size() == 3);
  CHECK(source.find("b")->bytes[0] == std::byte{3});
  CHECK(source.metadata()->get_string("general.architecture") == "llama");

  CHECK(contains(error(folder.path() + "/m-00002-of-00003.gguf").what(), "file 2 of 3, expected the first"));
  write("m-00003-of-00003.gguf", part(1, 3, "b"));
  CHECK(contains(error(first).what(), "expected 2, as its name says"));
  write("m-00003-of-00003.gguf", part(2, 4, "b"));
  CHECK(contains(error(first).what(), "expected 3, as in the first file"));
  write("m-00003-of-00003.gguf", part(2, 3, "b"));
  write("m-00001-of-00003.gguf", part(0, 3, "c", 4));
  CHECK(contains(error(first).what(), "all files together have 3 tensors"));
  write("m-00001-of-00003.gguf", part(65535, 3, "c"));
  CHECK(error(first).code() == ErrorCode::bad_file);
  write("other.gguf", part(0, 3, "c"));
  CHECK(contains(error(folder.path() + "/other.gguf").what(), "-00001-of-00003.gguf"));
}

TEST_CASE("renamed tensors answer to the reader's names, and messages call them as the file does") {
  const ScratchFolder folder;
  const std::string path = folder.path() + "/m.gguf";
  GgufWriter writer;
  std::string stack;
  for (const float value : {1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f}) stack += raw(value);
  writer.tensor("stack", {2, 3}, 0, stack).tensor("vector", {3}, 0, stack.substr(0, 12)).tensor("rest", {1}, 0, "1234");
  folder.write("m.gguf", writer.file());
  TensorSource source = TensorSource::open(path);
  source.rename(std::vector<TensorName>{{"e.0", "stack", 0, {}},
                                        {"e.2", "stack", 2, {}},
                                        {"e.9", "stack", 9, {}},
                                        {"v", "vector", -1, Shape{1, 3}},
                                        {"gone", "not.there", -1, {}}});
  CHECK(source.names() == std::vector<std::string>{"e.0", "e.2", "rest", "v"});
  float values[2];
  read_elements(*source.find("e.2"), 0, values);
  CHECK(values[0] == 5.0f);
  CHECK(source.find("v")->shape == Shape{1, 3});
  CHECK_FALSE(source.promises("stack"));
  const auto field = [&](const std::string& name, const Shape& shape) {
    return error_of([&] { source.require(name, {DType::f32}, shape); }).detail().field;
  };
  CHECK(field("gone", {1}) == "not.there");
  CHECK(field("v", {3, 1}) == "vector");
  CHECK(field("e.0", {3}) == "stack");
}
