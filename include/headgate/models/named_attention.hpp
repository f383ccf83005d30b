// The attention that config.json of headgate_moe (headgate_moe.hpp) names, in an object with a `type`:
// clang-format off
//   {"type":"dense"}
//   {"type":"dense","qk_norm":false}                     no norms of queries and keys, as in llama
//   {"type":"bilevel","region_size":S,"regions":R}       attention/bilevel_causal_attention.hpp
// clang-format on
// In each of them "lora":{"projections":["q_proj",...],"num_experts":N,"rank":P,"k":K,"scale":C} puts low-rank experts
// beside projections (LoRA-Mixer): softmax, the K best, divided by their sum. self_attn.q_proj.gate.weight (N, in),
// self_attn.q_proj.experts.e.lora_A.weight (P, in), .lora_B.weight (out, P).
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "headgate/models/blueprint.hpp"
#include "headgate/models/layer_site.hpp"
#include "headgate/models/parts/gqa_part.hpp"

namespace headgate::inline HEADGATE_ABI {

struct NamedAttention {
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

    // Behind the prefix of an attention of this shape, "model.layers.0.self_attn.".
    std::vector<AddedPart> find(const TensorSource& source, const std::string& prefix, const GqaShape& shape) const {
      std::vector<AddedPart> found;
      for (const auto& [name, projection] : projections) {
        const bool is_output = projection == AttentionProjection::output;
        const auto width = static_cast<std::int64_t>(
            is_output || projection == AttentionProjection::query ? shape.query_size() : shape.kv_size());
        const std::int64_t in = is_output ? width : shape.hidden_size;
        const std::int64_t out = is_output ? shape.hidden_size : width;
        const std::string own = prefix + name + ".";
        AddedPart part{projection, WeightRows::find(source, own + "gate.weight", {num_experts, in}), {{}, scale, k}};
        for (index_t e = 0; e < num_experts; ++e) {
          const std::string expert = own + "experts." + std::to_string(e) + ".lora_";
          part.experts.experts.push_back({WeightRows::find(source, expert + "A.weight", {rank, in}),
                                          WeightRows::find(source, expert + "B.weight", {out, rank})});
        }
        found.push_back(std::move(part));
      }
      return found;
    }
  };

  std::optional<Regions> regions = std::nullopt;  // none: dense
  std::optional<Loras> loras = std::nullopt;
  bool has_qk_norm = true;

  // Around the attention behind a prefix.
  MixerPart find(GqaPart part, const TensorSource& source, const std::string& prefix) const {
    if (loras) part.added = loras->find(source, prefix, part.shape);
    if (!regions) return part;
    return BilevelPart{std::move(part), regions->size, regions->count};
  }
};

namespace named_attention {

inline NamedAttention::Loras read_loras(const JsonObject& json) {
  constexpr std::pair<std::string_view, AttentionProjection> names[] = {{"q_proj", AttentionProjection::query},
                                                                        {"k_proj", AttentionProjection::key},
                                                                        {"v_proj", AttentionProjection::value},
                                                                        {"o_proj", AttentionProjection::output}};
  NamedAttention::Loras loras;
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

}  // namespace named_attention

// A key that is not understood is refused.
inline NamedAttention read_attention(const JsonObject& attention) {
  const std::string& type = attention.get_string("type");
  NamedAttention found;
  if (type == "bilevel") {
    found.regions = {attention.get_index("region_size", 1, ConfigLimits::context_size),
                     attention.get_index("regions", 1, ConfigLimits::context_size)};
  } else if (type != "dense") {
    attention.fail("type", "the attention \"" + escaped(type, 40) + "\" is not supported, known: dense, bilevel");
  } else {
    found.has_qk_norm = attention.get_bool("qk_norm", true);
  }
  if (attention.has("lora")) found.loras = named_attention::read_loras(attention.get_object("lora"));
  refuse_unread(attention);
  return found;
}

}  // namespace headgate::inline HEADGATE_ABI
