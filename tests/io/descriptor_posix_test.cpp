#include "headgate/io/descriptor_posix.hpp"

#include "headgate/io/mapped_file.hpp"
#include "io/refusal.hpp"
#include "support/catch.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace {

using namespace headgate;
using io_test::contains;
using io_test::error_of;
using io_test::resident_bytes;
using io_test::ScratchFolder;

// Both ways to read a file refuse it: code io, the path, the system's reason.
void check_refused(const std::string& path, std::string_view reason) {
  const auto start = std::chrono::steady_clock::now();
  for (const Error& error :
       {error_of([&] { MappedFile::open(path); }), error_of([&] { read_small_file(path, 100); })}) {
    INFO(error.what());
    CHECK(error.code() == ErrorCode::io);
    CHECK(error.detail().file == path);
    CHECK(contains(error.what(), reason));
  }
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(2));
}

// Lowers a limit of the process until the end of the scope.
class LoweredLimit {
 public:
  explicit LoweredLimit(rlim_t files) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit lowered{files, before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &lowered);
  }
  ~LoweredLimit() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  LoweredLimit(const LoweredLimit&) = delete;
  LoweredLimit& operator=(const LoweredLimit&) = delete;

 private:
  rlimit before_{};
};

}  // namespace

TEST_CASE("links that lead nowhere, pipes and devices are refused, and never waited for") {
  const ScratchFolder folder;
  check_refused(folder.write("f", "x") + "/below", "Not a directory");
  std::filesystem::create_symlink("nowhere", folder / "dangling");
  check_refused(folder / "dangling", "No such file or directory");  // I2
  std::filesystem::create_symlink("loop", folder / "loop");
  check_refused(folder / "loop", "Too many levels of symbolic links");    // I2
  check_refused("/dev/zero", "expected a regular file, found a device");  // I3
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  check_refused(folder / "pipe", "expected a regular file, found a pipe");            // I4
  check_refused(folder.path() + "/" + std::string(5000, 'x'), "File name too long");  // I22
}

TEST_CASE("a file without permission is refused") {
  // I5. Root may read everything, so it becomes somebody else for a moment.
  const ScratchFolder folder;
  const std::string path = folder.write("secret", "x");
  std::filesystem::permissions(path, std::filesystem::perms::none);
  const bool is_root = ::geteuid() == 0;
  if (is_root && ::seteuid(65534) != 0) {
    WARN("skipped: cannot give up root's rights");
    return;
  }
  const Error error = error_of([&] { MappedFile::open(path); });
  if (is_root) REQUIRE(::seteuid(0) == 0);
  CHECK(error.code() == ErrorCode::io);
  CHECK(std::string(error.what()) == path + ": cannot open: Permission denied");
}

TEST_CASE("files under names of quotes and new lines and behind links are read") {
  // I10
  const ScratchFolder folder;
  for (const char* name : {"quote's \"name\"", "new\nline"}) {
    CHECK(MappedFile::open(folder.write(name, "content")).text() == "content");
  }
  folder.write("f", "content");
  std::filesystem::create_symlink("f", folder / "link");
  CHECK(read_small_file(folder / "link", 100) == "content");
}

TEST_CASE("a file replaced by rename keeps its old bytes for who has mapped it") {
  // I12
  const ScratchFolder folder;
  const std::string path = folder.write("f", "old");
  const MappedFile file = MappedFile::open(path);
  std::filesystem::rename(folder.write("g", "new bytes"), path);
  CHECK(file.text() == "old");
  CHECK(MappedFile::open(path).text() == "new bytes");
}

TEST_CASE("dropped pages leave memory and can be read again") {
  const ScratchFolder folder;
  constexpr std::size_t size = std::size_t{32} << 20;
  const std::string path = folder.write("f", std::string(size, 'x'));
  const MappedFile file = MappedFile::open(path);
  const auto touch = [&] {
    std::size_t sum = 0;
    for (std::size_t i = 0; i < size; i += 512) sum += static_cast<std::size_t>(file.bytes()[i]);
    return sum;
  };
  const std::size_t before = resident_bytes();
  const std::size_t sum = touch();
  const std::size_t touched = resident_bytes();
  CHECK(touched > before + size / 2);
  file.drop_pages(1000, size / 2);
  file.drop_pages(size / 2, ~std::uint64_t{0});
  file.drop_pages(size, 5);
  CHECK(resident_bytes() < touched - size / 2);
  CHECK(touch() == sum);
}

TEST_CASE("without a free descriptor opening fails and nothing leaks") {
  // I21
  const ScratchFolder folder;
  const std::string path = folder.write("f", "content");
  {
    const LoweredLimit limit(0);
    for (int i = 0; i < 3; ++i) check_refused(path, "Too many open files");
  }
  CHECK(read_small_file(path, 100) == "content");
  // B18: a mapping needs no descriptor.
  const LoweredLimit limit(64);
  std::vector<MappedFile> files;
  for (int i = 0; i < 300; ++i) files.push_back(MappedFile::open(path));
  CHECK(files.front().text() == "content");
}

TEST_CASE("reads that come short or are interrupted are continued") {
  // I15, I16: one byte a read, and a signal between any two of them.
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  struct sigaction handler{};
  struct sigaction before{};
  handler.sa_handler = [](int) {};  // without SA_RESTART: read answers EINTR
  REQUIRE(::sigaction(SIGUSR1, &handler, &before) == 0);
  const std::string sent = "a document that arrives byte by byte";
  const pthread_t reader = ::pthread_self();
  std::atomic<bool> wrote{true};
  std::thread writer([&] {
    for (const char c : sent) {
      std::this_thread::sleep_for(std::chrono::microseconds(300));
      ::pthread_kill(reader, SIGUSR1);
      std::this_thread::sleep_for(std::chrono::microseconds(300));
      if (::write(ends[1], &c, 1) != 1) wrote = false;
    }
    ::close(ends[1]);
  });
  std::string text(100, '\0');
  detail::read_into(ends[0], "pipe", text);
  writer.join();
  ::close(ends[0]);
  ::sigaction(SIGUSR1, &before, nullptr);
  CHECK(wrote);
  CHECK(text == sent);
}

TEST_CASE("a read that fails is an error of the system") {
  const ScratchFolder folder;
  const Descriptor directory = Descriptor::open(folder.path());
  std::string text(10, '\0');
  const Error error = error_of([&] { detail::read_into(directory.value(), directory.path(), text); });
  CHECK(error.code() == ErrorCode::io);
  CHECK(std::string(error.what()) == folder.path() + ": cannot read: Is a directory");
}

TEST_CASE("a folder is opened once and stays the same folder") {
  const ScratchFolder scratch;
  std::filesystem::create_directory(scratch / "model");
  scratch.write("model/f", "old");
  const Descriptor folder = Descriptor::open(scratch / "model");
  CHECK(folder.is_folder());
  CHECK(folder.contains("f"));
  CHECK_FALSE(folder.contains("g"));
  std::filesystem::rename(scratch / "model", scratch / "moved");
  std::filesystem::create_directory(scratch / "model");
  scratch.write("model/f", "new");
  CHECK(read_small_file(folder.open_inside("f"), 10) == "old");
  CHECK_FALSE(Descriptor::open(scratch / "model/f").is_folder());
}
