// A Status as one line, so that a test decides on everything it says: "usage: k of top-k, at least (got 0, allowed 1)".
#pragma once

#include <string>

#include "headgate/core/expected.hpp"
#include "support/catch.hpp"

inline std::string said(const headgate::Status& status) {
  // A place that is not known is -1 and nothing else.
  CHECK(status.layer >= -1);
  CHECK(status.token >= -1);
  CHECK(status.expert >= -1);
  const std::string text = headgate::Error::describe(status);
  switch (status.code) {
    case headgate::ErrorCode::ok:
      return "ok";
    case headgate::ErrorCode::usage:
      return "usage: " + text;
    case headgate::ErrorCode::numeric:
      return "numeric: " + text;
    case headgate::ErrorCode::limit:
      return "limit: " + text;
    default:
      return "code " + std::to_string(static_cast<int>(status.code)) + ": " + text;
  }
}
// The same of an Expected whose value is not asked for.
template <class T>
std::string refused(const headgate::Expected<T>& made) {
  if (!made) CHECK(made.error().detail().offset >= -1);  // -1 where there is no file
  return made ? "made" : made.error().what();
}
