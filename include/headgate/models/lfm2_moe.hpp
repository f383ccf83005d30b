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
    require_absent(json, "quantization_config");
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
};

}  // namespace headgate::inline HEADGATE_ABI
