// BlockScales: the scales of weights of eight bits, one for each block of 128 x 128 of a matrix; blocks at its edges
// are smaller. Weight times scale is the value (DeepSeek-V3's "weight_scale_inv", transformers' "quant_method": "fp8").
#pragma once

#include "headgate/core/float_modes.hpp"
#include "headgate/io/tensor_source.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <span>
#include <string>
#include <vector>

namespace headgate::inline HEADGATE_ABI {

class BlockScales {
 public:
  static constexpr index_t block = 128;

  // Those of weights of this shape: matrices (..., rows, cols). Throws bad_file: the tensor is missing, of another
  // shape or type, or holds a number that is not finite.
  BlockScales(const TensorSource& source, const std::string& name, const Shape& weights)
      : tensor_(&source.require(name, {DType::f32, DType::bf16, DType::f16}, shape(weights))),
        rows_(weights[weights.rank() - 2]) {
    std::vector<float> line(as_size(tensor_->row_size()));
    for (std::int64_t r = 0; r < tensor_->num_rows(); ++r) {
      read_row(*tensor_, r, line);
      for (const float scale : line) {
        if (!std::isfinite(scale)) source.fail(*tensor_, "a scale of row " + std::to_string(r) + " is not finite");
        const float magnitude = std::abs(scale);
        has_four_bits_ = has_four_bits_ && (std::bit_cast<std::uint32_t>(scale) & 0xfffffu) == 0 &&
                         (magnitude == 0 || (magnitude > 0x1p-100f && magnitude < 0x1p100f));
      }
    }
  }

  const Tensor& tensor() const noexcept { return *tensor_; }
  // Scales of four significant bits, far from the ends of the range: their products with weights that have four at most
  // are bfloat16 values. Powers of two are such.
  bool has_four_bits() const noexcept { return has_four_bits_; }

  // Multiplies row `row`, counted over all matrices. A product below the normal floats is zero.
  void apply(std::int64_t row, std::span<float> values) const {
    const FloatModes modes;  // the same values whoever asks
    std::int64_t place = (row / rows_ * along(rows_) + row % rows_ / block) * tensor_->row_size();
    for (std::size_t c = 0; c < values.size(); c += as_size(block), ++place) {
      float scale = 0;
      read_elements(*tensor_, place, std::span(&scale, 1));
      for (float& value : values.subspan(c, std::min(as_size(block), values.size() - c))) value *= scale;
    }
  }

 private:
  static constexpr std::int64_t along(std::int64_t size) noexcept { return size / block + (size % block != 0 ? 1 : 0); }
  static Shape shape(const Shape& weights) {
    std::vector<std::int64_t> sizes(weights.sizes().begin(), weights.sizes().end());
    for (std::size_t i = sizes.size() - 2; i < sizes.size(); ++i) sizes[i] = along(sizes[i]);
    return Shape(sizes);
  }

  const Tensor* tensor_;
  std::int64_t rows_;  // of a matrix
  bool has_four_bits_ = true;
};

}  // namespace headgate::inline HEADGATE_ABI
