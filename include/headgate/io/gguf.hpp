// The GGUF container (versions 2 and 3, little-endian): "GGUF", u32 version, u64 tensors, u64 keys, the keys with their
// values, names and shapes of the tensors, padding, data.
//
// read_gguf accepts the files that ggml accepts: every tensor begins where the one before it ends, padded to
// general.alignment, and nothing follows the last. Every number is compared with what the file holds before it is used
// as a size, and nothing is copied but names: values and tensors refer to the bytes of the file. A tensor of a type
// that ggml knows and this library does not lies beside the others as bytes (Tensor::opaque): only who needs it must
// refuse it. Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include "headgate/io/gguf_metadata.hpp"
#include "headgate/io/safetensors.hpp"
#include "headgate/io/tensor.hpp"

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

namespace headgate::inline HEADGATE_ABI {

struct GgufFile {
  GgufMetadata metadata;
  std::vector<Tensor> tensors;  // sorted by name; shapes outermost first, the other way round than in the file
};

namespace detail {

// What ggml's number of a type means: a type of ours, or else only how large it is.
struct GgufTensorType {
  std::uint32_t id;
  std::string_view name;
  std::uint64_t size;   // bytes of a block
  std::uint64_t block;  // elements
  std::optional<DType> dtype = {};
};
inline std::optional<GgufTensorType> gguf_tensor_type(std::uint32_t id) {
  const auto known = [id](DType dtype) -> GgufTensorType {
    const DTypeInfo& type = info(dtype);
    return {id, type.name, static_cast<std::uint64_t>(type.size), static_cast<std::uint64_t>(type.block), dtype};
  };
  static constexpr std::pair<std::uint32_t, DType> ours[] = {
      {0, DType::f32},   {1, DType::f16},   {2, DType::q4_0},    {3, DType::q4_1},    {6, DType::q5_0},
      {7, DType::q5_1},  {8, DType::q8_0},  {10, DType::q2_k},   {11, DType::q3_k},   {12, DType::q4_k},
      {13, DType::q5_k}, {14, DType::q6_k}, {20, DType::iq4_nl}, {23, DType::iq4_xs}, {24, DType::i8},
      {25, DType::i16},  {26, DType::i32},  {27, DType::i64},    {28, DType::f64},    {30, DType::bf16},
      {39, DType::mxfp4}};
  for (const auto& [number, dtype] : ours) {
    if (number == id) return known(dtype);
  }
  static constexpr GgufTensorType others[] = {
      {9, "Q8_1", 36, 32},      {15, "Q8_K", 292, 256}, {16, "IQ2_XXS", 66, 256}, {17, "IQ2_XS", 74, 256},
      {18, "IQ3_XXS", 98, 256}, {19, "IQ1_S", 50, 256}, {21, "IQ3_S", 110, 256},  {22, "IQ2_S", 82, 256},
      {29, "IQ1_M", 56, 256},   {34, "TQ1_0", 54, 256}, {35, "TQ2_0", 66, 256},   {40, "NVFP4", 36, 64}};
  for (const GgufTensorType& type : others) {
    if (type.id == id) return type;
  }
  return std::nullopt;
}

// A tensor as the file announces it; offset: of its data behind the start of all data.
struct GgufTensorInfo {
  Tensor tensor;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;  // bytes
};

inline GgufTensorInfo read_gguf_tensor(Bytes& cursor) {
  constexpr std::uint64_t max_name = 64;
  constexpr std::uint32_t max_rank = 4;
  GgufTensorInfo found;
  Tensor& tensor = found.tensor;
  const Bytes start = cursor;
  const std::uint64_t name_size = cursor.take_u64("length of a tensor's name");
  if (name_size < 1 || name_size > max_name) {
    start.fail("length of a tensor's name",
               "expected 1 to " + std::to_string(max_name) + ", found " + std::to_string(name_size));
  }
  tensor.name = cursor.take_text(name_size, "name of a tensor");
  if (find_invalid_utf8(tensor.name) != std::string::npos || tensor.name.find('\0') != std::string::npos) {
    start.fail(tensor.name, "the name of the tensor is no UTF-8 text");
  }
  const auto fail = [&](std::string what) { start.fail(tensor.name, std::move(what)); };
  const std::uint32_t rank = cursor.take_u32(tensor.name);
  if (rank < 1 || rank > max_rank) fail("expected 1 to 4 sizes, found " + std::to_string(rank));
  std::int64_t sizes[max_rank];
  std::optional<std::uint64_t> elements = 1;
  for (std::uint32_t i = 0; i < rank; ++i) {
    const std::uint64_t size = cursor.take_u64(tensor.name);
    if (size < 1 || size > std::uint64_t{1} << 62) fail("a size of it is " + std::to_string(size));
    sizes[rank - 1 - i] = static_cast<std::int64_t>(size);
    if (elements) elements = checked_multiply(*elements, size);
  }
  const std::uint32_t id = cursor.take_u32(tensor.name);
  const std::optional<GgufTensorType> type = gguf_tensor_type(id);
  if (!type) fail("unknown type " + std::to_string(id));
  const auto row = static_cast<std::uint64_t>(sizes[rank - 1]);
  if (row % type->block != 0) {
    fail("rows of " + std::to_string(row) + " elements are no whole blocks of " + std::to_string(type->block) + " (" +
         std::string(type->name) + ")");
  }
  std::optional<std::uint64_t> size = elements;
  if (size) size = checked_multiply(*size / type->block, type->size);
  if (!size) fail("it has more bytes than 64 bits can count");
  found.size = *size;
  found.offset = cursor.take_u64(tensor.name);
  if (type->dtype) {
    tensor.dtype = *type->dtype;
    tensor.shape = Shape(std::span<const std::int64_t>(sizes, rank));
  } else {
    tensor.opaque = "the type " + std::string(type->name) + " is not supported";
    tensor.dtype = DType::u8;
  }
  return found;
}

}  // namespace detail

// bytes: of a file, which outlive what is returned. file: for messages.
inline GgufFile read_gguf(std::span<const std::byte> bytes, const std::string& file) {
  Bytes cursor(bytes, file);
  const Bytes start = cursor;
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), std::min<std::size_t>(bytes.size(), 512));
  if (!text.starts_with("GGUF")) {
    const std::string_view format = detail::foreign_format(text);
    if (text.size() < 4) cursor.take(4, "magic");
    start.fail("magic", format.empty() ? "expected \"GGUF\", found \"" + escaped(text.substr(0, 4)) + "\""
                                       : "this is " + std::string(format) + ", not GGUF");
  }
  cursor.take(4, "magic");
  const std::uint32_t version = cursor.take_u32("version");
  if (version != 2 && version != 3) {
    const bool is_swapped = version != 0 && (version & 0xffffu) == 0;
    start.fail("version", is_swapped ? "the file is written in big-endian byte order, expected little-endian"
                                     : "expected 2 or 3, found " + std::to_string(version));
  }
  // The least that a tensor takes (name of a byte, one size) and a key with its value.
  const std::uint64_t num_tensors = detail::take_gguf_count(cursor, "number of tensors", 8 + 1 + 4 + 8 + 4 + 8);
  const std::uint64_t num_keys = detail::take_gguf_count(cursor, "number of keys", 8 + 1 + 4 + 1);

  GgufFile found{GgufMetadata::read(cursor, num_keys, file), {}};
  constexpr std::int64_t max_alignment = 1 << 16;
  constexpr std::string_view alignment_key = "general.alignment";
  std::uint64_t alignment = 32;
  if (found.metadata.has(alignment_key)) {
    const GgufValue& value = *found.metadata.find(alignment_key);
    if (value.is_array || value.type != GgufType::u32)
      found.metadata.fail(alignment_key, "expected a number of type u32");
    alignment = static_cast<std::uint64_t>(found.metadata.get_integer(alignment_key, 1, max_alignment));
    if ((alignment & (alignment - 1)) != 0) found.metadata.fail(alignment_key, "expected a power of two");
  }

  std::vector<detail::GgufTensorInfo> infos;
  std::unordered_set<std::string> names;
  for (std::uint64_t i = 0; i < num_tensors; ++i) {
    const Bytes place = cursor;
    infos.push_back(detail::read_gguf_tensor(cursor));
    if (!names.insert(infos.back().tensor.name).second)
      place.fail(infos.back().tensor.name, "two tensors have this name");
  }

  const auto padded = [&](std::uint64_t size) { return (size + alignment - 1) / alignment * alignment; };
  const std::uint64_t data_offset = padded(cursor.position());
  if (num_tensors == 0) return found;  // nothing but metadata, as vocabularies are
  if (data_offset > bytes.size()) cursor.fail("data", "the file ends before its data begins");
  const std::span<const std::byte> data = bytes.subspan(data_offset);
  std::uint64_t end = 0;
  for (detail::GgufTensorInfo& entry : infos) {
    Tensor& tensor = entry.tensor;
    const auto fail = [&](const std::string& what) {
      throw Error(ErrorCode::bad_file, {file, tensor.name, static_cast<std::int64_t>(data_offset), what});
    };
    if (entry.offset != end) {
      fail("its data begins at " + std::to_string(entry.offset) + ", expected " + std::to_string(end) +
           ", where the tensor before it ends");
    }
    if (entry.size > data.size() - end) {
      fail("the file ends too early (needs " + std::to_string(entry.size) + " bytes at " + std::to_string(end) +
           " of the data, has " + std::to_string(data.size() - end) + ")");
    }
    tensor.bytes = data.subspan(entry.offset, entry.size);
    tensor.offset = data_offset + entry.offset;
    if (!tensor.opaque.empty()) tensor.shape = Shape{static_cast<std::int64_t>(entry.size)};
    end = std::min<std::uint64_t>(padded(entry.offset + entry.size), data.size());
    found.tensors.push_back(std::move(tensor));
  }
  if (end != data.size()) {
    throw Error(ErrorCode::bad_file, {file, "", static_cast<std::int64_t>(data_offset + end),
                                      std::to_string(data.size() - end) + " bytes at the end belong to no tensor"});
  }
  std::sort(found.tensors.begin(), found.tensors.end(),
            [](const Tensor& a, const Tensor& b) { return a.name < b.name; });
  return found;
}

}  // namespace headgate::inline HEADGATE_ABI
