// ERNIE 4.5 (Baidu; model_type "ernie4_5_moe", Ernie4_5_MoeForCausalLM): grouped-query attention with interleaved
// rotary pairs; softmax in float32, top-k of softmax + e_score_correction_bias, softmax divided by the larger of their
// sum and moe_norm_min; ungated shared experts, which are one network of moe_num_shared_experts times the width. Layers
// have experts from moe_layer_start_index to moe_layer_end_index, every moe_layer_interval-th; the others are dense.
// Follows transformers' modeling_ernie4_5_moe. Weights of multi-token prediction (model.mtp_) are not read.
#pragma once

#include <memory>

#include "headgate/models/config_reader.hpp"
#include "headgate/models/find_weights.hpp"
#include "headgate/models/parts/gqa_part.hpp"
#include "headgate/models/rope_config.hpp"
#include "headgate/routing/topk_softmax.hpp"

namespace headgate::inline HEADGATE_ABI {

struct Ernie45Moe {
  static constexpr std::string_view model_type = "ernie4_5_moe";
  static constexpr std::string_view architecture = "Ernie4_5_MoeForCausalLM";

  // GGUF files do not say where experts end, nor the smallest sum, which is the class's. Their width of shared experts
  // is no width (converters divide numbers that have nothing to do with it); how many there are is.
  static constexpr std::string_view gguf_architecture = "ernie4_5-moe";
  static void translate(GgufTranslation& gguf) {
    gguf.usual();
    gguf.take("intermediate_size", "feed_forward_length");
    gguf.take("moe_intermediate_size", "expert_feed_forward_length");
    gguf.take("moe_num_experts", "expert_count");
    gguf.take("moe_k", "expert_used_count");
    gguf.take("moe_num_shared_experts", "expert_shared_count", gguf.json(std::int64_t{0}));
    gguf.ignore("expert_shared_feed_forward_length");
    gguf.take("moe_layer_start_index", "leading_dense_block_count", gguf.json(std::int64_t{0}));
    gguf.take("moe_layer_interval", "interleave_moe_layer_step", gguf.json(std::int64_t{1}));
    gguf.give("moe_layer_end_index", gguf.json(std::int64_t{gguf.last_layer_with("ffn_gate_inp.weight")}));
    constexpr const char* gating = "expert_gating_func";
    gguf.ignore(gating);
    gguf.metadata().get_integer(gguf.stored(gating), 1, 1, 1);  // softmax
    gguf.give("use_bias", gguf.json(gguf.has_attention_bias()));
    gguf.dense_tensors();
    gguf.dense_biases();
    gguf.usual_experts();
    gguf.shared_tensors("mlp.shared_experts.");
    gguf.layer_tensors({{"mlp.gate.moe_statics.e_score_correction_bias", "exp_probs_b.bias"}},
                       Shape{1, gguf.num_experts()});
  }

  static Blueprint blueprint(const JsonObject& json, const TensorSource& source) {
    const ModelConfig c = read_model_config(json, model_type, architecture);
    const float epsilon = read_epsilon(json, "rms_norm_eps");
    const HeadSizes heads = read_heads(json, c.hidden_size);
    const index_t num_experts = read_same(json, "moe_num_experts", "num_experts", ConfigLimits::experts);
    const index_t k = read_same(json, "moe_k", "num_experts_per_tok", num_experts);
    const float smallest_sum = static_cast<float>(json.get_number("moe_norm_min", 0.0, 1.0, 1e-12));
    const index_t width = json.get_index("moe_intermediate_size", 1, ConfigLimits::width);
    const index_t num_shared = json.get_index("moe_num_shared_experts", 0, ConfigLimits::experts);
    if (std::int64_t{num_shared} * width > ConfigLimits::width) {
      json.fail("moe_num_shared_experts", "too many for networks " + std::to_string(width) + " wide");
    }
    const std::vector<bool> is_sparse = read_sparse(json, c.num_hidden_layers);
    const index_t dense_width = read_dense_width(json, "intermediate_size", is_sparse);
    const bool has_bias = json.get_bool("use_bias", false);  // of attention, dense and shared networks and the head
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
    const bool is_tied = json.get_bool("tie_word_embeddings", true);
    require_silu(json, "hidden_act");
    check_quantization(json);
    require_full_attention(json);
    for (const char* const key : {"num_nextn_predict_layers", "moe_capacity", "moe_use_aux_free", "moe_gate"}) {
      json.ignore(key);  // of training
    }
    ignore_usual_keys(json);

    Blueprint blueprint = find_outer(source, c, epsilon, is_tied);
    if (has_bias) blueprint.head.bias = WeightRows::find(source, "lm_head.bias", {c.vocab_size});
    for (index_t l = 0; l < c.num_hidden_layers; ++l) {
      const std::string prefix = "model.layers." + std::to_string(l) + ".";
      const auto norm = [&](const char* name) { return find_norm(source, prefix + name, c.hidden_size, epsilon); };
      const auto dense = [&](const std::string& at, index_t of_width) {
        return find_dense(source, at, c.hidden_size, of_width, has_bias);
      };
      const auto ffn = [&]() -> OperationPart {
        if (!is_sparse[as_size(l)]) return DenseFfnPart(dense(prefix + "mlp.", dense_width));
        RouterPart router = find_gate(
            source, prefix + "mlp.gate.weight", num_experts, c.hidden_size, k, "softmax + bias, divided by their sum",
            [=](const GateWeights& gate) { return ernie_router(gate, k, smallest_sum).value(); });
        const std::string statics = "moe_statics.e_score_correction_bias";
        const bool is_new = source.promises(prefix + "mlp.gate." + statics);
        router.selection_bias =
            WeightRows::find(source, prefix + (is_new ? "mlp.gate." : "mlp.") + statics, {1, num_experts});
        MoePart moe{std::move(router),
                    find_experts(source, prefix + "mlp.experts.", num_experts, k, c.hidden_size, width)};
        if (num_shared > 0) {
          moe.shared = dense(prefix + "mlp.shared_experts.", num_shared * width);
        }
        return RoutedPart(std::move(moe));
      };
      blueprint.layers.push_back({PreNorm{norm("input_layernorm.weight")}.then(MixerPart(GqaPart::find(
                                      source, prefix + "self_attn.", shape, rope, {}, /*is_interleaved=*/true))),
                                  PreNorm{norm("post_attention_layernorm.weight")}.then(ffn())});
    }
    return blueprint;
  }

 private:
  // Layers are counted from 1 for the interval; an end of -1 is the last one.
  static std::vector<bool> read_sparse(const JsonObject& json, index_t num_layers) {
    const index_t first = json.get_index("moe_layer_start_index", 0, static_cast<index_t>(max_index));
    const index_t end = json.get_index("moe_layer_end_index", -1, static_cast<index_t>(max_index), -1);
    const index_t step = json.get_index("moe_layer_interval", 1, static_cast<index_t>(max_index), 1);
    std::vector<bool> is_sparse;
    for (index_t l = 0; l < num_layers; ++l) {
      is_sparse.push_back((l + 1) % step == 0 && l >= first && (end == -1 || l <= end));
    }
    return is_sparse;
  }
};

}  // namespace headgate::inline HEADGATE_ABI
