// The DeepSeek models and those of their shape: multi-head latent attention, the first layers dense, then routed
// experts beside ungated shared ones, which are one network of n_shared_experts times the width.
//   deepseek_v2      V2, V2-Lite, Coder-V2-Lite: softmax, greedy or of the best groups by their best expert, times
//                    routed_scaling_factor or, where norm_topk_prob says so, divided by their sum
//   deepseek_v3      V3, R1, Moonlight, Kimi-K2: sigmoid, top-k of sigmoid + e_score_correction_bias of the best groups
//                    by the sum of their two best, divided by their sum + 1e-20, times the factor; weights of eight
//                    bits with block scales
//   glm4_moe_lite    GLM-4.7-Flash: V3's, layers dense by mlp_layer_types
// Follows transformers, but for V2's norm_topk_prob, which transformers does not look at and DeepSeek's own code does.
// The norms of the latents have an epsilon of 1e-6, whatever rms_norm_eps says. Groups that are dropped count as -inf.
// Layers behind the last (multi-token prediction) are not read.
#pragma once

#include <algorithm>
#include <memory>

#include "headgate/models/config_reader.hpp"
#include "headgate/models/find_weights.hpp"
#include "headgate/models/parts/mla_part.hpp"
#include "headgate/models/rope_config.hpp"
#include "headgate/routing/deepseek.hpp"

namespace headgate::inline HEADGATE_ABI {

class Deepseek {
 protected:
  // GGUF's "deepseek2" is V2 or, with sigmoid, V3 and all that computes as it does. Files of 2024 do not say which: a
  // bias of the selection is V3's.
  static bool is_sigmoid(const GgufTranslation& gguf) {
    const std::int64_t absent = gguf.has_any_layer_tensor("exp_probs_b.bias") ? 2 : 1;
    return gguf.metadata().get_integer(gguf.stored(gating), 0, UINT32_MAX, absent) == 2;
  }
  // known_experts: of a released model in known_groups groups, of which known_used are chosen; files from before
  // expert_group_count do not say it.
  static void translate(GgufTranslation& gguf, const char* scoring, std::int64_t known_experts,
                        std::int64_t known_groups, std::int64_t known_used) {
    gguf.usual_outside();
    gguf.usual_norms();
    gguf.ignore("attention.head_count_kv");  // 1, or in older files as many as heads
    gguf.ignore("attention.value_length");
    gguf.take("q_lora_rank", "attention.q_lora_rank");
    gguf.take("kv_lora_rank", "attention.kv_lora_rank");
    take_head_sizes(gguf);
    gguf.give("attention_bias", gguf.json(gguf.has_any_layer_tensor("attn_kv_a_mqa.bias")));
    gguf.take("intermediate_size", "feed_forward_length");
    gguf.take("moe_intermediate_size", "expert_feed_forward_length");
    gguf.take("first_k_dense_replace", "leading_dense_block_count", gguf.json(std::int64_t{0}));
    gguf.take("n_shared_experts", "expert_shared_count", gguf.json(std::int64_t{0}));
    gguf.take("norm_topk_prob", "expert_weights_norm", gguf.json(false));
    gguf.take("routed_scaling_factor", "expert_weights_scale", gguf.json(1.0));
    gguf.ignore(gating);
    const bool is_other = gguf.metadata().get_integer(gguf.stored(gating), 0, UINT32_MAX, 1) > 2;
    gguf.give("scoring_func", gguf.json(is_other ? "neither softmax nor sigmoid" : scoring), gguf.stored(gating));
    const bool is_known = gguf.num_experts() == known_experts;
    gguf.take("n_group", "expert_group_count", gguf.json(is_known ? known_groups : std::int64_t{1}));
    gguf.take("topk_group", "expert_group_used_count", gguf.json(is_known ? known_used : std::int64_t{1}));
    gguf.layer_tensors({{"self_attn.q_proj.weight", "attn_q.weight"},
                        {"self_attn.q_a_proj.weight", "attn_q_a.weight"},
                        {"self_attn.q_a_proj.bias", "attn_q_a.bias"},
                        {"self_attn.q_a_layernorm.weight", "attn_q_a_norm.weight"},
                        {"self_attn.q_b_proj.weight", "attn_q_b.weight"},
                        {"self_attn.kv_a_proj_with_mqa.weight", "attn_kv_a_mqa.weight"},
                        {"self_attn.kv_a_proj_with_mqa.bias", "attn_kv_a_mqa.bias"},
                        {"self_attn.kv_a_layernorm.weight", "attn_kv_a_norm.weight"},
                        {"self_attn.kv_b_proj.weight", "attn_kv_b.weight"},
                        {"self_attn.k_b_proj.weight", "attn_k_b.weight"},
                        {"self_attn.v_b_proj.weight", "attn_v_b.weight"},
                        {"self_attn.o_proj.weight", "attn_output.weight"},
                        {"self_attn.o_proj.bias", "attn_output.bias"},
                        {"mlp.gate.e_score_correction_bias", "exp_probs_b.bias"}});
    gguf.dense_tensors();
    gguf.dense_biases();
    gguf.usual_experts();
    gguf.take("n_routed_experts", "expert_count");
    gguf.shared_tensors("mlp.shared_experts.");
  }

  struct Config {
    ModelConfig model;
    float epsilon = 0.0f;
    bool is_tied = false;
    MlaShape attention;
    RopeSettings rope;
    bool is_interleaved = true;
    index_t num_experts = 0;
    index_t k = 0;
    index_t width = 0;
    index_t shared_width = 0;  // 0: no shared expert
    index_t dense_width = 0;
    std::vector<bool> is_sparse;
    bool divides = false;
    float factor = 1.0f;
    index_t num_groups = 1;
    index_t topk_group = 1;
    bool has_mlp_bias = false;    // of dense and shared networks
    bool has_eight_bits = false;  // with scales, which are there then
  };

  // All but which layers are sparse, dense_width, and what the router is beside its sizes.
  static Config read_config(const JsonObject& json, std::string_view type, std::string_view architecture) {
    Config c;
    c.model = read_model_config(json, type, architecture);
    c.epsilon = read_epsilon(json, "rms_norm_eps");
    c.is_tied = json.get_bool("tie_word_embeddings", false);
    MlaShape& a = c.attention;
    a.hidden_size = c.model.hidden_size;
    a.num_heads = json.get_index("num_attention_heads", 1, ConfigLimits::heads);
    if (json.get_index("num_key_value_heads", 1, ConfigLimits::heads, a.num_heads) != a.num_heads) {
      json.fail("num_key_value_heads", "it differs from num_attention_heads, of which each has its own");
    }
    if (json.value("q_lora_rank") == nullptr) json.fail("q_lora_rank", "the key is missing, expected null or a rank");
    a.query_rank = json.get_index("q_lora_rank", 1, ConfigLimits::width, 0);
    a.latent_size = json.get_index("kv_lora_rank", 1, ConfigLimits::width / 2);
    a.nope_dim = json.get_index("qk_nope_head_dim", 1, ConfigLimits::head_dim);
    a.rope_dim = json.get_index("qk_rope_head_dim", 2, ConfigLimits::head_dim);
    a.value_dim = json.get_index("v_head_dim", 1, ConfigLimits::head_dim);
    if (a.rope_dim % 2 != 0) json.fail("qk_rope_head_dim", "expected an even number, because RoPE turns pairs");
    a.has_bias = json.get_bool("attention_bias", false);
    c.rope = read_rope(json, {.head_dim = a.rope_dim, .max_position_embeddings = c.model.max_position_embeddings});
    a.scale = MlaShape::default_scale(a.nope_dim, a.rope_dim);
    const double of_yarn = c.rope.mscale_all_dim.value_or(0.0);
    if (c.rope.kind == RopeKind::yarn && of_yarn > 0.0) {
      const auto mscale = static_cast<float>(RopeSettings::yarn_scale(c.rope.factor, of_yarn));
      a.scale *= mscale * mscale;
    }
    if (Status status = a.check(); !status.ok()) json.fail("kv_lora_rank", Error(status).detail().what);

    c.num_experts = read_experts(json);
    c.k = json.get_index("num_experts_per_tok", 1, c.num_experts);
    c.width = json.get_index("moe_intermediate_size", 1, ConfigLimits::width);
    const index_t shared = json.get_index("n_shared_experts", 0, ConfigLimits::experts);
    if (std::int64_t{shared} * c.width > ConfigLimits::width) {
      json.fail("n_shared_experts", "too many for networks " + std::to_string(c.width) + " wide");
    }
    c.shared_width = shared * c.width;
    c.factor = static_cast<float>(json.get_number("routed_scaling_factor", 1e-30, 1e30));
    require_silu(json, "hidden_act");
    c.has_eight_bits = check_quantization(json);
    require_full_attention(json);
    for (const char* const key : {"head_dim", "qk_head_dim", "num_nextn_predict_layers", "aux_loss_alpha", "seq_aux",
                                  "ep_size", "pretraining_tp", "rope_interleave"}) {
      json.ignore(key);
    }
    ignore_usual_keys(json);
    return c;
  }
  // fewest: experts that a group is judged by, where there are several groups.
  static void read_groups(const JsonObject& json, Config& c, index_t fewest) {
    c.num_groups = json.get_index("n_group", 1, c.num_experts);
    if (c.num_experts % c.num_groups != 0) {
      json.fail("n_group", "expected a divisor of the number of experts (" + std::to_string(c.num_experts) +
                               "), found " + std::to_string(c.num_groups));
    }
    if (c.num_groups > 1 && c.num_experts / c.num_groups < fewest) {
      json.fail("n_group", "so many groups have fewer than " + std::to_string(fewest) + " experts");
    }
    c.topk_group = json.get_index("topk_group", 1, c.num_groups);
    if (std::int64_t{c.num_experts / c.num_groups} * c.topk_group < c.k) {
      json.fail("topk_group", "so many groups have fewer experts than num_experts_per_tok");
    }
  }
  // The first first_k_dense_replace layers are dense.
  static void read_first_dense(const JsonObject& json, Config& c) {
    const index_t dense = json.get_index("first_k_dense_replace", 0, c.model.num_hidden_layers);
    c.is_sparse.assign(as_size(c.model.num_hidden_layers), true);
    std::fill_n(c.is_sparse.begin(), dense, false);
    require_neutral(json, "moe_layer_freq", std::int64_t{1});
    c.dense_width = read_dense_width(json, "intermediate_size", c.is_sparse);
  }
  static void require_word(const JsonObject& json, std::string_view key, std::string_view word) {
    if (const std::string found = json.get_string(key, std::string(word)); found != word) {
      json.fail(key, "\"" + escaped(found, 40) + "\" is not supported, known: " + std::string(word));
    }
  }

  // find_router(prefix) -> RouterPart, of "model.layers.0.mlp."
  template <class F>
  static Blueprint make_blueprint(const Config& c, const TensorSource& source, F&& find_router) {
    const index_t hidden_size = c.model.hidden_size;
    const auto rope = make_rope(c.rope);
    Blueprint blueprint = find_outer(source, c.model, c.epsilon, c.is_tied);
    for (index_t l = 0; l < c.model.num_hidden_layers; ++l) {
      const std::string prefix = "model.layers." + std::to_string(l) + ".";
      const auto norm = [&](const char* name) { return find_norm(source, prefix + name, hidden_size, c.epsilon); };
      const auto dense = [&](const std::string& at, index_t width) {
        return find_dense(source, at, hidden_size, width, c.has_mlp_bias);
      };
      const auto ffn = [&]() -> OperationPart {
        if (!c.is_sparse[as_size(l)]) return DenseFfnPart(dense(prefix + "mlp.", c.dense_width));
        MoePart moe{find_router(prefix + "mlp."),
                    find_experts(source, prefix + "mlp.experts.", c.num_experts, c.k, hidden_size, c.width)};
        if (c.shared_width > 0) moe.shared = dense(prefix + "mlp.shared_experts.", c.shared_width);
        return RoutedPart(std::move(moe));
      };
      blueprint.layers.push_back({PreNorm{norm("input_layernorm.weight")}.then(MixerPart(MlaPart::find(
                                      source, prefix + "self_attn.", c.attention, rope, c.is_interleaved))),
                                  PreNorm{norm("post_attention_layernorm.weight")}.then(ffn())});
    }
    if (c.has_eight_bits) require_scales(blueprint, source);
    return blueprint;
  }
  // V3's.
  static RouterPart find_sigmoid_router(const Config& c, const TensorSource& source, const std::string& prefix) {
    RouterPart router =
        find_gate(source, prefix + "gate.weight", c.num_experts, c.model.hidden_size, c.k, "sigmoid + bias" + groups(c),
                  [k = c.k, divides = c.divides, factor = c.factor,
                   groups = DeepseekGroups{c.num_groups, c.topk_group}](const GateWeights& gate) -> AnyRouter {
                    if (divides) return deepseek_v3_router(gate, k, factor, groups).value();
                    return deepseek_v3_router(gate, k, Scale{factor}, groups).value();
                  });
    router.selection_bias = WeightRows::find(source, prefix + "gate.e_score_correction_bias", {c.num_experts});
    return router;
  }
  static std::string groups(const Config& c) {
    if (c.num_groups == 1) return "";
    return ", " + std::to_string(c.topk_group) + " of " + std::to_string(c.num_groups) + " groups";
  }

 private:
  static constexpr const char* gating = "expert_gating_func";

  // Newer files hold the keys and values of heads apart (attn_k_b, attn_v_b) and say the sizes of a head beside those
  // of the latent that heads share; older ones hold both in attn_kv_b.
  static void take_head_sizes(GgufTranslation& gguf) {
    constexpr const char* turned_key = "rope.dimension_count";
    const GgufMetadata& metadata = gguf.metadata();
    const bool is_new = gguf.has("attention.key_length_mla");
    const char* const key = is_new ? "attention.key_length_mla" : "attention.key_length";
    gguf.ignore("attention.key_length");
    gguf.ignore("attention.key_length_mla");
    const std::int64_t turned = metadata.get_integer(gguf.stored(turned_key), 1, ConfigLimits::head_dim);
    const std::int64_t both = metadata.get_integer(gguf.stored(key), turned + 1, 2 * ConfigLimits::head_dim);
    gguf.give("qk_rope_head_dim", gguf.json(turned), gguf.stored(turned_key));
    gguf.give("qk_nope_head_dim", gguf.json(both - turned), gguf.stored(key));
    gguf.take("v_head_dim", is_new ? "attention.value_length_mla" : "attention.value_length");
    gguf.take_rope({.turned = turned, .has_mscale = true});
  }

  static index_t read_experts(const JsonObject& json) {
    constexpr std::string_view key = "n_routed_experts";
    for (const char* const alias : {"num_local_experts", "num_experts"}) {
      if (json.has(alias)) return read_same(json, key, alias, ConfigLimits::experts);
    }
    return json.get_index(key, 1, ConfigLimits::experts);
  }
  // Eight bits without scales would be read as the numbers that they are.
  static void require_scales(const Blueprint& blueprint, const TensorSource& source) {
    for (const WeightUse& use : blueprint.weights()) {
      use.rows.for_each_tensor([&](const Tensor& tensor) {
        if (tensor.dtype != DType::f8_e4m3 && tensor.dtype != DType::f8_e5m2) return;
        const std::string scales = tensor.name + "_scale_inv";
        if (source.find(scales) == nullptr) {
          source.fail(tensor, "quantization_config says that it has scales, and there is no " + scales);
        }
      });
    }
  }
  // Eight bits of the files say so themselves; their blocks must be those that are read.
  static bool check_quantization(const JsonObject& json) {
    constexpr std::string_view key = "quantization_config";
    if (!json.has(key) || is_empty_object(*json.value(key))) return false;
    const JsonObject config = json.get_object(key);
    const std::string& method = config.get_string("quant_method");
    if (method == "compressed-tensors") {
      headgate::check_quantization(json);
      return false;
    }
    if (method != "fp8") {
      config.fail("quant_method",
                  "the method \"" + escaped(method, 40) + "\" is not supported, known: fp8, compressed-tensors");
    }
    if (config.get_integers("weight_block_size", 1, 1 << 20) != std::vector<std::int64_t>{128, 128}) {
      config.fail("weight_block_size", "expected [128, 128]");
    }
    return true;
  }
};

struct DeepseekV2 : private Deepseek {
  static constexpr std::string_view model_type = "deepseek_v2";
  static constexpr std::string_view architecture = "DeepseekV2ForCausalLM";

  // Groups are chosen by their best expert, as in the class; llama.cpp chooses them as V3 does.
  static constexpr std::string_view gguf_architecture = "deepseek2";
  static bool is_gguf(const GgufTranslation& gguf) { return !is_sigmoid(gguf); }
  static void translate(GgufTranslation& gguf) {
    Deepseek::translate(gguf, "softmax", /*known_experts=*/160, /*known_groups=*/8, /*known_used=*/3);
    gguf.give("topk_method", gguf.json("group_limited_greedy"));
  }

  static Blueprint blueprint(const JsonObject& json, const TensorSource& source) {
    Config c = read_config(json, model_type, architecture);
    read_first_dense(json, c);
    c.has_mlp_bias = json.get_bool("mlp_bias", false);
    c.divides = json.get_bool("norm_topk_prob", false) && c.k > 1;
    require_word(json, "scoring_func", "softmax");
    const std::string method = json.get_string("topk_method", "greedy");
    if (method != "greedy" && method != "group_limited_greedy") {
      json.fail("topk_method",
                "the method \"" + escaped(method, 40) + "\" is not supported, known: greedy, group_limited_greedy");
    }
    if (method == "greedy") {
      json.ignore("n_group");
      json.ignore("topk_group");
    } else {
      read_groups(json, c, 1);
    }
    return make_blueprint(c, source, [&](const std::string& prefix) {
      return find_gate(source, prefix + "gate.weight", c.num_experts, c.model.hidden_size, c.k, "softmax" + groups(c),
                       [k = c.k, divides = c.divides, factor = c.factor, is_greedy = method == "greedy",
                        groups = DeepseekGroups{c.num_groups, c.topk_group}](const GateWeights& gate) -> AnyRouter {
                         const Scale scale{factor};
                         if (is_greedy) {
                           if (divides) return deepseek_v2_router(gate, k, deepseek_normalized).value();
                           return deepseek_v2_router(gate, k, scale).value();
                         }
                         if (divides) return deepseek_v2_router(gate, k, deepseek_normalized, groups).value();
                         return deepseek_v2_router(gate, k, scale, groups).value();
                       });
    });
  }
};

struct DeepseekV3 : private Deepseek {
  static constexpr std::string_view model_type = "deepseek_v3";
  static constexpr std::string_view architecture = "DeepseekV3ForCausalLM";

  static constexpr std::string_view gguf_architecture = "deepseek2";
  static void translate(GgufTranslation& gguf) {
    Deepseek::translate(gguf, "sigmoid", /*known_experts=*/256, /*known_groups=*/8, /*known_used=*/4);
  }

  static Blueprint blueprint(const JsonObject& json, const TensorSource& source) {
    Config c = read_config(json, model_type, architecture);
    read_first_dense(json, c);
    read_groups(json, c, 2);
    c.divides = json.get_bool("norm_topk_prob", true);
    c.is_interleaved = json.get_bool("rope_interleave", true);
    require_word(json, "scoring_func", "sigmoid");
    require_word(json, "topk_method", "noaux_tc");
    return make_blueprint(c, source, [&](const std::string& prefix) { return find_sigmoid_router(c, source, prefix); });
  }
};

struct Glm4MoeLite : private Deepseek {
  static constexpr std::string_view model_type = "glm4_moe_lite";
  static constexpr std::string_view architecture = "Glm4MoeLiteForCausalLM";

  static Blueprint blueprint(const JsonObject& json, const TensorSource& source) {
    Config c = read_config(json, model_type, architecture);
    // The class looks at mlp_layer_types alone; an older key must say the same.
    c.is_sparse = read_mlp_layer_types(json, c.model.num_hidden_layers, [](index_t l) { return l > 0; });
    if (json.has("first_k_dense_replace")) {
      const index_t dense = json.get_index("first_k_dense_replace", 0, ConfigLimits::layers);
      for (index_t l = 0; l < c.model.num_hidden_layers; ++l) {
        if (c.is_sparse[as_size(l)] != (l >= dense))
          json.fail("first_k_dense_replace", "mlp_layer_types says otherwise");
      }
    }
    c.dense_width = read_dense_width(json, "intermediate_size", c.is_sparse);
    read_groups(json, c, 2);
    c.divides = json.get_bool("norm_topk_prob", true);
    c.is_interleaved = json.get_bool("rope_interleave", true);
    require_word(json, "scoring_func", "sigmoid");
    require_word(json, "topk_method", "noaux_tc");
    return make_blueprint(c, source, [&](const std::string& prefix) { return find_sigmoid_router(c, source, prefix); });
  }
};

}  // namespace headgate::inline HEADGATE_ABI
