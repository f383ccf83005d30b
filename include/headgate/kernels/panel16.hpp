// Panel16: the one packed layout of weights. A matrix (rows, cols) is cut into panels of 16 output rows; in a panel k
// (the column) runs outermost, and every 64-byte line holds 16 rows x 4 bytes of k: one k in f32, two in bf16. A line
// is one AVX-512 register, two AVX2 registers, one line of an AMX B tile. Rows beyond the matrix and the second k of an
// odd last line are zero. Packing keeps every value the format can hold.
#pragma once

#include <cstring>

#include "headgate/core/aligned_buffer.hpp"
#include "headgate/core/dtype.hpp"
#include "headgate/core/matrix_view.hpp"

namespace headgate::inline HEADGATE_ABI {

inline constexpr index_t panel_rows = 16;

// A weight format: how a row of floats lies in one lane (0..15) of a panel, and how many bytes a panel of k columns
// has.
template <class F>
concept WeightFormat = requires(const float* row, index_t k, index_t lane, std::byte* panel, const std::byte* packed) {
  { F::name() } noexcept;
  { F::panel_bytes(k) } noexcept -> std::same_as<std::int64_t>;  // a multiple of 64
  { F::pack(row, k, lane, panel) } noexcept;
  { F::unpack(packed, k, lane) } noexcept -> std::same_as<float>;  // the weight of column k
};

struct F32 {
  static constexpr const char* name() noexcept { return "f32"; }
  static constexpr std::int64_t panel_bytes(index_t k) noexcept { return std::int64_t{64} * k; }
  static void pack(const float* row, index_t k, index_t lane, std::byte* panel) noexcept {
    for (index_t i = 0; i < k; ++i) std::memcpy(panel + std::int64_t{64} * i + 4 * lane, row + i, 4);
  }
  static float unpack(const std::byte* panel, index_t k, index_t lane) noexcept {
    float value;
    std::memcpy(&value, panel + std::int64_t{64} * k + 4 * lane, 4);
    return value;
  }
};

// Weights rounded to bfloat16: exact for checkpoints stored in it.
struct Bf16 {
  static constexpr const char* name() noexcept { return "bf16"; }
  static constexpr std::int64_t panel_bytes(index_t k) noexcept { return std::int64_t{64} * divide_up(k, 2); }
  static void pack(const float* row, index_t k, index_t lane, std::byte* panel) noexcept {
    for (index_t i = 0; i < k; ++i) {
      const bf16 value(row[i]);
      std::memcpy(panel + offset(i, lane), &value, 2);
    }
  }
  static float unpack(const std::byte* panel, index_t k, index_t lane) noexcept {
    bf16 value;
    std::memcpy(&value, panel + offset(k, lane), 2);
    return static_cast<float>(value);
  }

 private:
  static constexpr std::int64_t offset(index_t k, index_t lane) noexcept {
    return std::int64_t{64} * (k / 2) + 4 * lane + 2 * (k % 2);
  }
};
static_assert(WeightFormat<F32> && WeightFormat<Bf16>);

// Packed panels that somebody else owns.
template <WeightFormat Format>
struct PanelView {
  const std::byte* data = nullptr;
  index_t rows = 0;  // outputs
  index_t cols = 0;  // inputs, k

  constexpr index_t num_panels() const noexcept { return divide_up(rows, panel_rows); }
  constexpr const std::byte* panel(index_t p) const noexcept { return data + p * Format::panel_bytes(cols); }
  float operator()(index_t row, index_t col) const noexcept {
    return Format::unpack(panel(row / panel_rows), col, row % panel_rows);
  }
};

// One packed matrix (rows, cols), owned.
template <WeightFormat Format>
class Panel16 {
 public:
  Panel16() = default;
  // All zero, to be filled row by row while a checkpoint streams by. Throws std::bad_alloc.
  Panel16(index_t rows, index_t cols)
      : buffer_(as_size(divide_up(rows, panel_rows) * Format::panel_bytes(cols))), rows_(rows), cols_(cols) {}
  explicit Panel16(ConstRows weights) : Panel16(weights.rows, weights.cols) {
    for (index_t r = 0; r < rows_; ++r) set_row(r, weights.row_data(r));
  }

  void set_row(index_t row, const float* values) noexcept {
    Format::pack(values, cols_, row % panel_rows, buffer_.data() + row / panel_rows * Format::panel_bytes(cols_));
  }

  index_t rows() const noexcept { return rows_; }
  index_t cols() const noexcept { return cols_; }
  std::int64_t bytes() const noexcept { return static_cast<std::int64_t>(buffer_.size()); }
  PanelView<Format> view() const noexcept { return {buffer_.data(), rows_, cols_}; }

 private:
  AlignedBuffer buffer_;
  index_t rows_ = 0;
  index_t cols_ = 0;
};

}  // namespace headgate::inline HEADGATE_ABI
