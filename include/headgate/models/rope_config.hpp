// Reading rotary positions from config.json, in every spelling of transformers:
//   4   `rope_theta`, `rope_scaling` {rope_type or type, factor, ...}, `partial_rotary_factor`,
//       `original_max_position_embeddings` beside them or among them
//   5   `rope_parameters` with all of it in one object, or with one such object for each layer type
// What is said twice must agree. What says nothing (null, {}, factor 1 without a kind) is as good as absent. A kind
// that is not known is refused, and so is a key that its kind does not read, for somebody reads it. `default` may stand
// beside anything, because transformers looks at nothing beside it either.
//
// Where transformers is odd: it lets `rope_scaling` replace `rope_parameters` whole, rope_theta included; here two
// kinds contradict each other. It takes `truncate` of a layer type from the object around the layer types, where nobody
// writes it; here it is the layer type's own.
#pragma once

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "headgate/attention/rope.hpp"
#include "headgate/core/exactly_equal.hpp"
#include "headgate/io/json_object.hpp"

namespace headgate::inline HEADGATE_ABI {

// What a family knows when it asks for the rotary positions of a layer.
struct RopeQuestion {
  index_t head_dim = 0;  // channels that turn
  index_t max_position_embeddings = 0;
  std::string_view layer_type = {};          // in families whose layer types may turn differently
  bool may_be_partial = false;               // partial_rotary_factor of them turn
  std::optional<double> default_theta = {};  // where the key's absence is known to mean it
};

class RopeReader {
 public:
  RopeReader(const JsonObject& json, const RopeQuestion& question) : json_(json), question_(question) {}

  RopeSettings read() {
    theta_ = find(json_, "rope_theta", 1.0, 1e15);
    partial_ = find(json_, "partial_rotary_factor", 1e-3, 1.0);
    json_.ignore("original_max_position_embeddings");
    read_object("rope_scaling");
    read_object("rope_parameters");
    if (!theta_) theta_ = question_.default_theta;
    if (!theta_) json_.fail("rope_theta", "the key is missing, expected rope_theta or rope_parameters.rope_theta");

    settings_.theta = *theta_;
    settings_.rotary_dim = static_cast<index_t>(question_.head_dim * partial_.value_or(1.0));
    const JsonObject& place = object_ ? *object_ : json_;
    if (settings_.rotary_dim != question_.head_dim && !question_.may_be_partial) {
      place.fail("partial_rotary_factor", "not supported here, expected 1");
    }
    if (settings_.rotary_dim < 2 || settings_.rotary_dim % 2 != 0) {
      place.fail("partial_rotary_factor", "expected an even number of channels that turn, found " +
                                              std::to_string(settings_.rotary_dim) + " of " +
                                              std::to_string(question_.head_dim));
    }
    if (const Expected<Rope> rope = Rope::create(settings_); !rope) {
      place.fail(rope.error().detail().field, rope.error().detail().what);
    }
    return settings_;
  }

 private:
  static constexpr std::string_view original_key = "original_max_position_embeddings";
  static constexpr double max_factor = 1e6;
  static constexpr double min_factor = 1e-6;

  static std::optional<double> find(const JsonObject& json, std::string_view key, double low, double high) {
    if (!json.has(key)) return std::nullopt;
    return json.get_number(key, low, high);
  }

  void read_object(const char* name) {
    if (!json_.has(name)) return;
    JsonObject object = json_.get_object(name);
    const bool nested = std::any_of(object.members().begin(), object.members().end(), [](const JsonMember& member) {
      return std::holds_alternative<Json::Object>(member.value.value);
    });
    if (nested) {
      if (question_.layer_type.empty()) json_.fail(name, "settings for each layer type are not supported here");
      object = object.get_object(question_.layer_type);
    }
    // Of a layer type's own object stands above what is beside it; else both are the same thing said twice.
    take(name, object, "rope_theta", 1.0, 1e15, nested, theta_);
    take(name, object, "partial_rotary_factor", 1e-3, 1.0, nested, partial_);
    if (const std::optional<RopeSettings> found = read_kind(object)) {
      if (has_kind_ && !(settings_ == *found)) json_.fail(name, "it contradicts rope_scaling");
      settings_ = *found;
      has_kind_ = true;
      object_ = object;
    }
  }
  void take(const char* name, const JsonObject& object, std::string_view key, double low, double high, bool above,
            std::optional<double>& value) const {
    const std::optional<double> found = find(object, key, low, high);
    if (!found) return;
    if (!above && !exactly_equal(value.value_or(*found), *found)) {
      json_.fail(key, "it differs from " + std::string(name) + "." + std::string(key));
    }
    value = found;
  }

  // All but theta and rotary_dim; none where nothing says which kind.
  std::optional<RopeSettings> read_kind(const JsonObject& object) const {
    const std::string name = object.get_string("rope_type", object.get_string("type", ""));
    if (object.get_string("type", name) != name) object.fail("type", "it differs from rope_type");
    RopeSettings settings;
    if (name == "default") return settings;
    if (name.empty()) {
      object.get_number("factor", 1.0, 1.0, 1.0);
      refuse_unread(object, "without rope_type, expected \"rope_type\": \"default\"");
      return std::nullopt;
    }
    if (name == "linear") {
      settings.kind = RopeKind::linear;
      settings.factor = object.get_number("factor", 1.0, max_factor);
    } else if (name == "dynamic") {
      settings.kind = RopeKind::dynamic;
      settings.factor = object.get_number("factor", 1.0, max_factor);
      // transformers stretches beyond max_position_embeddings, whatever was original.
      const index_t max = question_.max_position_embeddings;
      settings.original_context = object.get_index(original_key, max, max, max);
    } else if (name == "llama3") {
      settings.kind = RopeKind::llama3;
      settings.factor = object.get_number("factor", 1.0, max_factor);
      settings.low_freq_factor = object.get_number("low_freq_factor", min_factor, max_factor);
      settings.high_freq_factor = object.get_number("high_freq_factor", min_factor, max_factor);
      settings.original_context = original_context(object);
    } else if (name == "yarn") {
      settings.kind = RopeKind::yarn;
      settings.original_context = original_context(object);
      settings.factor = factor_or_ratio(object, settings.original_context);
      settings.beta_fast = object.get_number("beta_fast", min_factor, max_factor, settings.beta_fast);
      settings.beta_slow = object.get_number("beta_slow", min_factor, max_factor, settings.beta_slow);
      settings.truncate = object.get_bool("truncate", true);
      settings.attention_factor = find(object, "attention_factor", min_factor, max_factor);
      settings.mscale = find(object, "mscale", 0.0, max_factor);
      settings.mscale_all_dim = find(object, "mscale_all_dim", 0.0, max_factor);
    } else if (name == "longrope") {
      settings.kind = RopeKind::longrope;
      settings.original_context = original_context(object);
      settings.factor = factor_or_ratio(object, settings.original_context);
      settings.attention_factor = find(object, "attention_factor", min_factor, max_factor);
      settings.short_factor = object.get_numbers("short_factor", min_factor, max_factor);
      settings.long_factor = object.get_numbers("long_factor", min_factor, max_factor);
      settings.short_mscale = find(object, "short_mscale", min_factor, max_factor);
      settings.long_mscale = find(object, "long_mscale", min_factor, max_factor);
    } else {
      object.fail(object.has("rope_type") ? "rope_type" : "type",
                  "the kind \"" + escaped(name, 40) +
                      "\" is not supported, known: \"default\", \"linear\", \"dynamic\", \"llama3\", \"yarn\", "
                      "\"longrope\"");
    }
    refuse_unread(object, "with rope_type \"" + name + "\"");
    return settings;
  }
  void refuse_unread(const JsonObject& object, const std::string& where) const {
    for (const std::string& key : object.unread_keys()) {
      if (object.has(key)) object.fail(key, "not understood " + where);
    }
  }

  // Among the settings or beside them; where neither, the model was never stretched.
  index_t original_context(const JsonObject& object) const {
    constexpr index_t most = std::numeric_limits<index_t>::max();
    const index_t outside = json_.get_index(original_key, 1, most, 0);
    const index_t inside = object.get_index(original_key, 1, most, outside);
    if (outside != 0 && inside != outside) {
      object.fail(original_key,
                  "it differs from " + std::string(original_key) + " outside (" + std::to_string(outside) + ")");
    }
    return inside != 0 ? inside : question_.max_position_embeddings;
  }
  double factor_or_ratio(const JsonObject& object, index_t original) const {
    if (object.has("factor")) return object.get_number("factor", 1.0, max_factor);
    if (!object.has(original_key) && !json_.has(original_key)) {
      object.fail("factor", "the key is missing, expected factor or original_max_position_embeddings");
    }
    return std::max(1.0, static_cast<double>(question_.max_position_embeddings) / original);
  }

  const JsonObject& json_;
  const RopeQuestion& question_;
  std::optional<double> theta_;
  std::optional<double> partial_;
  bool has_kind_ = false;
  RopeSettings settings_;
  std::optional<JsonObject> object_;  // that names the kind
};

// The rotary positions of a layer, valid for Rope::create. Throws Error (bad_file) with the key.
inline RopeSettings read_rope(const JsonObject& json, const RopeQuestion& question) {
  return RopeReader(json, question).read();
}

// One for each layer where `layer_rope_theta` lists a theta each (granitemoe_swa): none where it is 0, which means no
// rotary positions. Without the list every layer has those of the model.
inline std::vector<std::optional<RopeSettings>> read_layer_ropes(const JsonObject& json, RopeQuestion question,
                                                                 index_t num_layers) {
  constexpr std::string_view key = "layer_rope_theta";
  if (!json.has(key)) return {as_size(num_layers), read_rope(json, question)};
  const std::vector<double> thetas = json.get_numbers(key, 0.0, 1e15);
  if (static_cast<std::int64_t>(thetas.size()) != num_layers) {
    json.fail(key, "expected one for each of " + std::to_string(num_layers) + " layers, found " +
                       std::to_string(thetas.size()));
  }
  question.default_theta = 1e4;  // of no layer
  RopeSettings settings = read_rope(json, question);
  std::vector<std::optional<RopeSettings>> layers;
  for (const double theta : thetas) {
    settings.theta = theta;
    layers.push_back(theta > 0.0 ? std::optional(settings) : std::nullopt);
    if (layers.back() && (theta < 1.0 || !Rope::create(settings))) json.fail(key, "expected 0 or numbers above 1");
  }
  return layers;
}

}  // namespace headgate::inline HEADGATE_ABI
