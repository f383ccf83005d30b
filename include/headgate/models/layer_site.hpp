// LayerSite: where the tensors of a layer's router and experts are looked for, and the sizes that config.json gives
// them. What families read that name their routers and experts in config.json (named_routers.hpp, named_experts.hpp).
#pragma once

#include <cmath>
#include <string>

#include "headgate/models/config_reader.hpp"
#include "headgate/models/weight_rows.hpp"

namespace headgate::inline HEADGATE_ABI {

struct LayerSite {
  const TensorSource& source;
  std::string prefix;  // of the layer's network, "model.layers.0.mlp."
  index_t layer = 0;
  index_t num_experts = 0;  // that the router chooses among, but for zero_experts
  index_t hidden_size = 0;
  index_t ffn_size = 0;  // of an expert
  index_t vocab_size = 0;
  index_t experts_per_token = 0;  // at most
  index_t zero_experts = 0;       // behind the experts, which return their input

  WeightRows find(const std::string& name, const Shape& shape) const {
    return WeightRows::find(source, prefix + name, shape);
  }
};

inline void refuse_unread(const JsonObject& object) {
  for (const std::string& key : object.unread_keys()) object.fail(key, "this key is not understood");
}

// For experts that are pairs: as many first as second ones.
inline index_t side_of_square(const JsonObject& json, index_t num_experts) {
  const auto side = static_cast<index_t>(std::lround(std::sqrt(static_cast<double>(num_experts))));
  if (side * side != num_experts) json.fail("type", "its experts are pairs, and num_experts is no square");
  return side;
}

// The entry of a list whose `type` is the object's. Fails with all known ones where there is none.
template <class List>
const auto& find_named(const JsonObject& object, const List& list, const std::string& what) {
  const std::string& type = object.get_string("type");
  std::string known;
  for (const auto& entry : list) {
    if (entry.type == type) return entry;
    known += (known.empty() ? "" : ", ") + std::string(entry.type);
  }
  object.fail("type", what + " \"" + escaped(type, 40) + "\" is not supported, known: " + known);
}

}  // namespace headgate::inline HEADGATE_ABI
