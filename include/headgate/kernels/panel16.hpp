// Panel16: the one packed layout of weights. A matrix (rows, cols) is cut into panels of 16 output rows; in a panel k
// (the column) runs outermost, and every 64-byte line holds 16 rows x 4 bytes of k: one k in f32, two in bf16. A line
// is one AVX-512 register, two AVX2 registers, one line of an AMX B tile. Rows beyond the matrix and the second k of an
// odd last line are zero. Packing keeps every value the format can hold. Formats of quantized blocks have 16 rows one
// after the other instead, as files do (formats/row_blocks.hpp).
#pragma once

#include "headgate/core/aligned_buffer.hpp"
#include "headgate/core/matrix_view.hpp"
#include "headgate/kernels/any_format.hpp"

namespace headgate::inline HEADGATE_ABI {

inline constexpr index_t panel_rows = 16;

// Bytes up to the next line: panels of stored rows have any size, those of F32 and Bf16 start on a line.
constexpr std::int64_t round_up_to_line(std::int64_t bytes) noexcept { return (bytes + 63) / 64 * 64; }

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
    float value;
    format.unpack(panel(row / panel_rows), cols, row % panel_rows, col, 1, &value);
    return value;
  }
  // out (cols) = a row.
  void read_row(index_t row, float* out) const noexcept {
    format.unpack(panel(row / panel_rows), cols, row % panel_rows, 0, cols, out);
  }
};

// One packed matrix (rows, cols), owned, or seen where it lies.
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

  // Of panels that somebody else owns and keeps.
  static Panel16 over(PanelView<Format> panels) noexcept { return Panel16(panels); }
  // Of panels where there are some, else to be filled.
  static Panel16 filled_or_seen(index_t rows, index_t cols, Format format, const std::byte* panels) {
    return panels != nullptr ? over({panels, rows, cols, format}) : Panel16(rows, cols, format);
  }

  // values: as the format packs them. Precondition: owned.
  void set_row(index_t row, WeightRow values) noexcept {
    format_.pack(values, cols_, row % panel_rows, buffer_.data() + row / panel_rows * format_.panel_bytes(cols_));
  }

  index_t rows() const noexcept { return rows_; }
  index_t cols() const noexcept { return cols_; }
  Format format() const noexcept { return format_; }
  // Of the panels, whoever owns them.
  std::int64_t bytes() const noexcept { return divide_up(rows_, panel_rows) * format_.panel_bytes(cols_); }
  PanelView<Format> view() const noexcept { return {seen_ != nullptr ? seen_ : buffer_.data(), rows_, cols_, format_}; }

 private:
  explicit Panel16(PanelView<Format> panels) noexcept
      : seen_(panels.data), rows_(panels.rows), cols_(panels.cols), format_(panels.format) {}

  AlignedBuffer buffer_;
  const std::byte* seen_ = nullptr;  // null: owned
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
    const std::byte* seen = nullptr;  // panels that somebody else owns and keeps; null: owned
  };
  // All zero, to be filled row by row while a checkpoint streams by. Throws std::bad_alloc.
  PanelStack(index_t cols, const Matrix (&matrices)[count]) : cols_(cols), matrices_(std::to_array(matrices)) {
    std::int64_t bytes = 0;
    for (std::size_t i = 0; i < count; ++i) {
      offsets_[i] = bytes;
      if (matrices[i].seen == nullptr) bytes += round_up_to_line(matrix_bytes(i));
    }
    buffer_ = AlignedBuffer(as_size(bytes));
  }

  // Preconditions: the matrix and the row exist; it is owned.
  void set_row(std::size_t matrix, index_t row, WeightRow values) noexcept {
    const Format& format = matrices_[matrix].format;
    format.pack(values, cols_, row % panel_rows,
                buffer_.data() + offsets_[matrix] + row / panel_rows * format.panel_bytes(cols_));
  }
  PanelView<Format> view(std::size_t matrix) const noexcept {
    const Matrix& m = matrices_[matrix];
    return {m.seen != nullptr ? m.seen : buffer_.data() + offsets_[matrix], m.rows, cols_, m.format};
  }
  // Of the panels, whoever owns them.
  std::int64_t bytes() const noexcept {
    std::int64_t bytes = 0;
    for (std::size_t i = 0; i < count; ++i) bytes += matrix_bytes(i);
    return bytes;
  }

 private:
  std::int64_t matrix_bytes(std::size_t i) const noexcept {
    return divide_up(matrices_[i].rows, panel_rows) * matrices_[i].format.panel_bytes(cols_);
  }

  AlignedBuffer buffer_;
  index_t cols_;
  std::array<Matrix, count> matrices_;
  std::array<std::int64_t, count> offsets_;
};

}  // namespace headgate::inline HEADGATE_ABI
