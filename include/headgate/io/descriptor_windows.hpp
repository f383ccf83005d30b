// Descriptor: an open file or folder, by the calls of Windows. Paths are UTF-8. io/mapped_file.hpp includes it, or its
// twin, which says what each function promises.
#pragma once

#if defined(_WIN32)

#include "headgate/core/error.hpp"
#include "headgate/core/types.hpp"

// As little of windows.h as it offers: its macros are short and many.
#if !defined(WIN32_LEAN_AND_MEAN)
#define WIN32_LEAN_AND_MEAN
#endif
#if !defined(NOMINMAX)
#define NOMINMAX
#endif
#if !defined(NOGDI)
#define NOGDI
#endif
#include <windows.h>

#include <algorithm>
#include <span>
#include <string>
#include <system_error>
#include <utility>

namespace headgate::inline HEADGATE_ABI {

namespace detail {

// In the words of the C library where it has some, so that a file that is not there is called the same everywhere.
[[noreturn]] inline void fail_io(const std::string& path, const std::string& action, unsigned long reason) {
  const std::error_code code(static_cast<int>(reason), std::system_category());
  throw Error(ErrorCode::io, {path, "", -1, "cannot " + action + ": " + code.default_error_condition().message()});
}

// As Windows wants it: UTF-16 that ends in 0.
inline std::wstring wide_path(const std::string& path) {
  const auto invalid = [&] { fail_io(path, "open", ERROR_INVALID_PARAMETER); };
  if (path.find('\0') != std::string::npos || path.size() > 1 << 16) invalid();
  if (path.empty()) fail_io(path, "open", ERROR_FILE_NOT_FOUND);
  const int size = static_cast<int>(path.size());
  const int wide_size = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path.data(), size, nullptr, 0);
  if (wide_size == 0) invalid();
  std::wstring wide(static_cast<std::size_t>(wide_size), L'\0');
  MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path.data(), size, wide.data(), wide_size);
  return wide;
}

}  // namespace detail

// Nobody can rename or remove what is open here, so a folder stays the same one for every name inside it.
class Descriptor {
 public:
  static Descriptor open(const std::string& path) { return Descriptor(path); }
  Descriptor open_inside(const std::string& name) const { return Descriptor(path_ + "/" + name); }

  Descriptor(Descriptor&& other) noexcept
      : value_(std::exchange(other.value_, INVALID_HANDLE_VALUE)), path_(std::move(other.path_)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (value_ != INVALID_HANDLE_VALUE) CloseHandle(value_);
  }

  HANDLE value() const noexcept { return value_; }
  const std::string& path() const noexcept { return path_; }

  bool contains(const std::string& name) const {
    const HANDLE file = open_existing(detail::wide_path(path_ + "/" + name), 0);
    if (file == INVALID_HANDLE_VALUE) {
      return GetLastError() != ERROR_FILE_NOT_FOUND && GetLastError() != ERROR_PATH_NOT_FOUND;
    }
    CloseHandle(file);
    return true;
  }
  bool is_folder() const {
    BY_HANDLE_FILE_INFORMATION found;
    return GetFileInformationByHandle(value_, &found) && (found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
  }
  std::uint64_t file_size() const {
    const DWORD type = GetFileType(value_);
    if (type != FILE_TYPE_DISK || is_folder()) {
      const char* const kind = type == FILE_TYPE_DISK   ? "a folder"
                               : type == FILE_TYPE_PIPE ? "a pipe"
                               : type == FILE_TYPE_CHAR ? "a device"
                                                        : "something else";
      throw Error(ErrorCode::io, {path_, "", -1, std::string("expected a regular file, found ") + kind});
    }
    LARGE_INTEGER size;
    if (!GetFileSizeEx(value_, &size)) detail::fail_io(path_, "read its size", GetLastError());
    return static_cast<std::uint64_t>(size.QuadPart);
  }
  void read(std::string& text) const {
    std::size_t have = 0;
    while (have < text.size()) {
      const std::size_t wanted = std::min(text.size() - have, std::size_t{1} << 30);
      DWORD got = 0;
      if (!ReadFile(value_, text.data() + have, static_cast<DWORD>(wanted), &got, nullptr)) {
        detail::fail_io(path_, "read", GetLastError());
      }
      if (got == 0) break;
      have += got;
    }
    text.resize(have);
  }

  std::byte* map(std::size_t size) const {
    const HANDLE section = CreateFileMappingW(value_, nullptr, PAGE_READONLY, 0, 0, nullptr);
    if (section == nullptr) detail::fail_io(path_, "map", GetLastError());
    void* const mapping = MapViewOfFile(section, FILE_MAP_READ, 0, 0, size);
    const DWORD reason = GetLastError();
    CloseHandle(section);
    if (mapping == nullptr) detail::fail_io(path_, "map", reason);
    return static_cast<std::byte*>(mapping);
  }
  static void unmap(std::span<std::byte> mapping) noexcept { UnmapViewOfFile(mapping.data()); }
  // Pages that are not locked leave the working set when they are unlocked.
  static void drop(std::span<std::byte> pages) noexcept { VirtualUnlock(pages.data(), pages.size()); }
  static std::size_t page_size() noexcept {
    SYSTEM_INFO system;
    GetSystemInfo(&system);
    return system.dwPageSize;
  }

 private:
  explicit Descriptor(std::string path) : path_(std::move(path)) {
    value_ = open_existing(detail::wide_path(path_), GENERIC_READ);
    if (value_ == INVALID_HANDLE_VALUE) detail::fail_io(path_, "open", GetLastError());
  }

  // File or folder (which takes the last flag).
  static HANDLE open_existing(const std::wstring& path, DWORD access) noexcept {
    return CreateFileW(path.c_str(), access, FILE_SHARE_READ | FILE_SHARE_WRITE, nullptr, OPEN_EXISTING,
                       FILE_FLAG_BACKUP_SEMANTICS, nullptr);
  }

  HANDLE value_ = INVALID_HANDLE_VALUE;
  std::string path_;
};

}  // namespace headgate::inline HEADGATE_ABI

#endif
