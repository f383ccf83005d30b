#include "headgate/io/tensor_source.hpp"

#include "io/refusal.hpp"
#include "io/safetensors_writer.hpp"
#include "support/catch.hpp"

#if defined(__linux__)
#include <sys/resource.h>
#endif

#include <algorithm>

namespace {

using namespace headgate;
using io_test::contains;
using io_test::error_of;
using io_test::little_endian;
using io_test::safetensors;
using io_test::ScratchFolder;
using io_test::two_tensors;

constexpr const char* index_name = "model.safetensors.index.json";
constexpr const char* first_shard = "model-00001-of-00002.safetensors";
constexpr const char* second_shard = "model-00002-of-00002.safetensors";

// Tensors a, b in the first shard, c, d in the second, and the index that says so.
void write_shards(const ScratchFolder& folder) {
  folder.write(first_shard, safetensors(two_tensors("a", "b")));
  folder.write(second_shard, safetensors(two_tensors("c", "d")));
  folder.write(index_name, std::string(R"({"metadata":{"total_size":20},"weight_map":{"a":")") + first_shard +
                               R"(","b":")" + first_shard + R"(","c":")" + second_shard + R"(","d":")" + second_shard +
                               "\"}}");
}
// An index with one entry "a" -> this JSON text.
std::string index_of(std::string_view shard) { return "{\"weight_map\":{\"a\":" + std::string(shard) + "}}"; }

Error refusal(const std::string& path) {
  return error_of([&] { TensorSource::open(path); });
}

// What requiring a tensor ends in; all of them are one number.
Error refusal_of(const std::string& name, const std::string& path) {
  const TensorSource source = TensorSource::open(path);
  return error_of([&] { source.require(name, {DType::u8, DType::f32, DType::bf16}, {1}); });
}

// Name and reason of what was passed over.
std::string skipped(const TensorSource& source) {
  std::string text;
  for (const SkippedPart& part : source.skipped()) {
    text += part.name + (part.is_damaged ? " (damaged): " : ": ") + part.why + "\n";
  }
  return text;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("a folder with one safetensors file and the file itself hold the same tensors") {
  const ScratchFolder folder;
  const std::string path = folder.write("model.safetensors", safetensors(two_tensors()));
  for (const std::string& place : {folder.path(), path}) {
    const TensorSource source = TensorSource::open(place);
    CHECK(source.names() == Names{"a", "b"});
    CHECK(source.files().size() == 1);
    REQUIRE(source.find("a") != nullptr);
    CHECK(source.find("c") == nullptr);
    CHECK(source.find("") == nullptr);
    std::vector<float> row(2);
    read_row(*source.find("a"), 0, row);
    CHECK(row == std::vector<float>{1.0f, -2.0f});
  }
}

TEST_CASE("shards are read through their index") {
  const ScratchFolder folder;
  write_shards(folder);
  TensorSource opened = TensorSource::open(folder.path());
  const TensorSource source = std::move(opened);
  CHECK(source.names() == Names{"a", "b", "c", "d"});
  CHECK(source.files().size() == 2);
  std::vector<float> row(1);
  read_row(source.require("d", {DType::bf16}, {1}), 0, row);
  CHECK(row == std::vector<float>{0.75f});
  source.release(*source.find("d"));
  read_row(*source.find("d"), 0, row);
  CHECK(row == std::vector<float>{0.75f});
}

TEST_CASE("a tensor that is missing or not as required is refused with expected and found") {
  // A27, A42, A48, A49
  const ScratchFolder folder;
  const std::string data(48, '\0');
  folder.write("model.safetensors", safetensors({{"gate", "F32", "[3,4]", data},
                                                 {"flat", "I32", "[12]", data},
                                                 {"none", "F32", "[0,4]", ""},
                                                 {"wide", "F64", "[2,3]", data},
                                                 {"nul\\u0000", "F32", "[3,4]", data}}));
  const TensorSource source = TensorSource::open(folder.path());
  const auto refused = [&](std::string_view name, std::initializer_list<DType> types, const Shape& shape) {
    const Error error = error_of([&] { source.require(name, types, shape); });
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(contains(error.what(), folder.path()));
    return std::string(error.what());
  };
  const auto at_data = [&](const char* name) {
    return folder.path() + "/model.safetensors: " + name + " at byte " + std::to_string(source.find(name)->offset) +
           ": ";
  };
  CHECK(&source.require("gate", {DType::bf16, DType::f32}, {3, 4}) == source.find("gate"));
  CHECK(refused("gate", {DType::f32}, {4, 3}) == at_data("gate") + "expected shape (4, 3), found (3, 4)");
  CHECK(refused("gate", {DType::f32}, {3, 5}) == at_data("gate") + "expected shape (3, 5), found (3, 4)");
  CHECK(refused("gate", {DType::f32}, {12}) == at_data("gate") + "expected shape (12), found (3, 4)");
  CHECK(refused("none", {DType::f32}, {3, 4}) == at_data("none") + "expected shape (3, 4), found (0, 4)");
  CHECK(refused("flat", {DType::f32, DType::bf16}, {12}) == at_data("flat") + "expected type F32 or BF16, found I32");
  CHECK(refused("wide", {DType::f32}, {2, 3}) == at_data("wide") + "expected type F32, found F64");
  CHECK(refused("gate ", {DType::f32}, {3, 4}) ==
        folder.path() + ": gate : the tensor is missing, expected shape (3, 4)");
  CHECK(contains(refused("nul", {DType::f32}, {3, 4}), "the tensor is missing"));  // A17
}

TEST_CASE("a folder without tensors is an error of the system") {
  const ScratchFolder folder;
  CHECK(refusal(folder.path()).code() == ErrorCode::io);  // I1
  CHECK(contains(refusal(folder.path()).what(), "neither model.safetensors nor model.safetensors.index.json"));
  CHECK(refusal((folder / "absent").string()).code() == ErrorCode::io);
  CHECK(refusal("/dev/zero").code() == ErrorCode::io);  // I3
#if !defined(_WIN32)                                    // links need a privilege there
  std::filesystem::create_symlink("loop", folder / "model.safetensors");
  std::filesystem::create_symlink("model.safetensors", folder / "loop");
  CHECK(refusal(folder.path()).code() == ErrorCode::io);  // I2
#endif
}

TEST_CASE("a shard name that is not the plain name of a file in the folder is refused, and nothing is opened") {
  struct Case {
    const char* id;
    std::string json;
    std::string part;
  };
  const Case cases[] = {
      {"B1", "\"../outside.safetensors\"", "found the string \"../outside.safetensors\""},
      {"B2", "\"/etc/passwd\"", "found the string \"/etc/passwd\""},
      {"B3", "\"..\\\\outside.safetensors\"", "outside.safetensors"},
      {"B4", "\"sub/inside.safetensors\"", "sub/inside"},
      {"B5", "\"x.safetensors\\u0000y\"", "x.safetensors\\x00y"},
      {"B6", "\".\"", "found the string \".\""},
      {"B6", "\"..\"", "found the string \"..\""},
      {"B7", "\"\"", "found the string \"\""},
      {"B8", "7", "found 7"},
      {"B8", "null", "found null"},
      {"B13", "\"model.safetensors.index.json\"", "found the string \"model.safetensors.index.json\""},
  };
  const ScratchFolder scratch;
  // The files exist and are good: only the name is wrong.
  std::filesystem::create_directories(scratch / "model/sub");
  for (const char* name : {"outside.safetensors", "model/sub/inside.safetensors", "model/..\\outside.safetensors",
                           "model/x.safetensors"}) {
    scratch.write(name, safetensors({{"a", "U8", "[1]", "x"}}));
  }
  for (const Case& bad : cases) {
    INFO(bad.id);
    const std::string text = index_of(bad.json);
    scratch.write("model/model.safetensors.index.json", text);
    const Error error = refusal((scratch / "model").string());
    INFO(error.what());
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(error.detail().offset == static_cast<std::int64_t>(text.find(bad.json + "}}")));
    CHECK(contains(error.what(), "model.safetensors.index.json: weight_map.a at byte "));
    CHECK(contains(error.what(), "expected the name of a file in this folder, "));
    CHECK(contains(error.what(), bad.part));
  }
}

TEST_CASE("a shard that is missing, no file, or written in other letters is an error of the system for its tensors") {
  const ScratchFolder folder;
  write_shards(folder);
  std::filesystem::rename(folder / second_shard, folder / "MODEL-00002-of-00002.safetensors");
  const std::string reason = folder.path() + "/" + second_shard + ": cannot open: No such file or directory";
#if !defined(_WIN32)                                     // where letters of either case name one file
  const Error missing = refusal_of("d", folder.path());  // B9, B17
  CHECK(missing.code() == ErrorCode::io);
  CHECK(missing.what() == reason);
#endif
  std::filesystem::remove(folder / "MODEL-00002-of-00002.safetensors");
  CHECK(refusal_of("d", folder.path()).what() == reason);
  std::filesystem::create_directory(folder / second_shard);
  CHECK(contains(refusal_of("d", folder.path()).what(), "found a folder"));
  std::filesystem::remove(folder / second_shard);

  // The tensors of the other shard are as good as before.
  const TensorSource source = TensorSource::open(folder.path());
  CHECK(source.names() == Names{"a", "b"});
  CHECK(source.require("b", {DType::bf16}, {1}).name == "b");
  CHECK(source.files().size() == 1);
  CHECK(skipped(source) == std::string(second_shard) + " (damaged): " + reason + "\n");
  CHECK(source.find("d") == nullptr);
  CHECK(source.promises("d"));
  CHECK(source.promises("a"));
  CHECK_FALSE(source.promises("e"));
}

TEST_CASE("index and shards must agree about a tensor that is required") {
  const ScratchFolder folder;
  write_shards(folder);
  const auto check_refused = [&](const std::string& name, const std::string& file,
                                 std::initializer_list<const char*> parts) {
    const Error error = refusal_of(name, folder.path());
    INFO(error.what());
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(error.detail().file == folder / file);
    CHECK(error.detail().offset >= 0);
    for (const char* part : parts) CHECK(contains(error.what(), part));
  };
  SECTION("B10 not in its shard") {
    folder.write(second_shard, safetensors({{"c", "U8", "[1]", "x"}}));
    check_refused("d", index_name, {"weight_map.d at byte ", "no such tensor in model-00002-of-00002.safetensors"});
    const TensorSource source = TensorSource::open(folder.path());
    CHECK(skipped(source) == std::string(index_name) + ": d: no shard has this tensor\n");
    CHECK_FALSE(source.promises("d"));
    CHECK(source.require("c", {DType::u8}, {1}).name == "c");
  }
  SECTION("B10 in two shards, of which the index names the first or the second") {
    folder.write(second_shard,
                 safetensors({{"b", "U8", "[1]", "x"}, {"c", "U8", "[1]", "x"}, {"d", "U8", "[1]", "x"}}));
    check_refused("b", second_shard, {"b at byte ", "it is also in ", first_shard});
    folder.write(second_shard, safetensors(two_tensors("c", "d")));
    folder.write(first_shard, safetensors({{"a", "U8", "[1]", "x"}, {"d", "U8", "[1]", "x"}}));
    check_refused("d", first_shard, {"d at byte ", "says that it is in model-00002-of-00002.safetensors"});
  }
  SECTION("B14 second shard cut") {
    const std::string whole = safetensors(two_tensors("c", "d"));
    folder.write(second_shard, whole.substr(0, whole.size() - 1));
    check_refused("d", second_shard, {"d.data_offsets at byte "});
    check_refused("c", second_shard, {"d.data_offsets at byte "});
    CHECK(TensorSource::open(folder.path()).require("b", {DType::bf16}, {1}).name == "b");
  }
  SECTION("B15 shards swapped") {
    folder.write(second_shard, safetensors(two_tensors("a", "b")));
    folder.write(first_shard, safetensors(two_tensors("c", "d")));
    check_refused("d", first_shard, {"d at byte ", "says that it is in model-00002-of-00002.safetensors"});
  }
  SECTION("a tensor that the index does not list is that of the shards") {
    folder.write(second_shard,
                 safetensors({{"c", "U8", "[1]", "x"}, {"d", "U8", "[1]", "x"}, {"e", "U8", "[1]", "x"}}));
    CHECK(TensorSource::open(folder.path()).require("e", {DType::u8}, {1}).name == "e");
    folder.write(first_shard, safetensors({{"a", "U8", "[1]", "x"}, {"e", "U8", "[1]", "x"}}));
    check_refused("e", second_shard, {"e at byte ", "it is also in ", first_shard});
  }
}

TEST_CASE("a single file is the model, whatever an index beside it says, as in transformers") {
  const ScratchFolder folder;
  write_shards(folder);
  folder.write("model.safetensors", safetensors(two_tensors("a", "x")));
  for (const std::string& index : Names{read_small_file((folder / index_name).string(), 10'000), "no JSON"}) {
    folder.write(index_name, index);
    const TensorSource source = TensorSource::open(folder.path());
    CHECK(source.names() == Names{"a", "x"});
    CHECK(source.files().size() == 1);
    CHECK(skipped(source) == "model.safetensors.index.json: model.safetensors is read in its place\n");
    CHECK(contains(error_of([&] { source.require("c", {DType::f32}, {2}); }).what(), "c: the tensor is missing"));
  }
  CHECK(skipped(TensorSource::open((folder / "model.safetensors").string())).empty());
}

TEST_CASE("a tensor that cannot be read as numbers is refused with the reason where it is required") {
  // A26, A33, A50
  const ScratchFolder folder;
  folder.write("model.safetensors", safetensors({{"good", "F32", "[1]", "xxxx"},
                                                 {"four", "F4", "[2]", "x"},
                                                 {"deep", "U8", "[1,1,1,1,1,1,1,1,1]", "x"}}));
  const TensorSource source = TensorSource::open(folder.path());
  CHECK(source.require("good", {DType::f32}, {1}).name == "good");
  for (const auto& [name, reason] :
       {std::pair{"four", "unknown type \"F4\""}, std::pair{"deep", "at most 8 sizes, found 9"}}) {
    const Error error = error_of([&] { source.require(name, {DType::u8}, {1}); });
    INFO(error.what());
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(error.detail().file == folder / "model.safetensors");
    CHECK(error.detail().field == name);
    CHECK(contains(error.what(), reason));
  }
}

TEST_CASE("an index that is damaged or empty is refused") {
  struct Case {
    const char* text;
    std::int64_t offset;
    const char* part;
  };
  const Case cases[] = {
      {R"({"weight_map":{"a":"x.saf)", 25, "missing closing quote"},
      {R"(["a"])", 0, "expected an object, found a list"},
      {R"({"metadata":{}})", 0, "weight_map at byte 0: the key is missing"},
      {R"({"weight_map":{}})", 14, "expected at least one tensor"},
      {R"({"weight_map":["a"]})", 14, "expected an object, found a list"},
      {R"({"weight_map":{"a":"x","a":"y"}})", 23, "the key occurs twice"},
      {"", 0, "unexpected end of input"},
  };
  const ScratchFolder folder;
  for (const Case& bad : cases) {  // B11
    folder.write(index_name, bad.text);
    const Error error = refusal(folder.path());
    INFO(error.what());
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(error.detail().file == folder / index_name);
    CHECK(error.detail().offset == bad.offset);
    CHECK(contains(error.what(), bad.part));
  }
  std::filesystem::resize_file(folder / index_name, std::uint64_t{1} << 30);
  CHECK(refusal(folder.path()).code() == ErrorCode::limit);
}

TEST_CASE("unusual but correct folders are read") {
  const ScratchFolder folder;
  write_shards(folder);
  SECTION("B12 a wrong total_size") {
    std::string index = read_small_file((folder / index_name).string(), 10'000);
    index.replace(index.find("20}"), 2, "-7");
    folder.write(index_name, index);
    CHECK(TensorSource::open(folder.path()).tensors().size() == 4);
  }
#if !defined(_WIN32)
  SECTION("B16 files are links to elsewhere, as in the cache of Hugging Face") {
    const ScratchFolder links;
    for (const char* name : {index_name, first_shard, second_shard}) {
      std::filesystem::create_symlink(folder / name, links / name);
    }
    CHECK(TensorSource::open(links.path()).tensors().size() == 4);
  }
#endif
  SECTION("B20 shards of different types") {
    folder.write(second_shard, safetensors({{"c", "F16", "[1]", "xx"}, {"d", "I64", "[1]", "xxxxxxxx"}}));
    CHECK(TensorSource::open(folder.path()).find("c")->dtype == DType::f16);
  }
  SECTION("an index with numbers that only Python reads") {
    std::string index = read_small_file((folder / index_name).string(), 10'000);
    index.replace(index.find("20}"), 2, "NaN");
    folder.write(index_name, index);
    CHECK(TensorSource::open(folder.path()).tensors().size() == 4);
  }
  SECTION("an index that lists the single file") {
    const ScratchFolder single;
    single.write("model.safetensors", safetensors(two_tensors()));
    single.write(index_name, R"({"weight_map":{"a":"model.safetensors","b":"model.safetensors"}})");
    CHECK(TensorSource::open(single.path()).names() == Names{"a", "b"});
  }
  SECTION("a single file with the same tensors is read in place of the shards") {
    std::vector<io_test::WrittenTensor> all = two_tensors("a", "b");
    for (const io_test::WrittenTensor& tensor : two_tensors("c", "d")) all.push_back(tensor);
    folder.write("model.safetensors", safetensors(all));
    CHECK(TensorSource::open(folder.path()).files().size() == 1);
  }
}

#if defined(__linux__)
TEST_CASE("shards need no descriptors once they are mapped") {
  // B18, with the limit lowered in place of ten thousand shards.
  const ScratchFolder folder;
  std::string index = "{\"weight_map\":{";
  for (int i = 0; i < 200; ++i) {
    const std::string name = "t" + std::to_string(i);
    folder.write(name + ".safetensors", safetensors({{name, "U8", "[1]", "x"}}));
    index += (i == 0 ? "\"" : ",\"") + name + "\":\"" + name + ".safetensors\"";
  }
  folder.write(index_name, index + "}}");
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const rlimit lowered{32, before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &lowered) == 0);
  std::size_t files = 0;
  try {
    files = TensorSource::open(folder.path()).files().size();
  } catch (const Error&) {
  }
  ::setrlimit(RLIMIT_NOFILE, &before);
  CHECK(files == 200);
}
#endif

TEST_CASE("huge sparse files are judged without being read") {
  const ScratchFolder folder;
  SECTION("I6 a header over the cap") {
    const std::string path = folder.write("model.safetensors", little_endian(100'000'001));
    std::filesystem::resize_file(path, std::uint64_t{1} << 30);
    const Error error = refusal(path);
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(
        contains(error.what(), "header length at byte 0: the header does not fit (has 100000001 bytes, allowed 1000"));
  }
  SECTION("I6 a header at the cap, all zero") {
    const std::string path = folder.write("model.safetensors", little_endian(100'000'000));
    std::filesystem::resize_file(path, std::uint64_t{1} << 30);
    CHECK(contains(refusal(path).what(), "at byte 8: not valid JSON: a NUL byte"));
  }
  SECTION("I7 64 GiB of data") {
    constexpr std::uint64_t size = std::uint64_t{64} << 30;
    const std::string header =
        R"({"w":{"dtype":"F32","shape":[131072,131072],"data_offsets":[0,)" + std::to_string(size) + "]}}";
    const std::string path = folder.write("model.safetensors", safetensors(header, 0));
    std::filesystem::resize_file(path, 8 + header.size() + size);
#if defined(__linux__) && !defined(HEADGATE_EMULATED)  // an emulator has tables of all that is mapped
    const std::size_t before = io_test::resident_bytes();
#endif
    const TensorSource source = TensorSource::open(path);
    const Error error = error_of([&] { source.require("w", {DType::f32}, {512, 256}); });
    CHECK(contains(error.what(), "expected shape (512, 256), found (131072, 131072)"));
    std::vector<float> row(131072, 1.0f);
    read_row(*source.find("w"), 131071, row);
    CHECK(row.back() == 0.0f);
#if defined(__linux__) && !defined(HEADGATE_EMULATED)
    CHECK(io_test::resident_bytes() < before + (std::size_t{64} << 20));
#endif
  }
}

TEST_CASE("the demo model's tensors are those its config.json promises") {
  const TensorSource source = TensorSource::open(HEADGATE_SOURCE_DIR "/examples/models/tales");
  source.require("model.embed_tokens.weight", {DType::bf16}, {4096, 256});
  const Tensor& gate = source.require("model.layers.5.mlp.gate.weight", {DType::bf16, DType::f32}, {16, 256});
  std::vector<float> row(256);
  read_row(gate, 15, row);
  CHECK(std::any_of(row.begin(), row.end(), [](float value) { return value != 0; }));
  source.release(gate);
}

TEST_CASE("the largest index that is read has 128 MiB") {
  const ScratchFolder folder;
  write_shards(folder);
  std::filesystem::resize_file(folder / index_name, (std::uint64_t{128} << 20) + 1);
  CHECK(std::string(refusal(folder.path()).what()) ==
        (folder / index_name).string() + ": the file is too large (has 134217729 bytes, allowed 134217728)");
  std::filesystem::resize_file(folder / index_name, std::uint64_t{128} << 20);
  CHECK(refusal(folder.path()).code() == ErrorCode::bad_file);  // NUL bytes
}

TEST_CASE("an index without its shard's tensor names the shard where the index does") {
  const ScratchFolder folder;
  write_shards(folder);
  folder.write(second_shard, safetensors({{"c", "U8", "[1]", "x"}}));
  const std::string index = read_small_file(folder / index_name, 10'000);
  const Error error = refusal_of("d", folder.path());
  CHECK(error.detail().field == "weight_map.d");
  CHECK(error.detail().offset == static_cast<std::int64_t>(index.find("\"d\":") + 4));
  CHECK(std::string(error.what()) == (folder / index_name).string() + ": weight_map.d at byte " +
                                         std::to_string(error.detail().offset) + ": there is no such tensor in " +
                                         second_shard);
}

TEST_CASE("shards are read in the order of their names, and tensors know their file") {
  const ScratchFolder folder;
  write_shards(folder);
  // The index names the second shard first.
  folder.write(index_name, std::string(R"({"weight_map":{"d":")") + second_shard + R"(","c":")" + second_shard +
                               R"(","b":")" + first_shard + R"(","a":")" + first_shard + "\"}}");
  const TensorSource source = TensorSource::open(folder.path());
  REQUIRE(source.files().size() == 2);
  CHECK(source.files()[0].path() == folder / first_shard);
  CHECK(source.files()[1].path() == folder / second_shard);
  for (const char* name : {"a", "b"}) CHECK(source.find(name)->file == 0);
  for (const char* name : {"c", "d"}) CHECK(source.find(name)->file == 1);
  CHECK(source.skipped().empty());
  CHECK(contains(error_of([&] { source.fail(*source.find("d"), "no"); }).what(), std::string(second_shard) + ": d at"));
  CHECK_FALSE(source.promises("e"));
  CHECK(source.promises("a"));
}

#if defined(__linux__)
TEST_CASE("a released tensor leaves the memory") {
  const ScratchFolder folder;
  const std::string data(std::size_t{1} << 20, 'x');
  const std::string path =
      folder.write("model.safetensors", safetensors({{"a", "U8", "[1048576]", data}, {"b", "U8", "[1048576]", data}}));
  const TensorSource source = TensorSource::open(path);
  const std::string_view text = source.files()[0].text();
  CHECK(std::count(text.begin(), text.end(), 'x') == 2 << 20);
  const long before = io_test::resident_kib(path);
  REQUIRE(before >= 2048);
  source.release(*source.find("a"));
  CHECK(io_test::resident_kib(path) <= before - 1024);
}
#endif
