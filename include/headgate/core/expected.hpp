// Expected<T>: a T or the Error that prevented it. What create() returns; the only form without exceptions.
#pragma once

#include <optional>

#include "headgate/core/error.hpp"

namespace headgate::inline HEADGATE_ABI {

template <class T>
class [[nodiscard]] Expected {
 public:
  Expected(T value) : value_(std::move(value)) {}      // NOLINT(google-explicit-constructor)
  Expected(Error error) : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)
  // A failed Status; precondition: !status.ok().
  Expected(const Status& status) : error_(Error(status)) {}  // NOLINT(google-explicit-constructor)

  bool has_value() const noexcept { return value_.has_value(); }
  explicit operator bool() const noexcept { return has_value(); }

  // The value; throws the error if there is none.
  T& value() & { return require(), *value_; }
  const T& value() const& { return require(), *value_; }
  T&& value() && { return require(), std::move(*value_); }

  // Precondition: !has_value().
  const Error& error() const noexcept { return *error_; }

 private:
  void require() const {
    if (!value_) HEADGATE_THROW(*error_);
  }
  std::optional<T> value_;
  std::optional<Error> error_;
};

}  // namespace headgate::inline HEADGATE_ABI
