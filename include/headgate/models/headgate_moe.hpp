// headgate_moe (model_type "headgate_moe"): qwen3_moe with a router, experts and an attention named in config.json, so
// that policies and structures can be compared on the same weights. Objects replace what is Qwen3's:
// clang-format off
//   router       named_routers.hpp; absent where the experts are Monet's
//   experts      named_experts.hpp; absent: Qwen3's
//   attention    named_attention.hpp
//   residual, which may be absent
//     {"type":"plain"}
//     {"type":"ladder"}             all steps late (layers/decoder_block.hpp): attention and networks read x without what
//       the one before them adds
//   token_gate, which may be absent: of dense layers, which only some tokens pass (mixture of depths, token_gate.hpp)
//     {"type":"causal","layers":[L,...],"threshold":T,"predictor":false}   model.layers.L.token_gate.weight (hidden),
//       .bias (1); with a predictor token_gate.predictor.weight (hidden), .bias (1)
// clang-format on
// A key in them that is not written there is refused. The file that defines the format comes with the trained
// checkpoints.
#pragma once

#include <algorithm>
#include <optional>

#include "headgate/models/named_attention.hpp"
#include "headgate/models/named_experts.hpp"
#include "headgate/models/named_routers.hpp"
#include "headgate/models/qwen3_moe.hpp"

namespace headgate::inline HEADGATE_ABI {

struct HeadgateMoe {
  static constexpr std::string_view model_type = "headgate_moe";
  static constexpr std::string_view architecture = "HeadgateMoeForCausalLM";

  static Blueprint blueprint(const JsonObject& json, const TensorSource& source) {
    const Qwen3Moe::Config c = Qwen3Moe::read_all_but_router(json, model_type, architecture);
    const NamedExperts experts = find_named_experts(json, c);
    const NamedRouter router = find_named_router(json, experts);
    const NamedAttention attention = read_attention(json.get_object("attention"));
    const bool is_ladder = json.has("residual") && read_is_ladder(json.get_object("residual"));
    const std::optional<TokenGates> gates = read_token_gates(json, c, is_ladder);

    Qwen3Moe::FindGqa gqa(c, source);
    if (!attention.has_qk_norm) gqa.shape.qk_norm = QkNorm::none;
    const auto find_attention = [&](const std::string& prefix) { return attention.find(gqa(prefix), source, prefix); };
    const auto find_sparse = [&](index_t layer, const std::string& prefix) -> OperationPart {
      const LayerSite site{.source = source,
                           .prefix = prefix,
                           .layer = layer,
                           .num_experts = experts.routed,
                           .hidden_size = c.model.hidden_size,
                           .ffn_size = c.moe_intermediate_size,
                           .vocab_size = c.model.vocab_size,
                           .experts_per_token = router.k,
                           .zero_experts = router.zero_experts};
      if (experts.find_network) return experts.find_network(site);
      MoePart part{router.find(site), experts.find_bank(site)};
      if (experts.find_shared) part.shared = experts.find_shared(site);
      return RoutedPart(std::move(part));
    };
    Blueprint blueprint = Qwen3Moe::make_blueprint(c, source, find_attention, find_sparse);
    for (LayerPlan& layer : blueprint.layers) {
      for (StepPlan& step : layer) step.is_late = is_ladder;
    }
    if (gates) find_token_gates(*gates, source, blueprint);
    return blueprint;
  }

 private:
  struct TokenGates {
    std::vector<index_t> layers;
    float threshold = 0.0f;
    bool has_predictor = false;
  };

  static NamedExperts find_named_experts(const JsonObject& json, const Qwen3Moe::Config& c) {
    const ExpertSizes sizes{
        .config = json,
        .num_experts = c.num_experts,
        .ffn_size = c.moe_intermediate_size,
        .num_layers = c.model.num_hidden_layers,
        .all_sparse = std::find(c.is_sparse.begin(), c.is_sparse.end(), false) == c.is_sparse.end()};
    if (json.has("experts")) return read_experts(json.get_object("experts"), sizes);
    return named_experts::glu(json, sizes);
  }
  // What qwen3_moe says of its router must not contradict.
  static NamedRouter find_named_router(const JsonObject& json, const NamedExperts& experts) {
    if (experts.find_network) {
      if (json.has("router")) json.fail("router", "the experts of this kind bring their own");
      return {};
    }
    const JsonObject object = json.get_object("router");
    NamedRouter router = read_router(object, experts.routed);
    if (router.zero_experts > 0 && !experts.takes_zero_experts) {
      object.fail("zero_experts", "not beside experts of this kind");
    }
    if (json.get_index("num_experts_per_tok", 1, ConfigLimits::experts, router.k) != router.k) {
      json.fail("num_experts_per_tok", "it differs from what the router chooses (" + std::to_string(router.k) + ")");
    }
    if (json.get_bool("norm_topk_prob", router.normalize) != router.normalize) {
      json.fail("norm_topk_prob", "it differs from what the router does (router.normalize)");
    }
    return router;
  }
  static bool read_is_ladder(const JsonObject& residual) {
    const std::string& type = residual.get_string("type");
    if (type != "plain" && type != "ladder") {
      residual.fail("type", "the residual \"" + escaped(type, 40) + "\" is not supported, known: plain, ladder");
    }
    refuse_unread(residual);
    return type == "ladder";
  }
  static std::optional<TokenGates> read_token_gates(const JsonObject& json, const Qwen3Moe::Config& c, bool is_ladder) {
    if (!json.has("token_gate")) return std::nullopt;
    const JsonObject object = json.get_object("token_gate");
    if (const std::string& type = object.get_string("type"); type != "causal") {
      object.fail("type", "the gate of tokens \"" + escaped(type, 40) + "\" is not supported, known: causal");
    }
    TokenGates gates;
    for (const std::int64_t layer : object.get_integers("layers", 0, c.model.num_hidden_layers - 1)) {
      if (c.is_sparse[as_size(layer)]) object.fail("layers", "layer " + std::to_string(layer) + " is not dense");
      gates.layers.push_back(static_cast<index_t>(layer));
    }
    if (is_ladder) object.fail("type", "gates of tokens do not go with a ladder of residuals");
    gates.threshold = static_cast<float>(object.get_number("threshold", -1e30, 1e30));
    gates.has_predictor = object.get_bool("predictor");
    refuse_unread(object);
    return gates;
  }
  static void find_token_gates(const TokenGates& gates, const TensorSource& source, Blueprint& blueprint) {
    for (const index_t layer : gates.layers) {
      const auto score = [&](const std::string& prefix) -> TokenGatePart::Score {
        return {WeightRows::find(source, prefix + "weight", {blueprint.config.hidden_size}),
                WeightRows::find(source, prefix + "bias", {1})};
      };
      const std::string prefix = "model.layers." + std::to_string(layer) + ".token_gate.";
      TokenGatePart part{.score = score(prefix), .threshold = gates.threshold};
      if (gates.has_predictor) part.predictor = score(prefix + "predictor.");
      blueprint.token_gates.insert_or_assign(layer, std::move(part));
    }
  }
};

}  // namespace headgate::inline HEADGATE_ABI
