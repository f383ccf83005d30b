// The routers that config.json of headgate_moe (headgate_moe.hpp) can name, in an object with a `type`:
// clang-format off
//   {"type":"top_k_softmax","k":K,"normalize":true}
//   {"type":"null_expert","null_experts":M,"k":K,"normalize":true}   gate.weight (E + M, hidden)
//   {"type":"gru","k":K,"state_size":P,"normalize":true}             gate.proj.weight (P, hidden), gate.weight (E, P);
//     of all layers one model.router_gru.{weight,bias}_{ih,hh} in torch.nn.GRUCell's order
//   {"type":"bias_balanced","k":K,"score":"sigmoid","normalize":true}  gate.e_score_correction_bias (E)
//   {"type":"top_p","p":P,"k_min":1,"k_max":K,"normalize":true}
//   {"type":"relu"}                                                  every expert with a positive logit
//   {"type":"longcat","zero_experts":M,"k":K,"scale":C}              gate.weight (E + M, hidden),
//     gate.e_score_correction_bias (E + M); the last M experts return their input
//   {"type":"dynmoe"}                                                gate.gates (E), gate.temperature (1)
//   {"type":"cosine","k":K,"proj_size":P}    as Tutel has it         gate.weight (E, P), gate.proj.weight (P, hidden),
//     gate.proj.bias (P), gate.temperature (1)
//   {"type":"promoe","k":K}                  of tokens without label  gate.weight (E, hidden), the prototypes
//   {"type":"phatgoose","k":K}
//   {"type":"glider","k":K}                  its global part: SessionOptions::sequence_bias
//   {"type":"hard_top_k","k":K,"weight":1.0}                         every chosen expert weighs this much
//   {"type":"hash","k":K}                                            gate.table (vocabulary, K), whole numbers
//   {"type":"peer","heads":H,"k":K,"key_size":D}   E = S S           gate.query.weight (2 H D, hidden), all first halves
//     before all second ones, gate.keys.weight (H, S, 2, D); K experts of a head
//   {"type":"mora","k":K,"temperature":T}                            experts.lora_A.weight (E, hidden)
// clang-format on
// Without another word gate.weight is (E, hidden). A new one is a function here and a line in the list.
#pragma once

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "headgate/models/layer_site.hpp"
#include "headgate/models/parts/router_part.hpp"
#include "headgate/routing/dynmoe_router.hpp"
#include "headgate/routing/glider.hpp"
#include "headgate/routing/gru_router.hpp"
#include "headgate/routing/hard_top_k.hpp"
#include "headgate/routing/hash_router.hpp"
#include "headgate/routing/longcat.hpp"
#include "headgate/routing/mora_router.hpp"
#include "headgate/routing/null_expert.hpp"
#include "headgate/routing/peer_router.hpp"
#include "headgate/routing/promoe_router.hpp"
#include "headgate/routing/relu_router.hpp"
#include "headgate/routing/stages/top_p.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "headgate/routing/tutel_cosine_router.hpp"

namespace headgate::inline HEADGATE_ABI {

struct NamedRouter {
  index_t k = 0;  // experts per token, at most; null experts count
  bool normalize = false;
  index_t zero_experts = 0;  // behind the bank's, which return their input
  // Of a layer. Called for the layers in order; several may share weights.
  std::function<RouterPart(const LayerSite&)> find;
};

namespace named_routers {

inline std::string top_of(index_t k, index_t num_experts) {
  return "top " + std::to_string(k) + " of " + std::to_string(num_experts);
}
inline std::string normalized_words(bool normalize) { return normalize ? ", weights divided by their sum" : ""; }
inline index_t read_k(const JsonObject& json, index_t num_experts) { return json.get_index("k", 1, num_experts); }

// A linear gate of so many logits; make(weights, k, weigh) -> AnyRouter.
template <class F>
std::function<RouterPart(const LayerSite&)> linear_router(index_t logits, index_t k, bool has_bias, std::string words,
                                                          F make) {
  return [=](const LayerSite& site) {
    RouterPart part{.summary = {site.num_experts, k, words},
                    .make = [=](const GateWeights& weights, Packer&) { return AnyRouter(make(weights)); }};
    part.gate = site.find("gate.weight", {logits, site.hidden_size});
    if (has_bias) part.selection_bias = site.find("gate.e_score_correction_bias", {logits});
    return part;
  };
}
// With the weigher that the flag says.
template <class F>
AnyRouter weighed(bool normalize, F make) {
  return normalize ? AnyRouter(make(Renormalize{}).value()) : AnyRouter(make(Keep{}).value());
}

inline NamedRouter top_k_softmax(const JsonObject& json, index_t num_experts) {
  const index_t k = read_k(json, num_experts);
  const bool normalize = json.get_bool("normalize");
  return {
      .k = k,
      .normalize = normalize,
      .find = linear_router(num_experts, k, false, "softmax, " + top_of(k, num_experts) + normalized_words(normalize),
                            [=](const GateWeights& weights) {
                              return weighed(normalize, [&](auto weigh) {
                                return SoftmaxTopK<decltype(weigh)>::create(weights, TopK{k}, weigh);
                              });
                            })};
}

inline NamedRouter null_expert(const JsonObject& json, index_t num_experts) {
  const index_t nulls = json.get_index("null_experts", 0, ConfigLimits::experts);
  const index_t k = read_k(json, num_experts + nulls);
  const bool normalize = json.get_bool("normalize");
  const std::string words =
      "null experts, " + top_of(k, num_experts) + " + " + std::to_string(nulls) + " null" + normalized_words(normalize);
  return {.k = k,
          .normalize = normalize,
          .find = linear_router(num_experts + nulls, k, false, words, [=](const GateWeights& weights) {
            return weighed(normalize, [&](auto weigh) { return with_null_experts(weights, nulls, TopK{k}, weigh); });
          })};
}

// The cell of the recurrent routers of all layers: the first of them lists it, and it is packed when that one is.
struct SharedCell {
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
    return std::make_shared<SharedCell>(SharedCell{named("weight_ih", {rows, size}), named("weight_hh", {rows, size}),
                                                   named("bias_ih", {rows}), named("bias_hh", {rows})});
  }
  const RecurrentCell& pack(Packer& packer) {
    if (!packed) {
      const std::vector<float> ih = packer.floats(weight_ih);
      const std::vector<float> hh = packer.floats(weight_hh);
      const std::vector<float> in_ih = packer.floats(bias_ih);
      const std::vector<float> in_hh = packer.floats(bias_hh);
      const RecurrentWeights<float> weights{RecurrentKind::gru, ih, hh, in_ih, in_hh};
      const index_t size = weight_ih.cols();
      packed = std::make_shared<const RecurrentCell>(RecurrentCell::create(weights, size, size).value());
      packer.keep(packed);
    }
    return *packed;
  }
};

inline NamedRouter gru(const JsonObject& json, index_t num_experts) {
  const index_t k = read_k(json, num_experts);
  const index_t size = json.get_index("state_size", 1, ConfigLimits::width);
  const bool normalize = json.get_bool("normalize");
  const auto of_all = std::make_shared<std::shared_ptr<SharedCell>>();
  const auto find = [=](const LayerSite& site) {
    RouterPart part{.summary = {num_experts, k,
                                "recurrent (" + std::to_string(size) + "), " + top_of(k, num_experts) +
                                    normalized_words(normalize)},
                    .make = nullptr};
    const WeightRows gate = site.find("gate.weight", {num_experts, size});
    const WeightRows projection = site.find("gate.proj.weight", {size, site.hidden_size});
    part.other_matrices = {gate, projection};
    if (*of_all == nullptr) {
      const SharedCell& cell = *(*of_all = SharedCell::find(site.source, size));
      part.other_matrices.insert(part.other_matrices.end(), {cell.weight_ih, cell.weight_hh});
      part.other_vectors = {cell.bias_ih, cell.bias_hh};
    }
    part.floats_per_row = std::int64_t{8} * size;  // its projection, both products of its cell and their rows
    part.make = [=, cell = *of_all](const GateWeights&, Packer& packer) -> AnyRouter {
      const HeldRows to_state(projection, packer);
      const HeldRows to_logits(gate, packer);
      return weighed(normalize, [&](auto weigh) {
        return GruRouter<TopK, decltype(weigh)>::create(cell->pack(packer), to_state.rows, to_logits.rows, TopK{k},
                                                        weigh);
      });
    };
    return part;
  };
  return {.k = k, .normalize = normalize, .find = find};
}

inline NamedRouter bias_balanced(const JsonObject& json, index_t num_experts) {
  if (const std::string& score = json.get_string("score"); score != "sigmoid") {
    json.fail("score", "the score \"" + escaped(score, 40) + "\" is not supported, known: \"sigmoid\"");
  }
  const index_t k = read_k(json, num_experts);
  const bool normalize = json.get_bool("normalize");
  const std::string words = "sigmoid + bias, " + top_of(k, num_experts) + normalized_words(normalize);
  return {.k = k,
          .normalize = normalize,
          .find = linear_router(num_experts, k, true, words, [=](const GateWeights& weights) {
            return weighed(normalize, [&](auto weigh) {
              return StagedRouter<SigmoidScore, TopK, decltype(weigh)>::create(weights, TopK{k}, weigh);
            });
          })};
}

inline NamedRouter top_p(const JsonObject& json, index_t num_experts) {
  const TopP select{static_cast<float>(json.get_number("p", 0.0, 1.0)),
                    json.get_index("k_max", 1, num_experts, num_experts), json.get_index("k_min", 1, num_experts, 1)};
  if (const Status status = select.check(num_experts); !status.ok()) json.fail("p", status.what);
  const bool normalize = json.get_bool("normalize");
  const std::string words = "softmax, p " + detail::to_text(static_cast<double>(select.p)) + ", " +
                            std::to_string(select.k_min) + " to " + std::to_string(select.k_max) + " of " +
                            std::to_string(num_experts) + normalized_words(normalize);
  return {.k = select.k_max,
          .normalize = normalize,
          .find = linear_router(num_experts, select.k_max, false, words, [=](const GateWeights& weights) {
            return weighed(normalize, [&](auto weigh) {
              return StagedRouter<SoftmaxScore, TopP, decltype(weigh)>::create(weights, select, weigh);
            });
          })};
}

inline NamedRouter relu(const JsonObject&, index_t num_experts) {
  return {.k = num_experts,
          .find = linear_router(num_experts, num_experts, false, "positive logits of " + std::to_string(num_experts),
                                [](const GateWeights& weights) { return relu_router(weights).value(); })};
}

inline NamedRouter longcat(const JsonObject& json, index_t num_experts) {
  const index_t zeros = json.get_index("zero_experts", 0, ConfigLimits::experts);
  const index_t all = num_experts + zeros;
  const auto scale = static_cast<float>(json.get_number("scale", 0.0, 1e6));
  const index_t k = read_k(json, all);
  const std::string words =
      "softmax + bias, " + top_of(k, all) + ", of them " + std::to_string(zeros) + " that return their input";
  const auto find = [=, of_bank = linear_router(all, k, true, words, [=](const GateWeights& weights) {
                          return longcat_router(weights, k, scale).value();
                        })](const LayerSite& site) {
    RouterPart part = of_bank(site);
    part.summary.num_experts = all;
    return part;
  };
  return {.k = k, .zero_experts = zeros, .find = find};
}

// Rows and vectors that a router reads beside those of a linear gate.
inline RouterPart other_router(const LayerSite& site, index_t k, std::string words, std::vector<WeightRows> matrices,
                               std::vector<WeightRows> vectors = {}) {
  RouterPart part{.summary = {site.num_experts, k, std::move(words)}, .make = nullptr};
  part.other_matrices = std::move(matrices);
  part.other_vectors = std::move(vectors);
  return part;
}
inline NamedRouter dynmoe(const JsonObject&, index_t num_experts) {
  const auto find = [=](const LayerSite& site) {
    const WeightRows prototypes = site.find("gate.weight", {num_experts, site.hidden_size});
    const WeightRows temperature = site.find("gate.temperature", {1});
    const WeightRows thresholds = site.find("gate.gates", {num_experts});
    RouterPart part =
        other_router(site, num_experts, "cosines above thresholds (DynMoE), of " + std::to_string(num_experts),
                     {prototypes}, {temperature, thresholds});
    part.make = [=](const GateWeights&, Packer& packer) -> AnyRouter {
      const HeldRows of_prototypes(prototypes, packer);
      const HeldRows of_thresholds(thresholds, packer);
      return dynmoe_router({.prototypes = of_prototypes.rows,
                            .thresholds = of_thresholds.values,
                            .temperature = packer.floats(temperature)[0]})
          .value();
    };
    return part;
  };
  return {.k = num_experts, .normalize = true, .find = find};
}

inline NamedRouter cosine(const JsonObject& json, index_t num_experts) {
  const index_t k = read_k(json, num_experts);
  const index_t width = json.get_index("proj_size", 1, ConfigLimits::width);
  const auto find = [=](const LayerSite& site) {
    const WeightRows prototypes = site.find("gate.weight", {num_experts, width});
    const WeightRows projector = site.find("gate.proj.weight", {width, site.hidden_size});
    const WeightRows bias = site.find("gate.proj.bias", {width});
    const WeightRows temperature = site.find("gate.temperature", {1});
    RouterPart part = other_router(
        site, k, "cosines (" + std::to_string(width) + "), " + top_of(k, num_experts) + normalized_words(true),
        {prototypes, projector}, {temperature, bias});
    part.floats_per_row = width;
    part.make = [=](const GateWeights&, Packer& packer) -> AnyRouter {
      const HeldRows of_prototypes(prototypes, packer);
      const HeldRows of_projector(projector, packer);
      const HeldRows of_bias(bias, packer);
      return tutel_cosine_router({.prototypes = of_prototypes.rows,
                                  .temperature = packer.floats(temperature)[0],
                                  .projector = of_projector.rows,
                                  .projector_bias = of_bias.values},
                                 k)
          .value();
    };
    return part;
  };
  return {.k = k, .normalize = true, .find = find};
}

// Of one matrix (num_experts, hidden_size) that is no linear gate; make(rows) -> Expected of the router.
template <class F>
std::function<RouterPart(const LayerSite&)> matrix_router(index_t k, std::string words, F make) {
  return [=](const LayerSite& site) {
    const WeightRows gate = site.find("gate.weight", {site.num_experts, site.hidden_size});
    RouterPart part = other_router(site, k, words, {gate});
    part.floats_per_row = site.hidden_size;  // rows as it wants them
    part.make = [=](const GateWeights&, Packer& packer) -> AnyRouter {
      return make(HeldRows(gate, packer).rows).value();
    };
    return part;
  };
}

inline NamedRouter promoe(const JsonObject& json, index_t num_experts) {
  const index_t k = read_k(json, num_experts);
  const auto make = [k](ConstRows rows) { return ProMoeRouter<>::create(rows, {.k = k, .null_expert = false}); };
  return {.k = k, .find = matrix_router(k, "cosines to prototypes (ProMoE), " + top_of(k, num_experts), make)};
}

inline NamedRouter phatgoose(const JsonObject& json, index_t num_experts) {
  const index_t k = read_k(json, num_experts);
  const std::string words =
      "normalised tokens and gates (PHATGOOSE), " + top_of(k, num_experts) + normalized_words(true);
  return {.k = k, .normalize = true, .find = matrix_router(k, words, [k](ConstRows rows) {
                                       return phatgoose_router(rows, k);
                                     })};
}

inline NamedRouter glider(const JsonObject& json, index_t num_experts) {
  const index_t k = read_k(json, num_experts);
  const std::string words =
      "normalised tokens, a bias of the text (Glider), " + top_of(k, num_experts) + normalized_words(true);
  return {.k = k, .normalize = true, .find = matrix_router(k, words, [k](ConstRows rows) {
                                       return glider_router(rows, k);
                                     })};
}

inline NamedRouter hard_top_k(const JsonObject& json, index_t num_experts) {
  const index_t k = read_k(json, num_experts);
  const auto weight = static_cast<float>(json.get_number("weight", -1e6, 1e6));
  const std::string words =
      "logits, " + top_of(k, num_experts) + ", weight " + detail::to_text(static_cast<double>(weight));
  return {.k = k, .find = linear_router(num_experts, k, false, words, [=](const GateWeights& weights) {
                    return HardTopK<>::create(weights, TopK{k}, EqualWeights{weight}).value();
                  })};
}

inline NamedRouter hash(const JsonObject& json, index_t num_experts) {
  const index_t k = read_k(json, num_experts);
  const auto find = [=](const LayerSite& site) {
    const WeightRows table = site.find("gate.table", {site.vocab_size, k});
    RouterPart part =
        other_router(site, k, "table of tokens, " + std::to_string(k) + " of " + std::to_string(num_experts), {table});
    part.make = [=, hidden_size = site.hidden_size, name = site.prefix + "gate.table"](const GateWeights&,
                                                                                       Packer& packer) -> AnyRouter {
      std::vector<ExpertId> ids;
      for (const float id : packer.floats(table)) {
        const bool is_expert = id >= 0.0f && id < static_cast<float>(num_experts) && std::floor(id) >= id;
        if (!is_expert) {
          throw Error(ErrorCode::bad_file, {"", name, -1,
                                            "expected ids of " + std::to_string(num_experts) + " experts, found " +
                                                detail::to_text(static_cast<double>(id))});
        }
        ids.push_back(static_cast<ExpertId>(id));
      }
      return HashRouter::create(std::move(ids), k, num_experts, hidden_size).value();
    };
    return part;
  };
  return {.k = k, .normalize = true, .find = find};
}

inline NamedRouter peer(const JsonObject& json, index_t num_experts) {
  const index_t heads = json.get_index("heads", 1, ConfigLimits::heads);
  const index_t size = json.get_index("key_size", 1, ConfigLimits::width);
  const index_t side = side_of_square(json, num_experts);
  const index_t k = read_k(json, num_experts);
  const index_t most = static_cast<index_t>(std::min<std::int64_t>(std::int64_t{heads} * k, num_experts));
  const auto find = [=](const LayerSite& site) {
    const WeightRows query = site.find("gate.query.weight", {std::int64_t{2} * heads * size, site.hidden_size});
    const WeightRows keys = site.find("gate.keys.weight", {heads, side, 2, size});
    RouterPart part = other_router(site, most,
                                   "product keys (PEER), " + std::to_string(heads) + " heads, " +
                                       top_of(k, num_experts) + " each, weights divided by their sum",
                                   {query, keys});
    part.floats_per_row = std::int64_t{2} * heads * size + std::int64_t{heads} * (k + 1);
    part.make = [=](const GateWeights&, Packer& packer) -> AnyRouter {
      const HeldRows of_query(query, packer);
      const HeldRows of_keys(keys, packer);
      const index_t rows = heads * side;
      return PeerRouter<>::create({.query = of_query.rows,
                                   .first_keys = {of_keys.values.data(), rows, size, 2 * size},
                                   .second_keys = {of_keys.values.data() + size, rows, size, 2 * size}},
                                  {.heads = heads, .k = k})
          .value();
    };
    return part;
  };
  return {.k = most, .normalize = true, .find = find};
}

inline NamedRouter mora(const JsonObject& json, index_t num_experts) {
  const index_t k = read_k(json, num_experts);
  const auto temperature = static_cast<float>(json.get_number("temperature", 1e-6, 1e6));
  const auto find = [=](const LayerSite& site) {
    RouterPart part{.summary = {num_experts, k, "ranks by their activations (MoRA), " + top_of(k, num_experts)},
                    .make = [=](const GateWeights& weights, Packer&) -> AnyRouter {
                      return mora_router(weights.gate, {.k = k, .temperature = temperature}).value();
                    }};
    part.gate = site.find("experts.lora_A.weight", {num_experts, site.hidden_size});
    return part;
  };
  return {.k = k, .find = find};
}

struct RouterName {
  std::string_view type;
  NamedRouter (*read)(const JsonObject& json, index_t num_experts);
};
inline constexpr RouterName router_names[] = {
    {"top_k_softmax", top_k_softmax},
    {"null_expert", null_expert},
    {"gru", gru},
    {"bias_balanced", bias_balanced},
    {"top_p", top_p},
    {"relu", relu},
    {"longcat", longcat},
    {"dynmoe", dynmoe},
    {"cosine", cosine},
    {"promoe", promoe},
    {"phatgoose", phatgoose},
    {"glider", glider},
    {"hard_top_k", hard_top_k},
    {"hash", hash},
    {"peer", peer},
    {"mora", mora},
};

}  // namespace named_routers

// num_experts: that it chooses among, null and zero experts left out. A key that is not understood is refused.
inline NamedRouter read_router(const JsonObject& router, index_t num_experts) {
  NamedRouter named = find_named(router, named_routers::router_names, "the router").read(router, num_experts);
  refuse_unread(router);
  return named;
}

}  // namespace headgate::inline HEADGATE_ABI
