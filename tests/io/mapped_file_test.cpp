#include "headgate/io/mapped_file.hpp"

#include "io/refusal.hpp"
#include "support/catch.hpp"

#include <algorithm>

namespace {

using namespace headgate;
using io_test::contains;
using io_test::error_of;
using io_test::ScratchFolder;

}  // namespace

TEST_CASE("a file is mapped and read whole, an empty one too") {
  const ScratchFolder folder;
  const std::string path = folder.write("f", std::string("a\0b", 3));
  const MappedFile file = MappedFile::open(path);
  CHECK(file.path() == path);
  CHECK(file.text() == std::string_view("a\0b", 3));
  CHECK(file.bytes().size() == 3);
  CHECK(read_small_file(path, 3) == std::string("a\0b", 3));
  const std::string empty = folder.write("empty", "");
  CHECK(MappedFile::open(empty).bytes().empty());
  CHECK(read_small_file(empty, 0).empty());
  MappedFile::open(empty).drop_pages(0, 100);
}

TEST_CASE("what is no regular file is refused with path and reason") {
  const ScratchFolder folder;
  const auto check_refused = [](const std::string& path, std::string_view reason) {
    for (const Error& error :
         {error_of([&] { MappedFile::open(path); }), error_of([&] { read_small_file(path, 100); })}) {
      INFO(error.what());
      CHECK(error.code() == ErrorCode::io);
      CHECK(error.detail().file == path);
      CHECK(contains(error.what(), reason));
    }
  };
  check_refused((folder / "absent").string(), "cannot open: No such file or directory");  // I1
  check_refused(folder.path(), "expected a regular file, found a folder");                // I1
  check_refused("", "cannot open: No such file or directory");
  check_refused((folder / std::string_view("f\0g", 3)).string(), "cannot open: Invalid argument");  // would open f
}

TEST_CASE("files under odd names are read") {
  // I10
  const ScratchFolder folder;
  for (const char* name : {"with space", "\xc3\xbc\xe2\x82\xac", "-flag"}) {
    CHECK(MappedFile::open(folder.write(name, "content")).text() == "content");
  }
}

TEST_CASE("a document larger than allowed is refused by its size alone") {
  // I8: 4 GiB, without a byte on disk.
  const ScratchFolder folder;
  const std::string path = folder.write("tokenizer.json", "");
  std::filesystem::resize_file(path, std::uint64_t{4} << 30);
  const Error error = error_of([&] { read_small_file(path, 1000); });
  CHECK(error.code() == ErrorCode::limit);
  CHECK(std::string(error.what()) == path + ": the file is too large (has 4294967296 bytes, allowed 1000)");
  CHECK(MappedFile::open(path).bytes().size() == std::uint64_t{4} << 30);
  CHECK(error_of([&] { read_small_file(folder.write("config.json", "{}\n"), 2); }).code() == ErrorCode::limit);
}

TEST_CASE("dropped pages can be read again") {
  const ScratchFolder folder;
  std::string text(100'000, 'x');
  for (std::size_t i = 0; i < text.size(); i += 7) text[i] = static_cast<char>(i);
  const MappedFile file = MappedFile::open(folder.write("f", text));
  CHECK(file.text() == text);
  file.drop_pages(1000, 70'000);
  file.drop_pages(50'000, ~std::uint64_t{0});
  file.drop_pages(text.size(), 5);
  CHECK(file.text() == text);
}

TEST_CASE("files are opened inside of an open folder") {
  const ScratchFolder scratch;
  scratch.write("f", "content");
  const Descriptor folder = Descriptor::open(scratch.path());
  CHECK(folder.path() == scratch.path());
  CHECK(folder.is_folder());
  CHECK(folder.contains("f"));
  CHECK_FALSE(folder.contains("g"));
  const Descriptor file = folder.open_inside("f");
  CHECK_FALSE(file.is_folder());
  CHECK(file.path() == scratch.path() + "/f");
  CHECK(file.file_size() == 7);
  CHECK(MappedFile(file).text() == "content");
  CHECK(read_small_file(file, 7) == "content");
}

#if defined(__linux__)
TEST_CASE("the pages that hold the dropped bytes leave the memory, and no others") {
  const std::size_t page = Descriptor::page_size();
  const auto kib = [&](std::size_t pages) { return static_cast<long>(pages * page / 1024); };
  const ScratchFolder folder;
  const std::string path = folder.write("pages", std::string(20 * page - 100, 'x'));
  const MappedFile file = MappedFile::open(path);
  const auto left_after = [&](std::uint64_t offset, std::uint64_t count) {
    CHECK(static_cast<std::size_t>(std::count(file.text().begin(), file.text().end(), 'x')) == file.text().size());
    REQUIRE(io_test::resident_kib(path) == kib(20));
    file.drop_pages(offset, count);
    return io_test::resident_kib(path);
  };
  CHECK(left_after(page + 10, 4 * page) == kib(15));  // they begin in the second and end in the sixth
  CHECK(left_after(0, 1) == kib(19));
  CHECK(left_after(0, ~std::uint64_t{0}) == 0);
  CHECK(left_after(18 * page, 10 * page) == kib(18));
  CHECK(left_after(3 * page + 10, 0) == kib(20));
  CHECK(left_after(20 * page - 100, 5) == kib(20));
  CHECK(left_after(~std::uint64_t{0}, 5) == kib(20));
}

TEST_CASE("a mapping ends with its owner") {
  const ScratchFolder folder;
  const std::string path = folder.write("mapped", "content");
  {
    const MappedFile file = MappedFile::open(path);
    CHECK(io_test::resident_kib(path) >= 0);
  }
  CHECK(io_test::resident_kib(path) == -1);
}
#endif

TEST_CASE("a mapping that was moved from holds nothing") {
  const ScratchFolder folder;
  MappedFile first = MappedFile::open(folder.write("f", "content"));
  const std::byte* const data = first.bytes().data();
  const MappedFile second = std::move(first);
  CHECK(second.bytes().data() == data);
  CHECK(second.text() == "content");
  CHECK(first.bytes().data() == nullptr);  // NOLINT(bugprone-use-after-move)
  CHECK(first.bytes().empty());
}
