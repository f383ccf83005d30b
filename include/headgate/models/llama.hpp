// Llama and all that copies it (Touvron et al. 2023; model_type "llama", LlamaForCausalLM): the decoder without routed
// layers. Grouped-query attention, a dense SwiGLU network. Follows transformers' modeling_llama.
#pragma once

#include <memory>

#include "headgate/models/config_reader.hpp"
#include "headgate/models/find_weights.hpp"
#include "headgate/models/parts/gqa_part.hpp"
#include "headgate/models/rope_config.hpp"

namespace headgate::inline HEADGATE_ABI {

struct Llama {
  static constexpr std::string_view model_type = "llama";
  static constexpr std::string_view architecture = "LlamaForCausalLM";

  static constexpr std::string_view gguf_architecture = "llama";
  static bool is_gguf(const GgufTranslation& gguf) { return gguf.num_experts() == 0; }
  static void translate(GgufTranslation& gguf) {
    gguf.usual();
    gguf.take("intermediate_size", "feed_forward_length");
    gguf.ignore("expert_count");
    gguf.ignore("expert_used_count");
    gguf.give("mlp_bias", gguf.json(gguf.has_any_layer_tensor("ffn_up.bias")));
    gguf.dense_tensors();
    gguf.dense_biases();
    gguf.set_rotary_pairs();
  }

  static Blueprint blueprint(const JsonObject& json, const TensorSource& source) {
    const ModelConfig c = read_model_config(json, model_type, architecture);
    const float epsilon = read_epsilon(json, "rms_norm_eps");
    const HeadSizes heads = read_heads(json, c.hidden_size, /*may_omit_kv_heads=*/true);
    const index_t width = json.get_index("intermediate_size", 1, ConfigLimits::width);
    const bool has_bias = json.get_bool("attention_bias", false);
    const bool has_mlp_bias = json.get_bool("mlp_bias", false);
    const GqaShape shape{.hidden_size = c.hidden_size,
                         .num_heads = heads.num_heads,
                         .num_kv_heads = heads.num_kv_heads,
                         .head_dim = heads.head_dim,
                         .has_query_bias = has_bias,
                         .has_key_bias = has_bias,
                         .has_value_bias = has_bias,
                         .has_output_bias = has_bias,
                         .scale = GqaShape::default_scale(heads.head_dim)};
    const auto rope =
        make_rope(read_rope(json, {.head_dim = heads.head_dim, .max_position_embeddings = c.max_position_embeddings}));
    const bool is_tied = json.get_bool("tie_word_embeddings", false);
    require_silu(json, "hidden_act");
    check_quantization(json);
    require_full_attention(json);
    json.ignore("pretraining_tp");  // cuts products into parts, which add up to the same
    ignore_usual_keys(json);

    Blueprint blueprint = find_outer(source, c, epsilon, is_tied);
    for (index_t l = 0; l < c.num_hidden_layers; ++l) {
      const std::string prefix = "model.layers." + std::to_string(l) + ".";
      const auto norm = [&](const char* name) { return find_norm(source, prefix + name, c.hidden_size, epsilon); };
      DensePart mlp = find_dense(source, prefix + "mlp.", c.hidden_size, width, has_mlp_bias);
      blueprint.layers.push_back({PreNorm{norm("input_layernorm.weight")}.then(
                                      MixerPart(GqaPart::find(source, prefix + "self_attn.", shape, rope))),
                                  PreNorm{norm("post_attention_layernorm.weight")}.then(DenseFfnPart(std::move(mlp)))});
    }
    return blueprint;
  }
};

}  // namespace headgate::inline HEADGATE_ABI
