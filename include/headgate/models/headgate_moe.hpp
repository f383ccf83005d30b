// headgate_moe (model_type "headgate_moe"): qwen3_moe with a router, experts and an attention named in config.json, so
// that policies and structures can be compared on the same weights. Objects replace what is Qwen3's:
// clang-format off
//   router       named_routers.hpp; absent where the experts are Monet's
//   experts      named_experts.hpp; absent: Qwen3's
//   attention
//     {"type":"dense"}
//     {"type":"dense","qk_norm":false}                         no norms of queries and keys, as in llama
//     {"type":"bilevel","region_size":S,"regions":R}           attention/bilevel_causal_attention.hpp
//     in each of them "lora":{"projections":["q_proj",...],"num_experts":N,"rank":P,"k":K,"scale":C}   low-rank experts
//       beside projections (LoRA-Mixer), softmax, top K, divided by their sum: self_attn.q_proj.gate.weight (N, in),
//       self_attn.q_proj.experts.e.lora_A.weight (P, in), .lora_B.weight (out, P)
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

#include <optional>

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
    const Attention attention = read_attention(json.get_object("attention"));
    const bool is_ladder = json.has("residual") && read_is_ladder(json.get_object("residual"));

    const std::optional<TokenGates> gates = read_token_gates(json, c, is_ladder);

    Qwen3Moe::FindGqa gqa(c, source);
    if (!attention.has_qk_norm) gqa.shape.qk_norm = QkNorm::none;
    const auto find_attention = [&](const std::string& prefix) -> MixerPart {
      GqaPart part = gqa(prefix);
      if (attention.loras) part.added = find_added(*attention.loras, source, prefix, gqa.shape);
      if (!attention.regions) return part;
      return BilevelPart{std::move(part), attention.regions->size, attention.regions->count};
    };
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
  struct Regions {
    index_t size;   // positions
    index_t count;  // earlier ones that a position attends to
  };
  struct Loras {
    std::vector<std::pair<std::string, AttentionProjection>> projections;
    index_t num_experts = 0;
    index_t rank = 0;
    index_t k = 0;
    float scale = 1.0f;
  };
  struct Attention {
    std::optional<Regions> regions = std::nullopt;  // none: dense
    std::optional<Loras> loras = std::nullopt;
    bool has_qk_norm = true;
  };

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
    return detail::glu(json, sizes);
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
    if (attention.has("lora")) found.loras = read_loras(attention.get_object("lora"));
    refuse_unread(attention);
    return found;
  }
  static Loras read_loras(const JsonObject& json) {
    constexpr std::pair<std::string_view, AttentionProjection> names[] = {{"q_proj", AttentionProjection::query},
                                                                          {"k_proj", AttentionProjection::key},
                                                                          {"v_proj", AttentionProjection::value},
                                                                          {"o_proj", AttentionProjection::output}};
    Loras loras;
    for (const std::string& name : json.get_strings("projections")) {
      const auto* const known =
          std::find_if(std::begin(names), std::end(names), [&](const auto& entry) { return entry.first == name; });
      if (known == std::end(names)) {
        json.fail("projections", "\"" + escaped(name, 40) + "\" is none of q_proj, k_proj, v_proj, o_proj");
      }
      for (const auto& [other, projection] : loras.projections) {
        if (other == name) json.fail("projections", name + " stands there twice");
      }
      loras.projections.emplace_back(name, known->second);
    }
    loras.num_experts = json.get_index("num_experts", 1, ConfigLimits::experts);
    loras.rank = json.get_index("rank", 1, ConfigLimits::width);
    loras.k = json.get_index("k", 1, loras.num_experts);
    loras.scale = static_cast<float>(json.get_number("scale", -1e6, 1e6));
    refuse_unread(json);
    return loras;
  }
  static std::vector<AddedPart> find_added(const Loras& loras, const TensorSource& source, const std::string& prefix,
                                           const GqaShape& shape) {
    std::vector<AddedPart> found;
    for (const auto& [name, projection] : loras.projections) {
      const bool is_output = projection == AttentionProjection::output;
      const auto width = static_cast<std::int64_t>(
          is_output || projection == AttentionProjection::query ? shape.query_size() : shape.kv_size());
      const std::int64_t in = is_output ? width : shape.hidden_size;
      const std::int64_t out = is_output ? shape.hidden_size : width;
      const std::string own = prefix + name + ".";
      AddedPart part{projection,
                     WeightRows::find(source, own + "gate.weight", {loras.num_experts, in}),
                     {{}, loras.scale, loras.k}};
      for (index_t e = 0; e < loras.num_experts; ++e) {
        const std::string expert = own + "experts." + std::to_string(e) + ".lora_";
        part.experts.experts.push_back({WeightRows::find(source, expert + "A.weight", {loras.rank, in}),
                                        WeightRows::find(source, expert + "B.weight", {out, loras.rank})});
      }
      found.push_back(std::move(part));
    }
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
