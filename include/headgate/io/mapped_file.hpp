// MappedFile: the bytes of a regular file, mapped read-only. POSIX.
//
// Its size is known before anything is read. Opening never blocks: pipes, devices and folders are refused. A file that
// is replaced by rename while mapped keeps its old bytes; one that is cut in place kills the reader (SIGBUS), as with
// any mapping: replace model files by rename.
#pragma once

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

}  // namespace detail

// An open file or folder. Closed with the object.
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
  bool contains(const std::string& name) const noexcept {
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

class MappedFile {
 public:
  static MappedFile open(const std::string& path) { return MappedFile(Descriptor::open(path)); }

  // Needs no open file afterwards: ten thousand shards are ten thousand mappings and no descriptor.
  explicit MappedFile(const Descriptor& file) : MappedFile(file.path(), file.file_size()) {
    if (size_ == 0) return;
    void* const mapping = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.value(), 0);
    if (mapping == MAP_FAILED) detail::fail_io(path_, "map", errno);
    data_ = static_cast<std::byte*>(mapping);
    if (file.file_size() != size_) {
      throw Error(ErrorCode::bad_file, {path_, "", -1, "its size changed while it was being opened"});
    }
  }
  MappedFile(MappedFile&& other) noexcept
      : path_(std::move(other.path_)),
        size_(std::exchange(other.size_, 0)),
        data_(std::exchange(other.data_, nullptr)) {}
  MappedFile& operator=(MappedFile&&) = delete;
  ~MappedFile() {
    if (data_ != nullptr) ::munmap(data_, size_);
  }

  const std::string& path() const noexcept { return path_; }
  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  std::string_view text() const noexcept { return {reinterpret_cast<const char*>(data_), size_}; }

  // Gives the memory of these bytes back to the system, so that a loader that is done with them stays small. They may
  // be read again: they come from the file again. Advice: whatever the system answers, no result changes.
  void drop_pages(std::uint64_t offset, std::uint64_t count) const noexcept {
    const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    if (offset >= size_ || count == 0) return;
    const std::uint64_t first = offset / page * page;
    const std::uint64_t end = count > size_ - offset ? size_ : offset + count;
    const std::span<std::byte> dropped = std::span(data_, size_).subspan(first, end - first);
    ::madvise(dropped.data(), dropped.size(), MADV_DONTNEED);
  }

 private:
  MappedFile(std::string path, std::size_t size) : path_(std::move(path)), size_(size) {}

  std::string path_;
  std::size_t size_ = 0;
  std::byte* data_ = nullptr;
};

namespace detail {

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

// The whole of an open file of at most max_bytes: for documents, which are read once.
inline std::string read_small_file(const Descriptor& file, std::uint64_t max_bytes) {
  const std::uint64_t size = file.file_size();
  if (size > max_bytes) {
    throw Error(ErrorCode::limit, {file.path(), "", -1,
                                   "the file is too large (has " + std::to_string(size) + " bytes, allowed " +
                                       std::to_string(max_bytes) + ")"});
  }
  std::string text(size, '\0');
  detail::read_into(file.value(), file.path(), text);
  return text;
}
inline std::string read_small_file(const std::string& path, std::uint64_t max_bytes) {
  return read_small_file(Descriptor::open(path), max_bytes);
}

}  // namespace headgate::inline HEADGATE_ABI
