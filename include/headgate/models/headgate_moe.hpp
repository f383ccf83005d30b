// headgate_moe (model_type "headgate_moe"): qwen3_moe with a router and an attention named in config.json, so that
// policies can be compared on the same weights. Two objects replace Qwen3's router:
// clang-format off
//   router                                                                     weights, where they differ from Qwen3's
//     {"type":"top_k_softmax","k":K,"normalize":true}
//     {"type":"null_expert","null_experts":M,"k":K,"normalize":true}           mlp.gate.weight (E + M, hidden)
//     {"type":"gru","k":K,"state_size":P,"normalize":true}                     mlp.gate.proj.weight (P, hidden),
//       mlp.gate.weight (E, P), and one model.router_gru.{weight,bias}_{ih,hh} in torch.nn.GRUCell's order
//     {"type":"bias_balanced","k":K,"score":"sigmoid","normalize":true}        mlp.gate.e_score_correction_bias (E)
//   attention
//     {"type":"dense"}
//     {"type":"bilevel","region_size":S,"regions":R}                           attention/bilevel_causal_attention.hpp
// clang-format on
// A key in them that is not written here is refused. The file that defines the format comes with the trained
// checkpoints.
#pragma once

#include <algorithm>
#include <memory>

#include "headgate/models/qwen3_moe.hpp"
#include "headgate/routing/gru_router.hpp"
#include "headgate/routing/null_expert.hpp"

namespace headgate::inline HEADGATE_ABI {

struct HeadgateMoe {
  static constexpr std::string_view model_type = "headgate_moe";
  static constexpr std::string_view architecture = "HeadgateMoeForCausalLM";

  static ModelConfig read_config(const JsonObject& json) {
    ModelConfig c = Qwen3Moe::read_all_but_router(json, model_type, architecture);
    read_router(json.get_object("router"), c);
    read_attention(json.get_object("attention"), c);
    // What qwen3_moe says of its router must not contradict.
    if (json.get_index("num_experts_per_tok", 1, ConfigLimits::experts, c.num_experts_per_tok) !=
        c.num_experts_per_tok) {
      json.fail("num_experts_per_tok", "it differs from router.k (" + std::to_string(c.num_experts_per_tok) + ")");
    }
    if (json.get_bool("norm_topk_prob", c.norm_topk_prob) != c.norm_topk_prob) {
      json.fail("norm_topk_prob", "it differs from router.normalize");
    }
    return c;
  }

  static DecoderTensors find_tensors(const ModelConfig& c, const TensorSource& source) {
    DecoderTensors tensors = Qwen3Moe::find_tensors(c, source, [&](LayerTensors& layer, const std::string& prefix) {
      const auto find = [&](const char* name, const Shape& shape) {
        return &require_floats(source, prefix + "mlp.gate." + name, shape);
      };
      const bool is_gru = c.router == RouterKind::gru;
      layer.router = find("weight", {c.num_experts + c.null_experts, is_gru ? c.router_state_size : c.hidden_size});
      if (is_gru) layer.router_projection = find("proj.weight", {c.router_state_size, c.hidden_size});
      if (c.router == RouterKind::bias_balanced) layer.router_bias = find("e_score_correction_bias", {c.num_experts});
    });
    if (c.router == RouterKind::gru) {
      const auto find = [&](const char* name, const Shape& shape) {
        return &require_floats(source, std::string("model.router_gru.") + name, shape);
      };
      const std::int64_t size = c.router_state_size;
      tensors.router_cell = {find("weight_ih", {3 * size, size}), find("weight_hh", {3 * size, size}),
                             find("bias_ih", {3 * size}), find("bias_hh", {3 * size})};
    }
    return tensors;
  }

  static Model build(DecoderBuilder& builder) {
    const ModelConfig& c = builder.config();
    const DecoderTensors& tensors = builder.tensors();
    std::shared_ptr<const RecurrentCell> cell;
    if (c.router == RouterKind::gru) cell = make_cell(c, tensors.router_cell, builder);
    return builder.build(
        [&](index_t layer, ConstRows gate) {
          return make_router(c, tensors.layers[as_size(layer)], gate, cell.get(), builder);
        },
        cell);
  }

 private:
  static void read_router(const JsonObject& router, ModelConfig& c) {
    const std::string& type = router.get_string("type");
    index_t logits = c.num_experts;
    if (type == "top_k_softmax") {
      c.router = RouterKind::top_k_softmax;
    } else if (type == "null_expert") {
      c.router = RouterKind::null_expert;
      c.null_experts = router.get_index("null_experts", 0, ConfigLimits::experts);
      logits += c.null_experts;
    } else if (type == "gru") {
      c.router = RouterKind::gru;
      c.router_state_size = router.get_index("state_size", 1, ConfigLimits::width);
    } else if (type == "bias_balanced") {
      c.router = RouterKind::bias_balanced;
      if (const std::string& score = router.get_string("score"); score != "sigmoid") {
        router.fail("score", "the score \"" + escaped(score, 40) + "\" is not supported, known: \"sigmoid\"");
      }
    } else {
      router.fail("type", "the router \"" + escaped(type, 40) +
                              "\" is not supported, known: top_k_softmax, null_expert, gru, bias_balanced");
    }
    c.num_experts_per_tok = router.get_index("k", 1, logits);
    c.norm_topk_prob = router.get_bool("normalize");
    refuse_unread(router);
  }
  static void read_attention(const JsonObject& attention, ModelConfig& c) {
    const std::string& type = attention.get_string("type");
    if (type == "bilevel") {
      c.attention = AttentionKind::bilevel;
      c.region_size = attention.get_index("region_size", 1, ConfigLimits::context_size);
      c.routed_regions = attention.get_index("regions", 1, ConfigLimits::context_size);
    } else if (type != "dense") {
      attention.fail("type", "the attention \"" + escaped(type, 40) + "\" is not supported, known: dense, bilevel");
    }
    refuse_unread(attention);
  }
  static void refuse_unread(const JsonObject& object) {
    for (const std::string& key : object.unread_keys()) object.fail(key, "this key is not understood");
  }

  static std::shared_ptr<const RecurrentCell> make_cell(const ModelConfig& c, const CellTensors& t,
                                                        DecoderBuilder& builder) {
    const std::vector<float> weight_ih = builder.floats(*t.weight_ih);
    const std::vector<float> weight_hh = builder.floats(*t.weight_hh);
    const std::vector<float> bias_ih = builder.floats(*t.bias_ih);
    const std::vector<float> bias_hh = builder.floats(*t.bias_hh);
    const RecurrentWeights<float> weights{RecurrentKind::gru, weight_ih, weight_hh, bias_ih, bias_hh};
    return std::make_shared<const RecurrentCell>(
        RecurrentCell::create(weights, c.router_state_size, c.router_state_size).value());
  }
  static AnyRouter make_router(const ModelConfig& c, const LayerTensors& layer, ConstRows gate,
                               const RecurrentCell* cell, DecoderBuilder& builder) {
    if (c.norm_topk_prob) return make_router(c, layer, gate, cell, builder, Renormalize{});
    return make_router(c, layer, gate, cell, builder, Keep{});
  }
  template <WeighStage Weigh>
  static AnyRouter make_router(const ModelConfig& c, const LayerTensors& layer, ConstRows gate,
                               const RecurrentCell* cell, DecoderBuilder& builder, Weigh weigh) {
    const TopK select{c.num_experts_per_tok};
    switch (c.router) {
      case RouterKind::null_expert:
        return with_null_experts({.gate = gate}, c.null_experts, select, weigh).value();
      case RouterKind::gru: {
        const std::vector<float> projection = builder.floats(*layer.router_projection);
        const ConstRows rows(projection.data(), c.router_state_size, c.hidden_size);
        return GruRouter<TopK, Weigh>::create(*cell, rows, gate, select, weigh).value();
      }
      case RouterKind::bias_balanced: {
        const std::vector<float> bias = builder.floats(*layer.router_bias);
        return StagedRouter<SigmoidScore, TopK, Weigh>::create({.gate = gate, .selection_bias = bias}, select, weigh)
            .value();
      }
      case RouterKind::top_k_softmax:
        break;
    }
    return StagedRouter<SoftmaxScore, TopK, Weigh>::create({.gate = gate}, select, weigh).value();
  }
};

}  // namespace headgate::inline HEADGATE_ABI
