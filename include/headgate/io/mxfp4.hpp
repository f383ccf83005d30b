// Mxfp4: weights of four bits that share a scale of eight in blocks of 32, as safetensors files of gpt-oss hold them:
// "_blocks" (..., rows, cols / 32, 16), where the low half of a byte is the first of two weights that follow one
// another, and "_scales" (..., rows, cols / 32), which are exponents (OCP Microscaling Formats v1.0). Weight times
// scale is the value; bfloat16 holds every one.
#pragma once

#include "headgate/io/tensor_source.hpp"

#include <algorithm>
#include <bit>
#include <span>
#include <string>
#include <vector>

namespace headgate::inline HEADGATE_ABI {

class Mxfp4 {
 public:
  static constexpr index_t block = 32;

  // name + "_blocks" and name + "_scales" of weights of this shape. Throws bad_file: a tensor is missing, of another
  // shape or type, or a row is no whole blocks.
  Mxfp4(const TensorSource& source, const std::string& name, const Shape& weights) : source_(&source) {
    std::vector<std::int64_t> sizes(weights.sizes().begin(), weights.sizes().end());
    const std::int64_t cols = sizes.back();
    sizes.back() = cols / block;
    scales_ = &source.require(name + "_scales", {DType::u8}, Shape(sizes));
    if (cols % block != 0) source.fail(*scales_, "rows of " + std::to_string(cols) + " weights are no whole blocks");
    sizes.push_back(block / 2);
    blocks_ = &source.require(name + "_blocks", {DType::u8}, Shape(sizes));
  }

  const Tensor& blocks() const noexcept { return *blocks_; }
  const Tensor& scales() const noexcept { return *scales_; }

  // Row `row`, counted over all matrices. Throws bad_file: a scale is no number, or a value beyond all floats.
  void read(std::int64_t row, std::span<float> out) const {
    const std::size_t count = out.size() / as_size(block);
    const auto halves = blocks_->bytes.subspan(as_size(row) * out.size() / 2, out.size() / 2);
    const auto scales = scales_->bytes.subspan(as_size(row) * count, count);
    for (std::size_t b = 0; b < count; ++b) {
      const auto scale = std::to_integer<std::uint32_t>(scales[b]);
      const auto values = out.subspan(b * as_size(block), as_size(block));
      if (!read_block(halves.subspan(b * 16, 16), scale, values)) {
        source_->fail(*scales_, "scale " + std::to_string(b) + " of row " + std::to_string(row) + " is " +
                                    std::to_string(scale) +
                                    (scale == 255 ? ", which is no number"
                                                  : ", and a weight "
                                                    "times it is beyond all floats"));
      }
    }
  }

 private:
  // 16 bytes times 2^(scale - 127), exact. False: not all of them are finite.
  static bool read_block(std::span<const std::byte> halves, std::uint32_t scale, std::span<float> out) noexcept {
    // Of the low three bits; doubled, so that one normal float is the factor for all scales but 0 and 1, whose values
    // a thread that takes denormals as zero could not compute.
    static constexpr float doubled[8] = {0, 1, 2, 3, 4, 6, 8, 12};
    static constexpr float least[2][8] = {
        {0, 0x1p-128f, 0x1p-127f, 0x1.8p-127f, 0x1p-126f, 0x1.8p-126f, 0x1p-125f, 0x1.8p-125f},
        {0, 0x1p-127f, 0x1p-126f, 0x1.8p-126f, 0x1p-125f, 0x1.8p-125f, 0x1p-124f, 0x1.8p-124f}};
    std::uint32_t values[16];
    for (std::size_t i = 0; i < 8; ++i) {
      const float value = scale < 2 ? least[scale][i] : doubled[i] * std::bit_cast<float>((scale - 1) << 23);
      values[i] = std::bit_cast<std::uint32_t>(value);
      values[i + 8] = values[i] | 0x80000000u;
    }
    std::uint32_t greatest = 0;
    for (std::size_t i = 0; i < halves.size(); ++i) {
      const auto byte = std::to_integer<std::size_t>(halves[i]);
      const std::uint32_t first = values[byte & 15u];
      const std::uint32_t second = values[byte >> 4];
      greatest = std::max({greatest, first & 0x7fffffffu, second & 0x7fffffffu});
      out[2 * i] = std::bit_cast<float>(first);
      out[2 * i + 1] = std::bit_cast<float>(second);
    }
    return scale != 255 && greatest < 0x7f800000u;
  }

  const TensorSource* source_;
  const Tensor* blocks_ = nullptr;
  const Tensor* scales_ = nullptr;
};

}  // namespace headgate::inline HEADGATE_ABI
