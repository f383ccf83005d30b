// Mellum 2 (JetBrains; model_type "mellum", MellumForCausalLM): Qwen3-MoE whose attention differs by layer_types: full
// layers and those of a sliding window turn by rotary positions of their own (rope_parameters for each type). Layers
// are dense where mlp_layer_types says so. Follows transformers' modeling_mellum. The defaults of its class are not
// those of the released model, so layer_types and rope_parameters must be there. Weights of multi-token prediction
// (mtp.) are not read.
#pragma once

#include <memory>

#include "headgate/models/config_reader.hpp"
#include "headgate/models/find_weights.hpp"
#include "headgate/models/parts/gqa_part.hpp"
#include "headgate/models/rope_config.hpp"
#include "headgate/routing/topk_softmax.hpp"

namespace headgate::inline HEADGATE_ABI {

struct Mellum {
  static constexpr std::string_view model_type = "mellum";
  static constexpr std::string_view architecture = "MellumForCausalLM";

  static Blueprint blueprint(const JsonObject& json, const TensorSource& source) {
    const ModelConfig c = read_model_config(json, model_type, architecture);
    const float epsilon = read_epsilon(json, "rms_norm_eps");
    const HeadSizes heads = read_heads(json, c.hidden_size);
    const index_t num_experts = read_num_experts(json);
    const index_t k = json.get_index("num_experts_per_tok", 1, num_experts);
    const bool divides = json.get_bool("norm_topk_prob", true);
    const index_t width = json.get_index("moe_intermediate_size", 1, ConfigLimits::width);
    const std::vector<bool> is_sparse = read_mlp_layer_types(json, c.num_hidden_layers, [](index_t) { return true; });
    const index_t dense_width = read_dense_width(json, "intermediate_size", is_sparse);
    const bool has_bias = json.get_bool("attention_bias", false);
    const std::vector<std::string> types =
        read_layer_types(json, c.num_hidden_layers, {"full_attention", "sliding_attention"});
    const index_t window = read_window(json, "sliding_window", has_sliding(types));
    // The class knows no settings of all layers.
    for (const char* const key : {"rope_scaling", "rope_theta"}) {
      if (json.has(key)) json.fail(key, "not supported, expected rope_parameters with settings for each layer type");
    }
    const JsonObject ropes = json.get_object("rope_parameters");
    for (const std::string& type : types) ropes.get_object(type);
    // One of the two may be none of the model's.
    std::shared_ptr<const Rope> full;
    std::shared_ptr<const Rope> sliding;
    for (const std::string& type : types) {
      const bool is_full = type == "full_attention";
      std::shared_ptr<const Rope>& rope = is_full ? full : sliding;
      if (rope) continue;
      rope = make_rope(read_rope(
          json,
          {.head_dim = heads.head_dim, .max_position_embeddings = c.max_position_embeddings, .layer_type = type}));
      if (is_full) continue;
      if (!json.get_bool("use_sliding_window", true)) {
        json.fail("use_sliding_window", "false contradicts layers of sliding_attention");
      }
    }
    const bool is_tied = json.get_bool("tie_word_embeddings", false);
    require_silu(json, "hidden_act");
    check_quantization(json);
    for (const char* const key : {"use_sliding_window", "rope_parameters", "mtp_layer_types", "mtp_mlp_layer_types",
                                  "num_mtp_layers", "num_nextn_predict_layers", "max_window_layers"}) {
      json.ignore(key);
    }
    ignore_usual_keys(json);

    const GqaShape shape{.hidden_size = c.hidden_size,
                         .num_heads = heads.num_heads,
                         .num_kv_heads = heads.num_kv_heads,
                         .head_dim = heads.head_dim,
                         .has_query_bias = has_bias,
                         .has_key_bias = has_bias,
                         .has_value_bias = has_bias,
                         .has_output_bias = has_bias,
                         .qk_norm = QkNorm::per_head,
                         .norm_epsilon = epsilon,
                         .scale = GqaShape::default_scale(heads.head_dim)};
    Blueprint blueprint = find_outer(source, c, epsilon, is_tied);
    for (index_t l = 0; l < c.num_hidden_layers; ++l) {
      const std::string prefix = "model.layers." + std::to_string(l) + ".";
      const auto norm = [&](const char* name) { return find_norm(source, prefix + name, c.hidden_size, epsilon); };
      const bool is_full = types[as_size(l)] == "full_attention";
      GqaShape own = shape;
      own.window = is_full ? 0 : window;
      const auto ffn = [&]() -> OperationPart {
        if (!is_sparse[as_size(l)])
          return DenseFfnPart(find_dense(source, prefix + "mlp.", c.hidden_size, dense_width));
        RouterPart router =
            find_gate(source, prefix + "mlp.gate.weight", num_experts, c.hidden_size, k,
                      divides ? "softmax, divided by their sum" : "softmax", [=](const GateWeights& gate) -> AnyRouter {
                        if (divides) return qwen3_moe_router(gate, k).value();
                        return qwen2_moe_router(gate, k).value();
                      });
        return RoutedPart(MoePart{std::move(router),
                                  find_experts(source, prefix + "mlp.experts.", num_experts, k, c.hidden_size, width)});
      };
      blueprint.layers.push_back({PreNorm{norm("input_layernorm.weight")}.then(MixerPart(
                                      GqaPart::find(source, prefix + "self_attn.", own, is_full ? full : sliding))),
                                  PreNorm{norm("post_attention_layernorm.weight")}.then(ffn())});
    }
    return blueprint;
  }
};

}  // namespace headgate::inline HEADGATE_ABI
