// Reading config.json: what the families share. Every function reads one key, or keys that say one thing, and refuses
// values that no model has, before any of them is used as a size.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>

#include "headgate/io/json_object.hpp"
#include "headgate/kernels/panel16.hpp"
#include "headgate/models/model_config.hpp"

namespace headgate::inline HEADGATE_ABI {

// Beyond the largest models there are, and small enough that products of two fit 64 bits.
struct ConfigLimits {
  static constexpr index_t vocab_size = 1 << 24;
  static constexpr index_t width = 1 << 20;
  static constexpr index_t layers = 4096;
  static constexpr index_t heads = 4096;
  static constexpr index_t head_dim = 4096;
  static constexpr index_t experts = 1 << 16;
  static constexpr index_t context_size = static_cast<index_t>(max_index) - panel_rows;
};

inline bool is_empty_object(const Json& json) noexcept {
  const auto* const members = std::get_if<Json::Object>(&json.value);
  return members != nullptr && members->empty();
}
// quantization_config, where there is one, must be of weights as whole numbers of eight bits with a scale for each row
// (compressed-tensors). What it says of activations is not looked at: --compute decides.
inline void check_quantization(const JsonObject& json) {
  constexpr std::string_view key = "quantization_config";
  if (!json.has(key) || is_empty_object(*json.value(key))) return;
  const JsonObject config = json.get_object(key);
  const auto require = [](const JsonObject& object, std::string_view name, std::string_view known) {
    if (const std::string& found = object.get_string(name); found != known) {
      object.fail(name, "\"" + escaped(found, 40) + "\" is not supported, known: " + std::string(known));
    }
  };
  require(config, "quant_method", "compressed-tensors");
  require(config, "format", "int-quantized");
  const JsonObject groups = config.get_object("config_groups");
  for (const std::string& name : groups.keys()) {
    const JsonObject weights = groups.get_object(name).get_object("weights");
    require(weights, "type", "int");
    require(weights, "strategy", "channel");
    weights.get_integer("num_bits", 8, 8);
    if (!weights.get_bool("symmetric")) weights.fail("symmetric", "false is not supported");
  }
}
// The key must be absent, null or this value.
inline void require_neutral(const JsonObject& json, std::string_view key, bool neutral) {
  if (json.get_bool(key, neutral) != neutral)
    json.fail(key, neutral ? "false is not supported" : "true is not supported");
}
inline void require_neutral(const JsonObject& json, std::string_view key, std::int64_t neutral) {
  json.get_integer(key, neutral, neutral, neutral);
}
inline void require_neutral(const JsonObject& json, std::string_view key, double neutral) {
  json.get_number(key, neutral, neutral, neutral);
}

// `architectures`, where it names any, names the class that model_type means.
inline void check_architecture(const JsonObject& json, std::string_view expected) {
  if (!json.has("architectures")) return;
  const std::vector<std::string> found = json.get_strings("architectures");
  if (found.empty() || std::find(found.begin(), found.end(), expected) != found.end()) return;
  json.fail("architectures",
            "expected " + std::string(expected) + ", as model_type says, found " + escaped(found.front(), 80));
}

// transformers lets config.json name the file of the weights, in place of the one that is read here.
inline void require_usual_weights(const JsonObject& json) {
  constexpr const char* usual = "model.safetensors";
  if (const std::string found = json.get_string("transformers_weights", usual); found != usual) {
    json.fail("transformers_weights",
              "weights in \"" + escaped(found, 80) + "\" are not supported, expected \"" + usual + "\"");
  }
}

// A context is an option, so one too long is a limit, not a lie.
inline index_t read_context_size(const JsonObject& json, std::string_view key) {
  const std::int64_t found = json.get_integer(key, 1, std::numeric_limits<std::int64_t>::max());
  if (found > ConfigLimits::context_size) {
    json.fail(key,
              "too many positions (has " + std::to_string(found) + ", allowed " +
                  std::to_string(ConfigLimits::context_size) + ")",
              ErrorCode::limit);
  }
  return static_cast<index_t>(found);
}

inline float read_epsilon(const JsonObject& json, std::string_view key) {
  constexpr double smallest = 1e-45;  // of a float, rounded
  return static_cast<float>(json.get_number(key, smallest, 1.0));
}

inline index_t read_kv_heads(const JsonObject& json, std::string_view key, index_t num_heads) {
  const index_t found = json.get_index(key, 1, num_heads);
  if (num_heads % found != 0) {
    json.fail(key, "expected a divisor of num_attention_heads (" + std::to_string(num_heads) + "), found " +
                       std::to_string(found));
  }
  return found;
}

// The heads of an attention.
struct HeadSizes {
  index_t num_heads = 0;
  index_t num_kv_heads = 0;
  index_t head_dim = 0;
};
// `num_attention_heads`, `num_key_value_heads` and `head_dim`, which is hidden_size / num_attention_heads where it is
// not given. may_omit_kv_heads: without num_key_value_heads there are as many as heads.
inline HeadSizes read_heads(const JsonObject& json, index_t hidden_size, bool may_omit_kv_heads = false) {
  constexpr std::string_view key = "head_dim";
  HeadSizes sizes;
  sizes.num_heads = json.get_index("num_attention_heads", 1, ConfigLimits::heads);
  sizes.num_kv_heads = may_omit_kv_heads && !json.has("num_key_value_heads")
                           ? sizes.num_heads
                           : read_kv_heads(json, "num_key_value_heads", sizes.num_heads);
  if (!json.has(key) && hidden_size % sizes.num_heads != 0) {
    json.fail("num_attention_heads", "expected a divisor of hidden_size (" + std::to_string(hidden_size) +
                                         ") where there is no head_dim, found " + std::to_string(sizes.num_heads));
  }
  sizes.head_dim = json.get_index(key, 2, ConfigLimits::head_dim, json.has(key) ? 0 : hidden_size / sizes.num_heads);
  if (sizes.head_dim % 2 != 0 || sizes.head_dim == 0) {
    json.fail(key, "expected an even number, because RoPE turns pairs, found " + std::to_string(sizes.head_dim));
  }
  return sizes;
}

// `num_experts`, which transformers 5 writes as `num_local_experts`.
inline index_t read_num_experts(const JsonObject& json) {
  constexpr std::string_view old_key = "num_experts";
  constexpr std::string_view new_key = "num_local_experts";
  if (!json.has(old_key) && !json.has(new_key)) {
    json.fail(old_key, "the key is missing, expected num_experts or num_local_experts");
  }
  const index_t found = json.get_index(json.has(old_key) ? old_key : new_key, 1, ConfigLimits::experts);
  if (json.get_index(new_key, 1, ConfigLimits::experts, found) != found)
    json.fail(new_key, "it differs from num_experts");
  return found;
}

// Layers by number. Those that the model does not have are no layers of it.
inline std::vector<index_t> read_layers(const JsonObject& json, std::string_view key) {
  std::vector<index_t> layers;
  if (!json.has(key)) return layers;
  constexpr std::int64_t any = std::numeric_limits<std::int64_t>::max();
  for (const std::int64_t layer : json.get_integers(key, -any, any)) {
    if (layer >= 0 && layer < ConfigLimits::layers) layers.push_back(static_cast<index_t>(layer));
  }
  return layers;
}

// `eos_token_id` is one id or a list of them. Adds those that are not there yet.
inline void add_eos(const JsonObject& json, ModelConfig& c) {
  constexpr std::string_view key = "eos_token_id";
  if (!json.has(key)) return;
  const bool is_list = std::holds_alternative<Json::Array>(json.value(key)->value);
  const std::vector<std::int64_t> found =
      is_list ? json.get_integers(key, 0, c.vocab_size - 1) : std::vector{json.get_integer(key, 0, c.vocab_size - 1)};
  for (const std::int64_t id : found) c.eos_token_ids.push_back(static_cast<std::int32_t>(id));
  std::sort(c.eos_token_ids.begin(), c.eos_token_ids.end());
  c.eos_token_ids.erase(std::unique(c.eos_token_ids.begin(), c.eos_token_ids.end()), c.eos_token_ids.end());
}
inline void read_token_ids(const JsonObject& json, ModelConfig& c) {
  c.bos_token_id = json.get_index("bos_token_id", 0, c.vocab_size - 1, -1);
  add_eos(json, c);
}

// The sizes and ids that every decoder has, by their usual names, and the class that model_type means.
inline ModelConfig read_model_config(const JsonObject& json, std::string_view model_type, std::string_view class_name) {
  ModelConfig c;
  c.model_type = model_type;
  check_architecture(json, class_name);
  require_usual_weights(json);
  c.vocab_size = json.get_index("vocab_size", 1, ConfigLimits::vocab_size);
  c.hidden_size = json.get_index("hidden_size", 1, ConfigLimits::width);
  c.num_hidden_layers = json.get_index("num_hidden_layers", 1, ConfigLimits::layers);
  c.max_position_embeddings = read_context_size(json, "max_position_embeddings");
  read_token_ids(json, c);
  return c;
}

// Keys that concern training, other programs, or nothing.
inline void ignore_usual_keys(const JsonObject& json) {
  for (const char* const key :
       {"_name_or_path", "attention_dropout", "auto_map", "dtype", "initializer_range", "output_router_logits",
        "pad_token_id", "router_aux_loss_coef", "torch_dtype", "transformers_version", "use_cache"}) {
    json.ignore(key);
  }
}

// A config.json with code of its own (auto_map) may scale what its stock family does not: LLaMA-MoE-v2 calls itself
// mixtral and multiplies the experts' output by scale_factor. A key of such a name that nobody has read is refused
// there.
inline void refuse_custom_scales(const JsonObject& json) {
  if (!json.has("auto_map") || is_empty_object(*json.value("auto_map"))) return;
  for (const std::string& key : json.unread_keys()) {
    for (const char* const word : {"scale", "scaling", "factor", "multiplier"}) {
      if (key.find(word) != key.npos && json.has(key)) {
        json.fail(key, "not understood, and auto_map says that the model has code of its own");
      }
    }
  }
}

// Which layers have experts, by `decoder_sparse_step` and `mlp_only_layers`.
inline std::vector<bool> read_sparse_layers(const JsonObject& json, index_t num_layers) {
  const index_t step = json.get_index("decoder_sparse_step", 1, static_cast<index_t>(max_index), 1);
  const std::vector<index_t> dense = read_layers(json, "mlp_only_layers");
  std::vector<bool> is_sparse;
  for (index_t l = 0; l < num_layers; ++l) {
    is_sparse.push_back((l + 1) % step == 0 && std::find(dense.begin(), dense.end(), l) == dense.end());
  }
  return is_sparse;
}
// Required where there are dense layers, else not looked at: 0.
inline index_t read_dense_width(const JsonObject& json, std::string_view key, const std::vector<bool>& is_sparse) {
  if (std::find(is_sparse.begin(), is_sparse.end(), false) != is_sparse.end()) {
    return json.get_index(key, 1, ConfigLimits::width);
  }
  json.ignore(key);
  return 0;
}

// A number that goes by either of two names; where both are there they agree.
inline index_t read_same(const JsonObject& json, std::string_view key, std::string_view alias, index_t most) {
  if (!json.has(key) && json.has(alias)) return json.get_index(alias, 1, most);
  const index_t found = json.get_index(key, 1, most);
  if (json.get_index(alias, 1, most, found) != found) json.fail(alias, "it differs from " + std::string(key));
  return found;
}

// The kind of every layer by `layer_types`, each one of `known`; where the key is absent absent(layer) says it.
template <class F>
std::vector<std::string> read_layer_types(const JsonObject& json, index_t num_layers,
                                          std::initializer_list<std::string_view> known, F&& absent,
                                          std::string_view key = "layer_types") {
  std::vector<std::string> types;
  if (!json.has(key)) {
    for (index_t l = 0; l < num_layers; ++l) types.emplace_back(absent(l));
    return types;
  }
  types = json.get_strings(key);
  if (types.size() != as_size(num_layers)) {
    json.fail(key, "expected one for each of " + std::to_string(num_layers) + " layers, found " +
                       std::to_string(types.size()));
  }
  for (const std::string& type : types) {
    if (std::find(known.begin(), known.end(), type) != known.end()) continue;
    std::string names;
    for (const std::string_view name : known) names += (names.empty() ? "" : ", ") + std::string(name);
    json.fail(key, "the kind \"" + escaped(type, 40) + "\" is not supported, known: " + names);
  }
  return types;
}
// Of families without windows: `layer_types` may only say so.
inline void require_full_attention(const JsonObject& json) {
  if (!json.has("layer_types")) return;
  for (const std::string& kind : json.get_strings("layer_types")) {
    if (kind != "full_attention") {
      json.fail("layer_types", "the kind \"" + escaped(kind, 40) + "\" is not supported, known: \"full_attention\"");
    }
  }
}
// The key must be there.
inline std::vector<std::string> read_layer_types(const JsonObject& json, index_t num_layers,
                                                 std::initializer_list<std::string_view> known) {
  return read_layer_types(json, num_layers, known, [&](index_t) -> std::string_view {
    json.fail("layer_types", "the key is missing, expected a list of the kind of every layer");
  });
}
// Which layers have experts, by `mlp_layer_types` ("sparse", "dense"), or where the key is absent absent(layer).
template <class F>
std::vector<bool> read_mlp_layer_types(const JsonObject& json, index_t num_layers, F&& absent) {
  std::vector<bool> is_sparse;
  const std::vector<std::string> types = read_layer_types(
      json, num_layers, {"sparse", "dense"}, [&](index_t l) { return absent(l) ? "sparse" : "dense"; },
      "mlp_layer_types");
  for (const std::string& type : types) is_sparse.push_back(type == "sparse");
  return is_sparse;
}

// Positions that a row reads, itself included; 0: all, which no key and null mean. A window that is 0 reads nothing.
inline index_t read_window(const JsonObject& json, std::string_view key) {
  return json.get_index(key, 1, static_cast<index_t>(max_index), 0);
}
// Where other keys say which layers have a window. absent: of no key, where that is known to mean one. Null means none,
// which contradicts layers that have one.
inline index_t read_window(const JsonObject& json, std::string_view key, bool has_window, index_t absent = 0) {
  constexpr auto most = static_cast<index_t>(max_index);
  if (!has_window) {
    json.get_index(key, 0, most, 0);
    return 0;
  }
  if (absent != 0 && json.value(key) == nullptr) return absent;
  return json.get_index(key, 1, most);
}
inline bool has_sliding(const std::vector<std::string>& layer_types) {
  return std::find(layer_types.begin(), layer_types.end(), "sliding_attention") != layer_types.end();
}

// SiLU goes by two names.
inline void require_silu(const JsonObject& json, std::string_view key) {
  const std::string found = json.get_string(key, "silu");
  if (found == "silu" || found == "swish") return;
  json.fail(key, "the activation \"" + escaped(found, 40) + "\" is not supported, known: \"silu\"");
}

}  // namespace headgate::inline HEADGATE_ABI
