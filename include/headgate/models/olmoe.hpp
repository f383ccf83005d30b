// OLMoE (Muennighoff et al. 2024; model_type "olmoe", OlmoeForCausalLM): attention whose queries and keys pass an
// RMSNorm over all heads, then a clamp where clip_qkv says so; softmax, top-k, divided by their sum only where
// norm_topk_prob says so; SwiGLU experts in every layer. Follows transformers' modeling_olmoe.
#pragma once

#include <memory>

#include "headgate/models/config_reader.hpp"
#include "headgate/models/find_weights.hpp"
#include "headgate/models/parts/gqa_part.hpp"
#include "headgate/models/rope_config.hpp"
#include "headgate/routing/topk_softmax.hpp"

namespace headgate::inline HEADGATE_ABI {

struct Olmoe {
  static constexpr std::string_view model_type = "olmoe";
  static constexpr std::string_view architecture = "OlmoeForCausalLM";

  static constexpr std::string_view gguf_architecture = "olmoe";
  static void translate(GgufTranslation& gguf) {
    gguf.usual();
    gguf.take("intermediate_size", "feed_forward_length");
    gguf.take("clip_qkv", "attention.clamp_kqv");
    gguf.take("norm_topk_prob", "expert_weights_norm");  // none in files: the weights are those of the softmax
    gguf.usual_experts();
  }

  static Blueprint blueprint(const JsonObject& json, const TensorSource& source) {
    const ModelConfig c = read_model_config(json, model_type, architecture);
    const float epsilon = read_epsilon(json, "rms_norm_eps");
    const HeadSizes heads = read_heads(json, c.hidden_size, /*may_omit_kv_heads=*/true);
    const index_t num_experts = read_num_experts(json);
    const index_t k = json.get_index("num_experts_per_tok", 1, num_experts);
    const bool divides = json.get_bool("norm_topk_prob", false);
    const index_t width = json.get_index("intermediate_size", 1, ConfigLimits::width);
    const bool has_bias = json.get_bool("attention_bias", false);
    const GqaShape shape{.hidden_size = c.hidden_size,
                         .num_heads = heads.num_heads,
                         .num_kv_heads = heads.num_kv_heads,
                         .head_dim = heads.head_dim,
                         .has_query_bias = has_bias,
                         .has_key_bias = has_bias,
                         .has_value_bias = has_bias,
                         .has_output_bias = has_bias,
                         .qk_norm = QkNorm::full,
                         .norm_epsilon = epsilon,
                         .clip = static_cast<float>(json.get_number("clip_qkv", 1e-30, 1e30, 0.0)),
                         .scale = GqaShape::default_scale(heads.head_dim)};
    const auto rope = make_rope(read_rope(json, {heads.head_dim, c.max_position_embeddings}));
    const bool is_tied = json.get_bool("tie_word_embeddings", false);
    require_silu(json, "hidden_act");
    check_quantization(json);
    require_full_attention(json);
    ignore_usual_keys(json);

    Blueprint blueprint = find_outer(source, c, epsilon, is_tied);
    for (index_t l = 0; l < c.num_hidden_layers; ++l) {
      const std::string prefix = "model.layers." + std::to_string(l) + ".";
      const auto norm = [&](const char* name) { return find_norm(source, prefix + name, c.hidden_size, epsilon); };
      RouterPart router =
          find_gate(source, prefix + "mlp.gate.weight", num_experts, c.hidden_size, k,
                    divides ? "softmax, divided by their sum" : "softmax", [=](const GateWeights& gate) -> AnyRouter {
                      if (divides) return mixtral_router(gate, k).value();
                      return olmoe_router(gate, k).value();
                    });
      blueprint.layers.push_back({PreNorm{norm("input_layernorm.weight")}.then(
                                      MixerPart(GqaPart::find(source, prefix + "self_attn.", shape, rope))),
                                  PreNorm{norm("post_attention_layernorm.weight")}.then(RoutedPart(MoePart{
                                      std::move(router), find_experts(source, prefix + "mlp.experts.", num_experts, k,
                                                                      c.hidden_size, width)}))});
    }
    return blueprint;
  }
};

}  // namespace headgate::inline HEADGATE_ABI
