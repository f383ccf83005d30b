// Qwen1.5-MoE and Qwen2-MoE (model_type "qwen2_moe", Qwen2MoeForCausalLM): grouped-query attention with biases of
// queries, keys and values, some layers of a sliding window where use_sliding_window says so; softmax, top-k, divided
// by their sum only where norm_topk_prob says so; beside them a shared expert times sigmoid(shared_expert_gate . x).
// Layers without experts are dense (decoder_sparse_step, mlp_only_layers). Follows transformers' modeling_qwen2_moe,
// where without layer_types every other layer below max_window_layers, from the first on, has the window.
#pragma once

#include <algorithm>
#include <memory>

#include "headgate/models/config_reader.hpp"
#include "headgate/models/find_weights.hpp"
#include "headgate/models/parts/gqa_part.hpp"
#include "headgate/models/rope_config.hpp"
#include "headgate/routing/topk_softmax.hpp"

namespace headgate::inline HEADGATE_ABI {

struct Qwen2Moe {
  static constexpr std::string_view model_type = "qwen2_moe";
  static constexpr std::string_view architecture = "Qwen2MoeForCausalLM";

  static constexpr std::string_view gguf_architecture = "qwen2moe";
  static void translate(GgufTranslation& gguf) {
    gguf.usual();
    gguf.take("intermediate_size", "feed_forward_length");
    gguf.take("moe_intermediate_size", "expert_feed_forward_length");
    gguf.take("shared_expert_intermediate_size", "expert_shared_feed_forward_length");
    gguf.take("norm_topk_prob", "expert_weights_norm");  // none in files: the weights are those of the softmax
    gguf.give("qkv_bias", gguf.json(gguf.has_attention_bias()));
    gguf.give("mlp_only_layers", gguf.dense_layers());
    gguf.dense_tensors();
    gguf.usual_experts();
    gguf.layer_tensors({{"mlp.shared_expert_gate.weight", "ffn_gate_inp_shexp.weight"}}, Shape{1, gguf.hidden_size()});
    gguf.shared_tensors("mlp.shared_expert.");
  }

  static Blueprint blueprint(const JsonObject& json, const TensorSource& source) {
    const ModelConfig c = read_model_config(json, model_type, architecture);
    const float epsilon = read_epsilon(json, "rms_norm_eps");
    const HeadSizes heads = read_heads(json, c.hidden_size);
    const index_t num_experts = read_num_experts(json);
    const index_t k = json.get_index("num_experts_per_tok", 1, num_experts);
    const bool divides = json.get_bool("norm_topk_prob", false);
    const index_t width = json.get_index("moe_intermediate_size", 1, ConfigLimits::width);
    const index_t shared_width = json.get_index("shared_expert_intermediate_size", 1, ConfigLimits::width);
    const std::vector<bool> is_sparse = read_sparse_layers(json, c.num_hidden_layers);
    const index_t dense_width = read_dense_width(json, "intermediate_size", is_sparse);
    const bool has_bias = json.get_bool("qkv_bias", true);
    GqaShape shape{.hidden_size = c.hidden_size,
                   .num_heads = heads.num_heads,
                   .num_kv_heads = heads.num_kv_heads,
                   .head_dim = heads.head_dim,
                   .has_query_bias = has_bias,
                   .has_key_bias = has_bias,
                   .has_value_bias = has_bias,
                   .scale = GqaShape::default_scale(heads.head_dim)};
    const auto rope = make_rope(read_rope(json, {heads.head_dim, c.max_position_embeddings}));
    const std::vector<index_t> windows = read_windows(json, c.num_hidden_layers);
    const bool is_tied = json.get_bool("tie_word_embeddings", false);
    require_silu(json, "hidden_act");
    check_quantization(json);
    ignore_usual_keys(json);

    Blueprint blueprint = find_outer(source, c, epsilon, is_tied);
    for (index_t l = 0; l < c.num_hidden_layers; ++l) {
      const std::string prefix = "model.layers." + std::to_string(l) + ".";
      const auto norm = [&](const char* name) { return find_norm(source, prefix + name, c.hidden_size, epsilon); };
      const auto ffn = [&]() -> OperationPart {
        if (!is_sparse[as_size(l)])
          return DenseFfnPart(find_dense(source, prefix + "mlp.", c.hidden_size, dense_width));
        RouterPart router =
            find_gate(source, prefix + "mlp.gate.weight", num_experts, c.hidden_size, k,
                      divides ? "softmax, divided by their sum" : "softmax", [=](const GateWeights& gate) -> AnyRouter {
                        if (divides) return qwen3_moe_router(gate, k).value();
                        return qwen2_moe_router(gate, k).value();
                      });
        DensePart shared = find_dense(source, prefix + "mlp.shared_expert.", c.hidden_size, shared_width);
        shared.gate = WeightRows::find(source, prefix + "mlp.shared_expert_gate.weight", {1, c.hidden_size});
        return RoutedPart(MoePart{std::move(router),
                                  find_experts(source, prefix + "mlp.experts.", num_experts, k, c.hidden_size, width),
                                  std::move(shared)});
      };
      shape.window = windows[as_size(l)];
      blueprint.layers.push_back({PreNorm{norm("input_layernorm.weight")}.then(
                                      MixerPart(GqaPart::find(source, prefix + "self_attn.", shape, rope))),
                                  PreNorm{norm("post_attention_layernorm.weight")}.then(ffn())});
    }
    return blueprint;
  }

  // Of every layer, 0: none. A window counts only where use_sliding_window says so.
  static std::vector<index_t> read_windows(const JsonObject& json, index_t num_layers) {
    const bool uses = json.get_bool("use_sliding_window", false);
    const index_t last = json.get_index("max_window_layers", 0, static_cast<index_t>(max_index), 28);
    const std::vector<std::string> types = read_layer_types(
        json, num_layers, {"full_attention", "sliding_attention"},
        [&](index_t l) { return uses && l % 2 == 0 && l < last ? "sliding_attention" : "full_attention"; });
    if (has_sliding(types) && !uses) {
      json.fail("layer_types", "layers of sliding_attention contradict use_sliding_window, which is false");
    }
    const index_t window = read_window(json, "sliding_window", has_sliding(types), 4096);
    std::vector<index_t> windows;
    for (const std::string& type : types) windows.push_back(type == "sliding_attention" ? window : 0);
    return windows;
  }
};

}  // namespace headgate::inline HEADGATE_ABI
