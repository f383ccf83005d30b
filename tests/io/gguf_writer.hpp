// GgufWriter: GGUF files made by hand, right or wrong.
#pragma once

#include "headgate/io/gguf.hpp"

#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace io_test {

template <class T>
std::string raw(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}
inline std::string gguf_string(std::string_view text) { return raw(std::uint64_t{text.size()}) + std::string(text); }

// A value with its type in front of it.
inline std::string gguf_value(std::uint32_t value) { return raw(std::uint32_t{4}) + raw(value); }
inline std::string gguf_value(std::int32_t value) { return raw(std::uint32_t{5}) + raw(value); }
inline std::string gguf_value(float value) { return raw(std::uint32_t{6}) + raw(value); }
inline std::string gguf_value(bool value) { return raw(std::uint32_t{7}) + raw(static_cast<std::uint8_t>(value)); }
inline std::string gguf_value(std::string_view text) { return raw(std::uint32_t{8}) + gguf_string(text); }
inline std::string gguf_value(const char* text) { return gguf_value(std::string_view(text)); }
// elements: as the file has them.
inline std::string gguf_array(std::uint32_t type, std::uint64_t count, std::string_view elements) {
  return raw(std::uint32_t{9}) + raw(type) + raw(count) + std::string(elements);
}

class GgufWriter {
 public:
  std::uint32_t version = 3;
  std::uint64_t alignment = 32;
  std::int64_t more_keys = 0;     // than there are, by the header
  std::int64_t more_tensors = 0;  // than there are, by the header

  // value: with its type in front.
  GgufWriter& key(std::string_view name, const std::string& value) { return raw_key(gguf_string(name) + value); }
  GgufWriter& raw_key(const std::string& bytes) {
    keys_ += bytes;
    ++num_keys_;
    return *this;
  }
  // sizes: innermost first, as in the file; data: padded here.
  GgufWriter& tensor(std::string_view name, std::vector<std::uint64_t> sizes, std::uint32_t type,
                     std::string_view data) {
    std::string info = gguf_string(name) + raw(static_cast<std::uint32_t>(sizes.size()));
    for (const std::uint64_t size : sizes) info += raw(size);
    info += raw(type) + raw(std::uint64_t{data_.size()});
    return raw_tensor(info, data);
  }
  GgufWriter& raw_tensor(const std::string& info, std::string_view data) {
    infos_ += info;
    ++num_tensors_;
    data_ += data;
    pad(data_);
    return *this;
  }

  std::string header() const {
    return "GGUF" + raw(version) + raw(num_tensors_ + static_cast<std::uint64_t>(more_tensors)) +
           raw(num_keys_ + static_cast<std::uint64_t>(more_keys)) + keys_ + infos_;
  }
  std::string file() const {
    std::string bytes = header();
    if (num_tensors_ > 0) pad(bytes);
    return bytes + data_;
  }

 private:
  void pad(std::string& bytes) const { bytes.resize((bytes.size() + alignment - 1) / alignment * alignment); }

  std::string keys_;
  std::string infos_;
  std::string data_;
  std::uint64_t num_keys_ = 0;
  std::uint64_t num_tensors_ = 0;
};

}  // namespace io_test
