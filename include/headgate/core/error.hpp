// Error: what went wrong while reading files and building models, routers, experts and layers.
// The text names file, field, byte offset, what was found and what is allowed; bytes from files are escaped.
#pragma once

#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include "headgate/core/status.hpp"

namespace headgate::inline HEADGATE_ABI {

// Text from a file, safe to print: control bytes and bytes outside ASCII become \xNN, long text is cut in the middle.
inline std::string escaped(std::string_view text, std::size_t max_size = 200) {
  constexpr char digits[] = "0123456789abcdef";
  std::string out;
  const auto put = [&](std::string_view part) {
    for (const char c : part) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte >= 0x20 && byte < 0x7f) {
        out += c;
      } else {
        out += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
      }
    }
  };
  if (text.size() <= max_size) {
    put(text);
  } else {
    put(text.substr(0, max_size / 2));
    out += "...";
    put(text.substr(text.size() - max_size / 2));
  }
  return out;
}

struct ErrorDetail {
  std::string file;          // empty: not about a file
  std::string field;         // key, tensor name or argument
  std::int64_t offset = -1;  // byte offset in the file, -1: not known
  std::string what;          // one sentence without the full stop
};

class Error : public std::exception {
 public:
  Error(ErrorCode code, ErrorDetail detail) : code_(code), detail_(std::move(detail)) {
    if (!detail_.file.empty()) text_ += escaped(detail_.file, 1024) + ": ";
    if (!detail_.field.empty()) text_ += escaped(detail_.field);
    if (detail_.offset >= 0) {
      text_ += (detail_.field.empty() ? "at byte " : " at byte ") + std::to_string(detail_.offset);
    }
    if (!detail_.field.empty() || detail_.offset >= 0) text_ += ": ";
    text_ += detail_.what;
  }
  // The same fault reported by route, apply or forward.
  explicit Error(const Status& status) : Error(status.code, {"", "", -1, describe(status)}) {}

  ErrorCode code() const noexcept { return code_; }
  const ErrorDetail& detail() const noexcept { return detail_; }
  const char* what() const noexcept override { return text_.c_str(); }

  static std::string describe(const Status& status) {
    std::string text = status.what;
    if (status.found != status.allowed) {
      text += " (got " + std::to_string(status.found) + ", allowed " + std::to_string(status.allowed) + ")";
    }
    if (status.layer >= 0) text += ", layer " + std::to_string(status.layer);
    if (status.token >= 0) text += ", token " + std::to_string(status.token);
    if (status.expert >= 0) text += ", expert " + std::to_string(status.expert);
    return text;
  }

 private:
  ErrorCode code_;
  ErrorDetail detail_;
  std::string text_;
};

inline void throw_if_error(const Status& status) {
  if (!status.ok()) HEADGATE_THROW(Error(status));
}

}  // namespace headgate::inline HEADGATE_ABI
