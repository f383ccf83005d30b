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
#include <cmath>
#include <initializer_list>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "headgate/io/json_object.hpp"
#include "headgate/io/tensor_source.hpp"

namespace headgate::inline HEADGATE_ABI {

class GgufTranslation {
 public:
  // Precondition: the source is a GGUF file, and outlives the translation.
  explicit GgufTranslation(const TensorSource& source) : source_(source), metadata_(*source.metadata()) {
    constexpr std::string_view key = "general.architecture";
    if (!metadata_.has(key)) metadata_.fail(key, "the key is missing, expected the name of a model's architecture");
    architecture_ = metadata_.get_string(key);
    constexpr std::int64_t most_layers = 4096;
    layers_ = static_cast<index_t>(metadata_.get_integer(stored("block_count"), 1, most_layers) -
                                   metadata_.get_integer(stored("nextn_predict_layers"), 0, most_layers, 0));
    take("num_hidden_layers", "block_count");
    members_.back().value.value = std::int64_t{layers_};
  }

  const std::string& architecture() const noexcept { return architecture_; }
  const GgufMetadata& metadata() const noexcept { return metadata_; }
  index_t num_layers() const noexcept { return layers_; }  // without those that predict more than the next token
  bool has(std::string_view key) const { return metadata_.has(stored(key)); }
  bool has_tensor(const std::string& name) const { return source_.find(name) != nullptr; }
  bool has_layer_tensor(index_t layer, const std::string& name) const { return has_tensor(block(layer) + name); }
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
  // A key that is of no consequence.
  void ignore(std::string_view key) { taken_.insert(stored(key)); }

  // The family's name of a tensor; shape: where the files have as many elements in other sizes.
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
  // Stacks of experts in every layer, which are then experts one by one: prefix + "0." + name.
  void expert_tensors(const std::string& prefix, std::initializer_list<std::pair<const char*, const char*>> pairs) {
    for (index_t l = 0; l < layers_; ++l) {
      for (const auto& [name, stack] : pairs) {
        const std::string stored = block(l) + stack;
        const Tensor* const tensor = source_.find(stored);
        // Before 2024 they were one by one: "blk.0.ffn_gate.3.weight" in place of "blk.0.ffn_gate_exps.weight".
        const std::size_t middle = stored.find("_exps");
        const bool is_stack = tensor != nullptr || middle == stored.npos;
        const std::int64_t count = is_stack && tensor != nullptr ? tensor->shape[0] : num_experts();
        for (std::int64_t e = 0; e < count; ++e) {
          const std::string number = std::to_string(e);
          const std::string own = layer(l) + prefix + number + "." + name;
          if (tensor != nullptr || !has_tensor(single(stored, middle, number))) {
            names_.push_back({own, stored, e, std::nullopt});
          } else {
            names_.push_back({own, single(stored, middle, number), -1, std::nullopt});
          }
        }
      }
    }
  }

  // Sizes, ids, norms and the tensors around the layers, which nearly all have; attention and norms of the layers.
  void usual() {
    take("hidden_size", "embedding_length");
    take("max_position_embeddings", "context_length");
    take("num_attention_heads", "attention.head_count");
    take("num_key_value_heads", "attention.head_count_kv", member("num_attention_heads"));
    take("rms_norm_eps", "attention.layer_norm_rms_epsilon");
    take_vocabulary();
    take_head_dim();
    take_rope();
    give("tie_word_embeddings", json(!has_tensor("output.weight")));
    give("attention_bias", json(has_layer_tensor(0, "attn_q.bias")));
    tensor("model.embed_tokens.weight", "token_embd.weight");
    tensor("model.norm.weight", "output_norm.weight");
    tensor("lm_head.weight", "output.weight");
    layer_tensors({{"input_layernorm.weight", "attn_norm.weight"},
                   {"post_attention_layernorm.weight", "ffn_norm.weight"},
                   {"self_attn.q_proj.weight", "attn_q.weight"},
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

  std::int64_t hidden_size() const { return metadata_.get_integer(stored("embedding_length"), 1, INT32_MAX); }
  std::int64_t num_experts() const { return metadata_.get_integer(stored("expert_count"), 0, 1 << 16, 0); }
  bool has_rotary_pairs() const noexcept { return has_rotary_pairs_; }
  const std::vector<TensorName>& names() const noexcept { return names_; }
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
  void take_head_dim() {
    take("head_dim", "attention.key_length");
    ignore("attention.value_length");
    if (has("attention.value_length") && !member("head_dim").is_null() &&
        metadata_.get_integer(stored("attention.value_length"), 1, INT32_MAX) !=
            metadata_.get_integer(stored("attention.key_length"), 1, INT32_MAX)) {
      metadata_.fail(stored("attention.value_length"), "it differs from attention.key_length, which is not supported");
    }
  }
  void take_rope() {
    take("rope_theta", "rope.freq_base", json(10000.0));
    ignore("rope.dimension_count");
    ignore("rope.scaling.finetuned");
    Json::Object scaling;
    const auto add = [&](const char* name, Json value, const std::string& key) {
      const GgufValue* const found = metadata_.find(key);
      scaling.push_back({name, found == nullptr ? -1 : found->offset, std::move(value), key});
    };
    const auto add_key = [&](const char* name, const char* key) {
      taken_.insert(stored(key));
      if (has(key)) add(name, to_json(*metadata_.find(stored(key))), stored(key));
    };
    const std::string type(metadata_.get_string(stored("rope.scaling.type"), "none"));
    taken_.insert(stored("rope.scaling.type"));
    const bool has_lists = has_tensor("rope_factors_short.weight");
    if (has_tensor("rope_freqs.weight") || has_lists) {
      const std::string low = has_lists ? "rope_factors_short.weight" : "rope_freqs.weight";
      const std::string high = has_lists ? "rope_factors_long.weight" : "rope_freqs.weight";
      add("rope_type", json("longrope"), stored("rope.scaling.type"));
      add("short_factor", divisors(low), low);
      add("long_factor", divisors(high), high);
      add_key("original_max_position_embeddings", "rope.scaling.original_context_length");
      taken_.insert(stored("rope.scaling.factor"));
      taken_.insert(stored("rope.scaling.attn_factor"));
      const double factor = metadata_.get_number(stored("rope.scaling.attn_factor"), 1e-6, 1e6, 1.0);
      add("attention_factor", json(factor), stored("rope.scaling.attn_factor"));
      add("factor", json(1.0), stored("rope.scaling.factor"));
    } else if (type == "yarn") {
      add("rope_type", json("yarn"), stored("rope.scaling.type"));
      add_key("factor", "rope.scaling.factor");
      add_key("original_max_position_embeddings", "rope.scaling.original_context_length");
      add_key("beta_fast", "rope.scaling.yarn_beta_fast");
      add_key("beta_slow", "rope.scaling.yarn_beta_slow");
      // llama.cpp multiplies what YaRN's paper says by it; config.json's attention_factor stands in its place.
      const std::string extra = stored("rope.scaling.attn_factor");
      taken_.insert(extra);
      if (metadata_.has(extra)) {
        const double factor = metadata_.get_number(stored("rope.scaling.factor"), 1.0, 1e6, 1.0);
        add("attention_factor", json(metadata_.get_number(extra, 1e-6, 1e6) * (1.0 + 0.1 * std::log(factor))), extra);
      }
    } else if (type != "none") {
      add("rope_type", json(type), stored("rope.scaling.type"));
      add_key("factor", "rope.scaling.factor");
    }
    if (!scaling.empty()) give("rope_scaling", json(std::move(scaling)), stored("rope.scaling.type"));
  }
  // A tensor of numbers that the frequencies are divided by.
  Json divisors(const std::string& name) const {
    const Tensor& tensor = *source_.find(name);
    source_.require(name, {DType::f32}, Shape{tensor.shape[0]});
    if (tensor.shape[0] > 1 << 16) source_.fail(tensor, "it is too long");
    std::vector<float> values(as_size(tensor.shape[0]));
    read_elements(tensor, 0, values);
    Json::Array list;
    for (const float value : values) list.push_back(json(static_cast<double>(value)));
    return json(std::move(list));
  }

  bool is_unknown(const GgufValue& value) const {
    return value.key.starts_with(architecture_ + ".") && taken_.count(std::string(value.key)) == 0;
  }
  // Keys of other architectures that would change what is computed, with what would not.
  void refuse_unless_neutral(const GgufValue& value) const {
    static constexpr std::string_view words[] = {"scale",  "softcapping", "clamp",       "multiplier",
                                                 "factor", "alibi",       "temperature", "gating_func"};
    const std::string key(value.key);
    if (!is_unknown(value) || value.is_array) return;
    const bool matters = std::any_of(std::begin(words), std::end(words),
                                     [&](std::string_view word) { return key.find(word) != key.npos; });
    if (!matters || value.type == GgufType::string) return;
    const bool is_bool = value.type == GgufType::boolean;
    const double found = is_bool ? 0.0 : metadata_.get_number(key, -1e300, 1e300);
    if (found < 0.0 || found > 0.0) {
      if (found < 1.0 || found > 1.0) metadata_.fail(key, "not understood for this architecture");
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
};

}  // namespace headgate::inline HEADGATE_ABI
