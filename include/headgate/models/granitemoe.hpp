// The Granite MoE models of IBM, which differ in what they add:
//   granitemoe         Granite 3.0 and 3.1, PowerMoE: grouped-query attention, top-k of the logits, softmax over these
//   granitemoeshared   ... and a shared expert, where shared_intermediate_size is not 0
//   granitemoe_swa     ... and a learned sink of every head, sliding windows by layer_types, RoPE layer by layer: the
//                      theta of layer_rope_theta, none where it is 0
// Four multipliers: of the embedding, of what each step adds to the residual, of attention scores in place of
// head_dim^-0.5, and logits are divided by logits_scaling. Follows transformers' modeling_granitemoe and its kin. The
// tensors have old names (router.layer, input_linear, output_linear) and new ones (router, experts.gate_up_proj,
// experts.down_proj), either of which any of these files may have.
#pragma once

#include <memory>

#include "headgate/models/config_reader.hpp"
#include "headgate/models/find_weights.hpp"
#include "headgate/models/parts/gqa_part.hpp"
#include "headgate/models/rope_config.hpp"
#include "headgate/routing/topk_softmax.hpp"

namespace headgate::inline HEADGATE_ABI {

class Granite {
 protected:
  // Of GGUF files, which say "granitemoe" whether there are shared experts or not, and false where there are no rotary
  // positions, which none of these classes knows.
  static void translate(GgufTranslation& gguf) {
    gguf.usual();
    gguf.take("intermediate_size", "feed_forward_length");
    gguf.take("attention_multiplier", "attention.scale", gguf.json(1.0));
    gguf.take("embedding_multiplier", "embedding_scale", gguf.json(1.0));
    gguf.take("residual_multiplier", "residual_scale", gguf.json(1.0));
    gguf.take("logits_scaling", "logit_scale", gguf.json(1.0));
    constexpr const char* positions = "rope.scaling.finetuned";
    if (!gguf.metadata().get_bool(gguf.stored(positions), true)) {
      gguf.give("position_embedding_type", gguf.json("nope"), gguf.stored(positions));
    }
    gguf.usual_experts("block_sparse_moe.router.weight", "block_sparse_moe.experts.");
    gguf.take("shared_intermediate_size", "expert_shared_feed_forward_length");
    gguf.shared_tensors("shared_mlp.");
    gguf.set_rotary_pairs();
  }

  struct Config {
    ModelConfig model;
    float epsilon;
    GqaShape attention;
    index_t num_experts;
    index_t k;
    index_t width;
    index_t shared_width = 0;  // 0: no shared expert
    float embedding_multiplier;
    float residual_multiplier;
    float logits_scaling;
    bool is_tied;
  };
  // What the attention of a layer is.
  struct Layer {
    index_t window = 0;
    std::shared_ptr<const Rope> rope;
  };

  static Config read_config(const JsonObject& json, std::string_view type, std::string_view architecture) {
    const auto multiplier = [&](const char* key) {
      if (const Json* const value = json.value(key); value != nullptr && value->is_null()) {
        json.fail(key, "expected a number, found null");  // whose meaning is nobody's to guess
      }
      return static_cast<float>(json.get_number(key, 1e-30, 1e30, 1.0));
    };
    Config c{};
    c.model = read_model_config(json, type, architecture);
    c.epsilon = read_epsilon(json, "rms_norm_eps");
    const HeadSizes heads = read_heads(json, c.model.hidden_size, /*may_omit_kv_heads=*/true);
    const bool has_bias = json.get_bool("attention_bias", false);
    c.attention = {.hidden_size = c.model.hidden_size,
                   .num_heads = heads.num_heads,
                   .num_kv_heads = heads.num_kv_heads,
                   .head_dim = heads.head_dim,
                   .has_query_bias = has_bias,
                   .has_key_bias = has_bias,
                   .has_value_bias = has_bias,
                   .has_output_bias = has_bias,
                   .scale = multiplier("attention_multiplier")};
    c.num_experts = read_num_experts(json);
    c.k = json.get_index("num_experts_per_tok", 1, c.num_experts);
    c.width = json.get_index("intermediate_size", 1, ConfigLimits::width);
    c.embedding_multiplier = multiplier("embedding_multiplier");
    c.residual_multiplier = multiplier("residual_multiplier");
    c.logits_scaling = multiplier("logits_scaling");
    c.is_tied = json.get_bool("tie_word_embeddings", false);
    require_silu(json, "hidden_act");
    check_quantization(json);
    json.ignore("router_jitter_noise");  // of training
    if (json.get_string("position_embedding_type", "rope") != "rope") {
      json.fail("position_embedding_type", "not supported, expected \"rope\"");
    }
    ignore_usual_keys(json);
    return c;
  }
  static RopeQuestion rope_question(const Config& c) {
    return {.head_dim = c.attention.head_dim, .max_position_embeddings = c.model.max_position_embeddings};
  }
  static index_t read_shared_width(const JsonObject& json) {
    return json.get_index("shared_intermediate_size", 0, ConfigLimits::width, 0);
  }

  // layer(l) -> Layer
  template <class F>
  static Blueprint make_blueprint(const Config& c, const TensorSource& source, F&& layer) {
    const index_t hidden_size = c.model.hidden_size;
    Blueprint blueprint = find_outer(source, c.model, c.epsilon, c.is_tied);
    blueprint.embedding.multiplier = c.embedding_multiplier;
    blueprint.head.divisor = c.logits_scaling;
    for (index_t l = 0; l < c.model.num_hidden_layers; ++l) {
      const std::string prefix = "model.layers." + std::to_string(l) + ".";
      const auto norm = [&](const char* name) { return find_norm(source, prefix + name, hidden_size, c.epsilon); };
      const Layer own = layer(l);
      GqaShape shape = c.attention;
      shape.window = own.window;
      MoePart moe{find_router(c, source, prefix + "block_sparse_moe."),
                  find_bank(c, source, prefix + "block_sparse_moe.")};
      if (c.shared_width > 0) {
        moe.shared = find_shared(source, prefix + "shared_mlp.", hidden_size, c.shared_width);
      }
      blueprint.layers.push_back(
          {PreNorm{norm("input_layernorm.weight")}.then(
               MixerPart(GqaPart::find(source, prefix + "self_attn.", shape, own.rope)), c.residual_multiplier),
           PreNorm{norm("post_attention_layernorm.weight")}.then(RoutedPart(std::move(moe)), c.residual_multiplier)});
    }
    return blueprint;
  }

 private:
  static RouterPart find_router(const Config& c, const TensorSource& source, const std::string& prefix) {
    const bool is_new = source.promises(prefix + "router.weight");
    return find_gate(source, prefix + (is_new ? "router.weight" : "router.layer.weight"), c.num_experts,
                     c.model.hidden_size, c.k, "softmax of the chosen",
                     [k = c.k](const GateWeights& gate) { return granite_router(gate, k).value(); });
  }
  static ExpertsPart find_bank(const Config& c, const TensorSource& source, const std::string& prefix) {
    const bool is_old =
        source.promises(prefix + "input_linear.weight") || source.promises(prefix + "output_linear.weight");
    const bool is_new =
        source.promises(prefix + "experts.gate_up_proj") || source.promises(prefix + "experts.down_proj");
    const bool is_of_gguf = source.metadata() != nullptr || source.promises(prefix + "experts.0.gate_proj.weight");
    if (is_of_gguf && !is_new && !is_old) {  // one by one
      return find_experts(source, prefix + "experts.", c.num_experts, c.k, c.model.hidden_size, c.width);
    }
    return find_stacked_experts(source, prefix + (is_new ? "experts.gate_up_proj" : "input_linear.weight"),
                                prefix + (is_new ? "experts.down_proj" : "output_linear.weight"), c.num_experts, c.k,
                                c.model.hidden_size, c.width);
  }
  // Gate and up rows are in one matrix, but for GGUF files and what was made of them.
  static DensePart find_shared(const TensorSource& source, const std::string& prefix, index_t hidden_size,
                               index_t width) {
    if (source.metadata() != nullptr || source.promises(prefix + "gate_proj.weight")) {
      return find_dense(source, prefix, hidden_size, width);
    }
    const WeightRows in =
        WeightRows::find(source, prefix + "input_linear.weight", {std::int64_t{2} * width, hidden_size});
    ExpertsPart part{{{.gate = in.part(0, width),
                       .up = in.part(width, width),
                       .down = WeightRows::find(source, prefix + "output_linear.weight", {hidden_size, width})}}};
    part.is_routed = false;
    return {std::move(part)};
  }
};

struct GraniteMoe : private Granite {
  static constexpr std::string_view model_type = "granitemoe";
  static constexpr std::string_view architecture = "GraniteMoeForCausalLM";

  static constexpr std::string_view gguf_architecture = "granitemoe";
  static bool is_gguf(const GgufTranslation& gguf) { return !gguf.has_layer_tensor(0, "ffn_gate_shexp.weight"); }
  static void translate(GgufTranslation& gguf) { Granite::translate(gguf); }

  static Blueprint blueprint(const JsonObject& json, const TensorSource& source) {
    const Config c = read_config(json, model_type, architecture);
    require_full_attention(json);
    require_neutral(json, "shared_intermediate_size", std::int64_t{0});
    const Layer layer{0, make_rope(read_rope(json, rope_question(c)))};
    return make_blueprint(c, source, [&](index_t) { return layer; });
  }
};

struct GraniteMoeShared : private Granite {
  static constexpr std::string_view model_type = "granitemoeshared";
  static constexpr std::string_view architecture = "GraniteMoeSharedForCausalLM";

  static constexpr std::string_view gguf_architecture = "granitemoe";
  static void translate(GgufTranslation& gguf) { Granite::translate(gguf); }

  static Blueprint blueprint(const JsonObject& json, const TensorSource& source) {
    Config c = read_config(json, model_type, architecture);
    c.shared_width = read_shared_width(json);
    require_full_attention(json);
    const Layer layer{0, make_rope(read_rope(json, rope_question(c)))};
    return make_blueprint(c, source, [&](index_t) { return layer; });
  }
};

struct GraniteMoeSwa : private Granite {
  static constexpr std::string_view model_type = "granitemoe_swa";
  static constexpr std::string_view architecture = "GraniteMoeSWAForCausalLM";

  static Blueprint blueprint(const JsonObject& json, const TensorSource& source) {
    Config c = read_config(json, model_type, architecture);
    c.shared_width = read_shared_width(json);
    c.attention.has_sinks = true;
    // Without layer_types every fourth layer is full, as in the class.
    const std::vector<std::string> types =
        read_layer_types(json, c.model.num_hidden_layers, {"full_attention", "sliding_attention"},
                         [](index_t l) { return l % 4 == 0 ? "full_attention" : "sliding_attention"; });
    const index_t window = read_window(json, "sliding_window", has_sliding(types), 128);
    const std::vector<std::optional<RopeSettings>> ropes =
        read_layer_ropes(json, rope_question(c), c.model.num_hidden_layers);
    return make_blueprint(c, source, [&](index_t l) {
      const std::optional<RopeSettings>& settings = ropes[as_size(l)];
      return Layer{types[as_size(l)] == "sliding_attention" ? window : 0,
                   settings ? make_rope(*settings) : std::shared_ptr<const Rope>()};
    });
  }
};

}  // namespace headgate::inline HEADGATE_ABI
