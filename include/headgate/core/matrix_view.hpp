// MatrixView<T>: rows of T that somebody else owns; row r starts at data + r * stride. Outermost first: (rows, cols).
#pragma once

#include <cstdint>
#include <span>
#include <type_traits>

#include "headgate/core/status.hpp"

namespace headgate::inline HEADGATE_ABI {

template <class T>
struct MatrixView {
  T* data = nullptr;
  index_t rows = 0;
  index_t cols = 0;
  std::int64_t stride = 0;  // elements from one row to the next

  constexpr MatrixView() = default;
  constexpr MatrixView(T* first, index_t num_rows, index_t num_cols) noexcept
      : data(first), rows(num_rows), cols(num_cols), stride(num_cols) {}
  constexpr MatrixView(T* first, index_t num_rows, index_t num_cols, std::int64_t row_stride) noexcept
      : data(first), rows(num_rows), cols(num_cols), stride(row_stride) {}
  // Writable rows where read-only ones are wanted.
  template <class U>
    requires(std::is_same_v<const U, T> && !std::is_same_v<U, T>)
  constexpr MatrixView(MatrixView<U> other) noexcept  // NOLINT(google-explicit-constructor)
      : data(other.data), rows(other.rows), cols(other.cols), stride(other.stride) {}

  constexpr T* row_data(index_t r) const noexcept { return data + r * stride; }
  constexpr std::span<T> row(index_t r) const noexcept { return {row_data(r), as_size(cols)}; }
  constexpr MatrixView middle_rows(index_t first, index_t count) const noexcept {
    return {row_data(first), count, cols, stride};
  }
};

template <class T>
constexpr void fill(MatrixView<T> view, std::type_identity_t<T> value) noexcept {
  for (index_t r = 0; r < view.rows; ++r) {
    for (T& element : view.row(r)) element = value;
  }
}

using Rows = MatrixView<float>;             // (tokens, width), written
using ConstRows = MatrixView<const float>;  // (tokens, width), read

// What every function that is given a view asks of it: no negative size, data where there are elements, and, where rows
// are written, none that lies in the next.
template <class T>
constexpr Status check_view(MatrixView<T> view) noexcept {
  if (view.rows < 0) return Status::mismatch("rows of a matrix, at least", view.rows, 0);
  if (view.cols < 0) return Status::mismatch("columns of a matrix, at least", view.cols, 0);
  if (view.rows == 0 || view.cols == 0) return Status::success();
  if (view.data == nullptr) return {ErrorCode::usage, "rows of a matrix without data"};
  if (!std::is_const_v<T> && view.rows > 1 && view.stride < view.cols) {
    return Status::mismatch("stride of a matrix, at least its columns,", view.stride, view.cols);
  }
  return Status::success();
}

// Whether an element of one may be an element of the other, of views that check_view accepts. Columns of one matrix
// that stand side by side do not overlap.
template <class A, class B>
  requires std::is_same_v<std::remove_const_t<A>, std::remove_const_t<B>>
bool overlap(MatrixView<A> a, MatrixView<B> b) noexcept {
  if (a.rows == 0 || a.cols == 0 || b.rows == 0 || b.cols == 0) return false;
  const auto address = [](const auto* element) { return reinterpret_cast<std::uintptr_t>(element); };
  const auto first = [&](auto view) { return address(view.stride < 0 ? view.row_data(view.rows - 1) : view.data); };
  const auto end = [&](auto view) {
    return address((view.stride < 0 ? view.data : view.row_data(view.rows - 1)) + view.cols);
  };
  if (first(a) >= end(b) || first(b) >= end(a)) return false;
  if (a.stride != b.stride || a.stride < a.cols) return true;
  const std::int64_t elements = static_cast<std::int64_t>(address(b.data) - address(a.data)) / std::int64_t{sizeof(A)};
  const std::int64_t column = (elements % a.stride + a.stride) % a.stride;
  return column < a.cols || column + b.cols > a.stride;
}
// Both at once: views that are read and written by one function.
inline Status check_apart(ConstRows x, Rows y) noexcept {
  if (Status status = check_view(x); !status.ok()) return status;
  if (Status status = check_view(y); !status.ok()) return status;
  if (overlap(x, y)) return {ErrorCode::usage, "output that overlaps its input"};
  return Status::success();
}

}  // namespace headgate::inline HEADGATE_ABI
