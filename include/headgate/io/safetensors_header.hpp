// safetensors_header: what a safetensors file begins with (safetensors.hpp): length and JSON, filled up with blanks, so
// that the data begins on a line of 64 bytes. Tensors follow one another in the order given.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "headgate/core/dtype.hpp"
#include "headgate/io/json_text.hpp"

namespace headgate::inline HEADGATE_ABI {

struct SafetensorsEntry {
  std::string name;  // UTF-8
  DType dtype = DType::u8;
  std::vector<std::int64_t> shape;
  std::uint64_t bytes = 0;
};

// metadata: names and texts of "__metadata__".
inline std::string safetensors_header(std::span<const SafetensorsEntry> tensors,
                                      std::span<const std::pair<std::string, std::string>> metadata = {}) {
  std::string json = "{";
  if (!metadata.empty()) {
    json += "\"__metadata__\":{";
    for (const auto& [name, text] : metadata) {
      json += (json.back() == '{' ? "" : ",") + json_string(name) + ":" + json_string(text);
    }
    json += "}";
  }
  std::uint64_t offset = 0;
  for (const SafetensorsEntry& tensor : tensors) {
    std::string shape;
    for (const std::int64_t size : tensor.shape) shape += (shape.empty() ? "" : ",") + std::to_string(size);
    json += (json.size() > 1 ? "," : "") + json_string(tensor.name) + ":{\"dtype\":\"" +
            std::string(info(tensor.dtype).name) + "\",\"shape\":[" + shape + "],\"data_offsets\":[" +
            std::to_string(offset) + "," + std::to_string(offset + tensor.bytes) + "]}";
    offset += tensor.bytes;
  }
  json += "}";
  while ((8 + json.size()) % 64 != 0) json += ' ';
  const std::uint64_t length = json.size();
  std::string header(8, '\0');
  std::memcpy(header.data(), &length, 8);
  return header + json;
}

}  // namespace headgate::inline HEADGATE_ABI
