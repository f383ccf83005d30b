#include "headgate/io/descriptor_windows.hpp"

#include "headgate/io/mapped_file.hpp"
#include "io/refusal.hpp"
#include "support/catch.hpp"

using namespace headgate;
using io_test::contains;
using io_test::error_of;
using io_test::ScratchFolder;

TEST_CASE("devices are refused and never waited for") {
  for (const char* name : {"NUL", "CON"}) {
    const Error error = error_of([&] { MappedFile::open(name); });
    CHECK(error.code() == ErrorCode::io);
    CHECK(contains(error.what(), name));
  }
  CHECK(contains(error_of([] { MappedFile::open("NUL"); }).what(), "expected a regular file, found a device"));
}

TEST_CASE("a path that is not UTF-8 is refused") {
  for (const char* path : {"\xff", "a\xc3", "\xed\xa0\x80"}) {
    const Error error = error_of([&] { Descriptor::open(path); });
    CHECK(error.code() == ErrorCode::io);
    CHECK(contains(error.what(), "cannot open: Invalid argument"));
  }
}

TEST_CASE("a folder that is open keeps its name, and so do the files inside it") {
  const ScratchFolder scratch;
  std::filesystem::create_directory(scratch / "model");
  scratch.write("model/f", "content");
  const auto rename = [&](const char* from, const char* to) {
    std::error_code error;
    std::filesystem::rename(scratch / from, scratch / to, error);
    return !error;
  };
  {
    const Descriptor folder = Descriptor::open((scratch / "model").string());
    CHECK_FALSE(rename("model", "moved"));
    CHECK(read_small_file(folder.open_inside("f"), 10) == "content");
  }
  CHECK(rename("model", "moved"));
}

TEST_CASE("a read that fails is an error of the system") {
  const ScratchFolder folder;
  const Descriptor directory = Descriptor::open(folder.path());
  std::string text(10, '\0');
  const Error error = error_of([&] { directory.read(text); });
  CHECK(error.code() == ErrorCode::io);
  CHECK(contains(error.what(), folder.path() + ": cannot read: "));
}
