// gpt-oss (OpenAI 2025; model_type "gpt_oss", GptOssForCausalLM): grouped-query attention with biases and a learned
// sink of every head, full layers and layers of a sliding window in turn; a gate with a bias, top-k of the logits,
// softmax over these; experts with biases and a clamped SwiGLU: with g = min(gate, limit), u = clamp(up, -limit, limit)
//   h = (u + 1) g sigmoid(alpha g)
// Rows of gate and up alternate in the files, which hold experts either in MXFP4 (*_blocks, *_scales) or in bfloat16 as
// matrices of columns, (experts, in, out). Follows transformers' modeling_gpt_oss.
#pragma once

#include <memory>

#include "headgate/models/config_reader.hpp"
#include "headgate/models/find_weights.hpp"
#include "headgate/models/parts/gqa_part.hpp"
#include "headgate/models/rope_config.hpp"
#include "headgate/routing/topk_softmax.hpp"

namespace headgate::inline HEADGATE_ABI {

struct GptOss {
  static constexpr std::string_view model_type = "gpt_oss";
  static constexpr std::string_view architecture = "GptOssForCausalLM";

  // GGUF files hold gate and up apart, in rows, and say neither alpha and limit nor truncate, which are those of the
  // released models; layer types only where they are not one with and one without a window in turn.
  static constexpr std::string_view gguf_architecture = "gpt-oss";
  static void translate(GgufTranslation& gguf) {
    gguf.usual_outside();
    gguf.usual_attention(/*rounds_yarn=*/false);
    gguf.take("intermediate_size", "expert_feed_forward_length");
    gguf.ignore("feed_forward_length");
    gguf.take_window();
    gguf.take_layer_types();
    gguf.take("num_experts", "expert_count");
    gguf.take("num_experts_per_tok", "expert_used_count");
    constexpr const char* gating = "expert_gating_func";
    gguf.ignore(gating);
    gguf.metadata().get_integer(gguf.stored(gating), 3, 3, 3);  // softmax of the chosen
    if (!gguf.has("rope.scaling.type")) gguf.give("rope_scaling", gguf.json(Json::Object{}));
    gguf.layer_tensors({{"input_layernorm.weight", "attn_norm.weight"},
                        {"post_attention_layernorm.weight", "post_attention_norm.weight"},
                        {"self_attn.sinks", "attn_sinks.weight"},
                        {"mlp.router.weight", "ffn_gate_inp.weight"},
                        {"mlp.router.bias", "ffn_gate_inp.bias"},
                        {"mlp.experts.gate_proj", "ffn_gate_exps.weight"},
                        {"mlp.experts.up_proj", "ffn_up_exps.weight"},
                        {"mlp.experts.down_proj", "ffn_down_exps.weight"},
                        {"mlp.experts.gate_proj_bias", "ffn_gate_exps.bias"},
                        {"mlp.experts.up_proj_bias", "ffn_up_exps.bias"},
                        {"mlp.experts.down_proj_bias", "ffn_down_exps.bias"}});
  }

  static Blueprint blueprint(const JsonObject& json, const TensorSource& source) {
    const ModelConfig c = read_model_config(json, model_type, architecture);
    const float epsilon = read_epsilon(json, "rms_norm_eps");
    const HeadSizes heads = read_heads(json, c.hidden_size);
    const index_t num_experts = read_num_experts(json);
    const index_t k = read_same(json, "num_experts_per_tok", "experts_per_token", num_experts);
    const index_t width = json.get_index("intermediate_size", 1, ConfigLimits::width);
    const bool has_bias = json.get_bool("attention_bias", true);
    const Activation activation{ActivationKind::clamped_swiglu,
                                static_cast<float>(json.get_number("swiglu_alpha", 1e-3, 1e3, 1.702)),
                                static_cast<float>(json.get_number("swiglu_limit", 1e-3, 1e30, 7.0))};
    const std::vector<std::string> types =
        read_layer_types(json, c.num_hidden_layers, {"full_attention", "sliding_attention"},
                         [](index_t l) { return l % 2 == 0 ? "sliding_attention" : "full_attention"; });
    const index_t window = read_window(json, "sliding_window", has_sliding(types), 128);
    if (!json.has("rope_scaling") && !json.has("rope_parameters")) {
      json.fail(json.has("rope_theta") ? "rope_scaling" : "rope_parameters",
                "the key is missing, without which transformers means a YaRN of its own");
    }
    const auto rope =
        make_rope(read_rope(json, {.head_dim = heads.head_dim, .max_position_embeddings = c.max_position_embeddings}));
    const bool is_tied = json.get_bool("tie_word_embeddings", false);
    check_quantization(json);
    json.ignore("hidden_act");  // the class has its own, above
    json.ignore("initial_context_length");
    ignore_usual_keys(json);

    GqaShape shape{.hidden_size = c.hidden_size,
                   .num_heads = heads.num_heads,
                   .num_kv_heads = heads.num_kv_heads,
                   .head_dim = heads.head_dim,
                   .has_query_bias = has_bias,
                   .has_key_bias = has_bias,
                   .has_value_bias = has_bias,
                   .has_output_bias = has_bias,
                   .scale = GqaShape::default_scale(heads.head_dim),
                   .has_sinks = true};
    Blueprint blueprint = find_outer(source, c, epsilon, is_tied);
    for (index_t l = 0; l < c.num_hidden_layers; ++l) {
      const std::string prefix = "model.layers." + std::to_string(l) + ".";
      const auto norm = [&](const char* name) { return find_norm(source, prefix + name, c.hidden_size, epsilon); };
      RouterPart router =
          find_gate(source, prefix + "mlp.router.weight", num_experts, c.hidden_size, k, "softmax of the chosen",
                    [k](const GateWeights& gate) { return granite_router(gate, k).value(); });
      router.gate_bias = WeightRows::find(source, prefix + "mlp.router.bias", {num_experts});
      ExpertsPart experts = find_bank(source, prefix + "mlp.experts.", num_experts, c.hidden_size, width);
      experts.activation = activation;
      experts.experts_per_token = k;
      shape.window = types[as_size(l)] == "sliding_attention" ? window : 0;
      blueprint.layers.push_back({PreNorm{norm("input_layernorm.weight")}.then(
                                      MixerPart(GqaPart::find(source, prefix + "self_attn.", shape, rope))),
                                  PreNorm{norm("post_attention_layernorm.weight")}.then(
                                      RoutedPart(MoePart{std::move(router), std::move(experts)}))});
    }
    return blueprint;
  }

 private:
  // Which tensors the experts lie in is theirs to say; a method must be the one that they can have.
  static void check_quantization(const JsonObject& json) {
    constexpr std::string_view key = "quantization_config";
    if (!json.has(key) || is_empty_object(*json.value(key))) return;
    const JsonObject config = json.get_object(key);
    if (const std::string& method = config.get_string("quant_method"); method != "mxfp4") {
      config.fail("quant_method", "the method \"" + escaped(method, 40) + "\" is not supported, known: mxfp4");
    }
  }

  static ExpertsPart find_bank(const TensorSource& source, const std::string& prefix, index_t num_experts,
                               index_t hidden_size, index_t width) {
    if (source.metadata() != nullptr || source.promises(prefix + "gate_proj"))
      return find_separate_bank(source, prefix, num_experts, hidden_size, width);
    const index_t both = 2 * width;
    const auto matrix = [&](const std::string& name, index_t rows, index_t cols) {
      const Shape shape{num_experts, rows, cols};
      if (source.promises(name + "_blocks") || source.promises(name + "_scales"))
        return WeightRows::find_mxfp4(source, name, shape);
      return WeightRows::find_transposed(source, name, shape);
    };
    const WeightRows gate_up = matrix(prefix + "gate_up_proj", both, hidden_size);
    const WeightRows down = matrix(prefix + "down_proj", hidden_size, width);
    const WeightRows gate_up_bias = WeightRows::find_column(source, prefix + "gate_up_proj_bias", {num_experts, both});
    const WeightRows down_bias = WeightRows::find_column(source, prefix + "down_proj_bias", {num_experts, hidden_size});
    ExpertsPart part;
    for (index_t e = 0; e < num_experts; ++e) {
      part.experts.push_back({.gate = gate_up.part(e * both, width, 2),
                              .up = gate_up.part(e * both + 1, width, 2),
                              .down = down.part(e * hidden_size, hidden_size),
                              .gate_bias = gate_up_bias.part(e * both, width, 2),
                              .up_bias = gate_up_bias.part(e * both + 1, width, 2),
                              .down_bias = down_bias.part(e * hidden_size, hidden_size)});
    }
    return part;
  }
  // Of GGUF files, and of what was made of them.
  static ExpertsPart find_separate_bank(const TensorSource& source, const std::string& prefix, index_t num_experts,
                                        index_t hidden_size, index_t width) {
    const auto matrix = [&](const char* name, index_t rows, index_t cols) {
      return WeightRows::find(source, prefix + name, {num_experts, rows, cols});
    };
    const auto bias = [&](const char* name, index_t size) {
      return WeightRows::find_column(source, prefix + name, {num_experts, size});
    };
    const WeightRows gate = matrix("gate_proj", width, hidden_size);
    const WeightRows up = matrix("up_proj", width, hidden_size);
    const WeightRows down = matrix("down_proj", hidden_size, width);
    const WeightRows gate_bias = bias("gate_proj_bias", width);
    const WeightRows up_bias = bias("up_proj_bias", width);
    const WeightRows down_bias = bias("down_proj_bias", hidden_size);
    ExpertsPart part;
    for (index_t e = 0; e < num_experts; ++e) {
      part.experts.push_back({.gate = gate.part(e * width, width),
                              .up = up.part(e * width, width),
                              .down = down.part(e * hidden_size, hidden_size),
                              .gate_bias = gate_bias.part(e * width, width),
                              .up_bias = up_bias.part(e * width, width),
                              .down_bias = down_bias.part(e * hidden_size, hidden_size)});
    }
    return part;
  }
};

}  // namespace headgate::inline HEADGATE_ABI
