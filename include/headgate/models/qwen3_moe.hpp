// Qwen3-MoE (model_type "qwen3_moe", Qwen3MoeForCausalLM): grouped-query attention with an RMSNorm of every query and
// key head before half-rotation RoPE; softmax, top-k, optionally renormalised; SwiGLU experts, no shared ones; sparse
// and dense layers mixed; tied or separate head. Follows transformers' modeling_qwen3_moe.
//
// The keys of config.json fall into four classes: those used, those that must have their neutral value because nothing
// else is implemented, those that concern training or other programs, and those nobody knows, which are ignored and
// listed by `headgate inspect`.
#pragma once

#include <algorithm>
#include <memory>

#include "headgate/models/config_reader.hpp"
#include "headgate/models/find_weights.hpp"
#include "headgate/models/parts/gqa_part.hpp"
#include "headgate/models/rope_config.hpp"
#include "headgate/routing/topk_softmax.hpp"

namespace headgate::inline HEADGATE_ABI {

struct Qwen3Moe {
  static constexpr std::string_view model_type = "qwen3_moe";
  static constexpr std::string_view architecture = "Qwen3MoeForCausalLM";

  // What config.json says beside the router.
  struct Config {
    ModelConfig model;
    float rms_norm_eps = 0.0f;
    bool tie_word_embeddings = false;
    HeadSizes heads;
    bool attention_bias = false;
    index_t window = 0;  // 0: none
    RopeSettings rope;
    index_t num_experts = 0;
    index_t moe_intermediate_size = 0;
    index_t intermediate_size = 0;  // of dense layers, 0 where there is none
    std::vector<bool> is_sparse;    // of every layer
  };

  // Finds the attention behind a prefix.
  struct FindGqa {
    GqaShape shape;
    std::shared_ptr<const Rope> rope;
    const TensorSource& source;

    FindGqa(const Config& c, const TensorSource& tensors)
        : shape{.hidden_size = c.model.hidden_size,
                .num_heads = c.heads.num_heads,
                .num_kv_heads = c.heads.num_kv_heads,
                .head_dim = c.heads.head_dim,
                .has_query_bias = c.attention_bias,
                .has_key_bias = c.attention_bias,
                .has_value_bias = c.attention_bias,
                .has_output_bias = c.attention_bias,
                .qk_norm = QkNorm::per_head,
                .norm_epsilon = c.rms_norm_eps,
                .scale = GqaShape::default_scale(c.heads.head_dim),
                .window = c.window},
          rope(std::make_shared<const Rope>(Rope::create(c.rope).value())),
          source(tensors) {}
    GqaPart operator()(const std::string& prefix) const { return GqaPart::find(source, prefix, shape, rope); }
  };

  static constexpr std::string_view gguf_architecture = "qwen3moe";
  static void translate(GgufTranslation& gguf) {
    gguf.usual();
    gguf.take("intermediate_size", "feed_forward_length");
    gguf.take("moe_intermediate_size", "expert_feed_forward_length");
    gguf.take("norm_topk_prob", "expert_weights_norm", gguf.json(true));  // as llama.cpp has it for these files
    gguf.give("mlp_only_layers", gguf.dense_layers());
    gguf.dense_tensors();
    gguf.usual_experts();
  }

  static Blueprint blueprint(const JsonObject& json, const TensorSource& source) {
    const Config c = read_all_but_router(json, model_type, architecture);
    const index_t k = json.get_index("num_experts_per_tok", 1, c.num_experts);
    const bool renormalizes = json.get_bool("norm_topk_prob", false);
    return make_blueprint(c, source, FindGqa(c, source), [&](index_t, const std::string& prefix) -> OperationPart {
      RouterPart router{.summary = {c.num_experts, k,
                                    "softmax, top " + std::to_string(k) + " of " + std::to_string(c.num_experts) +
                                        (renormalizes ? ", weights divided by their sum" : "")},
                        .make = nullptr};
      router.gate = WeightRows::find(source, prefix + "gate.weight", {c.num_experts, c.model.hidden_size});
      router.make = [=](const GateWeights& weights, Packer&) -> AnyRouter {
        if (renormalizes) return qwen3_moe_router(weights, k).value();
        return qwen2_moe_router(weights, k).value();
      };
      return RoutedPart(MoePart{std::move(router), find_experts(source, prefix + "experts.", c.num_experts, k,
                                                                c.model.hidden_size, c.moe_intermediate_size)});
    });
  }

  // For families that differ from this one in their routed layers and the attention alone.
  static Config read_all_but_router(const JsonObject& json, std::string_view type, std::string_view class_name) {
    Config c;
    c.model = read_model_config(json, type, class_name);
    c.rms_norm_eps = read_epsilon(json, "rms_norm_eps");
    c.tie_word_embeddings = json.get_bool("tie_word_embeddings", false);
    c.heads = read_heads(json, c.model.hidden_size);
    c.attention_bias = json.get_bool("attention_bias", false);
    c.rope =
        read_rope(json, {.head_dim = c.heads.head_dim, .max_position_embeddings = c.model.max_position_embeddings});

    c.num_experts = read_num_experts(json);
    c.is_sparse = read_sparse_layers(json, c.model.num_hidden_layers);
    c.moe_intermediate_size = json.get_index("moe_intermediate_size", 1, ConfigLimits::width);
    c.intermediate_size = read_dense_width(json, "intermediate_size", c.is_sparse);

    require_silu(json, "hidden_act");
    require_full_attention(json);
    // Of all layers, where use_sliding_window says so; max_window_layers is not looked at, as in the class.
    c.window = read_window(json, "sliding_window", json.get_bool("use_sliding_window", false), 4096);
    check_quantization(json);
    require_neutral(json, "qkv_bias", false);
    require_neutral(json, "shared_expert_intermediate_size", std::int64_t{0});
    json.ignore("max_window_layers");
    ignore_usual_keys(json);
    return c;
  }

  // find_attention(prefix) -> MixerPart; find_sparse(layer, prefix) -> OperationPart of a layer that is not dense.
  template <class Attention, class Sparse>
  static Blueprint make_blueprint(const Config& c, const TensorSource& source, Attention&& find_attention,
                                  Sparse&& find_sparse) {
    const index_t width = c.model.hidden_size;
    Blueprint blueprint = find_outer(source, c.model, c.rms_norm_eps, c.tie_word_embeddings);
    for (index_t l = 0; l < c.model.num_hidden_layers; ++l) {
      const std::string prefix = "model.layers." + std::to_string(l) + ".";
      const auto norm = [&](const char* name) { return find_norm(source, prefix + name, width, c.rms_norm_eps); };
      const auto ffn = [&]() -> OperationPart {
        if (!c.is_sparse[as_size(l)]) {
          return DenseFfnPart(find_dense(source, prefix + "mlp.", width, c.intermediate_size));
        }
        return find_sparse(l, prefix + "mlp.");
      };
      blueprint.layers.push_back(
          {PreNorm{norm("input_layernorm.weight")}.then(MixerPart(find_attention(prefix + "self_attn."))),
           PreNorm{norm("post_attention_layernorm.weight")}.then(ffn())});
    }
    return blueprint;
  }
};

}  // namespace headgate::inline HEADGATE_ABI
