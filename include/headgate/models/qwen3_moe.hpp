// Qwen3-MoE (model_type "qwen3_moe", Qwen3MoeForCausalLM): grouped-query attention with an RMSNorm of every query and
// key head before half-rotation RoPE; softmax, top-k, optionally renormalised; SwiGLU experts, no shared ones; sparse
// and dense layers mixed; tied or separate head. Follows transformers' modeling_qwen3_moe.
//
// The keys of config.json fall into four classes, each a list below or a line of read_config: those used, those that
// must have their neutral value because nothing else is implemented, those that concern training or other programs, and
// those nobody knows, which are ignored and listed by `headgate inspect`.
#pragma once

#include "headgate/models/config_reader.hpp"
#include "headgate/models/decoder_builder.hpp"
#include "headgate/models/rope_config.hpp"
#include "headgate/routing/topk_softmax.hpp"

namespace headgate::inline HEADGATE_ABI {

struct Qwen3Moe {
  static constexpr std::string_view model_type = "qwen3_moe";
  static constexpr std::string_view architecture = "Qwen3MoeForCausalLM";

  static constexpr std::string_view ignored_keys[] = {
      "_name_or_path",
      "attention_dropout",
      "auto_map",
      "dtype",
      "initializer_range",
      "max_window_layers",
      "output_router_logits",
      "pad_token_id",
      "router_aux_loss_coef",
      "torch_dtype",
      "transformers_version",
      "use_cache",
  };

  static ModelConfig read_config(const JsonObject& json) {
    ModelConfig c = read_all_but_router(json, model_type, architecture);
    c.num_experts_per_tok = json.get_index("num_experts_per_tok", 1, c.num_experts);
    c.norm_topk_prob = json.get_bool("norm_topk_prob", false);
    return c;
  }
  // For families that differ from this one in the router and the attention alone.
  static ModelConfig read_all_but_router(const JsonObject& json, std::string_view type, std::string_view class_name) {
    ModelConfig c;
    c.model_type = type;
    check_architecture(json, class_name);
    c.vocab_size = json.get_index("vocab_size", 1, ConfigLimits::vocab_size);
    c.hidden_size = json.get_index("hidden_size", 1, ConfigLimits::width);
    c.num_hidden_layers = json.get_index("num_hidden_layers", 1, ConfigLimits::layers);
    c.max_position_embeddings = read_context_size(json, "max_position_embeddings");
    c.rms_norm_eps = read_epsilon(json, "rms_norm_eps");
    c.tie_word_embeddings = json.get_bool("tie_word_embeddings", false);

    c.num_attention_heads = json.get_index("num_attention_heads", 1, ConfigLimits::heads);
    c.num_key_value_heads = read_kv_heads(json, "num_key_value_heads", c.num_attention_heads);
    c.head_dim = read_head_dim(json, "head_dim", c);
    c.attention_bias = json.get_bool("attention_bias", false);
    c.rope = read_rope(json, {.head_dim = c.head_dim, .max_position_embeddings = c.max_position_embeddings});

    c.num_experts = read_num_experts(json);
    c.decoder_sparse_step = json.get_index("decoder_sparse_step", 1, static_cast<index_t>(max_index), 1);
    c.mlp_only_layers = read_layers(json, "mlp_only_layers");
    c.moe_intermediate_size = json.get_index("moe_intermediate_size", 1, ConfigLimits::width);
    c.intermediate_size = read_dense_width(json, "intermediate_size", c);

    read_token_ids(json, c);
    require_silu(json, "hidden_act");
    require_no_sliding_window(json);
    require_absent(json, "quantization_config");
    require_usual_weights(json);
    require_neutral(json, "qkv_bias", false);
    require_neutral(json, "shared_expert_intermediate_size", std::int64_t{0});
    for (const std::string_view key : ignored_keys) json.ignore(key);
    return c;
  }

  static DecoderTensors find_tensors(const ModelConfig& c, const TensorSource& source) {
    return find_tensors(c, source, [&](LayerTensors& layer, const std::string& prefix) {
      layer.router = &require_floats(source, prefix + "mlp.gate.weight", {c.num_experts, c.hidden_size});
    });
  }
  // find_router(layer, prefix) finds the router's tensors of a layer with experts.
  template <class F>
  static DecoderTensors find_tensors(const ModelConfig& c, const TensorSource& source, F&& find_router) {
    DecoderTensors tensors;
    tensors.embedding = &require_floats(source, "model.embed_tokens.weight", {c.vocab_size, c.hidden_size});
    tensors.norm = &require_floats(source, "model.norm.weight", {c.hidden_size});
    tensors.head = find_head(source, "lm_head.weight", *tensors.embedding, c.tie_word_embeddings);
    for (index_t l = 0; l < c.num_hidden_layers; ++l) {
      const std::string prefix = "model.layers." + std::to_string(l) + ".";
      tensors.layers.push_back(find_layer(c, source, l, prefix, find_router));
    }
    return tensors;
  }

  static Model build(DecoderBuilder& builder) {
    const ModelConfig& c = builder.config();
    return builder.build([&](index_t /*layer*/, ConstRows gate) -> AnyRouter {
      if (c.norm_topk_prob) return qwen3_moe_router({.gate = gate}, c.num_experts_per_tok).value();
      return qwen2_moe_router({.gate = gate}, c.num_experts_per_tok).value();
    });
  }

 private:
  template <class F>
  static LayerTensors find_layer(const ModelConfig& c, const TensorSource& source, index_t layer,
                                 const std::string& prefix, F& find_router) {
    const auto find = [&](const char* name, const Shape& shape) {
      return &require_floats(source, prefix + name, shape);
    };
    const std::int64_t query_size = std::int64_t{c.num_attention_heads} * c.head_dim;
    const std::int64_t kv_size = std::int64_t{c.num_key_value_heads} * c.head_dim;
    LayerTensors t;
    t.attention_norm = find("input_layernorm.weight", {c.hidden_size});
    t.query = find("self_attn.q_proj.weight", {query_size, c.hidden_size});
    t.key = find("self_attn.k_proj.weight", {kv_size, c.hidden_size});
    t.value = find("self_attn.v_proj.weight", {kv_size, c.hidden_size});
    t.output = find("self_attn.o_proj.weight", {c.hidden_size, query_size});
    if (c.attention_bias) {
      t.query_bias = find("self_attn.q_proj.bias", {query_size});
      t.key_bias = find("self_attn.k_proj.bias", {kv_size});
      t.value_bias = find("self_attn.v_proj.bias", {kv_size});
      t.output_bias = find("self_attn.o_proj.bias", {c.hidden_size});
    }
    t.query_norm = find("self_attn.q_norm.weight", {c.head_dim});
    t.key_norm = find("self_attn.k_norm.weight", {c.head_dim});
    t.ffn_norm = find("post_attention_layernorm.weight", {c.hidden_size});
    if (c.is_sparse(layer)) {
      find_router(t, prefix);
      t.experts = find_experts(source, prefix + "mlp.experts.", c.num_experts, c.moe_intermediate_size, c.hidden_size);
    } else {
      t.experts = {find_glu(source, prefix + "mlp.", c.intermediate_size, c.hidden_size)};
    }
    return t;
  }
};

}  // namespace headgate::inline HEADGATE_ABI
