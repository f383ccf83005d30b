// MappedFile: the bytes of a regular file, mapped read-only.
//
// Its size is known before anything is read. Opening never blocks: pipes, devices and folders are refused. A file that
// is replaced by rename while mapped keeps its old bytes (Windows refuses to replace it). One that is written in place
// gives its reader the new ones, and one that is cut, or whose disk fails or goes, kills it (SIGBUS), as with any
// mapping: replace model files by rename.
//
// The operating system is behind Descriptor alone, of which there is one for POSIX and one for Windows.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "headgate/core/error.hpp"
#include "headgate/core/types.hpp"
#if defined(_WIN32)
#include "headgate/io/descriptor_windows.hpp"
#else
#include "headgate/io/descriptor_posix.hpp"
#endif

namespace headgate::inline HEADGATE_ABI {

class MappedFile {
 public:
  static MappedFile open(const std::string& path) { return MappedFile(Descriptor::open(path)); }

  // Needs no open file afterwards: ten thousand shards are ten thousand mappings and no descriptor.
  explicit MappedFile(const Descriptor& file) : MappedFile(file.path(), file.file_size()) {
    if (size_ == 0) return;
    data_ = file.map(size_);
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
    if (data_ != nullptr) Descriptor::unmap({data_, size_});
  }

  const std::string& path() const noexcept { return path_; }
  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  std::string_view text() const noexcept { return {reinterpret_cast<const char*>(data_), size_}; }

  // Gives the memory of these bytes back to the system, so that a loader that is done with them stays small. They may
  // be read again: they come from the file again. Advice: whatever the system answers, no result changes.
  void drop_pages(std::uint64_t offset, std::uint64_t count) const noexcept {
    if (offset >= size_ || count == 0) return;
    const std::uint64_t page = Descriptor::page_size();
    const std::uint64_t first = offset / page * page;
    const std::uint64_t end = count > size_ - offset ? size_ : offset + count;
    Descriptor::drop(std::span(data_, size_).subspan(first, end - first));
  }

 private:
  MappedFile(std::string path, std::size_t size) : path_(std::move(path)), size_(size) {}

  std::string path_;
  std::size_t size_ = 0;
  std::byte* data_ = nullptr;
};

// The whole of an open file of at most max_bytes: for documents, which are read once.
inline std::string read_small_file(const Descriptor& file, std::uint64_t max_bytes) {
  const std::uint64_t size = file.file_size();
  if (size > max_bytes) {
    throw Error(ErrorCode::limit, {file.path(), "", -1,
                                   "the file is too large (has " + std::to_string(size) + " bytes, allowed " +
                                       std::to_string(max_bytes) + ")"});
  }
  std::string text(size, '\0');
  file.read(text);
  return text;
}
inline std::string read_small_file(const std::string& path, std::uint64_t max_bytes) {
  return read_small_file(Descriptor::open(path), max_bytes);
}

}  // namespace headgate::inline HEADGATE_ABI
