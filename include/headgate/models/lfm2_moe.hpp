// LFM2-MoE (Liquid AI 2025; model_type "lfm2_moe", Lfm2MoeForCausalLM): most layers mix positions by a gated short
// convolution, the others by grouped-query attention with an RMSNorm of every query and key head (layer_types); the
// first num_dense_layers layers are dense, the others have experts: sigmoid, top-k of sigmoid + expert_bias, sigmoid
// divided by its sum + 1e-6 where norm_topk_prob says so, times routed_scaling_factor. The last norm is called
// embedding_norm. Follows transformers' modeling_lfm2_moe.
#pragma once

#include <memory>

#include "headgate/models/config_reader.hpp"
#include "headgate/models/find_weights.hpp"
#include "headgate/models/parts/gqa_part.hpp"
#include "headgate/models/parts/short_convolution_part.hpp"
#include "headgate/models/rope_config.hpp"
#include "headgate/routing/topk_sigmoid.hpp"

namespace headgate::inline HEADGATE_ABI {

struct Lfm2Moe {
  static constexpr std::string_view model_type = "lfm2_moe";
  static constexpr std::string_view architecture = "Lfm2MoeForCausalLM";

  // Layers without key-value heads are the convolutions. The last norm goes by either of two names.
  static constexpr std::string_view gguf_architecture = "lfm2moe";
  static void translate(GgufTranslation& gguf) {
    gguf.usual_outside();
    gguf.take("norm_eps", "attention.layer_norm_rms_epsilon");
    take_layer_types(gguf);
    gguf.take_head_dim();
    gguf.take_rope({.turned = gguf.head_dim()});
    gguf.take("intermediate_size", "feed_forward_length");
    gguf.take("moe_intermediate_size", "expert_feed_forward_length");
    gguf.take("num_dense_layers", "leading_dense_block_count", gguf.json(std::int64_t{0}));
    gguf.take("conv_L_cache", "shortconv.l_cache");
    gguf.take("norm_topk_prob", "expert_weights_norm", gguf.json(true));
    gguf.take("routed_scaling_factor", "expert_weights_scale", gguf.json(1.0));
    constexpr const char* gating = "expert_gating_func";
    gguf.ignore(gating);
    gguf.metadata().get_integer(gguf.stored(gating), 2, 2, 2);  // sigmoid
    gguf.give("conv_bias", gguf.json(gguf.has_any_layer_tensor("shortconv.conv.bias")));
    gguf.give("use_expert_bias", gguf.json(gguf.has_any_layer_tensor("exp_probs_b.bias")));
    const bool is_usual = gguf.has_tensor("output_norm.weight");
    gguf.tensor("model.embedding_norm.weight", is_usual ? "output_norm.weight" : "token_embd_norm.weight");
    gguf.layer_tensors({{"operator_norm.weight", "attn_norm.weight"},
                        {"ffn_norm.weight", "ffn_norm.weight"},
                        {"self_attn.q_proj.weight", "attn_q.weight"},
                        {"self_attn.k_proj.weight", "attn_k.weight"},
                        {"self_attn.v_proj.weight", "attn_v.weight"},
                        {"self_attn.out_proj.weight", "attn_output.weight"},
                        {"self_attn.q_layernorm.weight", "attn_q_norm.weight"},
                        {"self_attn.k_layernorm.weight", "attn_k_norm.weight"},
                        {"conv.in_proj.weight", "shortconv.in_proj.weight"},
                        {"conv.in_proj.bias", "shortconv.in_proj.bias"},
                        {"conv.conv.bias", "shortconv.conv.bias"},
                        {"conv.out_proj.weight", "shortconv.out_proj.weight"},
                        {"conv.out_proj.bias", "shortconv.out_proj.bias"},
                        {"feed_forward.expert_bias", "exp_probs_b.bias"}});
    const std::int64_t taps = gguf.metadata().get_integer(gguf.stored("shortconv.l_cache"), 1, 1 << 20, 1);
    gguf.layer_tensors({{"conv.conv.weight", "shortconv.conv.weight"}}, Shape{gguf.hidden_size(), 1, taps});
    gguf.dense_tensors("feed_forward.w1.weight", "feed_forward.w3.weight", "feed_forward.w2.weight");
    gguf.usual_experts("feed_forward.gate.weight", "feed_forward.experts.", "w1.weight", "w3.weight", "w2.weight");
  }

  static Blueprint blueprint(const JsonObject& json, const TensorSource& source) {
    const ModelConfig c = read_model_config(json, model_type, architecture);
    const float epsilon = read_epsilon(json, "norm_eps");
    const HeadSizes heads = read_heads(json, c.hidden_size);
    const index_t num_experts = read_num_experts(json);
    const index_t k = json.get_index("num_experts_per_tok", 1, num_experts);
    const bool divides = json.get_bool("norm_topk_prob", true);
    const bool has_expert_bias = json.get_bool("use_expert_bias", true);
    const float factor = static_cast<float>(json.get_number("routed_scaling_factor", 1e-30, 1e30, 1.0));
    const index_t width = json.get_index("moe_intermediate_size", 1, ConfigLimits::width);
    std::vector<bool> is_sparse(as_size(c.num_hidden_layers), true);
    const index_t num_dense = json.get_index("num_dense_layers", 0, c.num_hidden_layers);
    std::fill_n(is_sparse.begin(), num_dense, false);
    const index_t dense_width = read_dense_width(json, "intermediate_size", is_sparse);
    const std::vector<std::string> types = read_layer_types(json, c.num_hidden_layers, {"conv", "full_attention"});
    const GqaShape attention{.hidden_size = c.hidden_size,
                             .num_heads = heads.num_heads,
                             .num_kv_heads = heads.num_kv_heads,
                             .head_dim = heads.head_dim,
                             .qk_norm = QkNorm::per_head,
                             .norm_epsilon = epsilon,
                             .scale = GqaShape::default_scale(heads.head_dim)};
    const ShortConvolutionShape convolution{.hidden_size = c.hidden_size,
                                            .taps = json.get_index("conv_L_cache", 1, 1024),
                                            .has_bias = json.get_bool("conv_bias", false)};
    const auto rope =
        make_rope(read_rope(json, {.head_dim = heads.head_dim, .max_position_embeddings = c.max_position_embeddings}));
    // The older key wins, as in the class.
    const bool is_tied = json.get_bool("tie_embedding", json.get_bool("tie_word_embeddings", true));
    check_quantization(json);
    for (const char* const key : {"conv_dim", "conv_use_xavier_init", "block_dim", "full_attn_idxs", "theta"}) {
      json.ignore(key);
    }
    ignore_usual_keys(json);

    Blueprint blueprint{
        .config = c,
        .embedding = {WeightRows::find(source, "model.embed_tokens.weight", {c.vocab_size, c.hidden_size})},
        .layers = {},
        .norm = find_norm(source, "model.embedding_norm.weight", c.hidden_size, epsilon)};
    blueprint.head.matrix = find_head(source, "lm_head.weight", blueprint.embedding.table, is_tied);
    constexpr GqaNames names{.output = "out_proj", .query_norm = "q_layernorm", .key_norm = "k_layernorm"};
    for (index_t l = 0; l < c.num_hidden_layers; ++l) {
      const std::string prefix = "model.layers." + std::to_string(l) + ".";
      const auto norm = [&](const char* name) { return find_norm(source, prefix + name, c.hidden_size, epsilon); };
      const auto mixer = [&]() -> MixerPart {
        if (types[as_size(l)] == "conv") return ShortConvolutionPart::find(source, prefix + "conv.", convolution);
        return GqaPart::find(source, prefix + "self_attn.", attention, rope, names);
      };
      const auto ffn = [&]() -> OperationPart {
        const std::string ffn_prefix = prefix + "feed_forward.";
        if (!is_sparse[as_size(l)]) {
          return DenseFfnPart(find_dense(source, ffn_prefix, c.hidden_size, dense_width, /*has_bias=*/false, w1_w3_w2));
        }
        RouterPart router =
            find_gate(source, ffn_prefix + "gate.weight", num_experts, c.hidden_size, k,
                      has_expert_bias ? "sigmoid + bias" : "sigmoid", [=](const GateWeights& gate) -> AnyRouter {
                        if (divides) return lfm2_moe_router(gate, k, factor).value();
                        return scaled_sigmoid_router(gate, k, factor).value();
                      });
        if (has_expert_bias) {
          router.selection_bias = WeightRows::find(source, ffn_prefix + "expert_bias", {num_experts});
        }
        return RoutedPart(MoePart{std::move(router), find_experts(source, ffn_prefix + "experts.", num_experts, k,
                                                                  c.hidden_size, width, {}, w1_w3_w2)});
      };
      blueprint.layers.push_back(
          {PreNorm{norm("operator_norm.weight")}.then(mixer()), PreNorm{norm("ffn_norm.weight")}.then(ffn())});
    }
    return blueprint;
  }

 private:
  static void take_layer_types(GgufTranslation& gguf) {
    constexpr const char* key = "attention.head_count_kv";
    gguf.ignore(key);
    const std::string stored = gguf.stored(key);
    const std::vector<std::int64_t> counts = gguf.metadata().get_integers(stored, 0, ConfigLimits::heads);
    std::int64_t heads = 0;
    Json::Array types;
    for (const std::int64_t count : counts) {
      types.push_back(gguf.json(count == 0 ? "conv" : "full_attention"));
      if (count != 0 && heads != 0 && count != heads) gguf.metadata().fail(stored, "layers differ in their heads");
      if (count != 0) heads = count;
    }
    gguf.give("num_key_value_heads", gguf.json(heads == 0 ? std::int64_t{1} : heads), stored);
    gguf.give("layer_types", gguf.json(std::move(types)), stored);
  }
};

}  // namespace headgate::inline HEADGATE_ABI
