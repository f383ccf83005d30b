// MatrixView<T>: rows of T that somebody else owns; row r starts at data + r * stride. Outermost first: (rows, cols).
#pragma once

#include <span>
#include <type_traits>

#include "headgate/core/types.hpp"

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

using Rows = MatrixView<float>;             // (tokens, width), written
using ConstRows = MatrixView<const float>;  // (tokens, width), read

}  // namespace headgate::inline HEADGATE_ABI
