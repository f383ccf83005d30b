// Phi-3.5-MoE and its kin (Microsoft; model_type "phimoe", PhimoeForCausalLM): Phi-mini-MoE, Phi-tiny-MoE, GRIN.
// LayerNorms with biases; grouped-query attention with biases, all layers of one sliding window where there is one;
// SparseMixer in place of top-2 (routing/sparse_mixer.hpp), whose weights need not sum to 1 and whose threshold is
// router_jitter_noise; a bias of the head. Follows transformers' modeling_phimoe, and where that differs from
// Microsoft's code, in the rotary factors beyond the original context, Microsoft's: long_factor and long_mscale there.
#pragma once

#include <memory>

#include "headgate/models/config_reader.hpp"
#include "headgate/models/find_weights.hpp"
#include "headgate/models/parts/gqa_part.hpp"
#include "headgate/models/rope_config.hpp"
#include "headgate/routing/sparse_mixer.hpp"

namespace headgate::inline HEADGATE_ABI {

struct PhiMoe {
  static constexpr std::string_view model_type = "phimoe";

  // Files say neither router_jitter_noise, which is the class's 0.01, nor short_mscale and long_mscale: in their place
  // there is rope.scaling.attn_factor, which converters compute as for Phi-3 (1.190 for Phi-3.5-MoE, whose config.json
  // says 1.243). The file is followed. Weights are SparseMixer's, as in transformers; llama.cpp computes top-2 softmax.
  static constexpr std::string_view gguf_architecture = "phimoe";
  static void translate(GgufTranslation& gguf) {
    gguf.usual();
    gguf.take("intermediate_size", "feed_forward_length");
    gguf.take_window();
    gguf.give("lm_head_bias", gguf.json(gguf.has_tensor("output.bias")));
    gguf.tensor("model.norm.bias", "output_norm.bias");
    gguf.layer_tensors(
        {{"input_layernorm.bias", "attn_norm.bias"}, {"post_attention_layernorm.bias", "ffn_norm.bias"}});
    gguf.usual_experts("block_sparse_moe.gate.weight", "block_sparse_moe.experts.", "w1.weight", "w3.weight",
                       "w2.weight");
  }

  static Blueprint blueprint(const JsonObject& json, const TensorSource& source) {
    const ModelConfig c = read_model_config(json, model_type, architecture(json));
    const float epsilon = read_epsilon(json, "rms_norm_eps");
    const HeadSizes heads = read_heads(json, c.hidden_size);
    const index_t num_experts = read_num_experts(json);
    require_neutral(json, "num_experts_per_tok", std::int64_t{2});  // SparseMixer always takes two
    const float jitter = static_cast<float>(json.get_number("router_jitter_noise", 0.0, 1.0, 0.01));
    const index_t width = json.get_index("intermediate_size", 1, ConfigLimits::width);
    const bool has_bias = json.get_bool("attention_bias", false);
    const bool has_head_bias = json.get_bool("lm_head_bias", false);
    const GqaShape shape{.hidden_size = c.hidden_size,
                         .num_heads = heads.num_heads,
                         .num_kv_heads = heads.num_kv_heads,
                         .head_dim = heads.head_dim,
                         .has_query_bias = has_bias,
                         .has_key_bias = has_bias,
                         .has_value_bias = has_bias,
                         .has_output_bias = has_bias,
                         .scale = GqaShape::default_scale(heads.head_dim),
                         .window = read_window(json, "sliding_window")};
    const auto rope =
        make_rope(read_rope(json, {.head_dim = heads.head_dim, .max_position_embeddings = c.max_position_embeddings}));
    const bool is_tied = json.get_bool("tie_word_embeddings", false);
    require_silu(json, "hidden_act");
    check_quantization(json);
    require_full_attention(json);
    json.ignore("input_jitter_noise");  // of training
    json.ignore("hidden_dropout");
    ignore_usual_keys(json);

    Blueprint blueprint = find_outer(source, c, epsilon, is_tied);
    blueprint.norm = find_layer_norm(source, "model.norm.", c.hidden_size, epsilon);
    if (has_head_bias) blueprint.head.bias = WeightRows::find(source, "lm_head.bias", {c.vocab_size});
    for (index_t l = 0; l < c.num_hidden_layers; ++l) {
      const std::string prefix = "model.layers." + std::to_string(l) + ".";
      const auto norm = [&](const char* name) {
        return find_layer_norm(source, prefix + name, c.hidden_size, epsilon);
      };
      const bool is_new =
          source.promises(prefix + "mlp.router.weight") || source.promises(prefix + "mlp.experts.gate_up_proj");
      const std::string moe = prefix + (is_new ? "mlp." : "block_sparse_moe.");
      RouterPart router = find_gate(
          source, moe + (is_new ? "router.weight" : "gate.weight"), num_experts, c.hidden_size, 2, "SparseMixer",
          [jitter](const GateWeights& gate) { return sparse_mixer_router(gate, jitter).value(); });
      blueprint.layers.push_back(
          {PreNorm{norm("input_layernorm.")}.then(MixerPart(GqaPart::find(source, prefix + "self_attn.", shape, rope))),
           PreNorm{norm("post_attention_layernorm.")}.then(
               RoutedPart(MoePart{std::move(router), find_experts(source, moe + "experts.", num_experts, 2,
                                                                  c.hidden_size, width, {}, w1_w3_w2)}))});
    }
    return blueprint;
  }

 private:
  // Files of the hub spell the class in two ways.
  static std::string_view architecture(const JsonObject& json) {
    if (!json.has("architectures")) return "PhimoeForCausalLM";
    for (const std::string& name : json.get_strings("architectures")) {
      if (name == "PhiMoEForCausalLM") return "PhiMoEForCausalLM";
    }
    return "PhimoeForCausalLM";
  }
};

}  // namespace headgate::inline HEADGATE_ABI
