// The error that a reader answers with.
#pragma once

#include "headgate/core/error.hpp"
#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

#if defined(__linux__)
#include <unistd.h>
#endif

#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace io_test {

using ::ScratchFolder;

// The Error that a call throws; anything else fails the test. Every message is short and safe to print.
template <class Call>
headgate::Error error_of(Call&& call) {
  try {
    call();
  } catch (const headgate::Error& error) {
    const std::string_view text = error.what();
    INFO(text);
    CHECK(text.size() <= 4096);
    CHECK(headgate::escaped(text, text.size()) == text);
    CHECK(error.detail().offset >= -1);  // -1 where none is known
    return error;
  }
  throw std::runtime_error("nothing was refused");
}

#if defined(__linux__)
// KiB of a mapped file that lie in this process's memory; -1: it is not mapped.
inline long resident_kib(const std::string& path) {
  std::ifstream maps("/proc/self/smaps");
  std::string line;
  while (std::getline(maps, line) && !line.ends_with(path)) {
  }
  while (std::getline(maps, line) && !line.starts_with("Rss:")) {
  }
  return line.starts_with("Rss:") ? std::stol(line.substr(4)) : -1;
}
// Memory that this process holds.
inline std::size_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::size_t total = 0;
  std::size_t resident = 0;
  statm >> total >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}
#endif

inline bool contains(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

}  // namespace io_test
