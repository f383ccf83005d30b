// Tensor: a named array of numbers where it lies in a file: row-major, little-endian, at any alignment, not copied.
// read_row and read_elements turn its numbers into floats; slice(e) is matrix e of a stack (experts, out, in).
#pragma once

#include "headgate/core/dtype.hpp"
#include "headgate/core/error.hpp"
#include "headgate/core/quantized_blocks.hpp"
#include "headgate/core/types.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <optional>
#include <span>
#include <string>

namespace headgate::inline HEADGATE_ABI {

// The sizes of a tensor, outermost first.
class Shape {
 public:
  static constexpr index_t max_rank = 8;

  Shape() = default;
  // Precondition: at most max_rank sizes, none negative.
  Shape(std::initializer_list<std::int64_t> sizes) : Shape(std::span(sizes.begin(), sizes.size())) {}
  explicit Shape(std::span<const std::int64_t> sizes) : rank_(static_cast<index_t>(sizes.size())) {
    std::copy(sizes.begin(), sizes.end(), sizes_.begin());
  }

  index_t rank() const noexcept { return rank_; }
  std::int64_t operator[](index_t i) const noexcept { return sizes_[as_size(i)]; }
  std::span<const std::int64_t> sizes() const noexcept { return std::span(sizes_).first(as_size(rank_)); }
  // Precondition: as many as 64 bits can count.
  std::int64_t elements() const noexcept {
    std::int64_t product = 1;
    for (const std::int64_t size : sizes()) product *= size;
    return product;
  }
  bool operator==(const Shape&) const = default;

  // "(64, 2048)"
  std::string describe() const {
    std::string text = "(";
    for (index_t i = 0; i < rank_; ++i) text += (i == 0 ? "" : ", ") + std::to_string(sizes_[as_size(i)]);
    return text + ")";
  }

 private:
  std::array<std::int64_t, max_rank> sizes_{};  // zero from rank_ on
  index_t rank_ = 0;
};

// How the rows of a tensor lie in panels of 16, as kernels read them (kernels/panel16.hpp), in files that headgate
// wrote. They are those of the model: halves of rotary pairs stand apart. Of `run * step` rows that follow one another
// rows 0, step, 2 step, ... are a run, then those from 1 on, and so forth; every run begins with a panel, whose last
// one is filled up with zeros.
struct PanelOrder {
  std::int64_t run = 0;
  std::int64_t step = 1;
};

struct Tensor {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::span<const std::byte> bytes;  // exactly the product of the shape in elements, or in blocks; or else panels
  std::uint64_t offset = 0;          // of bytes in its file
  index_t file = 0;                  // which file of its TensorSource
  std::string opaque = {};           // why type or shape cannot be told here: it is U8 (bytes) then; empty: they can
  std::optional<PanelOrder> panels = {};  // none: row after row

  // A row is what the last size spans; a number alone (rank 0) is a row of one.
  std::int64_t row_size() const noexcept { return shape.rank() == 0 ? 1 : shape[shape.rank() - 1]; }
  std::int64_t num_rows() const noexcept {
    std::int64_t rows = 1;
    for (index_t i = 0; i + 1 < shape.rank(); ++i) rows *= shape[i];
    return rows;
  }

  // Element e of the outermost size.
  Tensor slice(std::int64_t e) const {
    if (panels) refuse("it lies in panels and has no slices");
    if (shape.rank() == 0 || e < 0 || e >= shape[0]) refuse("slice " + std::to_string(e) + " is outside of it");
    const std::size_t size = bytes.size() / as_size(shape[0]);
    return {name + "[" + std::to_string(e) + "]",
            dtype,
            Shape(shape.sizes().subspan(1)),
            bytes.subspan(as_size(e) * size, size),
            offset + as_size(e) * size,
            file,
            opaque};
  }

  // The message of an error that is the caller's.
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(ErrorCode::usage,
                {"", name, -1,
                 what + " (its shape is " + shape.describe() + ", its type " + std::string(info(dtype).name) + ")"});
  }
};

namespace detail {

// The value of each byte, for types of eight bits.
template <class T>
inline constexpr auto values_of_bytes = [] {
  std::array<float, 256> values{};
  for (std::size_t i = 0; i < values.size(); ++i) {
    T element;
    element.bits = static_cast<std::uint8_t>(i);
    values[i] = static_cast<float>(element);
  }
  return values;
}();

}  // namespace detail

// out.size() elements of a tensor of floats (F32, BF16, F16, F64, F8_E4M3, F8_E5M2, or quantized blocks) from element
// `first` on, counted over all sizes. F64 is rounded to the nearest float; bad_file: a number of it is larger than any
// float.
inline void read_elements(const Tensor& tensor, std::int64_t first, std::span<float> out) {
  if (tensor.panels) tensor.refuse("it lies in panels, which WeightRows reads");
  const auto size = static_cast<std::size_t>(info(tensor.dtype).size);
  const std::size_t elements = tensor.bytes.size() / size * static_cast<std::size_t>(info(tensor.dtype).block);
  if (first < 0 || as_size(first) > elements || out.size() > elements - as_size(first)) {
    tensor.refuse(std::to_string(out.size()) + " elements from " + std::to_string(first) + " on are not all inside");
  }
  if (out.empty()) return;
  const auto decode = [&]<class Blocks>(Blocks) {
    decode_blocks<Blocks>(tensor.bytes.data(), first, static_cast<std::int64_t>(out.size()), out.data());
  };
  if (visit_blocks(tensor.dtype, decode)) return;
  const std::span<const std::byte> source = tensor.bytes.subspan(as_size(first) * size, out.size() * size);
  const auto convert = [&]<class T>(T element) {
    for (std::size_t i = 0; i < out.size(); ++i) {
      std::memcpy(&element, &source[i * sizeof(T)], sizeof(T));
      out[i] = static_cast<float>(element);
    }
  };
  const auto look_up = [&](const std::array<float, 256>& values) {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = values[std::to_integer<std::size_t>(source[i])];
  };
  switch (tensor.dtype) {
    case DType::f32:
      std::memcpy(out.data(), source.data(), source.size());
      break;
    case DType::bf16:
      convert(bf16{});
      break;
    case DType::f16:
      convert(f16{});
      break;
    case DType::f8_e4m3:
      look_up(detail::values_of_bytes<f8_e4m3>);
      break;
    case DType::f8_e5m2:
      look_up(detail::values_of_bytes<f8_e5m2>);
      break;
    case DType::f64:
      for (std::size_t i = 0; i < out.size(); ++i) {
        double element;
        std::memcpy(&element, &source[i * sizeof element], sizeof element);
        if (std::isfinite(element) && std::abs(element) > static_cast<double>(std::numeric_limits<float>::max())) {
          const std::int64_t place = first + static_cast<std::int64_t>(i);
          throw Error(ErrorCode::bad_file, {"", tensor.name, -1,
                                            "element " + std::to_string(place % tensor.row_size()) + " of row " +
                                                std::to_string(place / tensor.row_size()) +
                                                " is larger than any float, and F64 is computed as F32"});
        }
        out[i] = static_cast<float>(element);
      }
      break;
    default:
      tensor.refuse("only F32, BF16, F16, F64, F8_E4M3, F8_E5M2 and quantized blocks are read as floats");
  }
}

// Row `row` of such a tensor, counted over all sizes but the last, as floats. out: row_size().
inline void read_row(const Tensor& tensor, std::int64_t row, std::span<float> out) {
  if (row < 0 || row >= tensor.num_rows()) tensor.refuse("row " + std::to_string(row) + " is outside of it");
  if (std::int64_t(out.size()) != tensor.row_size()) {
    tensor.refuse("a row of it does not fit " + std::to_string(out.size()) + " floats");
  }
  if (!out.empty()) read_elements(tensor, row * tensor.row_size(), out);
}

}  // namespace headgate::inline HEADGATE_ABI
