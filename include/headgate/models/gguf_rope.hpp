// GgufRope: the rotary positions of a GGUF file in the words of config.json (rope_config.hpp). Lists of divisors are
// tensors there: rope_factors_long and rope_factors_short for longrope, rope_freqs for llama3, whose angles are then
// those of float32 divisors and not of the formula.
#pragma once

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "headgate/io/json_object.hpp"
#include "headgate/io/tensor_source.hpp"

namespace headgate::inline HEADGATE_ABI {

class GgufRope {
 public:
  // What an architecture knows of its files that they do not say.
  struct Options {
    std::int64_t turned = 0;  // channels of a head that turn, as its other keys have them; 0: they are not known
    bool rounds_yarn = true;  // config.json's truncate
    bool has_mscale = false;  // rope.scaling.yarn_log_multiplier is a tenth of mscale_all_dim, which mscale equals
  };

  GgufRope(const TensorSource& source, std::string architecture, const Options& options)
      : source_(source), metadata_(*source.metadata()), architecture_(std::move(architecture)), options_(options) {
    check_turned();
    const std::string kind = stored("rope.scaling.type");
    take("rope.scaling.type");
    // As in llama.cpp a factor alone is one of linear scaling.
    const std::string type(metadata_.get_string(kind, has("rope.scaling.factor") ? "linear" : "none"));
    if (source_.find(short_list) != nullptr || source_.find(long_list) != nullptr) {
      read_lists(short_list, long_list);
    } else if (source_.find(one_list) != nullptr) {
      read_lists(one_list, one_list);
    } else if (type == "yarn") {
      read_yarn();
    } else if (type != "none") {
      add("rope_type", text(type), kind);
      add_key("factor", "rope.scaling.factor");
      take("rope.scaling.original_context_length");
    } else {
      take("rope.scaling.original_context_length");
    }
  }

  // Members of rope_scaling; none: positions are plain.
  const Json::Object& members() const noexcept { return members_; }
  // Keys that were read.
  const std::vector<std::string>& taken() const noexcept { return taken_; }
  // Tensors that were read.
  const std::vector<std::string>& lists() const noexcept { return lists_; }

 private:
  static constexpr const char* short_list = "rope_factors_short.weight";
  static constexpr const char* long_list = "rope_factors_long.weight";
  static constexpr const char* one_list = "rope_freqs.weight";
  static constexpr double max_factor = 1e6;
  static constexpr double min_factor = 1e-6;

  std::string stored(const char* key) const { return architecture_ + "." + key; }
  bool has(const char* key) const { return metadata_.has(stored(key)); }
  const GgufValue* take(const char* key) {
    taken_.push_back(stored(key));
    return metadata_.find(taken_.back());
  }
  static Json text(std::string value) {
    Json json;
    json.value = std::move(value);
    return json;
  }
  static Json number(double value) {
    Json json;
    json.value = value;
    return json;
  }
  void add(const char* name, Json value, const std::string& key) {
    const GgufValue* const found = metadata_.find(key);
    const std::int64_t offset = found == nullptr ? -1 : found->offset;
    value.offset = offset;
    members_.push_back({name, offset, std::move(value), key});
  }
  void add_key(const char* name, const char* key) {
    if (take(key) == nullptr) return;
    constexpr double most = 1e300;
    add(name, number(metadata_.get_number(stored(key), -most, most)), stored(key));
  }
  void add_original_context() {
    const char* const key = "rope.scaling.original_context_length";
    if (take(key) == nullptr) return;
    Json count;
    count.value = metadata_.get_integer(stored(key), 1, INT32_MAX);
    add("original_max_position_embeddings", std::move(count), stored(key));
  }

  void check_turned() {
    const char* const key = "rope.dimension_count";
    if (take(key) == nullptr || options_.turned == 0) return;
    if (metadata_.get_integer(stored(key), 1, INT32_MAX) != options_.turned) {
      metadata_.fail(stored(key),
                     "expected " + std::to_string(options_.turned) + ", the channels of a head, of which each turns");
    }
  }

  void read_lists(const char* low, const char* high) {
    lists_ = {low, high};
    add("rope_type", text("longrope"), stored("rope.scaling.type"));
    add("short_factor", divisors(low), low);
    add("long_factor", divisors(high), high);
    add_original_context();
    take("rope.scaling.factor");  // stretches nothing where there are lists
    const char* const key = "rope.scaling.attn_factor";
    take(key);
    add("attention_factor", number(metadata_.get_number(stored(key), min_factor, max_factor, 1.0)), stored(key));
    add("factor", number(1.0), stored("rope.scaling.factor"));
  }
  // A tensor of numbers that the frequencies are divided by.
  Json divisors(const std::string& name) const {
    constexpr std::int64_t most = 1 << 16;
    const Tensor* const tensor = source_.find(name);
    const Tensor& list = source_.require(name, {DType::f32}, tensor == nullptr ? Shape{1} : Shape{tensor->row_size()});
    if (list.row_size() > most) source_.fail(list, "it is too long");
    std::vector<float> values(as_size(list.row_size()));
    source_.read(list, 0, values);
    Json::Array numbers;
    for (const float value : values) numbers.push_back(number(static_cast<double>(value)));
    Json json;
    json.value = std::move(numbers);
    return json;
  }

  void read_yarn() {
    add("rope_type", text("yarn"), stored("rope.scaling.type"));
    add_key("factor", "rope.scaling.factor");
    add_original_context();
    add_key("beta_fast", "rope.scaling.yarn_beta_fast");
    add_key("beta_slow", "rope.scaling.yarn_beta_slow");
    if (!options_.rounds_yarn) {
      Json no;
      no.value = false;
      add("truncate", std::move(no), {});
    }
    take("rope.scaling.yarn_ext_factor");
    metadata_.get_number(stored("rope.scaling.yarn_ext_factor"), 1.0, 1.0, 1.0);
    add_key("attention_factor", "rope.scaling.yarn_attn_factor");
    read_log_multiplier();
    // llama.cpp multiplies what YaRN's paper says by it; config.json's attention_factor stands in its place.
    const std::string extra = stored("rope.scaling.attn_factor");
    if (take("rope.scaling.attn_factor") == nullptr) return;
    const double more = metadata_.get_number(extra, min_factor, max_factor);
    if (has("rope.scaling.yarn_attn_factor") || has("rope.scaling.yarn_log_multiplier")) {
      metadata_.get_number(extra, 1.0, 1.0);
      return;
    }
    const double factor = metadata_.get_number(stored("rope.scaling.factor"), 1.0, max_factor, 1.0);
    add("attention_factor", number(more * (1.0 + 0.1 * std::log(factor))), extra);
  }
  void read_log_multiplier() {
    const char* const key = "rope.scaling.yarn_log_multiplier";
    if (!has(key)) return;
    take(key);
    const double tenth = metadata_.get_number(stored(key), 0.0, 10.0);
    if (!options_.has_mscale) {
      metadata_.get_number(stored(key), 0.0, 0.0);
      return;
    }
    // Ten times a number of a few digits is again one.
    const double mscale = std::round(tenth * 1e10) / 1e9;
    add("mscale", number(mscale), stored(key));
    add("mscale_all_dim", number(mscale), stored(key));
  }

  const TensorSource& source_;
  const GgufMetadata& metadata_;
  std::string architecture_;
  Options options_;
  Json::Object members_;
  std::vector<std::string> taken_;
  std::vector<std::string> lists_;
};

}  // namespace headgate::inline HEADGATE_ABI
