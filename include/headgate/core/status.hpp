// Status: the outcome of route, apply and forward. No allocation, no string: it is made on the hot path.
#pragma once

#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

// The values are the exit codes of the headgate program.
enum class ErrorCode : std::uint8_t {
  ok = 0,
  failure = 1,
  usage = 2,     // an argument that does not fit: shape, k, id
  bad_file = 3,  // a file that lies, is damaged or is not understood
  io = 4,        // the operating system said no
  limit = 5,     // memory, context length, 32-bit index
  numeric = 6,   // NaN or infinity
  interrupted = 130,
};

struct [[nodiscard]] Status {
  ErrorCode code = ErrorCode::ok;
  const char* what = "";   // static text, a noun phrase: "router logit is not finite"
  std::int64_t found = 0;  // printed when found != allowed
  std::int64_t allowed = 0;
  index_t layer = -1;  // -1: not known
  index_t token = -1;
  ExpertId expert = -1;

  constexpr bool ok() const noexcept { return code == ErrorCode::ok; }

  static constexpr Status success() noexcept { return {}; }
  // A size or id that does not fit.
  static constexpr Status mismatch(const char* what, std::int64_t found, std::int64_t allowed) noexcept {
    return {ErrorCode::usage, what, found, allowed, -1, -1, -1};
  }
  static constexpr Status not_finite(const char* what, index_t layer, index_t token, ExpertId expert = -1) noexcept {
    return {ErrorCode::numeric, what, 0, 0, layer, token, expert};
  }
};

}  // namespace headgate::inline HEADGATE_ABI
