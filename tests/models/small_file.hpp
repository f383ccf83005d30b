// A safetensors file of a few F32 or BF16 tensors whose element i is i.
#pragma once

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "headgate/core/dtype.hpp"
#include "headgate/io/tensor_source.hpp"
#include "io/refusal.hpp"
#include "io/safetensors_writer.hpp"

namespace models_test {

inline io_test::WrittenTensor counting(const std::string& name, const std::vector<int>& shape,
                                       const std::string& dtype = "F32") {
  std::string sizes;
  int count = 1;
  for (const int size : shape) {
    sizes += (sizes.empty() ? "[" : ",") + std::to_string(size);
    count *= size;
  }
  std::string data;
  for (int i = 0; i < count; ++i) {
    const auto value = static_cast<float>(i);
    const std::uint16_t half = headgate::bf16(value).bits;
    dtype == "F32" ? data.append(reinterpret_cast<const char*>(&value), 4)
                   : data.append(reinterpret_cast<const char*>(&half), 2);
  }
  return {name, dtype, sizes + "]", data};
}

struct SmallFile {
  explicit SmallFile(const std::vector<io_test::WrittenTensor>& tensors)
      : source(headgate::TensorSource::open(folder.write("model.safetensors", io_test::safetensors(tensors)))) {}
  io_test::ScratchFolder folder;
  headgate::TensorSource source;
};

}  // namespace models_test
