// The bytes of safetensors files, right and wrong ones.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace io_test {

inline std::string little_endian(std::uint64_t value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

inline std::string safetensors(std::string_view header, std::string_view data) {
  return little_endian(header.size()) + std::string(header) + std::string(data);
}
inline std::string safetensors(std::string_view header, std::size_t data_size) {
  return safetensors(header, std::string(data_size, '\x01'));
}

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// A file that holds these tensors one after the other: name, type, shape as JSON text, data.
struct WrittenTensor {
  std::string name;
  std::string dtype;
  std::string shape;
  std::string data;
};
inline std::string safetensors(const std::vector<WrittenTensor>& tensors) {
  std::string header = "{";
  std::string data;
  for (const WrittenTensor& tensor : tensors) {
    header += (header.size() > 1 ? ",\"" : "\"") + tensor.name + "\":{\"dtype\":\"" + tensor.dtype +
              "\",\"shape\":" + tensor.shape + ",\"data_offsets\":[" + std::to_string(data.size()) + "," +
              std::to_string(data.size() + tensor.data.size()) + "]}";
    data += tensor.data;
  }
  return safetensors(header + "}", data);
}

// Ten bytes: the smallest useful file. F32 (2), BF16 (1).
inline std::vector<WrittenTensor> two_tensors(const std::string& first = "a", const std::string& second = "b") {
  return {{first, "F32", "[2]", std::string("\0\0\x80\x3f\0\0\0\xc0", 8)}, {second, "BF16", "[1]", "\x40\x3f"}};
}

}  // namespace io_test
