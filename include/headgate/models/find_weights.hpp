// Finding what most checkpoints have: embedding, head, norms, feed-forward networks one by one or stacked.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "headgate/models/blueprint.hpp"
#include "headgate/models/gguf_translation.hpp"
#include "headgate/models/parts/experts_part.hpp"
#include "headgate/models/parts/moe_part.hpp"

namespace headgate::inline HEADGATE_ABI {

// Null when the embedding is the head. A file that says so and still holds another head is believed.
inline std::optional<WeightRows> find_head(const TensorSource& source, const std::string& name,
                                           const WeightRows& embedding, bool is_tied) {
  if (is_tied && !source.promises(name)) return std::nullopt;
  const WeightRows head = WeightRows::find(source, name, {embedding.rows(), embedding.cols()});
  const auto bytes_of = [](const WeightRows& rows) {
    std::vector<std::pair<DType, std::span<const std::byte>>> tensors;
    rows.for_each_tensor([&](const Tensor& tensor) { tensors.emplace_back(tensor.dtype, tensor.bytes); });
    return tensors;
  };
  const auto is_same = [](const auto& a, const auto& b) {
    return a.first == b.first && std::equal(a.second.begin(), a.second.end(), b.second.begin(), b.second.end());
  };
  const auto of_head = bytes_of(head);
  const auto of_table = bytes_of(embedding);
  const bool is_copy = is_tied && std::equal(of_head.begin(), of_head.end(), of_table.begin(), of_table.end(), is_same);
  if (is_tied) {
    head.release();
    embedding.release();
  }
  if (is_copy) return std::nullopt;
  return head;
}

inline std::shared_ptr<const Rope> make_rope(const RopeSettings& settings) {
  return std::make_shared<const Rope>(Rope::create(settings).value());
}

inline NormPart find_norm(const TensorSource& source, const std::string& name, index_t width, float epsilon) {
  return {WeightRows::find(source, name, {width}), epsilon};
}

// prefix + "weight" and prefix + "bias".
inline NormPart find_layer_norm(const TensorSource& source, const std::string& prefix, index_t width, float epsilon) {
  return {WeightRows::find(source, prefix + "weight", {width}), epsilon, NormPart::Kind::layer,
          WeightRows::find(source, prefix + "bias", {width})};
}

// Names of the matrices of a network behind its prefix. The stacked ones are of all experts of a layer: gate_up
// (num_experts, 2 ffn_size, hidden_size), gate rows first, and down (num_experts, hidden_size, ffn_size).
struct FfnNames {
  const char* gate = "gate_proj.weight";
  const char* up = "up_proj.weight";
  const char* down = "down_proj.weight";
  const char* stacked_gate_up = "gate_up_proj";
  const char* stacked_down = "down_proj";
};
inline constexpr FfnNames w1_w3_w2{"w1.weight", "w3.weight", "w2.weight"};

// The network behind a prefix, "model.layers.0.mlp.".
inline ExpertRows find_ffn(const TensorSource& source, const std::string& prefix, index_t hidden_size, index_t ffn_size,
                           const FfnNames& names = {}) {
  const auto find = [&](const char* name, index_t rows, index_t cols) {
    return WeightRows::find(source, prefix + name, {rows, cols});
  };
  return {.gate = find(names.gate, ffn_size, hidden_size),
          .up = find(names.up, ffn_size, hidden_size),
          .down = find(names.down, hidden_size, ffn_size)};
}
// A dense network or a shared expert; has_bias: of each of its matrices.
inline DensePart find_dense(const TensorSource& source, const std::string& prefix, index_t hidden_size,
                            index_t ffn_size, bool has_bias = false, const FfnNames& names = {}) {
  ExpertRows rows = find_ffn(source, prefix, hidden_size, ffn_size, names);
  if (has_bias) {
    rows.gate_bias = WeightRows::find(source, prefix + "gate_proj.bias", {ffn_size});
    rows.up_bias = WeightRows::find(source, prefix + "up_proj.bias", {ffn_size});
    rows.down_bias = WeightRows::find(source, prefix + "down_proj.bias", {hidden_size});
  }
  ExpertsPart part{{std::move(rows)}};
  part.is_routed = false;
  return {std::move(part)};
}
// The experts of two tensors: gate_up (num_experts, 2 ffn_size, hidden_size), gate rows first, and down (num_experts,
// hidden_size, ffn_size).
inline ExpertsPart find_stacked_experts(const TensorSource& source, const std::string& gate_up, const std::string& down,
                                        index_t num_experts, index_t experts_per_token, index_t hidden_size,
                                        index_t ffn_size, Activation activation = {}) {
  const WeightRows in = WeightRows::find(source, gate_up, {num_experts, std::int64_t{2} * ffn_size, hidden_size});
  const WeightRows out = WeightRows::find(source, down, {num_experts, hidden_size, ffn_size});
  ExpertsPart part{{}, activation, experts_per_token};
  for (index_t e = 0; e < num_experts; ++e) {
    part.experts.push_back({.gate = in.part(2 * e * ffn_size, ffn_size),
                            .up = in.part((2 * e + 1) * ffn_size, ffn_size),
                            .down = out.part(e * hidden_size, hidden_size)});
  }
  return part;
}
// The experts behind a prefix, "model.layers.0.mlp.experts.", one by one ("0.gate_proj.weight", ...) or stacked.
inline ExpertsPart find_experts(const TensorSource& source, const std::string& prefix, index_t num_experts,
                                index_t experts_per_token, index_t hidden_size, index_t ffn_size,
                                Activation activation = {}, const FfnNames& names = {}) {
  if (source.promises(prefix + names.stacked_gate_up) || source.promises(prefix + names.stacked_down)) {
    return find_stacked_experts(source, prefix + names.stacked_gate_up, prefix + names.stacked_down, num_experts,
                                experts_per_token, hidden_size, ffn_size, activation);
  }
  ExpertsPart part{{}, activation, experts_per_token};
  for (index_t e = 0; e < num_experts; ++e) {
    part.experts.push_back(find_ffn(source, prefix + std::to_string(e) + ".", hidden_size, ffn_size, names));
  }
  return part;
}

// A router of a linear gate; make(weights) makes it. words: for people, behind them comes "top k of num_experts".
template <class F>
RouterPart find_gate(const TensorSource& source, const std::string& name, index_t num_experts, index_t hidden_size,
                     index_t k, const std::string& words, F make) {
  RouterPart router{
      .summary = {num_experts, k, words + ", top " + std::to_string(k) + " of " + std::to_string(num_experts)},
      .make = [make](const GateWeights& weights, Packer&) { return AnyRouter(make(weights)); }};
  router.gate = WeightRows::find(source, name, {num_experts, hidden_size});
  return router;
}

// Embedding, last norm and head under their usual names; layers are the family's.
inline Blueprint find_outer(const TensorSource& source, const ModelConfig& config, float epsilon, bool is_tied) {
  Blueprint blueprint{
      .config = config,
      .embedding = {WeightRows::find(source, "model.embed_tokens.weight", {config.vocab_size, config.hidden_size})},
      .layers = {},
      .norm = find_norm(source, "model.norm.weight", config.hidden_size, epsilon)};
  blueprint.head.matrix = find_head(source, "lm_head.weight", blueprint.embedding.table, is_tied);
  return blueprint;
}

}  // namespace headgate::inline HEADGATE_ABI
