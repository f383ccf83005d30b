// A safetensors file of arbitrary bytes is refused with an Error or read: every tensor then lies inside the file, and
// every row of it can be read.
#include "headgate/io/safetensors.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace {

void require(bool holds) {
  if (!holds) __builtin_trap();
}

void use(const headgate::Tensor& tensor, std::span<const std::byte> file) {
  require(tensor.offset <= file.size() && tensor.bytes.size() <= file.size() - tensor.offset);
  require(tensor.bytes.empty() || tensor.bytes.data() == file.subspan(tensor.offset).data());
  require(tensor.opaque.empty() || tensor.shape == headgate::Shape{static_cast<std::int64_t>(tensor.bytes.size())});
  const bool is_float = tensor.dtype == headgate::DType::f32 || tensor.dtype == headgate::DType::bf16 ||
                        tensor.dtype == headgate::DType::f16 || tensor.dtype == headgate::DType::f64;
  if (!is_float || tensor.bytes.empty()) return;
  std::vector<float> row(static_cast<std::size_t>(tensor.row_size()));
  headgate::read_row(tensor, 0, row);
  headgate::read_row(tensor, tensor.num_rows() - 1, row);
  if (tensor.shape.rank() > 1) headgate::read_row(tensor.slice(tensor.shape[0] - 1), 0, row);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> file = std::as_bytes(std::span(data, size));
  try {
    for (const headgate::Tensor& tensor : headgate::read_safetensors(file, "fuzz")) use(tensor, file);
  } catch (const headgate::Error& error) {
    require(std::string_view(error.what()).size() <= 4096);
    require(error.code() == headgate::ErrorCode::bad_file || error.code() == headgate::ErrorCode::limit);
  }
  return 0;
}
