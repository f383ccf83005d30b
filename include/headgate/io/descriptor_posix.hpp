// Descriptor: an open file or folder, by the calls of POSIX. io/mapped_file.hpp includes it, or its twin.
#pragma once

#if !defined(_WIN32)

#include "headgate/core/error.hpp"
#include "headgate/core/types.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <span>
#include <string>
#include <system_error>
#include <utility>

namespace headgate::inline HEADGATE_ABI {

namespace detail {

// The call again for as long as a signal interrupts it.
template <class Call>
auto uninterrupted(Call&& call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

[[noreturn]] inline void fail_io(const std::string& path, const std::string& action, int reason) {
  throw Error(ErrorCode::io, {path, "", -1, "cannot " + action + ": " + std::generic_category().message(reason)});
}

// Fills text from a descriptor, in as many reads as it takes; shorter where the file is.
inline void read_into(int descriptor, const std::string& path, std::string& text) {
  std::size_t have = 0;
  while (have < text.size()) {
    const std::span<char> rest = std::span(text).subspan(have);
    const ssize_t got = uninterrupted([&] { return ::read(descriptor, rest.data(), rest.size()); });
    if (got < 0) fail_io(path, "read", errno);
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  text.resize(have);
}

}  // namespace detail

// Closed with the object. Opening never blocks.
class Descriptor {
 public:
  static Descriptor open(const std::string& path) { return Descriptor(AT_FDCWD, path, path); }
  // A name inside this folder: the same folder for every call, also when its path comes to mean another one.
  Descriptor open_inside(const std::string& name) const { return Descriptor(value_, name, path_ + "/" + name); }

  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)), path_(std::move(other.path_)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }

  int value() const noexcept { return value_; }
  const std::string& path() const noexcept { return path_; }

  // Whether there is such a name inside this folder. A link that leads nowhere is no such name.
  bool contains(const std::string& name) const {
    struct stat status;
    return ::fstatat(value_, name.c_str(), &status, 0) == 0 || (errno != ENOENT && errno != ENOTDIR);
  }
  bool is_folder() const { return S_ISDIR(status().st_mode); }
  // Bytes of a regular file; anything else is refused.
  std::uint64_t file_size() const {
    const struct stat found = status();
    if (!S_ISREG(found.st_mode)) {
      const char* const kind = S_ISDIR(found.st_mode)                               ? "a folder"
                               : S_ISFIFO(found.st_mode) || S_ISSOCK(found.st_mode) ? "a pipe"
                               : S_ISCHR(found.st_mode) || S_ISBLK(found.st_mode)   ? "a device"
                                                                                    : "something else";
      throw Error(ErrorCode::io, {path_, "", -1, std::string("expected a regular file, found ") + kind});
    }
    return static_cast<std::uint64_t>(found.st_size);
  }
  // Fills text; shorter where the file is.
  void read(std::string& text) const { detail::read_into(value_, path_, text); }

  // The first size bytes, which is more than none. They stay when the file is closed, until unmap().
  std::byte* map(std::size_t size) const {
    void* const mapping = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, value_, 0);
    if (mapping == MAP_FAILED) detail::fail_io(path_, "map", errno);
    return static_cast<std::byte*>(mapping);
  }
  static void unmap(std::span<std::byte> mapping) noexcept { ::munmap(mapping.data(), mapping.size()); }
  // Whole pages of a mapping leave memory and come from the file again when they are read.
  static void drop(std::span<std::byte> pages) noexcept { ::madvise(pages.data(), pages.size(), MADV_DONTNEED); }
  static std::size_t page_size() noexcept { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

 private:
  Descriptor(int folder, const std::string& name, std::string path) : path_(std::move(path)) {
    if (name.find('\0') != std::string::npos) detail::fail_io(path_, "open", EINVAL);
    // O_NONBLOCK: a pipe without a writer must not hold us.
    value_ = detail::uninterrupted(
        [&] { return ::openat(folder, name.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY); });
    if (value_ < 0) detail::fail_io(path_, "open", errno);
  }

  struct stat status() const {
    struct stat found;
    if (::fstat(value_, &found) != 0) detail::fail_io(path_, "read its size", errno);
    return found;
  }

  int value_ = -1;
  std::string path_;
};

}  // namespace headgate::inline HEADGATE_ABI

#endif
