// headgate_moe (model_type "headgate_moe"): qwen3_moe with a router and an attention named in config.json, so that
// policies can be compared on the same weights. Two objects replace Qwen3's router, a third may say how layers add up:
// clang-format off
//   router                                                                     weights, where they differ from Qwen3's
//     {"type":"top_k_softmax","k":K,"normalize":true}
//     {"type":"null_expert","null_experts":M,"k":K,"normalize":true}           mlp.gate.weight (E + M, hidden)
//     {"type":"gru","k":K,"state_size":P,"normalize":true}                     mlp.gate.proj.weight (P, hidden),
//       mlp.gate.weight (E, P), and one model.router_gru.{weight,bias}_{ih,hh} in torch.nn.GRUCell's order
//     {"type":"bias_balanced","k":K,"score":"sigmoid","normalize":true}        mlp.gate.e_score_correction_bias (E)
//     {"type":"longcat","zero_experts":M,"k":K,"scale":C}                      mlp.gate.weight (E + M, hidden),
//       mlp.gate.e_score_correction_bias (E + M); the last M experts return their input
//     {"type":"dynmoe"}                                                        mlp.gate.gates (E), mlp.gate.temperature (1)
//     {"type":"cosine","k":K,"proj_size":P}      as Tutel has it               mlp.gate.weight (E, P),
//       mlp.gate.proj.weight (P, hidden), mlp.gate.proj.bias (P), mlp.gate.temperature (1)
//     {"type":"hard_top_k","k":K,"weight":1.0}                                 every chosen expert weighs this much
//   attention
//     {"type":"dense"}
//     {"type":"dense","qk_norm":false}                                         no norms of queries and keys, as in llama
//     {"type":"bilevel","region_size":S,"regions":R}                           attention/bilevel_causal_attention.hpp
//   residual, which may be absent
//     {"type":"plain"}
//     {"type":"ladder"}             all steps late (layers/decoder_block.hpp): attention and networks read x without what
//       the one before them adds
// clang-format on
// A key in them that is not written here is refused. The file that defines the format comes with the trained
// checkpoints.
#pragma once

#include <memory>
#include <optional>

#include "headgate/models/qwen3_moe.hpp"
#include "headgate/routing/dynmoe_router.hpp"
#include "headgate/routing/gru_router.hpp"
#include "headgate/routing/hard_top_k.hpp"
#include "headgate/routing/longcat.hpp"
#include "headgate/routing/null_expert.hpp"
#include "headgate/routing/tutel_cosine_router.hpp"

namespace headgate::inline HEADGATE_ABI {

struct HeadgateMoe {
  static constexpr std::string_view model_type = "headgate_moe";
  static constexpr std::string_view architecture = "HeadgateMoeForCausalLM";

  static Blueprint blueprint(const JsonObject& json, const TensorSource& source) {
    const Qwen3Moe::Config c = Qwen3Moe::read_all_but_router(json, model_type, architecture);
    const RouterConfig router = read_router(json.get_object("router"), c.num_experts);
    const Attention attention = read_attention(json.get_object("attention"));
    const bool is_ladder = json.has("residual") && read_is_ladder(json.get_object("residual"));
    // What qwen3_moe says of its router must not contradict.
    if (json.get_index("num_experts_per_tok", 1, ConfigLimits::experts, router.k) != router.k) {
      json.fail("num_experts_per_tok", "it differs from router.k (" + std::to_string(router.k) + ")");
    }
    if (json.get_bool("norm_topk_prob", router.normalize) != router.normalize) {
      json.fail("norm_topk_prob", "it differs from what the router does (router.normalize)");
    }

    Qwen3Moe::FindGqa gqa(c, source);
    if (!attention.has_qk_norm) gqa.shape.qk_norm = QkNorm::none;
    const auto find_attention = [&](const std::string& prefix) -> MixerPart {
      if (!attention.regions) return gqa(prefix);
      return BilevelPart{gqa(prefix), attention.regions->size, attention.regions->count};
    };
    std::shared_ptr<SharedCell> cell;
    if (router.kind == Kind::gru) cell = SharedCell::find(source, router.state_size);
    bool is_first = true;
    Blueprint blueprint = Qwen3Moe::make_blueprint(c, source, find_attention, [&](const std::string& prefix) {
      RouterPart part = find_router(router, c, source, prefix + "gate.", cell);
      if (cell && is_first) {  // the layers share it, so one of them lists it
        part.other_matrices.insert(part.other_matrices.end(), {cell->weight_ih, cell->weight_hh});
        part.other_vectors.insert(part.other_vectors.end(), {cell->bias_ih, cell->bias_hh});
      }
      is_first = false;
      return part;
    });
    for (LayerPlan& layer : blueprint.layers) {
      for (StepPlan& step : layer) step.is_late = is_ladder;
    }
    return blueprint;
  }

 private:
  enum class Kind : std::uint8_t {
    top_k_softmax,
    null_expert,
    gru,
    bias_balanced,
    longcat,
    dynmoe,
    cosine,
    hard_top_k
  };
  struct RouterConfig {
    Kind kind = Kind::top_k_softmax;
    index_t k = 0;
    bool normalize = false;
    index_t null_experts = 0;  // of null_expert
    index_t zero_experts = 0;  // of longcat
    index_t state_size = 0;    // of gru
    index_t proj_size = 0;     // of cosine
    float scale = 1.0f;        // of longcat
    float weight = 0.0f;       // of hard_top_k
  };
  struct Regions {
    index_t size;   // positions
    index_t count;  // earlier ones that a position attends to
  };
  struct Attention {
    std::optional<Regions> regions = std::nullopt;  // none: dense
    bool has_qk_norm = true;
  };

  // The cell of the recurrent routers of all layers, packed when the first of them is.
  struct SharedCell {
    index_t size;
    WeightRows weight_ih;  // (3 size, size), as the next
    WeightRows weight_hh;
    WeightRows bias_ih;  // (1, 3 size), as the next
    WeightRows bias_hh;
    std::shared_ptr<const RecurrentCell> packed = nullptr;

    static std::shared_ptr<SharedCell> find(const TensorSource& source, index_t size) {
      const std::int64_t rows = std::int64_t{3} * size;
      const auto named = [&](const char* name, const Shape& shape) {
        return WeightRows::find(source, std::string("model.router_gru.") + name, shape);
      };
      return std::make_shared<SharedCell>(SharedCell{size, named("weight_ih", {rows, size}),
                                                     named("weight_hh", {rows, size}), named("bias_ih", {rows}),
                                                     named("bias_hh", {rows})});
    }
    const RecurrentCell& pack(Packer& packer) {
      if (!packed) {
        const std::vector<float> ih = packer.floats(weight_ih);
        const std::vector<float> hh = packer.floats(weight_hh);
        const std::vector<float> in_ih = packer.floats(bias_ih);
        const std::vector<float> in_hh = packer.floats(bias_hh);
        const RecurrentWeights<float> weights{RecurrentKind::gru, ih, hh, in_ih, in_hh};
        packed = std::make_shared<const RecurrentCell>(RecurrentCell::create(weights, size, size).value());
        packer.keep(packed);
      }
      return *packed;
    }
  };

  static RouterConfig read_router(const JsonObject& router, index_t num_experts) {
    RouterConfig c;
    const std::string& type = router.get_string("type");
    if (type == "null_expert") {
      c.kind = Kind::null_expert;
      c.null_experts = router.get_index("null_experts", 0, ConfigLimits::experts);
    } else if (type == "gru") {
      c.kind = Kind::gru;
      c.state_size = router.get_index("state_size", 1, ConfigLimits::width);
    } else if (type == "bias_balanced") {
      c.kind = Kind::bias_balanced;
      if (const std::string& score = router.get_string("score"); score != "sigmoid") {
        router.fail("score", "the score \"" + escaped(score, 40) + "\" is not supported, known: \"sigmoid\"");
      }
    } else if (type == "longcat") {
      c.kind = Kind::longcat;
      c.zero_experts = router.get_index("zero_experts", 0, ConfigLimits::experts);
      c.scale = static_cast<float>(router.get_number("scale", 0.0, 1e6));
    } else if (type == "dynmoe") {
      c.kind = Kind::dynmoe;
    } else if (type == "cosine") {
      c.kind = Kind::cosine;
      c.proj_size = router.get_index("proj_size", 1, ConfigLimits::width);
    } else if (type == "hard_top_k") {
      c.kind = Kind::hard_top_k;
      c.weight = static_cast<float>(router.get_number("weight", -1e6, 1e6));
    } else if (type != "top_k_softmax") {
      router.fail("type", "the router \"" + escaped(type, 40) +
                              "\" is not supported, known: top_k_softmax, null_expert, gru, bias_balanced, longcat, "
                              "dynmoe, cosine, hard_top_k");
    }
    c.k =
        c.kind == Kind::dynmoe ? num_experts : router.get_index("k", 1, num_experts + c.null_experts + c.zero_experts);
    // What the last four do is part of them.
    c.normalize = c.kind == Kind::dynmoe || c.kind == Kind::cosine ||
                  (c.kind != Kind::longcat && c.kind != Kind::hard_top_k && router.get_bool("normalize"));
    refuse_unread(router);
    return c;
  }
  static Attention read_attention(const JsonObject& attention) {
    const std::string& type = attention.get_string("type");
    Attention found;
    if (type == "bilevel") {
      found.regions = {attention.get_index("region_size", 1, ConfigLimits::context_size),
                       attention.get_index("regions", 1, ConfigLimits::context_size)};
    } else if (type != "dense") {
      attention.fail("type", "the attention \"" + escaped(type, 40) + "\" is not supported, known: dense, bilevel");
    } else {
      found.has_qk_norm = attention.get_bool("qk_norm", true);
    }
    refuse_unread(attention);
    return found;
  }
  static bool read_is_ladder(const JsonObject& residual) {
    const std::string& type = residual.get_string("type");
    if (type != "plain" && type != "ladder") {
      residual.fail("type", "the residual \"" + escaped(type, 40) + "\" is not supported, known: plain, ladder");
    }
    refuse_unread(residual);
    return type == "ladder";
  }
  static void refuse_unread(const JsonObject& object) {
    for (const std::string& key : object.unread_keys()) object.fail(key, "this key is not understood");
  }

  static RouterPart find_router(const RouterConfig& c, const Qwen3Moe::Config& model, const TensorSource& source,
                                const std::string& prefix, const std::shared_ptr<SharedCell>& cell) {
    const index_t width = model.model.hidden_size;
    const auto named = [&](const char* name, const Shape& shape) {
      return WeightRows::find(source, prefix + name, shape);
    };
    const index_t experts = model.num_experts + c.zero_experts;
    RouterPart part{.summary = {experts, c.k, words(c, experts)}, .make = nullptr};
    part.zero_experts = c.zero_experts;
    if (c.kind == Kind::dynmoe || c.kind == Kind::cosine) {
      make_cosine(c, model, named, part);
      return part;
    }
    if (c.kind == Kind::gru) {
      const WeightRows gate = named("weight", {model.num_experts, c.state_size});
      const WeightRows projection = named("proj.weight", {c.state_size, width});
      part.other_matrices = {gate, projection};
      part.floats_per_row = std::int64_t{8} * c.state_size;  // its projection, both products of its cell and their rows
      part.make = [=](const GateWeights&, Packer& packer) {
        const std::vector<float> to_state = packer.floats(projection);
        const std::vector<float> to_logits = packer.floats(gate);
        return make_gru(c, cell->pack(packer), ConstRows(to_state.data(), c.state_size, width),
                        ConstRows(to_logits.data(), gate.rows(), c.state_size));
      };
      return part;
    }
    part.gate = named("weight", {experts + c.null_experts, width});
    if (c.kind == Kind::bias_balanced || c.kind == Kind::longcat) {
      part.selection_bias = named("e_score_correction_bias", {experts});
    }
    part.make = [c](const GateWeights& weights, Packer&) -> AnyRouter {
      if (c.kind == Kind::longcat) return longcat_router(weights, c.k, c.scale).value();
      return c.normalize ? make_linear(c, weights, Renormalize{}) : make_linear(c, weights, Keep{});
    };
    return part;
  }
  // Cosines to prototypes, of x or of a projection of it.
  template <class Named>
  static void make_cosine(const RouterConfig& c, const Qwen3Moe::Config& model, const Named& named, RouterPart& part) {
    const index_t hidden = model.model.hidden_size;
    const index_t width = c.kind == Kind::cosine ? c.proj_size : hidden;
    const WeightRows prototypes = named("weight", {model.num_experts, width});
    const WeightRows temperature = named("temperature", {1});
    part.other_matrices = {prototypes};
    part.other_vectors = {temperature};
    if (c.kind == Kind::dynmoe) {
      const WeightRows thresholds = named("gates", {model.num_experts});
      part.other_vectors.push_back(thresholds);
      part.make = [=](const GateWeights&, Packer& packer) -> AnyRouter {
        const std::vector<float> rows = packer.floats(prototypes);
        const std::vector<float> gates = packer.floats(thresholds);
        return dynmoe_router({.prototypes = {rows.data(), prototypes.rows(), width},
                              .thresholds = gates,
                              .temperature = packer.floats(temperature)[0]})
            .value();
      };
      return;
    }
    const WeightRows projector = named("proj.weight", {width, hidden});
    const WeightRows bias = named("proj.bias", {width});
    part.other_matrices.push_back(projector);
    part.other_vectors.push_back(bias);
    part.floats_per_row = width;
    part.make = [=, k = c.k](const GateWeights&, Packer& packer) -> AnyRouter {
      const std::vector<float> rows = packer.floats(prototypes);
      const std::vector<float> to_width = packer.floats(projector);
      const std::vector<float> beside = packer.floats(bias);
      return tutel_cosine_router({.prototypes = {rows.data(), prototypes.rows(), width},
                                  .temperature = packer.floats(temperature)[0],
                                  .projector = {to_width.data(), width, hidden},
                                  .projector_bias = beside},
                                 k)
          .value();
    };
  }
  static std::string words(const RouterConfig& c, index_t num_experts) {
    if (c.kind == Kind::dynmoe) return "cosines above thresholds (DynMoE), of " + std::to_string(num_experts);
    std::string top = "top " + std::to_string(c.k) + " of " + std::to_string(num_experts);
    if (c.normalize) top += ", weights divided by their sum";
    switch (c.kind) {
      case Kind::null_expert:
        return "null experts, top " + std::to_string(c.k) + " of " + std::to_string(num_experts) + " + " +
               std::to_string(c.null_experts) + " null" + (c.normalize ? ", weights divided by their sum" : "");
      case Kind::gru:
        return "recurrent (" + std::to_string(c.state_size) + "), " + top;
      case Kind::bias_balanced:
        return "sigmoid + bias, " + top;
      case Kind::hard_top_k:
        return "logits, " + top + ", weight " + detail::to_text(static_cast<double>(c.weight));
      case Kind::longcat:
        return "softmax + bias, " + top + ", of them " + std::to_string(c.zero_experts) + " that return their input";
      case Kind::cosine:
        return "cosines (" + std::to_string(c.proj_size) + "), " + top;
      case Kind::dynmoe:
      case Kind::top_k_softmax:
        break;
    }
    return "softmax, " + top;
  }

  static AnyRouter make_gru(const RouterConfig& c, const RecurrentCell& cell, ConstRows projection, ConstRows gate) {
    const TopK select{c.k};
    if (c.normalize) {
      return GruRouter<TopK, Renormalize>::create(cell, projection, gate, select, Renormalize{}).value();
    }
    return GruRouter<TopK, Keep>::create(cell, projection, gate, select, Keep{}).value();
  }
  template <WeighStage Weigh>
  static AnyRouter make_linear(const RouterConfig& c, const GateWeights& weights, Weigh weigh) {
    const TopK select{c.k};
    if (c.kind == Kind::null_expert) return with_null_experts(weights, c.null_experts, select, weigh).value();
    if (c.kind == Kind::bias_balanced) {
      return StagedRouter<SigmoidScore, TopK, Weigh>::create(weights, select, weigh).value();
    }
    if (c.kind == Kind::hard_top_k) return HardTopK<>::create(weights, select, EqualWeights{c.weight}).value();
    return StagedRouter<SoftmaxScore, TopK, Weigh>::create(weights, select, weigh).value();
  }
};

}  // namespace headgate::inline HEADGATE_ABI
