// WeightCount: how many weights a decoder has, how many bytes they take packed, and how many of them a token reads.
// From shapes and types alone.
#pragma once

#include "headgate/attention/gqa.hpp"
#include "headgate/experts/glu_layout.hpp"
#include "headgate/models/decoder_tensors.hpp"
#include "headgate/models/model_config.hpp"

namespace headgate::inline HEADGATE_ABI {

inline GqaShape attention_shape(const ModelConfig& config, const LayerTensors& layer) {
  return {.hidden_size = config.hidden_size,
          .num_heads = config.num_attention_heads,
          .num_kv_heads = config.num_key_value_heads,
          .head_dim = config.head_dim,
          .has_query_bias = config.attention_bias,
          .has_key_bias = config.attention_bias,
          .has_value_bias = config.attention_bias,
          .has_output_bias = config.attention_bias,
          .qk_norm = layer.query_norm != nullptr ? QkNorm::per_head : QkNorm::none,
          .norm_epsilon = config.rms_norm_eps,
          .scale = GqaShape::default_scale(config.head_dim)};
}
// Of the routed experts, or of the one expert that a dense layer is.
inline GluShape expert_shape(const ModelConfig& config, const LayerTensors& layer) {
  return {.num_experts = static_cast<index_t>(layer.experts.size()),
          .hidden_size = config.hidden_size,
          .ffn_size = layer.is_sparse() ? config.moe_intermediate_size : config.intermediate_size};
}

struct WeightCount {
  std::int64_t parameters = 0;         // all
  std::int64_t active_parameters = 0;  // all but the experts that a token does not choose
  std::int64_t packed_bytes = 0;       // all
  std::int64_t bytes_per_token =
      0;                          // read for one token of decoding: of the embedding only a row, unless it is the head
  std::int64_t expert_bytes = 0;  // of one routed expert of the first routed layer
  std::int64_t largest_tensor = 0;  // bytes of one, as stored

  static WeightCount of(const ModelConfig& config, const DecoderTensors& tensors) {
    WeightCount count;
    count.add_matrix(*tensors.embedding, /*is_read=*/tensors.head == nullptr);
    if (tensors.head != nullptr) count.add_matrix(*tensors.head, /*is_read=*/true);
    count.add_vectors({tensors.norm, tensors.router_cell.bias_ih, tensors.router_cell.bias_hh});
    count.add_router({tensors.router_cell.weight_ih, tensors.router_cell.weight_hh});
    for (const LayerTensors& layer : tensors.layers) {
      count.add_vectors({layer.attention_norm, layer.ffn_norm, layer.query_norm, layer.key_norm, layer.query_bias,
                         layer.key_bias, layer.value_bias, layer.output_bias, layer.router_bias});
      count.add_attention(layer);
      count.add_router({layer.router, layer.router_projection});
      // Null experts count in k and hold no weights.
      const index_t chosen = std::min(config.num_experts_per_tok, config.num_experts);
      count.add_experts(expert_shape(config, layer), layer, layer.is_sparse() ? chosen : 1);
    }
    tensors.for_each([&](const Tensor& tensor) {
      count.largest_tensor = std::max(count.largest_tensor, static_cast<std::int64_t>(tensor.bytes.size()));
    });
    return count;
  }

 private:
  static std::int64_t matrix_bytes(WeightFormat auto format, index_t rows, index_t cols) noexcept {
    return divide_up(rows, panel_rows) * format.panel_bytes(cols);
  }
  void add(std::int64_t count, std::int64_t bytes, bool is_read = true) noexcept {
    parameters += count;
    active_parameters += count;
    packed_bytes += bytes;
    if (is_read) bytes_per_token += bytes;
  }
  void add_vectors(std::initializer_list<const Tensor*> vectors) noexcept {
    for (const Tensor* vector : vectors) {
      if (vector == nullptr) continue;
      add(vector->row_size(), vector->row_size() * std::int64_t{sizeof(float)});
    }
  }
  void add_matrix(const Tensor& tensor, bool is_read) {
    const TensorRows all(tensor);
    const std::int64_t bytes =
        with_format({&tensor}, [&](auto format) { return matrix_bytes(format, all.rows, all.cols()); });
    add(all.parameters(), bytes, is_read);
  }
  void add_router(std::initializer_list<const Tensor*> matrices) {  // float32, as their logits
    for (const Tensor* matrix : matrices) {
      if (matrix == nullptr) continue;
      const TensorRows all(*matrix);
      add(all.parameters(), matrix_bytes(F32{}, all.rows, all.cols()));
    }
  }
  void add_attention(const LayerTensors& t) {
    for (const Tensor* tensor : {t.query, t.key, t.value, t.output}) add_matrix(*tensor, /*is_read=*/true);
  }
  void add_experts(const GluShape& shape, const LayerTensors& layer, index_t chosen) {
    const std::int64_t each = layer.experts.front().parameters();
    const std::int64_t bytes_each =
        with_format(layer.experts, [&]<class Format>(Format) { return GluLayout<Format>{shape}.expert_bytes(); });
    parameters += shape.num_experts * each;
    active_parameters += chosen * each;
    packed_bytes += shape.num_experts * bytes_each;
    bytes_per_token += chosen * bytes_each;
    if (layer.is_sparse() && expert_bytes == 0) expert_bytes = bytes_each;
  }
};

}  // namespace headgate::inline HEADGATE_ABI
