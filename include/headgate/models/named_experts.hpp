// The experts that config.json of headgate_moe (headgate_moe.hpp) can name, in an object with a `type`. E is
// num_experts, F moe_intermediate_size; names are those behind model.layers.N.mlp.
// clang-format off
//   {"type":"glu"}                                           as Qwen3 has them; so without the object
//   {"type":"joined","ffn_sizes":[8,24,0]}                   of different widths, one an expert; the last may be 0: they
//     add nothing (Duo-LLM's skip)
//   {"type":"pool","layers":R}                               R layers share their experts (ReXMoE): routers choose among
//     R E, gate.weight (R E, hidden); expert i is experts.(i mod E) of layer i div E of the pool
//   {"type":"compressed","main_k":M}                         experts.theta (E, hidden); the first M of a token compute
//   {"type":"latent","latent_size":L,"group_size":G}         latent.g.{gate,up}_proj.weight (L, hidden) of group g,
//     experts.e.{gate,up}_proj.weight (F, L)
//   {"type":"single_neuron","activation":"gelu"}   F = 1     experts.{up,down}_proj (E, hidden)
//   {"type":"lora","scale":C}                                of rank F beside a dense network intermediate_size wide,
//     whose names are those of a dense layer: experts.e.lora_A.weight (F, hidden), experts.e.lora_B.weight (hidden, F)
//   {"type":"rank","scale":C}                      F = 1     the same with one expert a rank: experts.lora_A.weight
//     (E, hidden), experts.lora_B.weight (hidden, E)
//   {"type":"monet","decomposition":"horizontal","heads":H,"topk":K}   E = S S; without a router object. relu2
//     router.w{1,2}.weight (H S, hidden), router.norm{1,2}.running_{mean,var} (H)
//     horizontal: u.weight (S F, hidden), u.bias, v.weight (hidden, S F), b (S, hidden)
//     vertical:   u{1,2}.weight (S F, hidden), u{1,2}.bias, v{11,12,21,22}.weight (hidden/2, S F), b{1,2} (S, hidden/2)
// clang-format on
// A new one is a function here and a line in the list.
#pragma once

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "headgate/models/find_weights.hpp"
#include "headgate/models/layer_site.hpp"
#include "headgate/models/named_routers.hpp"
#include "headgate/models/parts/compressed_part.hpp"
#include "headgate/models/parts/joined_part.hpp"
#include "headgate/models/parts/latent_part.hpp"
#include "headgate/models/parts/lora_part.hpp"
#include "headgate/models/parts/monet_part.hpp"
#include "headgate/models/parts/pool_part.hpp"
#include "headgate/models/parts/single_neuron_part.hpp"

namespace headgate::inline HEADGATE_ABI {

struct NamedExperts {
  index_t routed = 0;  // experts that a router chooses among; 0: the layer has no router of its own
  // Of a layer. Called for the layers in order; several may share weights.
  std::function<BankPart(const LayerSite&)> find_bank = nullptr;
  bool takes_zero_experts = false;                                                  // behind the bank
  std::function<std::optional<DensePart>(const LayerSite&)> find_shared = nullptr;  // empty: none
  std::function<DenseFfnPart(const LayerSite&)> find_network = nullptr;             // where it is not routed
};

// What config.json says beside the object.
struct ExpertSizes {
  const JsonObject& config;
  index_t num_experts = 0;
  index_t ffn_size = 0;
  index_t num_layers = 0;
  bool all_sparse = true;
};

namespace named_experts {

// As Qwen3 has them.
inline ExpertsPart find_glu(const LayerSite& site, const std::string& prefix, index_t num_experts) {
  const index_t k = std::min(site.experts_per_token, site.num_experts + site.zero_experts);
  return find_experts(site.source, prefix + "experts.", num_experts, k, site.hidden_size, site.ffn_size);
}

inline NamedExperts glu(const JsonObject&, const ExpertSizes& sizes) {
  return {.routed = sizes.num_experts,
          .find_bank =
              [](const LayerSite& site) {
                ExpertsPart part = find_glu(site, site.prefix, site.num_experts);
                part.zero_experts = site.zero_experts;
                return part;
              },
          .takes_zero_experts = true};
}

inline NamedExperts joined(const JsonObject& json, const ExpertSizes& sizes) {
  std::vector<index_t> widths;
  for (const double width : json.get_numbers("ffn_sizes", 0.0, ConfigLimits::width)) {
    if (std::floor(width) < width) json.fail("ffn_sizes", "expected whole numbers");
    if (width > 0.0 && !widths.empty() && widths.back() == 0) json.fail("ffn_sizes", "experts of 0 come last");
    widths.push_back(static_cast<index_t>(width));
  }
  if (std::ssize(widths) != sizes.num_experts) json.fail("ffn_sizes", "expected one number for each of num_experts");
  if (*std::max_element(widths.begin(), widths.end()) != sizes.ffn_size)
    json.fail("ffn_sizes", "the largest is not moe_intermediate_size");
  const auto find = [widths](const LayerSite& site) {
    JoinedPart part;
    for (std::size_t e = 0; e < widths.size(); ++e) {
      if (widths[e] == 0) {
        ++part.skipping;
        continue;
      }
      if (e == 0 || widths[e] != widths[e - 1]) part.banks.push_back({{}, {}, site.experts_per_token});
      part.banks.back().experts.push_back(
          find_ffn(site.source, site.prefix + "experts." + std::to_string(e) + ".", site.hidden_size, widths[e]));
    }
    return part;
  };
  return {.routed = sizes.num_experts, .find_bank = find};
}

inline NamedExperts pool(const JsonObject& json, const ExpertSizes& sizes) {
  const index_t layers = json.get_index("layers", 1, sizes.num_layers);
  if (sizes.num_layers % layers != 0) json.fail("layers", "num_hidden_layers is no multiple of it");
  if (!sizes.all_sparse) json.fail("layers", "a layer of a pool is dense");
  const std::int64_t all = std::int64_t{layers} * sizes.num_experts;
  if (all > ConfigLimits::experts)
    json.fail("layers", "the pool has more experts than " + std::to_string(ConfigLimits::experts));
  const auto of_pool = std::make_shared<std::shared_ptr<PoolPart::Shared>>();
  const auto find = [=, each = sizes.num_experts](const LayerSite& site) {
    const bool is_first = site.layer % layers == 0;
    if (is_first) {
      ExpertsPart experts{{}, {}, site.experts_per_token};
      for (index_t l = 0; l < layers; ++l) {
        ExpertsPart own = find_glu(site, "model.layers." + std::to_string(site.layer + l) + ".mlp.", each);
        for (ExpertRows& expert : own.experts) experts.experts.push_back(std::move(expert));
      }
      *of_pool = std::make_shared<PoolPart::Shared>(PoolPart::Shared{std::move(experts)});
    }
    return PoolPart{*of_pool, layers, is_first};
  };
  return {.routed = static_cast<index_t>(all), .find_bank = find};
}

inline NamedExperts compressed(const JsonObject& json, const ExpertSizes& sizes) {
  const index_t main_k = json.get_index("main_k", 1, sizes.num_experts);
  const auto find = [=](const LayerSite& site) {
    ExpertsPart experts = find_glu(site, site.prefix, site.num_experts);
    const index_t others = std::max(site.experts_per_token - main_k, index_t{0});
    experts.experts_per_token = std::min(main_k, site.experts_per_token);
    return CompressedPart{std::move(experts), site.find("experts.theta", {site.num_experts, site.hidden_size}), main_k,
                          others};
  };
  return {.routed = sizes.num_experts, .find_bank = find};
}

inline NamedExperts latent(const JsonObject& json, const ExpertSizes& sizes) {
  const index_t latent_size = json.get_index("latent_size", 1, ConfigLimits::width);
  const index_t group_size = json.get_index("group_size", 1, sizes.num_experts);
  if (sizes.num_experts % group_size != 0) json.fail("group_size", "num_experts is no multiple of it");
  const auto find = [=](const LayerSite& site) {
    LatentPart part{.shape = {.num_experts = site.num_experts,
                              .group_size = group_size,
                              .hidden_size = site.hidden_size,
                              .latent_size = latent_size,
                              .ffn_size = site.ffn_size},
                    .groups = {},
                    .experts = {},
                    .experts_per_token = site.experts_per_token};
    for (index_t g = 0; g < site.num_experts / group_size; ++g) {
      const std::string name = "latent." + std::to_string(g) + ".";
      part.groups.push_back({site.find(name + "gate_proj.weight", {latent_size, site.hidden_size}),
                             site.find(name + "up_proj.weight", {latent_size, site.hidden_size})});
    }
    for (index_t e = 0; e < site.num_experts; ++e) {
      const std::string name = "experts." + std::to_string(e) + ".";
      part.experts.push_back({.gate = site.find(name + "gate_proj.weight", {site.ffn_size, latent_size}),
                              .up = site.find(name + "up_proj.weight", {site.ffn_size, latent_size}),
                              .down = site.find(name + "down_proj.weight", {site.hidden_size, site.ffn_size})});
    }
    return part;
  };
  return {.routed = sizes.num_experts, .find_bank = find};
}

inline void require_one_neuron(const JsonObject& json, const ExpertSizes& sizes) {
  if (sizes.ffn_size != 1) json.fail("type", "its experts have one neuron, and moe_intermediate_size is not 1");
}

inline NamedExperts single_neuron(const JsonObject& json, const ExpertSizes& sizes) {
  require_one_neuron(json, sizes);
  const std::pair<std::string_view, ActivationKind> kinds[] = {{"gelu", ActivationKind::gelu},
                                                               {"gelu_tanh", ActivationKind::gelu_tanh},
                                                               {"silu", ActivationKind::silu},
                                                               {"relu", ActivationKind::relu},
                                                               {"relu2", ActivationKind::relu2}};
  const std::string& name = json.get_string("activation");
  const auto* const kind =
      std::find_if(std::begin(kinds), std::end(kinds), [&](const auto& entry) { return entry.first == name; });
  if (kind == std::end(kinds)) {
    json.fail("activation", "the activation \"" + escaped(name, 40) +
                                "\" is not supported, known: gelu, gelu_tanh, silu, relu, relu2");
  }
  const auto find = [activation = Activation{kind->second}](const LayerSite& site) {
    const Shape shape{site.num_experts, site.hidden_size};
    return SingleNeuronPart{site.find("experts.up_proj", shape), site.find("experts.down_proj", shape), activation,
                            site.experts_per_token};
  };
  return {.routed = sizes.num_experts, .find_bank = find};
}

// The dense network that low-rank experts stand beside.
inline auto dense_beside(const ExpertSizes& sizes) {
  return [size = sizes.config.get_index("intermediate_size", 1, ConfigLimits::width)](
             const LayerSite& site) -> std::optional<DensePart> {
    return find_dense(site.source, site.prefix, site.hidden_size, size);
  };
}
inline float read_scale(const JsonObject& json) { return static_cast<float>(json.get_number("scale", -1e6, 1e6)); }

inline NamedExperts lora(const JsonObject& json, const ExpertSizes& sizes) {
  const auto find = [scale = read_scale(json)](const LayerSite& site) {
    LoraPart part{{}, scale, site.experts_per_token};
    for (index_t e = 0; e < site.num_experts; ++e) {
      const std::string name = "experts." + std::to_string(e) + ".lora_";
      part.experts.push_back({site.find(name + "A.weight", {site.ffn_size, site.hidden_size}),
                              site.find(name + "B.weight", {site.hidden_size, site.ffn_size})});
    }
    return part;
  };
  return {.routed = sizes.num_experts, .find_bank = find, .find_shared = dense_beside(sizes)};
}

inline NamedExperts rank(const JsonObject& json, const ExpertSizes& sizes) {
  require_one_neuron(json, sizes);
  const auto find = [scale = read_scale(json)](const LayerSite& site) {
    return RankPart{{site.find("experts.lora_A.weight", {site.num_experts, site.hidden_size}),
                     site.find("experts.lora_B.weight", {site.hidden_size, site.num_experts})},
                    scale,
                    site.experts_per_token};
  };
  return {.routed = sizes.num_experts, .find_bank = find, .find_shared = dense_beside(sizes)};
}

inline NamedExperts monet(const JsonObject& json, const ExpertSizes& sizes) {
  const index_t side = side_of_square(json, sizes.num_experts);
  const std::string& how = json.get_string("decomposition");
  if (how != "horizontal" && how != "vertical") {
    json.fail("decomposition", "\"" + escaped(how, 40) + "\" is not supported, known: horizontal, vertical");
  }
  const MonetOptions options{.heads = json.get_index("heads", 1, ConfigLimits::heads),
                             .topk = json.get_index("topk", 1, side)};
  const auto find = [=, is_vertical = how == "vertical"](const LayerSite& site) -> DenseFfnPart {
    if (is_vertical && site.hidden_size % 2 != 0) {
      throw Error(ErrorCode::bad_file, {"", "hidden_size", -1, "vertical experts want an even one"});
    }
    const std::int64_t inner = std::int64_t{side} * site.ffn_size;
    const auto side_of = [&](const std::string& n) -> MonetPart::Side {
      return {site.find("router.w" + n + ".weight", {std::int64_t{options.heads} * side, site.hidden_size}),
              site.find("router.norm" + n + ".running_mean", {options.heads}),
              site.find("router.norm" + n + ".running_var", {options.heads})};
    };
    MonetPart part{side, options, is_vertical, {side_of("1"), side_of("2")}, {}, {}};
    const index_t half = site.hidden_size / 2;
    for (const char* const u : is_vertical ? std::vector{"u1", "u2"} : std::vector{"u"}) {
      part.matrices.push_back(site.find(std::string(u) + ".weight", {inner, site.hidden_size}));
      part.biases.push_back(site.find(std::string(u) + ".bias", {inner}));
    }
    for (const char* const v : is_vertical ? std::vector{"v11", "v12", "v21", "v22"} : std::vector{"v"}) {
      part.matrices.push_back(site.find(std::string(v) + ".weight", {is_vertical ? half : site.hidden_size, inner}));
    }
    for (const char* const b : is_vertical ? std::vector{"b1", "b2"} : std::vector{"b"}) {
      part.matrices.push_back(site.find(b, {side, is_vertical ? half : site.hidden_size}));
    }
    return part;
  };
  return {.find_network = find};
}

struct ExpertsName {
  std::string_view type;
  NamedExperts (*read)(const JsonObject& json, const ExpertSizes& sizes);
};
inline constexpr ExpertsName experts_names[] = {
    {"glu", glu},       {"joined", joined},
    {"pool", pool},     {"compressed", compressed},
    {"latent", latent}, {"single_neuron", single_neuron},
    {"lora", lora},     {"rank", rank},
    {"monet", monet},
};

}  // namespace named_experts

// A key that is not understood is refused.
inline NamedExperts read_experts(const JsonObject& experts, const ExpertSizes& sizes) {
  NamedExperts named = find_named(experts, named_experts::experts_names, "experts").read(experts, sizes);
  refuse_unread(experts);
  return named;
}

}  // namespace headgate::inline HEADGATE_ABI
