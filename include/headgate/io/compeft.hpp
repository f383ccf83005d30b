// ComPEFT (Yadav et al. 2023, arXiv 2311.13171, section 2): the difference that fine-tuning made, in numbers of three
// values. Over all tensors of an adapter together, with t their elements and std their standard deviation (of n - 1):
//   t'_i = alpha std sign(t_i) where |t_i| is among the largest, else 0
// Follows the code (prateeky2806/ComPEFT, bert_eval.py and merge_utils.py) in what is kept: of d elements the int(d
// density) + 1 largest and all that are as large as the last of them; of a LoRA A and B themselves are the difference.
// (The script itself does not run as published: it takes two of three values that its function returns.)
//
// The paper says how such tensors are stored (Golomb codes of the distances, one sign each, one scale), its code stores
// floats. So the file is this library's own: safetensors, each tensor under its name as bytes (U8), metadata "format":
// "compeft". The bytes, little-endian, bits from the lowest on:
//   u32 rank, u64 sizes[rank], u64 nonzeros, f32 scale, u32 b, then for each element that is not 0, in order:
//   the zeros before it since the last one, as a Golomb code of 2^b (quotient in ones and a zero, b bits of rest); 1
//   where it is negative. What is left of the last byte is 0.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "headgate/core/exactly_equal.hpp"
#include "headgate/io/safetensors.hpp"
#include "headgate/io/safetensors_header.hpp"

namespace headgate::inline HEADGATE_ABI {

// A tensor whose elements are -scale, 0 or scale.
struct TernaryTensor {
  struct Element {
    std::int64_t place = 0;  // in the tensor, row by row
    bool is_negative = false;
    bool operator==(const Element&) const = default;
  };
  std::string name;
  Shape shape;
  float scale = 0.0f;
  std::vector<Element> elements;  // that are not 0, in order
  bool operator==(const TernaryTensor&) const = default;

  std::vector<float> floats() const {
    std::vector<float> values(as_size(shape.elements()), 0.0f);
    for (const Element& e : elements) values[as_size(e.place)] = e.is_negative ? -scale : scale;
    return values;
  }
};

struct NamedFloats {
  std::string name;
  Shape shape;
  std::vector<float> values;  // shape.elements()
};

// density: part of all elements that is kept, in [0, 1); alpha: positive. Throws usage where they, or the sizes of a
// tensor, do not fit, and numeric where an element is not finite.
inline std::vector<TernaryTensor> compress(std::span<const NamedFloats> tensors, double density, double alpha) {
  const auto refuse = [](const std::string& field, const char* what, ErrorCode code = ErrorCode::usage) {
    throw Error(code, {"", field, -1, what});
  };
  if (!(density >= 0.0 && density < 1.0)) refuse("density", "expected a number in [0, 1)");
  if (!(alpha > 0.0 && std::isfinite(alpha))) refuse("alpha", "expected a positive number");
  std::vector<float> sizes;  // of all elements, without their signs
  double sum = 0.0;
  for (const NamedFloats& tensor : tensors) {
    if (std::ssize(tensor.values) != tensor.shape.elements()) refuse(tensor.name, "its values do not fit its shape");
    for (const float value : tensor.values) {
      if (!std::isfinite(value)) refuse(tensor.name, "an element is not finite", ErrorCode::numeric);
      sizes.push_back(std::abs(value));
      sum += static_cast<double>(value);
    }
  }
  const auto count = static_cast<double>(sizes.size());
  double squares = 0.0;
  for (const NamedFloats& tensor : tensors) {
    for (const float value : tensor.values) {
      const double apart = static_cast<double>(value) - sum / count;
      squares += apart * apart;
    }
  }
  const double deviation = sizes.size() > 1 ? std::sqrt(squares / (count - 1.0)) : 0.0;
  float least = 0.0f;
  if (!sizes.empty()) {
    const auto kept = static_cast<std::ptrdiff_t>(count * density);
    const auto place = sizes.end() - 1 - kept;
    std::nth_element(sizes.begin(), place, sizes.end());
    least = *place;
  }
  std::vector<TernaryTensor> ternary;
  for (const NamedFloats& tensor : tensors) {
    ternary.push_back({tensor.name, tensor.shape, static_cast<float>(alpha * deviation), {}});
    for (std::size_t i = 0; i < tensor.values.size(); ++i) {
      const float value = tensor.values[i];
      if (std::abs(value) < least || exactly_equal(value, 0.0f)) continue;
      ternary.back().elements.push_back({static_cast<std::int64_t>(i), value < 0.0f});
    }
  }
  return ternary;
}

namespace detail {

// Bits behind one another, from the lowest of each byte on.
class BitWriter {
 public:
  void put(bool bit) {
    if (bits_ % 8 == 0) bytes_ += '\0';
    if (bit) bytes_.back() = static_cast<char>(static_cast<unsigned char>(bytes_.back()) | (1u << bits_ % 8));
    ++bits_;
  }
  const std::string& bytes() const noexcept { return bytes_; }

 private:
  std::string bytes_;
  std::uint64_t bits_ = 0;
};
class BitReader {
 public:
  explicit BitReader(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}
  // Precondition: there is one.
  bool take() noexcept {
    const unsigned byte = std::to_integer<unsigned>(bytes_[bits_ / 8]);
    return (byte >> bits_++ % 8 & 1) != 0;
  }
  std::uint64_t left() const noexcept { return 8 * std::uint64_t{bytes_.size()} - bits_; }

 private:
  std::span<const std::byte> bytes_;
  std::uint64_t bits_ = 0;
};

constexpr unsigned max_golomb_bits = 40;

// The number of bits of rest for which the code is shortest.
inline unsigned golomb_bits(const TernaryTensor& tensor) {
  unsigned best = 0;
  std::uint64_t least = std::numeric_limits<std::uint64_t>::max();
  for (unsigned b = 0; b <= max_golomb_bits; ++b) {
    std::uint64_t bits = 0;
    std::int64_t next = 0;
    for (const TernaryTensor::Element& e : tensor.elements) {
      bits += (static_cast<std::uint64_t>(e.place - next) >> b) + b + 2;
      next = e.place + 1;
    }
    if (bits < least) {
      least = bits;
      best = b;
    }
  }
  return best;
}
inline std::string compeft_bytes(const TernaryTensor& tensor) {
  std::string bytes;
  const auto put = [&](auto number) { bytes.append(reinterpret_cast<const char*>(&number), sizeof number); };
  put(static_cast<std::uint32_t>(tensor.shape.rank()));
  for (const std::int64_t size : tensor.shape.sizes()) put(static_cast<std::uint64_t>(size));
  put(static_cast<std::uint64_t>(tensor.elements.size()));
  put(tensor.scale);
  const unsigned b = golomb_bits(tensor);
  put(std::uint32_t{b});
  BitWriter writer;
  std::int64_t next = 0;
  for (const TernaryTensor::Element& e : tensor.elements) {
    const auto zeros = static_cast<std::uint64_t>(e.place - next);
    for (std::uint64_t i = 0; i < zeros >> b; ++i) writer.put(true);
    writer.put(false);
    for (unsigned i = 0; i < b; ++i) writer.put((zeros >> i & 1) != 0);
    writer.put(e.is_negative);
    next = e.place + 1;
  }
  return bytes + writer.bytes();
}

// Elements of all tensors of a file that is read, at most: a few bytes may say that they are zeros without end.
constexpr std::uint64_t max_compeft_elements = std::uint64_t{1} << 28;

// most: elements that it may have.
inline TernaryTensor read_compeft_tensor(const Tensor& tensor, const std::string& file, std::uint64_t most) {
  if (!tensor.opaque.empty() || tensor.dtype != DType::u8 || tensor.panels) {
    throw Error(ErrorCode::bad_file, {file, tensor.name, static_cast<std::int64_t>(tensor.offset), "expected type U8"});
  }
  Bytes cursor(tensor.bytes, file);
  const auto fail = [&](const std::string& what, ErrorCode code = ErrorCode::bad_file) {
    throw Error(code, {file, tensor.name, static_cast<std::int64_t>(tensor.offset + cursor.position()), what});
  };
  TernaryTensor ternary{tensor.name, {}, 0.0f, {}};
  const std::uint32_t rank = cursor.take_u32(tensor.name);
  if (rank > as_size(Shape::max_rank)) fail("a tensor has at most 8 sizes, found " + std::to_string(rank));
  std::vector<std::int64_t> sizes;
  std::uint64_t count = 1;
  for (std::uint32_t i = 0; i < rank; ++i) {
    const std::uint64_t size = cursor.take_u64(tensor.name);
    const std::optional<std::uint64_t> product = checked_multiply(count, size);
    if (size > max_compeft_elements || !product || *product > most) {
      fail("more elements than are read (allowed in a file: " + std::to_string(max_compeft_elements) + ")",
           ErrorCode::limit);
    }
    count = *product;
    sizes.push_back(static_cast<std::int64_t>(size));
  }
  ternary.shape = Shape(sizes);
  const std::uint64_t nonzeros = cursor.take_u64(tensor.name);
  ternary.scale = std::bit_cast<float>(cursor.take_u32(tensor.name));
  const std::uint32_t b = cursor.take_u32(tensor.name);
  if (nonzeros > count) fail(std::to_string(nonzeros) + " elements of " + std::to_string(count) + " are not 0");
  if (!(ternary.scale >= 0.0f && std::isfinite(ternary.scale))) fail("its scale is negative or not finite");
  if (b > max_golomb_bits) fail("Golomb codes of 2^" + std::to_string(b) + " are not read");
  BitReader bits(cursor.take(cursor.remaining(), tensor.name));
  if (nonzeros > bits.left() / (b + 2)) fail("it ends before its elements do");
  ternary.elements.reserve(nonzeros);
  const auto take = [&] {
    if (bits.left() == 0) fail("it ends before its elements do");
    return bits.take();
  };
  std::uint64_t next = 0;
  for (std::uint64_t n = 0; n < nonzeros; ++n) {
    std::uint64_t quotient = 0;
    while (take()) ++quotient;
    std::uint64_t zeros = 0;
    for (std::uint32_t i = 0; i < b; ++i) zeros |= std::uint64_t{take()} << i;
    const bool is_negative = take();
    if (quotient > count >> b || zeros + (quotient << b) >= count - next) fail("an element lies behind the last one");
    next += zeros + (quotient << b);
    ternary.elements.push_back({static_cast<std::int64_t>(next++), is_negative});
  }
  if (bits.left() >= 8) fail("bytes follow the last element");
  while (bits.left() > 0) {
    if (bits.take()) fail("bits follow the last element");
  }
  return ternary;
}

}  // namespace detail

// The bytes of a file. Precondition: elements are in order, inside of their shapes and not twice there.
inline std::string compeft_file(std::span<const TernaryTensor> tensors) {
  std::vector<SafetensorsEntry> entries;
  std::string data;
  for (const TernaryTensor& tensor : tensors) {
    const std::string bytes = detail::compeft_bytes(tensor);
    entries.push_back({tensor.name, DType::u8, {std::ssize(bytes)}, bytes.size()});
    data += bytes;
  }
  const std::pair<std::string, std::string> metadata[] = {{"format", "compeft"}};
  return safetensors_header(entries, metadata) + data;
}

// Sorted by name. file: for messages. Throws bad_file or limit.
inline std::vector<TernaryTensor> read_compeft(std::span<const std::byte> bytes, const std::string& file) {
  std::vector<TernaryTensor> tensors;
  std::uint64_t most = detail::max_compeft_elements;
  for (const Tensor& tensor : read_safetensors(bytes, file)) {
    tensors.push_back(detail::read_compeft_tensor(tensor, file, most));
    most -= static_cast<std::uint64_t>(tensors.back().shape.elements());
  }
  return tensors;
}

}  // namespace headgate::inline HEADGATE_ABI
