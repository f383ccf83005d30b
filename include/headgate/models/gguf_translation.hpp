// GgufTranslation: a GGUF file as the Hugging Face checkpoint it was made of. A family (families.hpp) that such files
// hold says which of their keys mean which of config.json's, and what its tensors are called there; its blueprint then
// reads both as from a folder, with the same checks. Messages name keys and tensors as the GGUF file does.
//
//   static constexpr std::string_view gguf_architecture = "olmoe";      // general.architecture
//   static void translate(GgufTranslation& gguf) { gguf.usual(); ... }
//   static bool is_gguf(const GgufTranslation& gguf)                    // optional: where families share a name
//
// Sources: the keys and names of the gguf package and of llama.cpp's convert_hf_to_gguf.py.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "headgate/io/json_object.hpp"
#include "headgate/io/tensor_source.hpp"
#include "headgate/models/gguf_rope.hpp"

namespace headgate::inline HEADGATE_ABI {

class GgufTranslation {
 public:
  // Precondition: the source is a GGUF file, and outlives the translation.
  explicit GgufTranslation(const TensorSource& source) : source_(source), metadata_(*source.metadata()) {
    constexpr std::string_view key = "general.architecture";
    if (!metadata_.has(key)) metadata_.fail(key, "the key is missing, expected the name of a model's architecture");
    architecture_ = metadata_.get_string(key);
    take("num_hidden_layers", "block_count");
    if (has("block_count")) read_layers();
  }

  const std::string& architecture() const noexcept { return architecture_; }
  const GgufMetadata& metadata() const noexcept { return metadata_; }
  index_t num_layers() const noexcept { return layers_; }  // without those that predict more than the next token
  bool has(std::string_view key) const { return metadata_.has(stored(key)); }
  bool has_tensor(const std::string& name) const { return source_.find(name) != nullptr; }
  bool has_layer_tensor(index_t layer, const std::string& name) const { return has_tensor(block(layer) + name); }
  bool has_any_layer_tensor(const std::string& name) const { return last_layer_with(name) >= 0; }
  // A layer without is then refused.
  bool has_attention_bias() const {
    return has_any_layer_tensor("attn_q.bias") || has_any_layer_tensor("attn_k.bias") ||
           has_any_layer_tensor("attn_v.bias");
  }
  // -1: there is none.
  index_t last_layer_with(const std::string& name) const {
    index_t layer = layers_ - 1;
    while (layer >= 0 && !has_layer_tensor(layer, name)) --layer;
    return layer;
  }
  // "blk.0."
  static std::string block(index_t layer) { return "blk." + std::to_string(layer) + "."; }
  // With the prefix that keys of the architecture have.
  std::string stored(std::string_view key) const { return architecture_ + "." + std::string(key); }

  // `name` of config.json is the architecture's `key`, where there is one.
  void take(const char* name, std::string_view key) {
    taken_.insert(stored(key));
    give(name, metadata_.has(stored(key)) ? to_json(*metadata_.find(stored(key))) : Json{}, stored(key));
  }
  // ... with what its absence means.
  void take(const char* name, std::string_view key, Json absent) {
    taken_.insert(stored(key));
    give(name, metadata_.has(stored(key)) ? to_json(*metadata_.find(stored(key))) : std::move(absent), stored(key));
  }
  // What files of this architecture do not say because it is always so, or say in another way: by key, for messages.
  void give(const char* name, Json value, std::string key = {}) {
    members_.erase(std::remove_if(members_.begin(), members_.end(), [&](const JsonMember& m) { return m.key == name; }),
                   members_.end());
    const GgufValue* const found = metadata_.find(key);
    members_.push_back({name, found == nullptr ? -1 : found->offset, std::move(value), std::move(key)});
    members_.back().value.offset = members_.back().offset;
  }
  template <class T>
  static Json json(T value) {
    Json json;
    if constexpr (std::is_same_v<T, const char*>) {
      json.value = std::string(value);
    } else {
      json.value = std::move(value);
    }
    return json;
  }
  // ... where a list of the same number for every layer is as good as the number.
  void take_size(const char* name, std::string_view key, Json absent = {}) {
    take(name, key, std::move(absent));
    const auto* const list = std::get_if<Json::Array>(&members_.back().value.value);
    if (list == nullptr || list->empty()) return;
    const std::int64_t first = whole_number(list->front());
    const bool is_uniform = std::all_of(list->begin(), list->end(), [&](const Json& e) {
      return std::holds_alternative<std::int64_t>(e.value) && whole_number(e) == first;
    });
    if (is_uniform && list->size() >= as_size(layers_)) {
      Json one = json(first);
      one.offset = members_.back().value.offset;
      members_.back().value = std::move(one);
    }
  }
  // The window of attention; 0 is none.
  void take_window(const char* name = "sliding_window") {
    take(name, "attention.sliding_window");
    if (whole_number(members_.back().value) == 0) members_.back().value.value = std::monostate{};
  }
  // Which layers have the window: a list of bools, or n, of which every n-th layer has none.
  void take_layer_types() {
    constexpr const char* key = "attention.sliding_window_pattern";
    ignore(key);
    const GgufValue* const value = metadata_.find(stored(key));
    if (value == nullptr) return;
    std::vector<std::int64_t> windows;
    if (value->is_array) {
      windows = metadata_.get_integers(stored(key), 0, 1);
    } else {
      const std::int64_t period = metadata_.get_integer(stored(key), 1, INT32_MAX);
      for (index_t l = 0; l < layers_; ++l) windows.push_back(l % period < period - 1 ? 1 : 0);
    }
    Json::Array types;
    for (const std::int64_t window : windows)
      types.push_back(json(window != 0 ? "sliding_attention" : "full_attention"));
    give("layer_types", json(std::move(types)), stored(key));
  }
  // A key that is of no consequence.
  void ignore(std::string_view key) { taken_.insert(stored(key)); }

  // The family's name of a tensor; shape: where the files have other sizes of one.
  void tensor(std::string name, std::string stored, std::optional<Shape> shape = std::nullopt) {
    names_.push_back({std::move(name), std::move(stored), -1, std::move(shape)});
  }
  // In every layer: behind "model.layers.0." and behind "blk.0.".
  void layer_tensors(std::initializer_list<std::pair<const char*, const char*>> pairs,
                     const std::optional<Shape>& shape = std::nullopt) {
    for (index_t l = 0; l < layers_; ++l) {
      for (const auto& [name, stored] : pairs) tensor(layer(l) + name, block(l) + stored, shape);
    }
  }
  // Stacks of experts in every layer, which are then experts one by one: prefix + "0." + name. Newer files may hold
  // gate and up rows in one stack, as Hugging Face's names of stacks (FfnNames) have it.
  void expert_tensors(const std::string& prefix, std::initializer_list<std::pair<const char*, const char*>> pairs) {
    for (index_t l = 0; l < layers_; ++l) {
      if (has_layer_tensor(l, "ffn_gate_up_exps.weight")) {
        tensor(layer(l) + prefix + "gate_up_proj", block(l) + "ffn_gate_up_exps.weight");
        tensor(layer(l) + prefix + "down_proj", block(l) + "ffn_down_exps.weight");
        continue;
      }
      for (const auto& [name, stack] : pairs) {
        const std::string own = layer(l) + prefix;
        const std::string stored = block(l) + stack;
        if (const Tensor* const tensor = source_.find(stored); tensor != nullptr) {
          const std::int64_t count = std::min(tensor->shape[0], num_experts());
          for (std::int64_t e = 0; e < count; ++e) {
            names_.push_back({own + std::to_string(e) + "." + name, stored, e, std::nullopt});
          }
          continue;
        }
        // Before 2024 they were one by one: "blk.0.ffn_gate.3.weight" in place of "blk.0.ffn_gate_exps.weight". One
        // that is not there is the last that is named.
        const std::size_t middle = stored.find("_exps");
        const bool has_single = middle != stored.npos && has_tensor(single(stored, middle, "0"));
        for (std::int64_t e = 0; e < num_experts(); ++e) {
          const std::string number = std::to_string(e);
          const std::string one = has_single ? single(stored, middle, number) : stored;
          names_.push_back({own + number + "." + name, one, -1, std::nullopt});
          if (!has_tensor(one)) break;
        }
      }
    }
  }

  // Nearly all have all of it.
  void usual() {
    usual_outside();
    usual_norms();
    usual_attention();
  }
  // Sizes, ids, norms and the tensors around the layers.
  void usual_outside() {
    take("hidden_size", "embedding_length");
    take("max_position_embeddings", "context_length");
    take_size("num_attention_heads", "attention.head_count");
    take("rms_norm_eps", "attention.layer_norm_rms_epsilon");
    take_vocabulary();
    give("tie_word_embeddings", json(!has_tensor("output.weight")));
    tensor("model.embed_tokens.weight", "token_embd.weight");
    tensor("model.norm.weight", "output_norm.weight");
    tensor("lm_head.weight", "output.weight");
    tensor("lm_head.bias", "output.bias");
  }
  void usual_norms() {
    layer_tensors(
        {{"input_layernorm.weight", "attn_norm.weight"}, {"post_attention_layernorm.weight", "ffn_norm.weight"}});
  }
  // Grouped-query attention. rounds_yarn: as `truncate` of config.json.
  void usual_attention(bool rounds_yarn = true) {
    take_size("num_key_value_heads", "attention.head_count_kv", member("num_attention_heads"));
    take_head_dim();
    take_rope({.turned = head_dim(), .rounds_yarn = rounds_yarn});
    give("attention_bias", json(has_attention_bias()));
    layer_tensors({{"self_attn.q_proj.weight", "attn_q.weight"},
                   {"self_attn.k_proj.weight", "attn_k.weight"},
                   {"self_attn.v_proj.weight", "attn_v.weight"},
                   {"self_attn.o_proj.weight", "attn_output.weight"},
                   {"self_attn.q_proj.bias", "attn_q.bias"},
                   {"self_attn.k_proj.bias", "attn_k.bias"},
                   {"self_attn.v_proj.bias", "attn_v.bias"},
                   {"self_attn.o_proj.bias", "attn_output.bias"},
                   {"self_attn.q_norm.weight", "attn_q_norm.weight"},
                   {"self_attn.k_norm.weight", "attn_k_norm.weight"}});
  }
  void take_head_dim() {
    take("head_dim", "attention.key_length");
    ignore("attention.value_length");
    if (has("attention.value_length") && !member("head_dim").is_null() &&
        metadata_.get_integer(stored("attention.value_length"), 1, INT32_MAX) !=
            metadata_.get_integer(stored("attention.key_length"), 1, INT32_MAX)) {
      metadata_.fail(stored("attention.value_length"), "it differs from attention.key_length, which is not supported");
    }
  }
  void take_rope(const GgufRope::Options& options) {
    take("rope_theta", "rope.freq_base", json(10000.0));
    ignore("rope.scaling.finetuned");
    const GgufRope rope(source_, architecture_, options);
    taken_.insert(rope.taken().begin(), rope.taken().end());
    settings_ = rope.lists();
    if (!rope.members().empty()) give("rope_scaling", json(rope.members()), stored("rope.scaling.type"));
  }
  void dense_biases() {
    layer_tensors({{"mlp.gate_proj.bias", "ffn_gate.bias"},
                   {"mlp.up_proj.bias", "ffn_up.bias"},
                   {"mlp.down_proj.bias", "ffn_down.bias"}});
  }
  // The network beside the experts.
  void shared_tensors(const std::string& prefix) {
    for (const char* const kind : {"gate", "up", "down"}) {
      for (const char* const what : {".weight", ".bias"}) {
        layer_tensors(
            {{(prefix + kind + "_proj" + what).c_str(), (std::string("ffn_") + kind + "_shexp" + what).c_str()}});
      }
    }
  }
  // The networks of layers without experts.
  void dense_tensors(const char* gate = "mlp.gate_proj.weight", const char* up = "mlp.up_proj.weight",
                     const char* down = "mlp.down_proj.weight") {
    layer_tensors({{gate, "ffn_gate.weight"}, {up, "ffn_up.weight"}, {down, "ffn_down.weight"}});
  }
  // Experts, how many and how many of them at a time.
  void usual_experts(const std::string& router = "mlp.gate.weight", const std::string& prefix = "mlp.experts.",
                     const char* gate = "gate_proj.weight", const char* up = "up_proj.weight",
                     const char* down = "down_proj.weight") {
    take("num_experts", "expert_count");
    take("num_experts_per_tok", "expert_used_count");
    layer_tensors({{router.c_str(), "ffn_gate_inp.weight"}});
    expert_tensors(prefix,
                   {{gate, "ffn_gate_exps.weight"}, {up, "ffn_up_exps.weight"}, {down, "ffn_down_exps.weight"}});
  }
  // Layers that have no router.
  Json dense_layers() const {
    Json::Array layers;
    for (index_t l = 0; l < layers_; ++l) {
      if (!has_layer_tensor(l, "ffn_gate_inp.weight")) layers.push_back(json(std::int64_t{l}));
    }
    return json(std::move(layers));
  }
  // Rows of queries and keys stand in rotary pairs side by side, as converted from Meta's layout: of files whose
  // architecture llama.cpp turns so and whose Hugging Face class turns halves.
  void set_rotary_pairs() noexcept { has_rotary_pairs_ = true; }

  // 0: the keys do not say it.
  std::int64_t head_dim() const {
    const std::int64_t heads = whole_number(member("num_attention_heads"));
    return metadata_.get_integer(stored("attention.key_length"), 0, INT32_MAX, heads > 0 ? hidden_size() / heads : 0);
  }
  std::int64_t hidden_size() const { return metadata_.get_integer(stored("embedding_length"), 1, INT32_MAX); }
  std::int64_t num_experts() const { return metadata_.get_integer(stored("expert_count"), 0, 1 << 16, 0); }
  bool has_rotary_pairs() const noexcept { return has_rotary_pairs_; }
  const std::vector<TensorName>& names() const noexcept { return names_; }
  // Tensors that were read as keys are.
  const std::vector<std::string>& settings() const noexcept { return settings_; }
  // What stands for config.json. Throws where a key that nobody has taken would change what the model computes.
  Json config() const {
    for (const GgufValue& value : metadata_.values()) refuse_unless_neutral(value);
    return json(Json::Object(members_));
  }
  // Of the architecture, that nobody has taken.
  std::vector<std::string> unknown_keys() const {
    std::vector<std::string> keys;
    for (const GgufValue& value : metadata_.values()) {
      if (is_unknown(value)) keys.emplace_back(value.key);
    }
    return keys;
  }

 private:
  bool has_layer(index_t number) const {
    const std::string prefix = block(number);
    const std::span<const Tensor> tensors = source_.tensors();
    const auto place = std::lower_bound(tensors.begin(), tensors.end(), prefix,
                                        [](const Tensor& tensor, const std::string& key) { return tensor.name < key; });
    return place != tensors.end() && place->name.starts_with(prefix);
  }
  void read_layers() {
    constexpr std::int64_t most_layers = 4096;
    const std::int64_t predicting = metadata_.get_integer(stored("nextn_predict_layers"), 0, most_layers, 0);
    layers_ = static_cast<index_t>(metadata_.get_integer(stored("block_count"), 1, most_layers) - predicting);
    if (layers_ < 1) metadata_.fail(stored("nextn_predict_layers"), "it leaves no layer");
    for (index_t l = 0; l < layers_; ++l) {
      if (!has_layer(l)) metadata_.fail(stored("block_count"), "there are no tensors of layer " + std::to_string(l));
    }
    members_.back().value.value = std::int64_t{layers_};
  }
  static std::string layer(index_t number) { return "model.layers." + std::to_string(number) + "."; }
  static std::string single(const std::string& stack, std::size_t middle, const std::string& number) {
    return stack.substr(0, middle) + "." + number + stack.substr(middle + 5);
  }
  Json member(std::string_view name) const {
    for (const JsonMember& m : members_) {
      if (m.key == name) return m.value;
    }
    return {};
  }
  // 0 where it is none.
  static std::int64_t whole_number(const Json& json) noexcept {
    const auto* const number = std::get_if<std::int64_t>(&json.value);
    return number == nullptr ? 0 : *number;
  }

  Json to_json(const GgufValue& value) const {
    const std::string key(value.key);
    constexpr std::int64_t any = std::numeric_limits<std::int64_t>::max();
    constexpr double most = std::numeric_limits<double>::infinity();
    const bool is_real = value.type == GgufType::f32 || value.type == GgufType::f64;
    if (value.type == GgufType::string) {
      if (!value.is_array) return json(std::string(metadata_.get_string(key)));
      Json::Array list;
      for (const std::string_view text : metadata_.get_strings(key)) list.push_back(json(std::string(text)));
      return json(std::move(list));
    }
    if (!value.is_array) {
      if (value.type == GgufType::boolean) return json(metadata_.get_bool(key));
      if (is_real) return json(metadata_.get_number(key, -most, most));
      return json(metadata_.get_integer(key, -any, any));
    }
    Json::Array list;
    if (is_real) {
      for (const float element : metadata_.get_floats(key)) list.push_back(json(static_cast<double>(element)));
    } else {
      for (const std::int64_t element : metadata_.get_integers(key, -any, any)) {
        list.push_back(value.type == GgufType::boolean ? json(element != 0) : json(element));
      }
    }
    return json(std::move(list));
  }

  void take_vocabulary() {
    constexpr const char* tokens = "tokenizer.ggml.tokens";
    const Tensor* const table = source_.find("token_embd.weight");
    if (const GgufValue* const list = metadata_.find(tokens); list != nullptr && list->is_array) {
      give("vocab_size", json(static_cast<std::int64_t>(list->count)), tokens);
      ignore("vocab_size");
    } else if (has("vocab_size") || table == nullptr) {
      take("vocab_size", "vocab_size");
    } else {
      give("vocab_size", json(table->shape[0]), "token_embd.weight");
    }
    const auto id = [&](const char* key) {
      const std::string name = std::string("tokenizer.ggml.") + key;
      return metadata_.has(name) ? to_json(*metadata_.find(name)) : Json{};
    };
    give("bos_token_id", id("bos_token_id"), "tokenizer.ggml.bos_token_id");
    Json::Array ends;
    for (const char* const key : {"eos_token_id", "eot_token_id", "eom_token_id"}) {
      if (Json end = id(key); !end.is_null()) ends.push_back(std::move(end));
    }
    give("eos_token_id", ends.empty() ? Json{} : json(std::move(ends)), "tokenizer.ggml.eos_token_id");
  }
  bool is_unknown(const GgufValue& value) const {
    return value.key.starts_with(architecture_ + ".") && taken_.count(std::string(value.key)) == 0;
  }
  // Keys of other architectures that would change what is computed, with what would not: 0, 1, false, no list.
  void refuse_unless_neutral(const GgufValue& value) const {
    static constexpr std::string_view words[] = {
        "scale",       "softcapping",  "clamp", "multiplier", "factor", "alibi",   "temperature",  "gating_func",
        "sliding",     "weights_norm", "_swa",  "group_",     "causal", "pooling", "shared_kv",    "dimension_sections",
        "moe_every_n", "interleave",   "ssm.",  "latent",     "expert", "indexer", "parallel_res", "_lora_rank"};
    const std::string key(value.key);
    if (!is_unknown(value) || value.type == GgufType::string) return;
    const bool matters = std::any_of(std::begin(words), std::end(words),
                                     [&](std::string_view word) { return key.find(word) != key.npos; });
    if (!matters) return;
    const auto refuse = [&] { metadata_.fail(key, "not understood for this architecture"); };
    const bool is_window = key.find("sliding") != key.npos;
    const bool is_causal = key.find("causal") != key.npos;
    if (value.is_array) {
      const Json list = to_json(value);
      for (const Json& entry : std::get<Json::Array>(list.value)) {
        if (const auto* const flag = std::get_if<bool>(&entry.value); flag != nullptr && !*flag) continue;
        if (const auto* const real = std::get_if<double>(&entry.value); real != nullptr && !(*real < 0 || *real > 0)) {
          continue;
        }
        if (const auto* const whole = std::get_if<std::int64_t>(&entry.value); whole != nullptr && *whole == 0)
          continue;
        refuse();
      }
    } else if (value.type == GgufType::boolean) {
      if (metadata_.get_bool(key) != is_causal) refuse();
    } else {
      constexpr double most = 1e300;
      const double found = metadata_.get_number(key, -most, most);
      if ((found < 0.0 || found > 0.0) && (is_window || found < 1.0 || found > 1.0)) refuse();
    }
  }

  const TensorSource& source_;
  const GgufMetadata& metadata_;
  std::string architecture_;
  index_t layers_ = 0;
  Json::Object members_;
  std::vector<TensorName> names_;
  std::set<std::string> taken_;
  bool has_rotary_pairs_ = false;
  std::vector<std::string> settings_;
};

}  // namespace headgate::inline HEADGATE_ABI
