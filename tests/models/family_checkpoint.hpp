// Checkpoints of golden/families: config.json, the formulas of all tensors (golden/families/reference.py says what they
// mean), and what transformers computes with them. The weights are written where a test needs them.
#pragma once

#include <algorithm>
#include <filesystem>

#include "io/safetensors_writer.hpp"
#include "models/reference_run.hpp"

namespace models_test {

inline std::vector<std::string> family_checkpoints() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(golden_folder + "families")) {
    if (std::filesystem::exists(entry.path() / "tensors.json")) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// Output i of splitmix64 started at seed.
inline std::uint64_t splitmix64(std::uint64_t seed, std::uint64_t i) noexcept {
  std::uint64_t z = seed + (i + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// Half precision, rounded to nearest even; finite values of its range.
inline std::uint16_t half_bits(float value) noexcept {
  constexpr int smallest_exponent = -14;
  const float magnitude = std::abs(value);
  const int exponent = magnitude == 0.0f ? smallest_exponent : std::max(std::ilogb(magnitude), smallest_exponent);
  const float steps = std::nearbyint(std::ldexp(magnitude, 10 - exponent));
  const int bits = ((exponent - smallest_exponent) << 10) + static_cast<int>(steps);
  return static_cast<std::uint16_t>(bits | (std::signbit(value) ? 0x8000 : 0));
}

// {name, dtype, shape, seed} and {offset, scale} of numbers, which is_whole rounds down, or {low, high} of raw bytes.
struct TensorFormula {
  explicit TensorFormula(const Json& json) {
    const JsonObject entry(json, "tensors.json");
    name = entry.get_string("name");
    dtype = entry.get_string("dtype");
    shape = entry.get_integers("shape", 1, 1 << 20);
    seed = static_cast<std::uint64_t>(entry.get_integer("seed", 0, std::int64_t{1} << 40));
    is_bytes = entry.has("low");
    if (is_bytes) {
      low = static_cast<std::uint64_t>(entry.get_integer("low", 0, 255));
      high = static_cast<std::uint64_t>(entry.get_integer("high", 0, 255));
    } else {
      offset = entry.get_number("offset", -1e6, 1e6);
      scale = entry.get_number("scale", 0.0, 1e6);
      is_whole = entry.get_bool("is_whole", false);
    }
  }

  io_test::WrittenTensor written() const {
    std::string sizes;
    std::uint64_t count = 1;
    for (const std::int64_t size : shape) {
      sizes += (sizes.empty() ? "[" : ",") + std::to_string(size);
      count *= static_cast<std::uint64_t>(size);
    }
    std::string data;
    for (std::uint64_t i = 0; i < count; ++i) append(splitmix64(seed, i), data);
    return {name, dtype, sizes + "]", data};
  }
  void append(std::uint64_t random, std::string& data) const {
    const std::uint64_t upper = random >> 40;
    if (is_bytes) {
      const std::uint64_t sign = dtype == "F8_E4M3" ? (random & 1) << 7 : 0;
      return append_bits(static_cast<std::uint8_t>(sign | (low + upper % (high - low + 1))), data);
    }
    const double unit = static_cast<double>(upper) * 0x1p-23 - 1.0;
    auto value = static_cast<float>(offset + scale * unit);
    if (is_whole) value = std::floor(value);
    if (dtype == "F32") return append_bits(value, data);
    if (dtype == "BF16") return append_bits(bf16(value).bits, data);
    if (dtype == "F16") return append_bits(half_bits(value), data);
    FAIL("no formula for " << dtype);
  }
  template <class Bits>
  static void append_bits(Bits bits, std::string& data) {
    char bytes[sizeof bits];
    std::memcpy(bytes, &bits, sizeof bits);
    data.append(bytes, sizeof bits);
  }

  std::string name;
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::uint64_t seed = 0;
  bool is_bytes = false;
  std::uint64_t low = 0, high = 0;
  double offset = 0.0, scale = 0.0;
  bool is_whole = false;  // rounded down
};

class FamilyCheckpoint {
 public:
  explicit FamilyCheckpoint(const std::string& name)
      : source_(golden_folder + "families/" + name + "/"),
        config_(read_json(source_ + "config.json")),
        expected_(read_json(source_ + "expected.json")) {}

  JsonObject config() const { return {config_, "config.json"}; }
  JsonObject expected() const { return {expected_, "expected.json"}; }
  std::vector<std::int32_t> prompt() const { return ids(*expected().value("prompt")); }
  std::vector<std::int32_t> greedy() const { return ids(*expected().value("greedy")); }
  index_t context_size() const { return expected().get_index("context_size", 0, 4096); }

  bool has_family() const {
    try {
      Families::visit(config(), [](auto) {});
      return true;
    } catch (const Error& error) {
      if (error.detail().field != "model_type") throw;
      return false;
    }
  }

  std::string config_text() const { return read_all(source_ + "config.json"); }
  // All tensors, whatever file they belong in.
  std::vector<io_test::WrittenTensor> tensors() const {
    std::vector<io_test::WrittenTensor> all;
    const Json json = read_json(source_ + "tensors.json");
    for (const Json& file : JsonObject(json, "tensors.json").get_list("files")) {
      for (const Json& formula : JsonObject(file, "tensors.json").get_list("tensors")) {
        all.push_back(TensorFormula(formula).written());
      }
    }
    return all;
  }

  // Writes the weights; the path of the folder.
  std::string write() {
    scratch_.write("config.json", read_all(source_ + "config.json"));
    const Json json = read_json(source_ + "tensors.json");
    const std::span<const Json> files = JsonObject(json, "tensors.json").get_list("files");
    std::string weight_map;
    for (const Json& entry : files) {
      const JsonObject file(entry, "tensors.json");
      std::vector<io_test::WrittenTensor> tensors;
      for (const Json& formula : file.get_list("tensors")) {
        tensors.push_back(TensorFormula(formula).written());
        for (const char byte : tensors.back().data) {
          weights_hash_ = (weights_hash_ ^ static_cast<unsigned char>(byte)) * 1099511628211u;
        }
        weight_map +=
            (weight_map.empty() ? "\"" : ",\"") + tensors.back().name + "\":\"" + file.get_string("name") + "\"";
      }
      scratch_.write(file.get_string("name"), io_test::safetensors(tensors));
    }
    if (files.size() > 1) scratch_.write("model.safetensors.index.json", "{\"weight_map\":{" + weight_map + "}}");
    return scratch_.path();
  }
  std::uint64_t weights_hash() const { return weights_hash_; }  // FNV-1a over the data of all tensors written

 private:
  std::string source_;
  Json config_, expected_;
  ScratchFolder scratch_;
  std::uint64_t weights_hash_ = 14695981039346656037u;
};

}  // namespace models_test
