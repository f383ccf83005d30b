// The safetensors container: u64 length n, n bytes of JSON, data. The JSON maps each tensor's name to dtype, shape and
// data_offsets [begin, end) within the data; "__metadata__" maps strings to strings.
//
// read_safetensors accepts exactly the files whose tensors tile the data: no gap, no overlap, nothing behind, every
// size equal to shape times element size. All of it is checked before the first tensor is touched, and every number is
// compared with the size of the file before it is used. A tensor of a type or rank unknown here lies beside the others
// as bytes (Tensor::opaque): only who needs it must refuse it. Bytes that the metadata calls panels are a tensor of
// what they hold (packed_tensors.hpp). Source: the format's README and reference implementation,
// https://github.com/huggingface/safetensors
#pragma once

#include "headgate/core/dtype.hpp"
#include "headgate/core/error.hpp"
#include "headgate/io/bytes.hpp"
#include "headgate/io/json.hpp"
#include "headgate/io/packed_tensors.hpp"
#include "headgate/io/tensor.hpp"

#include <algorithm>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace headgate::inline HEADGATE_ABI {

struct SafetensorsLimits {
  std::uint64_t header_bytes = 100'000'000;  // as in the reference implementation
  std::size_t name_bytes = 1024;
  std::size_t tensors = 1'000'000;
};

namespace detail {

// "(64, 2048)"
inline std::string describe(std::span<const std::int64_t> sizes) {
  std::string text = "(";
  for (std::size_t i = 0; i < sizes.size() && i < 16; ++i) text += (i == 0 ? "" : ", ") + std::to_string(sizes[i]);
  return text + (sizes.size() > 16 ? ", ...)" : ")");
}

// What a file is that begins so and is not safetensors; empty: not known.
inline std::string_view foreign_format(std::string_view text) {
  if (text.starts_with("version https://git-lfs")) return "a git-lfs pointer (run: git lfs pull)";
  if (text.starts_with("GGUF")) return "a GGUF file";
  if (text.starts_with("PK\x03\x04")) return "a zip archive, as PyTorch writes checkpoints";
  if (text.starts_with("\x1f\x8b")) return "a gzip archive";
  if (text.size() > 1 && text[0] == '\x80' && text[1] >= 2 && text[1] <= 5) return "a Python pickle";
  if (text.substr(0, 8).find('\0') != text.npos) return "";
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == text.npos) return "";
  if (text[first] == '<') return "an HTML or XML page";
  if (text[first] == '{') return "a JSON document";
  return "";
}

// Empty for a type that is not known here: newer versions of the format have more.
inline std::optional<DType> parse_dtype(const std::string& name) {
  for (const DTypeInfo& type : dtypes) {
    if (type.name == name && type.block == 1) return type.dtype;
  }
  return std::nullopt;
}
inline std::string unknown_dtype(const std::string& name) {
  std::string known;
  for (const DTypeInfo& type : dtypes) {
    if (type.block == 1) known += (known.empty() ? "" : ", ") + std::string(type.name);
  }
  return "unknown type \"" + escaped(name, 40) + "\" (known: " + known + ")";
}

// Bytes that so many elements of this type take.
inline std::uint64_t parse_size(const JsonObject& entry, std::span<const std::int64_t> sizes, DType dtype) {
  std::optional<std::uint64_t> size = 1;
  for (const std::int64_t length : sizes) {
    if (size) size = checked_multiply(*size, static_cast<std::uint64_t>(length));
  }
  if (size) size = checked_multiply(*size, static_cast<std::uint64_t>(info(dtype).size));
  if (!size) entry.fail("shape", describe(sizes) + " has more elements than 64 bits can count");
  return *size;
}

// data: what the file holds behind its header, which begins at data_offset.
inline Tensor parse_tensor(const JsonMember& member, const std::string& file, std::span<const std::byte> data,
                           std::uint64_t data_offset) {
  const JsonObject entry(member.value, file, member.key);
  const std::string& type = entry.get_string("dtype");
  const std::optional<DType> dtype = parse_dtype(type);
  const std::vector<std::int64_t> sizes = entry.get_integers("shape", 0, std::numeric_limits<std::int64_t>::max());
  const std::vector<std::int64_t> range = entry.get_integers("data_offsets", 0, static_cast<std::int64_t>(data.size()));
  if (range.size() != 2 || range[0] > range[1]) {
    entry.fail("data_offsets",
               "expected [begin, end] with begin <= end, found " +
                   (range.size() == 2 ? "[" + std::to_string(range[0]) + ", " + std::to_string(range[1]) + "]"
                                      : std::to_string(range.size()) + " integers"));
  }
  const std::uint64_t found = static_cast<std::uint64_t>(range[1] - range[0]);
  if (dtype) {
    const std::uint64_t size = parse_size(entry, sizes, *dtype);
    if (found != size) {
      entry.fail("data_offsets", type + " of shape " + describe(sizes) + " takes " + std::to_string(size) +
                                     " bytes, found " + std::to_string(found));
    }
  }
  Tensor tensor;
  tensor.name = member.key;
  tensor.bytes = data.subspan(as_size(range[0]), found);
  tensor.offset = data_offset + static_cast<std::uint64_t>(range[0]);
  if (!dtype) {
    tensor.opaque = unknown_dtype(type);
  } else if (sizes.size() > as_size(Shape::max_rank)) {
    tensor.opaque =
        "a tensor has at most " + std::to_string(Shape::max_rank) + " sizes, found " + std::to_string(sizes.size());
  }
  tensor.dtype = tensor.opaque.empty() ? *dtype : DType::u8;
  tensor.shape = tensor.opaque.empty() ? Shape(sizes) : Shape{range[1] - range[0]};
  return tensor;
}

// Sorted by where they lie (empty ones before what begins there), tensors must follow each other from the first byte of
// the data to the last.
inline void check_cover(std::vector<Tensor>& tensors, const std::string& file, std::uint64_t data_offset,
                        std::uint64_t data_size) {
  std::sort(tensors.begin(), tensors.end(), [](const Tensor& a, const Tensor& b) {
    return std::pair(a.offset, a.bytes.size()) < std::pair(b.offset, b.bytes.size());
  });
  const auto fail = [&](const std::string& name, std::uint64_t offset, const std::string& what) {
    throw Error(ErrorCode::bad_file, {file, name, static_cast<std::int64_t>(offset), what});
  };
  std::uint64_t end = data_offset;
  const Tensor* previous = nullptr;
  for (const Tensor& tensor : tensors) {
    if (tensor.offset > end) {
      fail(tensor.name, end, std::to_string(tensor.offset - end) + " bytes before it belong to no tensor");
    }
    if (tensor.offset < end) {
      fail(tensor.name, tensor.offset, "its data overlaps that of \"" + escaped(previous->name) + "\"");
    }
    end = tensor.offset + tensor.bytes.size();
    previous = &tensor;
  }
  if (end != data_offset + data_size) {
    fail("", end, std::to_string(data_offset + data_size - end) + " bytes at the end belong to no tensor");
  }
}

inline void check_metadata(const JsonMember& member, const std::string& file) {
  if (member.value.is_null()) return;
  for (const JsonMember& entry : JsonObject(member.value, file, member.key).members()) {
    if (std::holds_alternative<std::string>(entry.value.value)) continue;
    throw Error(ErrorCode::bad_file, {file, member.key + "." + entry.key, entry.value.offset,
                                      "expected a string, found " + entry.value.describe()});
  }
}

// The text of the header, its length compared with what the file holds.
inline std::string_view take_header(Bytes& cursor, std::uint64_t max_length) {
  Bytes rest = cursor;
  const std::string_view text = rest.take_text(rest.remaining(), "");
  const std::string_view format = foreign_format(text.substr(0, 512));
  const auto refuse = [&](const std::string& what) {
    cursor.fail("header length", format.empty() ? what : "this is " + std::string(format) + ", not safetensors");
  };
  if (text.size() < 8) refuse("the file ends too early (needs 8 bytes, has " + std::to_string(text.size()) + ")");
  Bytes behind_length = cursor;
  const std::uint64_t length = behind_length.take_u64("header length");
  const std::uint64_t allowed = std::min<std::uint64_t>(text.size() - 8, max_length);
  if (length > allowed) {
    const std::uint64_t swapped = __builtin_bswap64(length);
    if (swapped > 1 && swapped <= allowed && text[8] == '{' && (text[7 + swapped] == '}' || text[7 + swapped] == ' ')) {
      refuse("the length is written in big-endian byte order, expected little-endian");
    }
    refuse("the header does not fit (has " + std::to_string(length) + " bytes, allowed " + std::to_string(allowed) +
           ")");
  }
  const std::string_view header = text.substr(8, length);
  if (!format.empty() && header.find_first_of("{ \t\r\n") != 0) refuse("");
  cursor = behind_length;
  return cursor.take_text(length, "header");
}

}  // namespace detail

// The tensors of a file whose bytes are given (and outlive them), sorted by name. file: for messages.
inline std::vector<Tensor> read_safetensors(std::span<const std::byte> bytes, const std::string& file,
                                            const SafetensorsLimits& limits = {}) {
  Bytes cursor(bytes, file);
  const std::string_view header = detail::take_header(cursor, limits.header_bytes);
  const std::uint64_t data_offset = cursor.position();
  const std::span<const std::byte> data = cursor.take(cursor.remaining(), "data");

  std::vector<Tensor> tensors;
  PackedTensors packed;
  const auto add = [&](const JsonMember& member) {
    if (member.key == "__metadata__") {
      detail::check_metadata(member, file);
      packed = PackedTensors::read(member, file);
      return;
    }
    if (member.key.size() > limits.name_bytes) {
      throw Error(ErrorCode::bad_file, {file, member.key, member.offset,
                                        "the name is too long (has " + std::to_string(member.key.size()) +
                                            " bytes, allowed " + std::to_string(limits.name_bytes) + ")"});
    }
    if (tensors.size() == limits.tensors) {
      throw Error(ErrorCode::limit, {file, member.key, member.offset,
                                     "too many tensors (allowed " + std::to_string(limits.tensors) + ")"});
    }
    tensors.push_back(detail::parse_tensor(member, file, data, data_offset));
  };
  for_each_json_member(header, file, add, sizeof(std::uint64_t));

  detail::check_cover(tensors, file, data_offset, data.size());
  std::sort(tensors.begin(), tensors.end(), [](const Tensor& a, const Tensor& b) { return a.name < b.name; });
  packed.mark(tensors);
  return tensors;
}

}  // namespace headgate::inline HEADGATE_ABI
