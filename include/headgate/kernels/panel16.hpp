// Panel16: the one packed layout of weights. A matrix (rows, cols) is cut into panels of 16 output rows; in a panel k
// (the column) runs outermost, and every 64-byte line holds 16 rows x 4 bytes of k: one k in f32, two in bf16. A line
// is one AVX-512 register, two AVX2 registers, one line of an AMX B tile. Rows beyond the matrix and the second k of an
// odd last line are zero. Packing keeps every value the format can hold.
#pragma once

#include "headgate/core/aligned_buffer.hpp"
#include "headgate/core/matrix_view.hpp"
#include "headgate/kernels/any_format.hpp"

namespace headgate::inline HEADGATE_ABI {

inline constexpr index_t panel_rows = 16;

// Packed panels that somebody else owns.
template <WeightFormat Format>
struct PanelView {
  const std::byte* data = nullptr;
  index_t rows = 0;  // outputs
  index_t cols = 0;  // inputs, k
  [[no_unique_address]] Format format = {};

  constexpr index_t num_panels() const noexcept { return divide_up(rows, panel_rows); }
  constexpr const std::byte* panel(index_t p) const noexcept { return data + p * format.panel_bytes(cols); }
  float operator()(index_t row, index_t col) const noexcept {
    return format.unpack(panel(row / panel_rows), col, row % panel_rows);
  }
  // out (cols) = a row.
  void read_row(index_t row, float* out) const noexcept {
    visit_format(format, [&](auto known) {
      for (index_t i = 0; i < cols; ++i) out[i] = known.unpack(panel(row / panel_rows), i, row % panel_rows);
    });
  }
};

// One packed matrix (rows, cols), owned.
template <WeightFormat Format>
class Panel16 {
 public:
  Panel16() = default;
  // All zero, to be filled row by row while a checkpoint streams by. Throws std::bad_alloc.
  Panel16(index_t rows, index_t cols, Format format = {})
      : buffer_(as_size(divide_up(rows, panel_rows) * format.panel_bytes(cols))),
        rows_(rows),
        cols_(cols),
        format_(format) {}
  explicit Panel16(ConstRows weights, Format format = {}) : Panel16(weights.rows, weights.cols, format) {
    for (index_t r = 0; r < rows_; ++r) set_row(r, weights.row_data(r));
  }

  void set_row(index_t row, const float* values) noexcept {
    format_.pack(values, cols_, row % panel_rows, buffer_.data() + row / panel_rows * format_.panel_bytes(cols_));
  }

  index_t rows() const noexcept { return rows_; }
  index_t cols() const noexcept { return cols_; }
  Format format() const noexcept { return format_; }
  std::int64_t bytes() const noexcept { return static_cast<std::int64_t>(buffer_.size()); }
  PanelView<Format> view() const noexcept { return {buffer_.data(), rows_, cols_, format_}; }

 private:
  AlignedBuffer buffer_;
  index_t rows_ = 0;
  index_t cols_ = 0;
  [[no_unique_address]] Format format_ = {};
};

// Several packed matrices of one width that are read one after the other, each in a format of its own, in one buffer:
// so those too small for huge pages share them.
template <WeightFormat Format, std::size_t count>
class PanelStack {
 public:
  struct Matrix {
    index_t rows;
    Format format;
  };
  // All zero, to be filled row by row while a checkpoint streams by. Throws std::bad_alloc.
  PanelStack(index_t cols, const Matrix (&matrices)[count]) : cols_(cols), matrices_(std::to_array(matrices)) {
    std::int64_t bytes = 0;
    for (std::size_t i = 0; i < count; ++i) {
      offsets_[i] = bytes;
      bytes += divide_up(matrices[i].rows, panel_rows) * matrices[i].format.panel_bytes(cols);
    }
    buffer_ = AlignedBuffer(as_size(bytes));
  }

  // Preconditions: the matrix and the row exist.
  void set_row(std::size_t matrix, index_t row, const float* values) noexcept {
    const Format& format = matrices_[matrix].format;
    format.pack(values, cols_, row % panel_rows,
                buffer_.data() + offsets_[matrix] + row / panel_rows * format.panel_bytes(cols_));
  }
  PanelView<Format> view(std::size_t matrix) const noexcept {
    return {buffer_.data() + offsets_[matrix], matrices_[matrix].rows, cols_, matrices_[matrix].format};
  }
  std::int64_t bytes() const noexcept { return static_cast<std::int64_t>(buffer_.size()); }

 private:
  AlignedBuffer buffer_;
  index_t cols_;
  std::array<Matrix, count> matrices_;
  std::array<std::int64_t, count> offsets_;
};

}  // namespace headgate::inline HEADGATE_ABI
