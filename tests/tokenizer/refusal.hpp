// What an action throws, or an empty refusal.
#pragma once

#include <string>
#include <string_view>

#include "headgate/core/error.hpp"

struct Refusal {
  headgate::ErrorCode code = headgate::ErrorCode::ok;
  std::string text;
  std::int64_t offset = -1;

  bool says(std::string_view part) const { return text.find(part) != std::string::npos; }
};

template <class Action>
Refusal refusal_of(Action&& action) {
  try {
    action();
  } catch (const headgate::Error& error) {
    return {error.code(), error.what(), error.detail().offset};
  }
  return {};
}
