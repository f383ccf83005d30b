// Reading config.json: what the families share. Every function reads one key, or keys that say one thing, and refuses
// values that no model has, before any of them is used as a size.
#pragma once

#include <algorithm>
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
// The key must be absent, null or an object that says nothing.
inline void require_absent(const JsonObject& json, std::string_view key) {
  if (json.has(key) && !is_empty_object(*json.value(key)))
    json.fail(key, "not supported, expected null, found " + json.value(key)->describe());
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
    throw Error(ErrorCode::limit, {json.file(), std::string(key), json.value(key)->offset,
                                   "too many positions (has " + std::to_string(found) + ", allowed " +
                                       std::to_string(ConfigLimits::context_size) + ")"});
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

// Given, or else hidden_size / num_attention_heads.
inline index_t read_head_dim(const JsonObject& json, std::string_view key, const ModelConfig& c) {
  if (!json.has(key) && c.hidden_size % c.num_attention_heads != 0) {
    json.fail("num_attention_heads", "expected a divisor of hidden_size (" + std::to_string(c.hidden_size) +
                                         ") where there is no head_dim, found " +
                                         std::to_string(c.num_attention_heads));
  }
  const index_t found =
      json.get_index(key, 2, ConfigLimits::head_dim, json.has(key) ? 0 : c.hidden_size / c.num_attention_heads);
  if (found % 2 != 0 || found == 0) {
    json.fail(key, "expected an even number, because RoPE turns pairs, found " + std::to_string(found));
  }
  return found;
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

// Required where there are dense layers, else not looked at: 0. Needs everything that says which layers are.
inline index_t read_dense_width(const JsonObject& json, std::string_view key, const ModelConfig& c) {
  for (index_t l = 0; l < c.num_hidden_layers; ++l) {
    if (!c.is_sparse(l)) return json.get_index(key, 1, ConfigLimits::width);
  }
  json.ignore(key);
  return 0;
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

// SiLU goes by two names.
inline void require_silu(const JsonObject& json, std::string_view key) {
  const std::string found = json.get_string(key, "silu");
  if (found == "silu" || found == "swish") return;
  json.fail(key, "the activation \"" + escaped(found, 40) + "\" is not supported, known: \"silu\"");
}

// A window counts only where use_sliding_window says so, and one of 0 is none.
inline void require_no_sliding_window(const JsonObject& json) {
  const index_t window = json.get_index("sliding_window", 0, static_cast<index_t>(max_index), 0);
  if (json.get_bool("use_sliding_window", false) && window > 0) {
    json.fail("use_sliding_window", "attention over a sliding window is not supported, expected false");
  }
  if (!json.has("layer_types")) return;
  for (const std::string& kind : json.get_strings("layer_types")) {
    if (kind != "full_attention") {
      json.fail("layer_types", "the kind \"" + escaped(kind, 40) + "\" is not supported, known: \"full_attention\"");
    }
  }
}

}  // namespace headgate::inline HEADGATE_ABI
