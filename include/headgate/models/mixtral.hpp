// Mixtral (Jiang et al. 2024; model_type "mixtral", MixtralForCausalLM), and all that was merged to look like it:
// grouped-query attention, of a sliding window where there is one; softmax, top-k, divided by their sum; SwiGLU experts
// in every layer. Follows transformers' modeling_mixtral. Experts and gate go by the names of Mistral's files
// (block_sparse_moe, w1, w3, w2) or by those of transformers 5 (mlp, gate_up_proj, down_proj).
#pragma once

#include <memory>

#include "headgate/models/config_reader.hpp"
#include "headgate/models/find_weights.hpp"
#include "headgate/models/parts/gqa_part.hpp"
#include "headgate/models/rope_config.hpp"
#include "headgate/routing/topk_softmax.hpp"

namespace headgate::inline HEADGATE_ABI {

struct Mixtral {
  static constexpr std::string_view model_type = "mixtral";
  static constexpr std::string_view architecture = "MixtralForCausalLM";

  static constexpr std::string_view gguf_architecture = "llama";
  static bool is_gguf(const GgufTranslation& gguf) { return gguf.num_experts() > 0; }
  static void translate(GgufTranslation& gguf) {
    gguf.usual();
    gguf.take("intermediate_size", "feed_forward_length");
    gguf.take_window();
    gguf.usual_experts("block_sparse_moe.gate.weight", "block_sparse_moe.experts.", "w1.weight", "w3.weight",
                       "w2.weight");
    gguf.set_rotary_pairs();
  }

  static Blueprint blueprint(const JsonObject& json, const TensorSource& source) {
    const ModelConfig c = read_model_config(json, model_type, architecture);
    const float epsilon = read_epsilon(json, "rms_norm_eps");
    const HeadSizes heads = read_heads(json, c.hidden_size);
    const index_t num_experts = read_num_experts(json);
    const index_t k = json.get_index("num_experts_per_tok", 1, num_experts);
    const index_t width = json.get_index("intermediate_size", 1, ConfigLimits::width);
    const GqaShape shape{.hidden_size = c.hidden_size,
                         .num_heads = heads.num_heads,
                         .num_kv_heads = heads.num_kv_heads,
                         .head_dim = heads.head_dim,
                         .scale = GqaShape::default_scale(heads.head_dim),
                         .window = read_window(json, "sliding_window")};
    const auto rope = make_rope(read_rope(json, {heads.head_dim, c.max_position_embeddings}));
    const bool is_tied = json.get_bool("tie_word_embeddings", false);
    require_silu(json, "hidden_act");
    check_quantization(json);
    require_full_attention(json);
    json.ignore("attention_bias");       // the class has none
    json.ignore("router_jitter_noise");  // of training
    ignore_usual_keys(json);

    Blueprint blueprint = find_outer(source, c, epsilon, is_tied);
    for (index_t l = 0; l < c.num_hidden_layers; ++l) {
      const std::string prefix = "model.layers." + std::to_string(l) + ".";
      const auto norm = [&](const char* name) { return find_norm(source, prefix + name, c.hidden_size, epsilon); };
      const bool is_new =
          source.promises(prefix + "mlp.gate.weight") || source.promises(prefix + "mlp.experts.gate_up_proj");
      const std::string moe = prefix + (is_new ? "mlp." : "block_sparse_moe.");
      RouterPart router =
          find_gate(source, moe + "gate.weight", num_experts, c.hidden_size, k, "softmax, divided by their sum",
                    [k](const GateWeights& gate) { return mixtral_router(gate, k).value(); });
      blueprint.layers.push_back({PreNorm{norm("input_layernorm.weight")}.then(
                                      MixerPart(GqaPart::find(source, prefix + "self_attn.", shape, rope))),
                                  PreNorm{norm("post_attention_layernorm.weight")}.then(RoutedPart(
                                      MoePart{std::move(router), find_experts(source, moe + "experts.", num_experts, k,
                                                                              c.hidden_size, width, {}, w1_w3_w2)}))});
    }
    return blueprint;
  }
};

}  // namespace headgate::inline HEADGATE_ABI
