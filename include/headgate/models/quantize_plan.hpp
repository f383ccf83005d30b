// QuantizePlan: what a packed file of a checkpoint will hold: the matrices of a blueprint in panels, each of the type
// that is asked for its part of the model, and beside them, as they are, the tensors that the model reads besides:
// norms, routers, biases. What nothing reads is left out.
#pragma once

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "headgate/io/safetensors_header.hpp"
#include "headgate/models/blueprint.hpp"

namespace headgate::inline HEADGATE_ABI {

// Parts of a model, by what is quantized with them in common.
enum class ModelPart : std::uint8_t { attention, experts, shared, dense, embedding, head };
inline constexpr std::string_view model_part_names[] = {"attention", "experts", "shared", "dense", "embedding", "head"};
constexpr std::string_view name_of(ModelPart part) noexcept { return model_part_names[static_cast<int>(part)]; }

// What a matrix becomes; nothing: what it is, with every value.
using PackedType = std::optional<DType>;

// The types that can be asked for, with the names they have on command lines.
struct PackedTypeName {
  std::string_view name;
  PackedType type;
  std::string_view words = {};  // what the name does not say
};
inline constexpr PackedTypeName packed_types[] = {{"q2k", DType::q2_k},     {"q3k", DType::q3_k},
                                                  {"q4", DType::q4_0},      {"q4m", DType::q4_1, "with minimum"},
                                                  {"q4k", DType::q4_k},     {"q5", DType::q5_0},
                                                  {"q5m", DType::q5_1},     {"q5k", DType::q5_k},
                                                  {"q6k", DType::q6_k},     {"q8", DType::q8_0},
                                                  {"mxfp4", DType::mxfp4},  {"iq4", DType::iq4_nl},
                                                  {"iq4xs", DType::iq4_xs}, {"int8", DType::i8, "a scale a row"},
                                                  {"bf16", DType::bf16},    {"f16", DType::f16},
                                                  {"f32", DType::f32},      {"keep", std::nullopt, "as it is, packed"}};

// Of each part.
struct PackedTypes {
  std::array<PackedType, std::size(model_part_names)> types{};

  static PackedTypes all(PackedType type) noexcept {
    PackedTypes types;
    types.types.fill(type);
    return types;
  }
  PackedType& operator[](ModelPart part) noexcept { return types[static_cast<std::size_t>(part)]; }
  const PackedType& operator[](ModelPart part) const noexcept { return types[static_cast<std::size_t>(part)]; }
};

// A matrix, or a stack of them, in panels.
struct PackedMatrix {
  std::string name;
  ModelPart part;
  DType type;
  DType asked;  // another one, where rows are no whole blocks of that
  PanelOrder order;
  std::vector<WeightRows> runs;  // in the order of the file
  std::uint64_t bytes = 0;

  const Shape& shape() const noexcept { return runs.front().shape(); }
};
// A tensor that is written as it is, or in floats where the container has no such type or the order of its rows is not
// that of the model.
struct KeptTensor {
  std::string name;
  const Tensor* tensor;
  std::optional<WeightRows> rows;  // of which floats are written; none: the tensor's bytes
  bool has_floats = false;

  std::uint64_t bytes() const noexcept {
    return has_floats ? static_cast<std::uint64_t>(tensor->shape.elements()) * sizeof(float) : tensor->bytes.size();
  }
};

struct QuantizePlan {
  std::vector<PackedMatrix> packed;
  std::vector<KeptTensor> kept;

  static QuantizePlan of(const Blueprint& blueprint, const TensorSource& source, const PackedTypes& types) {
    QuantizePlan plan;
    std::vector<Use> uses;
    const auto add = [&](ModelPart part, const WeightUse& use) {
      if (use.may_quantize) uses.push_back({part, use.rows});
    };
    add(blueprint.head.matrix ? ModelPart::embedding : ModelPart::head, WeightUse::matrix(blueprint.embedding.table));
    if (blueprint.head.matrix) add(ModelPart::head, WeightUse::matrix(*blueprint.head.matrix));
    blueprint.each_operation([&](const auto& part, index_t) {
      WeightList list;
      part.list_weights(list);
      for (const WeightUse& use : list) add(part_of(part, use), use);
    });
    std::map<std::string, std::vector<Use>> by_tensor;  // in the order of their names
    for (Use& use : uses) by_tensor[use.rows.name()].push_back(use);
    for (auto& [name, all] : by_tensor) {
      if (std::optional<PackedMatrix> matrix = pack(name, all, types)) plan.packed.push_back(std::move(*matrix));
    }
    plan.keep_others(blueprint, source);
    return plan;
  }

  std::string header() const {
    std::vector<SafetensorsEntry> entries;
    std::string panels = "{";
    for (const PackedMatrix& matrix : packed) {
      entries.push_back({matrix.name, DType::u8, {static_cast<std::int64_t>(matrix.bytes)}, matrix.bytes});
      panels += (panels.size() > 1 ? "," : "") + json_string(matrix.name) + ":" +
                PackedTensors::entry(matrix.type, matrix.shape(), matrix.order);
    }
    for (const KeptTensor& tensor : kept) {
      const auto sizes = tensor.tensor->shape.sizes();
      entries.push_back({tensor.name,
                         tensor.has_floats ? DType::f32 : tensor.tensor->dtype,
                         {sizes.begin(), sizes.end()},
                         tensor.bytes()});
    }
    const std::pair<std::string, std::string> metadata[] = {{"format", "pt"},
                                                            {"headgate.layout", std::string(packed_layout)},
                                                            {"headgate.version", std::string(packed_version)},
                                                            {"headgate.tensors", panels + "}"}};
    return safetensors_header(entries, metadata);
  }

 private:
  struct Use {
    ModelPart part;
    WeightRows rows;
  };
  static ModelPart part_of(const MixerPart&, const WeightUse&) noexcept { return ModelPart::attention; }
  static ModelPart part_of(const DenseFfnPart&, const WeightUse&) noexcept { return ModelPart::dense; }
  static ModelPart part_of(const RoutedPart&, const WeightUse& use) noexcept {
    return use.expert >= 0 ? ModelPart::experts : ModelPart::shared;
  }

  // The type that rows can have: the one that is asked for, or where they are no whole blocks of 256 its like of 32,
  // and where they are none of these either what keeps their values.
  static DType fitting(PackedType asked, const WeightRows& rows) {
    const AnyFormat format = rows.format_for_floats();
    const DType floats = format == AnyFormat(Bf16{})  ? DType::bf16
                         : format == AnyFormat(F16{}) ? DType::f16
                                                      : DType::f32;
    const bool is_whole = rows.cols() % blocks::group == 0;
    if (!asked) {
      if (rows.dtype() == DType::mxfp4 && is_whole) return DType::mxfp4;
      if (rows.dtype() == DType::i8) return DType::i8;
      if (info(rows.dtype()).block == 1) return floats;
      return rows.dtype();
    }
    if (info(*asked).block == 1) return *asked;
    if (rows.cols() % info(*asked).block == 0) return *asked;
    if (!is_whole) return floats;
    switch (*asked) {
      case DType::q4_k:
        return DType::q4_1;
      case DType::q5_k:
        return DType::q5_1;
      case DType::q6_k:
        return DType::q8_0;
      default:  // Q2_K, Q3_K, IQ4_XS: as llama.cpp has it
        return DType::iq4_nl;
    }
  }

  // None: the parts that are read are not all of the tensor, or of different sizes, or fit no panels; it is kept.
  static std::optional<PackedMatrix> pack(const std::string& name, std::vector<Use>& uses, const PackedTypes& types) {
    const WeightRows& one = uses.front().rows;
    const PackedType asked = types[uses.front().part];
    PackedMatrix matrix{
        .name = name, .part = uses.front().part, .type = DType::f32, .asked = DType::f32, .order = {}, .runs = {}};
    std::int64_t rows = 1;
    for (index_t i = 0; i + 1 < one.shape().rank(); ++i) rows *= one.shape()[i];
    matrix.order = {one.rows(), uses.size() == 1 ? 1 : one.place().step};
    if (rows != std::int64_t{one.rows()} * static_cast<std::int64_t>(uses.size())) return std::nullopt;
    const std::int64_t block = matrix.order.run * matrix.order.step;
    if (rows % block != 0) return std::nullopt;
    // Where run i begins.
    const auto run_of = [&](const WeightRows& part) {
      const std::int64_t first = part.place().first;
      return first / block * matrix.order.step + first % block;
    };
    std::sort(uses.begin(), uses.end(), [&](const Use& a, const Use& b) { return run_of(a.rows) < run_of(b.rows); });
    for (std::size_t i = 0; i < uses.size(); ++i) {
      const WeightRows& part = uses[i].rows;
      const bool fits = part.rows() == one.rows() && part.place().step == uses.front().rows.place().step &&
                        part.place().first % block < matrix.order.step &&
                        run_of(part) == static_cast<std::int64_t>(i) && uses[i].part == matrix.part;
      if (!fits) return std::nullopt;
      matrix.runs.push_back(part);
    }
    matrix.type = fitting(asked, one);
    matrix.asked = asked.value_or(matrix.type);
    const std::int64_t panels = divide_up(one.rows(), panel_rows) * panels_of(matrix.type)->panel_bytes(one.cols());
    matrix.bytes = static_cast<std::uint64_t>(panels) * uses.size();
    return matrix;
  }

  // Sorted by name.
  void keep_others(const Blueprint& blueprint, const TensorSource& source) {
    std::map<std::string, KeptTensor> others;
    const auto is_packed = [&](const std::string& name) {
      return std::binary_search(packed.begin(), packed.end(), name, Before{});
    };
    for (const WeightUse& use : blueprint.weights()) {
      if (is_packed(use.rows.name())) continue;
      const bool is_turned = use.rows.place().has_pairs && source.has_rotary_pairs();
      use.rows.for_each_tensor([&](const Tensor& tensor) {
        const bool has_floats = info(tensor.dtype).block > 1 || is_turned || tensor.panels;
        KeptTensor kept_one{tensor.name, &tensor, std::nullopt, has_floats};
        if (is_turned || tensor.panels) kept_one.rows = use.rows;
        others.emplace(tensor.name, std::move(kept_one));
      });
    }
    for (auto& [name, tensor] : others) kept.push_back(std::move(tensor));
  }
  struct Before {
    bool operator()(const PackedMatrix& a, const std::string& b) const noexcept { return a.name < b; }
    bool operator()(const std::string& a, const PackedMatrix& b) const noexcept { return a < b.name; }
  };
};

}  // namespace headgate::inline HEADGATE_ABI
