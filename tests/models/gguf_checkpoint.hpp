// GGUF files of golden/gguf: made here of the formulas of golden/families, byte for byte as the gguf package wrote them
// (golden/gguf/make_gguf.py says what recipes mean).
#pragma once

#include <functional>
#include <map>

#include "headgate/core/quantized_blocks.hpp"
#include "io/gguf_writer.hpp"
#include "models/family_checkpoint.hpp"

namespace models_test {

inline std::vector<std::string> gguf_recipes(bool is_wide) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(golden_folder + "gguf")) {
    const std::string name = entry.path().stem().string();
    if (entry.path().extension() == ".json" && name.starts_with("wide_") == is_wide) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

inline std::uint64_t fnv(std::string_view bytes) noexcept {
  std::uint64_t hash = 14695981039346656037u;
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 1099511628211u;
  return hash;
}

// A tensor as bytes, in rows.
struct Block {
  std::vector<std::int64_t> shape;
  std::size_t size = 4;  // of an element
  std::string data;

  // Axes before, along and behind an axis, as numbers of elements.
  std::int64_t product(std::size_t first, std::size_t last) const {
    std::int64_t result = 1;
    for (std::size_t i = first; i < last; ++i) result *= shape[i];
    return result;
  }
  Block sliced(std::size_t axis, std::int64_t first, std::int64_t end, std::int64_t step) const {
    Block out{shape, size, {}};
    out.shape[axis] = (end - first + step - 1) / step;
    const std::size_t piece = static_cast<std::size_t>(product(axis + 1, shape.size())) * size;
    for (std::int64_t a = 0; a < product(0, axis); ++a) {
      for (std::int64_t i = first; i < end; i += step) {
        out.data.append(data, static_cast<std::size_t>(a * shape[axis] + i) * piece, piece);
      }
    }
    return out;
  }
  // Of neighbours a and a + 1.
  Block swapped(std::size_t a) const {
    Block out{shape, size, {}};
    std::swap(out.shape[a], out.shape[a + 1]);
    const std::size_t piece = static_cast<std::size_t>(product(a + 2, shape.size())) * size;
    for (std::int64_t outer = 0; outer < product(0, a); ++outer) {
      for (std::int64_t j = 0; j < shape[a + 1]; ++j) {
        for (std::int64_t i = 0; i < shape[a]; ++i) {
          out.data.append(data, static_cast<std::size_t>((outer * shape[a] + i) * shape[a + 1] + j) * piece, piece);
        }
      }
    }
    return out;
  }
};

// A tensor of a file, sizes outermost first.
struct GgufEntry {
  std::string name;
  std::string type;
  std::vector<std::int64_t> shape;
  std::string data;
};

inline std::uint32_t ggml_type(std::string_view name) {
  static const std::map<std::string_view, std::uint32_t> types = {
      {"F32", 0},     {"F16", 1},     {"Q4_0", 2},  {"Q4_1", 3},  {"Q5_0", 6},  {"Q5_1", 7},
      {"Q8_0", 8},    {"Q2_K", 10},   {"Q3_K", 11}, {"Q4_K", 12}, {"Q5_K", 13}, {"Q6_K", 14},
      {"IQ4_NL", 20}, {"IQ4_XS", 23}, {"BF16", 30}, {"MXFP4", 39}};
  return types.at(name);
}

class GgufCheckpoint {
 public:
  using Keys = std::vector<std::pair<std::string, std::string>>;  // value with its type in front; empty: no such key

  explicit GgufCheckpoint(const std::string& name)
      : recipe_(read_json(golden_folder + "gguf/" + name + ".json")), recipe_object_(recipe_, name) {
    for (const Json& key : recipe_object_.get_list("keys")) add_key(std::get<Json::Array>(key.value));
    std::map<std::string, TensorFormula> formulas;
    if (!name.starts_with("wide_")) formulas = formulas_of(name);
    for (const Json& json : recipe_object_.get_list("tensors")) add_tensor(JsonObject(json, name), formulas);
  }

  std::uint64_t expected_hash() const { return std::stoull(recipe_object_.get_string("hash"), nullptr, 16); }
  const JsonObject& recipe() const { return recipe_object_; }
  const Keys& keys() const { return keys_; }
  std::string architecture() const { return recipe_architecture_; }

  std::string file() const { return file_of(keys_, tensors); }
  static std::string file_of(const Keys& keys, const std::vector<GgufEntry>& tensors, std::uint32_t version = 3) {
    io_test::GgufWriter writer;
    writer.version = version;
    for (const auto& [key, value] : keys) writer.key(key, value);
    for (const GgufEntry& entry : tensors) {
      writer.tensor(entry.name, {entry.shape.rbegin(), entry.shape.rend()}, ggml_type(entry.type), entry.data);
    }
    return writer.file();
  }
  // With another value of a key, or without it.
  void set(const std::string& key, const std::string& value) {
    const auto place = std::find_if(keys_.begin(), keys_.end(), [&](const auto& entry) { return entry.first == key; });
    if (place == keys_.end()) {
      keys_.push_back({key, value});
    } else if (value.empty()) {
      keys_.erase(place);
    } else {
      place->second = value;
    }
  }
  GgufEntry& tensor(const std::string& name) {
    const auto place = std::find_if(tensors.begin(), tensors.end(), [&](const GgufEntry& e) { return e.name == name; });
    REQUIRE(place != tensors.end());
    return *place;
  }
  void remove(const std::string& name) { tensors.erase(tensors.begin() + (&tensor(name) - tensors.data())); }

  std::vector<GgufEntry> tensors;

 private:
  static std::map<std::string, TensorFormula> formulas_of(const std::string& name) {
    std::map<std::string, TensorFormula> formulas;
    const Json json = read_json(golden_folder + "families/" + name + "/tensors.json");
    for (const Json& file : JsonObject(json, "tensors.json").get_list("files")) {
      for (const Json& formula : JsonObject(file, "tensors.json").get_list("tensors")) {
        const TensorFormula one(formula);
        formulas.emplace(one.name, one);
      }
    }
    return formulas;
  }

  void add_key(const Json::Array& key) {
    const std::string& type = std::get<std::string>(key[1].value);
    const auto whole = [](const Json& json) { return std::get<std::int64_t>(json.value); };
    const auto real = [&](const Json& json) {
      const auto* const number = std::get_if<double>(&json.value);
      return static_cast<float>(number != nullptr ? *number : static_cast<double>(whole(json)));
    };
    std::string value;
    if (type == "uint32") value = io_test::gguf_value(static_cast<std::uint32_t>(whole(key[2])));
    if (type == "float32") value = io_test::gguf_value(real(key[2]));
    if (type == "bool") value = io_test::gguf_value(std::get<bool>(key[2].value));
    if (type == "string") value = io_test::gguf_value(std::get<std::string>(key[2].value));
    if (type.starts_with("array of ")) {
      std::string elements;
      const Json::Array& list = std::get<Json::Array>(key[2].value);
      for (const Json& e : list) {
        elements += type.ends_with("bool") ? std::string(1, static_cast<char>(std::get<bool>(e.value)))
                                           : io_test::raw(static_cast<std::int32_t>(whole(e)));
      }
      value = io_test::gguf_array(type.ends_with("bool") ? 7 : 5, list.size(), elements);
    }
    REQUIRE(!value.empty());
    keys_.push_back({std::get<std::string>(key[0].value), value});
    if (keys_.back().first == "general.architecture") recipe_architecture_ = std::get<std::string>(key[2].value);
  }

  void add_tensor(const JsonObject& json, const std::map<std::string, TensorFormula>& formulas) {
    GgufEntry entry{json.get_string("name"), json.get_string("type"), {}, {}};
    if (json.has("seed")) {
      entry.shape = json.get_integers("shape", 1, 1 << 20);
      entry.data = wide_data(entry, static_cast<std::uint64_t>(json.get_integer("seed", 0, 1 << 20)));
    } else if (json.has("values")) {
      const std::vector<double> values = numbers(*json.value("values"));
      entry.shape = {static_cast<std::int64_t>(values.size())};
      for (const double value : values) entry.data += io_test::raw(static_cast<float>(value));
    } else {
      std::vector<std::pair<Block, std::string>> blocks;
      for (const std::string& name : json.get_strings("of")) {
        const TensorFormula& formula = formulas.at(name);
        const std::size_t size = formula.dtype == "F32" ? 4 : formula.dtype == "BF16" || formula.dtype == "F16" ? 2 : 1;
        blocks.push_back({Block{formula.shape, size, formula.written().data}, formula.dtype});
      }
      const Block made = applied(std::move(blocks), json.get_list("ops"));
      entry.shape = made.shape;
      entry.data = made.data;
    }
    tensors.push_back(std::move(entry));
  }

  static std::string name_of(const Json& op) { return std::get<std::string>(std::get<Json::Array>(op.value)[0].value); }
  static Block applied(std::vector<std::pair<Block, std::string>> blocks, std::span<const Json> ops) {
    if (!ops.empty() && name_of(ops.front()) == "fp8") {
      std::vector<std::pair<Block, std::string>> floats;
      for (std::size_t i = 0; i < blocks.size(); i += 2) {
        floats.push_back({scaled(blocks[i].first, blocks[i + 1].first), "F32"});
      }
      blocks = std::move(floats);
      ops = ops.subspan(1);
    }
    if (!ops.empty() && name_of(ops.back()) == "mxfp4") {
      const std::span<const Json> before = ops.first(ops.size() - 1);
      return ggml_blocks(applied({blocks[0]}, before), applied({blocks[1]}, before));
    }
    Block block = blocks[0].first;
    if (blocks.size() > 1) {
      block.shape.insert(block.shape.begin(), static_cast<std::int64_t>(blocks.size()));
      for (std::size_t i = 1; i < blocks.size(); ++i) block.data += blocks[i].first.data;
    }
    for (const Json& json : ops) {
      const Json::Array& op = std::get<Json::Array>(json.value);
      std::vector<std::int64_t> args;
      for (std::size_t i = 1; i < op.size(); ++i) args.push_back(std::get<std::int64_t>(op[i].value));
      const std::string name = name_of(json);
      if (name == "shape") block.shape = args;
      if (name == "swap") block = block.swapped(static_cast<std::size_t>(args[0]));
      if (name == "slice") block = block.sliced(static_cast<std::size_t>(args[0]), args[1], args[2], args[3]);
      if (name == "F32") block = widened(block, blocks[0].second == "BF16");
    }
    return block;
  }
  static Block widened(const Block& block, bool is_bf16) {
    Block out{block.shape, 4, {}};
    for (std::size_t i = 0; i < block.data.size(); i += 2) {
      std::uint16_t bits;
      std::memcpy(&bits, &block.data[i], 2);
      bf16 upper;
      f16 half;
      upper.bits = half.bits = bits;
      out.data += io_test::raw(is_bf16 ? static_cast<float>(upper) : static_cast<float>(half));
    }
    return out;
  }
  static Block scaled(const Block& codes, const Block& scales) {
    Block out{codes.shape, 4, {}};
    for (std::int64_t r = 0; r < codes.shape[0]; ++r) {
      for (std::int64_t c = 0; c < codes.shape[1]; ++c) {
        f8_e4m3 code;
        code.bits = static_cast<std::uint8_t>(codes.data[static_cast<std::size_t>(r * codes.shape[1] + c)]);
        float scale;
        std::memcpy(&scale, &scales.data[static_cast<std::size_t>(r / 128 * scales.shape[1] + c / 128) * 4], 4);
        out.data += io_test::raw(static_cast<float>(code) * scale);
      }
    }
    return out;
  }
  static Block ggml_blocks(const Block& halves, const Block& scales) {
    Block out{{scales.shape[0], scales.shape[1], scales.shape[2] * 32}, 1, {}};
    for (std::size_t b = 0; b < scales.data.size(); ++b) {
      out.data += scales.data[b];
      const auto weight = [&](std::size_t i) {
        const auto byte = static_cast<unsigned char>(halves.data[b * 16 + i / 2]);
        return static_cast<unsigned>(i % 2 == 0 ? byte & 15 : byte >> 4);
      };
      for (std::size_t i = 0; i < 16; ++i) out.data += static_cast<char>(weight(i) | weight(i + 16) << 4);
    }
    return out;
  }

  // As make_gguf.py's.
  static std::string wide_data(const GgufEntry& entry, std::uint64_t seed) {
    std::uint64_t count = 1;
    for (const std::int64_t size : entry.shape) count *= static_cast<std::uint64_t>(size);
    const bool is_norm = entry.name.ends_with("norm.weight");
    std::string data;
    if (entry.type == "F32" || entry.type == "F16" || entry.type == "BF16") {
      for (std::uint64_t i = 0; i < count; ++i) {
        const double unit = static_cast<double>(splitmix64(seed, i) >> 40) * 0x1p-23 - 1.0;
        const auto value = static_cast<float>(is_norm ? 1.0 + unit / 2.0 : unit / 4.0);
        if (entry.type == "F32") data += io_test::raw(value);
        if (entry.type == "F16") data += io_test::raw(half_bits(value));
        if (entry.type == "BF16") data += io_test::raw(bf16(value).bits);
      }
      return data;
    }
    struct Halves {
      std::size_t bytes, elements;
      std::vector<std::pair<std::size_t, unsigned>> upper;
    };
    static const std::map<std::string, Halves> types = {{"Q4_0", {18, 32, {{0, 0x24}}}},
                                                        {"Q4_1", {20, 32, {{0, 0x20}, {2, 0xAC}}}},
                                                        {"Q5_0", {22, 32, {{0, 0x20}}}},
                                                        {"Q5_1", {24, 32, {{0, 0x1C}, {2, 0xAC}}}},
                                                        {"Q8_0", {34, 32, {{0, 0x14}}}},
                                                        {"Q2_K", {84, 256, {{80, 0x18}, {82, 0x18}}}},
                                                        {"Q3_K", {110, 256, {{108, 0x14}}}},
                                                        {"Q4_K", {144, 256, {{0, 0x08}, {2, 0x14}}}},
                                                        {"Q5_K", {176, 256, {{0, 0x04}, {2, 0x14}}}},
                                                        {"Q6_K", {210, 256, {{208, 0x04}}}},
                                                        {"IQ4_NL", {18, 32, {{0, 0x14}}}},
                                                        {"IQ4_XS", {136, 256, {{0, 0x04}}}},
                                                        {"MXFP4", {17, 32, {}}}};
    const Halves& type = types.at(entry.type);
    const std::uint64_t bytes = count / type.elements * type.bytes;
    for (std::uint64_t i = 0; i < bytes; ++i) data += static_cast<char>(splitmix64(seed, i) >> 40 & 0xff);
    for (std::size_t at = 0; at < data.size(); at += type.bytes) {
      for (const auto& [place, upper] : type.upper) {
        data[at + place + 1] = static_cast<char>(upper | (static_cast<unsigned char>(data[at + place + 1]) & 3u));
      }
      if (entry.type == "MXFP4") data[at] = static_cast<char>(118 + (static_cast<unsigned char>(data[at]) & 3));
    }
    return data;
  }

  Json recipe_;
  JsonObject recipe_object_;
  Keys keys_;
  std::string recipe_architecture_;
};

}  // namespace models_test
