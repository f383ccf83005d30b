// Checkpoints to load, whole and damaged, and what a reference computes with them (golden/).
#pragma once

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "headgate/io/json.hpp"
#include "headgate/io/safetensors.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/models/session.hpp"
#include "io/refusal.hpp"
#include "models/loading.hpp"
#include "support/catch.hpp"

namespace models_test {

using io_test::ScratchFolder;

inline const std::string tales = HEADGATE_SOURCE_DIR "/examples/models/tales";
inline const std::string golden_folder = HEADGATE_SOURCE_DIR "/tests/golden/";
inline std::string tiny(const std::string& name) { return golden_folder + "models/qwen3_moe_" + name; }
inline const char* const tiny_names[] = {"tied_bf16", "head_f32", "stacked_f16", "sharded_bf16"};

inline std::string read_all(const std::string& path) { return headgate::read_small_file(path, std::uint64_t{1} << 30); }

// Values of a list in a document, whatever nesting.
inline std::vector<double> numbers(const headgate::Json& list) {
  std::vector<double> values;
  for (const headgate::Json& json : std::get<headgate::Json::Array>(list.value)) {
    const auto* const whole = std::get_if<std::int64_t>(&json.value);
    values.push_back(whole != nullptr ? static_cast<double>(*whole) : std::get<double>(json.value));
  }
  return values;
}
inline std::vector<std::int32_t> ids(const headgate::Json& list) {
  std::vector<std::int32_t> values;
  for (const double value : numbers(list)) values.push_back(static_cast<std::int32_t>(value));
  return values;
}

// A folder whose files are those of a checkpoint until they are changed.
class Copy {
 public:
  explicit Copy(const std::string& folder) {
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      std::filesystem::copy(entry.path(), scratch_.path());
    }
  }
  const std::string& path() const { return path_; }
  std::string read(const std::string& name) const { return read_all(scratch_ / name); }
  void write(const std::string& name, const std::string& bytes) { scratch_.write(name, bytes); }
  void remove(const std::string& name) { std::filesystem::remove(scratch_ / name); }

  // Gives a key of config.json this value, written as JSON; an empty one removes the key. Keys stand on lines of their
  // own, in the outermost object.
  void set(const std::string& key, const std::string& value, const std::string& file = "config.json") {
    std::string text = read(file);
    const std::string quoted = "\"" + key + "\": ";
    const std::string member = value.empty() ? "" : "\n " + quoted + value + ",";
    if (const std::size_t first = text.find("\n " + quoted); first != text.npos) {
      std::size_t last = first + 2 + quoted.size();
      for (int depth = 0; depth > 0 || (text[last] != ',' && text[last] != '\n'); ++last) {
        depth += text[last] == '{' || text[last] == '[' ? 1 : text[last] == '}' || text[last] == ']' ? -1 : 0;
      }
      const bool is_last = text[last] == '\n';
      if (is_last) {
        text.replace(text[first - 1] == ',' ? first - 1 : first, last - first + (text[first - 1] == ',' ? 1 : 0), "");
      } else {
        text.erase(first, last + 1 - first);
      }
    }
    text.insert(text.find('{') + 1, member);
    write(file, text);
  }

  // Overwrites the bytes of a tensor from its element `first` on.
  void poke(const std::string& tensor, std::size_t first_byte, const std::string& bytes,
            const std::string& file = "model.safetensors") {
    std::string text = read(file);
    for (const headgate::Tensor& t :
         headgate::read_safetensors(std::as_bytes(std::span(text.data(), text.size())), file)) {
      if (t.name != tensor) continue;
      const std::size_t at = t.offset + first_byte;
      REQUIRE(first_byte + bytes.size() <= t.bytes.size());
      text.replace(at, bytes.size(), bytes);
      write(file, text);
      return;
    }
    FAIL("no tensor " << tensor);
  }
  // Replaces text in the header of a safetensors file by text of the same length.
  void rewrite_header(const std::string& from, const std::string& to, const std::string& file = "model.safetensors") {
    REQUIRE(from.size() == to.size());
    std::string text = read(file);
    const std::size_t place = text.find(from);
    REQUIRE(place != text.npos);
    text.replace(place, from.size(), to);
    write(file, text);
  }

 private:
  ScratchFolder scratch_;
  std::string path_ = scratch_.path();
};

// A checkpoint with one key of config.json changed: the error that describing it ends in.
inline headgate::Error refusal(const std::string& key, const std::string& value,
                               const std::string& checkpoint = tiny("tied_bf16")) {
  Copy copy(checkpoint);
  copy.set(key, value);
  INFO(key << " = " << value);
  return io_test::error_of([&] { headgate::describe_model(copy.path()); });
}
inline bool accepts(const std::string& key, const std::string& value,
                    const std::string& checkpoint = tiny("tied_bf16")) {
  Copy copy(checkpoint);
  copy.set(key, value);
  headgate::describe_model(copy.path());
  return true;
}

// FNV-1a over the bits.
inline std::uint64_t hash_of(headgate::ConstRows rows) {
  std::uint64_t hash = 14695981039346656037u;
  for (headgate::index_t t = 0; t < rows.rows; ++t) {
    for (const float value : rows.row(t)) {
      hash = (hash ^ std::bit_cast<std::uint32_t>(value)) * 1099511628211u;
    }
  }
  return hash;
}

}  // namespace models_test
