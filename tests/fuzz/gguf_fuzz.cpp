// A GGUF file of arbitrary bytes is refused with an Error or read: every tensor then lies inside the file and its rows
// can be read, every value of its metadata can be, and a family that calls itself its own is described or refused.
#include "headgate/io/gguf.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace {

void require(bool holds) {
  if (!holds) __builtin_trap();
}

void use(const headgate::Tensor& tensor, std::span<const std::byte> file) {
  require(tensor.offset <= file.size() && tensor.bytes.size() <= file.size() - tensor.offset);
  require(tensor.bytes.data() == file.subspan(tensor.offset).data());
  const bool is_float = tensor.opaque.empty() && tensor.dtype != headgate::DType::i8 &&
                        tensor.dtype != headgate::DType::i16 && tensor.dtype != headgate::DType::i32 &&
                        tensor.dtype != headgate::DType::i64 && tensor.dtype != headgate::DType::f64;
  if (!is_float) return;
  std::vector<float> row(static_cast<std::size_t>(tensor.row_size()));
  headgate::read_row(tensor, 0, row);
  headgate::read_row(tensor, tensor.num_rows() - 1, row);
}

void use(const headgate::GgufMetadata& keys) {
  for (const headgate::GgufValue& value : keys.values()) {
    require(keys.find(value.key) == &value);
    try {
      switch (value.type) {
        case headgate::GgufType::string:
          require(!value.is_array || keys.get_strings(value.key).size() == value.count);
          if (!value.is_array) keys.get_string(value.key);
          break;
        case headgate::GgufType::f32:
          require(!value.is_array || keys.get_floats(value.key).size() == value.count);
          if (!value.is_array) keys.get_number(value.key, -1e9, 1e9);
          break;
        case headgate::GgufType::f64:
          if (!value.is_array) keys.get_number(value.key, -1e9, 1e9);
          break;
        default:
          require(!value.is_array || keys.get_integers(value.key, INT64_MIN, INT64_MAX).size() == value.count);
          if (!value.is_array && value.type != headgate::GgufType::boolean) keys.get_integer(value.key, 0, 100);
      }
    } catch (const headgate::Error& error) {
      require(error.code() == headgate::ErrorCode::bad_file);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> file = std::as_bytes(std::span(data, size));
  try {
    const headgate::GgufFile found = headgate::read_gguf(file, "fuzz");
    for (const headgate::Tensor& tensor : found.tensors) use(tensor, file);
    use(found.metadata);
  } catch (const headgate::Error& error) {
    require(std::string_view(error.what()).size() <= 4096);
    require(error.code() == headgate::ErrorCode::bad_file || error.code() == headgate::ErrorCode::limit);
  }
  return 0;
}
