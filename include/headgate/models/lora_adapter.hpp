// LoraAdapter: a LoRA as PEFT saves it: a folder with adapter_config.json and adapter_model.safetensors, or, in the
// place of these, adapter_model.compeft (io/compeft.hpp), which has the same tensors.
//   y = W x + s B A x;  s = lora_alpha / r, with use_rslora lora_alpha / sqrt(r);  r and lora_alpha of a module are
//   those of the first pattern (rank_pattern, alpha_pattern) that names it, or those of all tensors:
//   base_model.model.MODULE.lora_A.weight (r, in), base_model.model.MODULE.lora_B.weight (out, r), as floats
// Which modules: those that have tensors. What would change the output and is not plain LoRA is refused by name: other
// methods (peft_type), DoRA (use_dora, lora_magnitude_vector), biases, whole modules saved beside it, embeddings,
// activated LoRA, initialisations that change the base weights (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA), replicated
// layers, any setting not known here unless it is null, false or empty. Source: PEFT 0.21, tuners/lora,
// utils/save_and_load.
#pragma once

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "headgate/experts/lora_experts.hpp"
#include "headgate/io/compeft.hpp"
#include "headgate/io/json.hpp"
#include "headgate/io/mapped_file.hpp"
#include "headgate/io/safetensors.hpp"
#include "headgate/io/tensor_source.hpp"

namespace headgate::inline HEADGATE_ABI {

class LoraAdapter {
 public:
  struct Module : LowRankChange {
    std::string name;  // of the linear layer in the base model: "model.layers.0.self_attn.q_proj"

    LoraMatrices matrices() const noexcept { return {{a.data(), rank, in_size}, {b.data(), out_size, rank}, scale}; }
  };

  // Throws io, bad_file (which key or tensor, what was found) or limit.
  static LoraAdapter open(const std::string& folder) {
    const Descriptor opened = Descriptor::open(folder);
    if (!opened.is_folder()) {
      throw Error(ErrorCode::io, {folder, "", -1, "expected a folder with " + std::string(config_name)});
    }
    const Descriptor file = opened.open_inside(config_name);
    const Json json = parse_json(read_small_file(file, max_config_bytes), file.path(), 0, {.non_finite = true});
    const JsonObject config(json, file.path());
    check_config(config);
    if (!opened.contains(weights_name) && !opened.contains(compeft_name) && opened.contains("adapter_model.bin")) {
      throw Error(ErrorCode::bad_file, {folder, "adapter_model.bin", -1,
                                        "a pickle is not read; save the adapter as " + std::string(weights_name)});
    }
    LoraAdapter adapter(folder);
    const bool is_ternary = !opened.contains(weights_name) && opened.contains(compeft_name);
    const MappedFile weights(opened.open_inside(is_ternary ? compeft_name : weights_name));
    if (!is_ternary) {
      adapter.read(read_safetensors(weights.bytes(), weights.path()), weights.path(), config);
      return adapter;
    }
    std::vector<std::vector<float>> values;  // what the tensors below refer to
    std::vector<Tensor> tensors;
    for (const TernaryTensor& ternary : read_compeft(weights.bytes(), weights.path())) {
      values.push_back(ternary.floats());
      tensors.push_back(
          {.name = ternary.name, .shape = ternary.shape, .bytes = std::as_bytes(std::span(values.back()))});
    }
    adapter.read(tensors, weights.path(), config);
    return adapter;
  }

  const std::string& path() const noexcept { return path_; }
  // Sorted by name; at least one.
  std::span<const Module> modules() const noexcept { return modules_; }
  // Null where the adapter leaves the module as it is.
  const Module* find(std::string_view name) const noexcept {
    const auto place = std::lower_bound(modules_.begin(), modules_.end(), name,
                                        [](const Module& module, std::string_view key) { return module.name < key; });
    return place != modules_.end() && place->name == name ? &*place : nullptr;
  }
  // The same, which must be there. Throws bad_file.
  const Module& require(std::string_view name) const {
    if (const Module* const module = find(name)) return *module;
    throw Error(ErrorCode::bad_file, {path_, std::string(name), -1, "the adapter has no such module"});
  }

 private:
  static constexpr const char* config_name = "adapter_config.json";
  static constexpr const char* weights_name = "adapter_model.safetensors";
  static constexpr const char* compeft_name = "adapter_model.compeft";
  static constexpr std::uint64_t max_config_bytes = std::uint64_t{4} << 20;

  explicit LoraAdapter(std::string path) : path_(std::move(path)) {}

  // Null, false, empty, or one of the values that mean the same.
  static bool is_neutral(const Json& json) {
    if (json.is_null()) return true;
    if (const auto* const flag = std::get_if<bool>(&json.value)) return !*flag;
    if (const auto* const text = std::get_if<std::string>(&json.value)) return text->empty();
    if (const auto* const list = std::get_if<Json::Array>(&json.value)) return list->empty();
    const auto* const object = std::get_if<Json::Object>(&json.value);
    return object != nullptr && object->empty();
  }
  static void check_config(const JsonObject& config) {
    const std::string& type = config.get_string("peft_type");
    if (type != "LORA") config.fail("peft_type", "expected \"LORA\", found \"" + escaped(type, 40) + "\"");
    config.get_index("r", 1, max_index);
    config.get_number("lora_alpha", -1e9, 1e9);
    config.get_bool("use_rslora", false);
    for (const char* const pattern : {"rank_pattern", "alpha_pattern"}) {
      if (config.has(pattern)) config.get_object(pattern);
    }
    if (const std::string bias = config.get_string("bias", "none"); bias != "none") {
      config.fail("bias", "trained biases are not read, expected \"none\", found \"" + escaped(bias, 40) + "\"");
    }
    check_initialisation(config);
    // Of training, of where the adapter came from, and of how its modules were found: the tensors say which they are.
    for (const char* const key : {"auto_mapping",      "base_model_name_or_path",
                                  "corda_config",      "ensure_weight_tying",
                                  "eva_config",        "exclude_modules",
                                  "fan_in_fan_out",    "inference_mode",
                                  "layers_pattern",    "layers_to_transform",
                                  "loftq_config",      "lora_dropout",
                                  "lora_ga_config",    "megatron_config",
                                  "megatron_core",     "peft_version",
                                  "qalora_group_size", "revision",
                                  "runtime_config",    "target_modules",
                                  "task_type"}) {
      config.ignore(key);
    }
    for (const std::string& key : config.unread_keys()) {
      const Json& value = *config.value(key);
      if (!is_neutral(value)) config.fail(key, "would change the output and is not supported: " + value.describe());
    }
  }
  // Initialisations that take what they begin with off the base weights leave an adapter to other weights.
  static void check_initialisation(const JsonObject& config) {
    const Json* const json = config.value("init_lora_weights");
    if (json == nullptr || json->is_null() || std::holds_alternative<bool>(json->value)) return;
    const auto* const name = std::get_if<std::string>(&json->value);
    if (name != nullptr && (*name == "gaussian" || *name == "eva" || *name == "orthogonal")) return;
    config.fail("init_lora_weights",
                "it is not known to leave the base weights as they are (true, false, \"gaussian\", \"eva\" and "
                "\"orthogonal\" do): " +
                    json->describe());
  }

  // As PEFT's get_pattern_key: a regular expression for the end of a name, behind a dot or whole; of those only plain
  // names are understood, in which a dot stands for any character.
  static const Json* find_pattern(const JsonObject& config, const char* key, std::string_view module) {
    if (!config.has(key)) return nullptr;
    const Json* found = nullptr;
    for (const JsonMember& pattern : std::get<Json::Object>(config.value(key)->value)) {
      if (pattern.key.empty() || pattern.key.find_first_of("^$*+?()[]{}|\\") != std::string::npos) {
        config.fail(key, "of patterns only plain names are understood, found \"" + escaped(pattern.key, 80) + "\"");
      }
      if (found == nullptr && is_end(pattern.key, module)) found = &pattern.value;
    }
    return found;
  }
  static bool is_end(std::string_view pattern, std::string_view name) noexcept {
    if (pattern.size() > name.size()) return false;
    const std::size_t first = name.size() - pattern.size();
    if (first != 0 && name[first - 1] != '.') return false;
    return std::equal(pattern.begin(), pattern.end(), name.begin() + static_cast<std::ptrdiff_t>(first),
                      [](char wanted, char have) { return wanted == '.' || wanted == have; });
  }

  // Of one module: its r and lora_alpha.
  static std::pair<index_t, float> rank_and_scale(const JsonObject& config, std::string_view module) {
    double rank = static_cast<double>(config.get_index("r", 1, max_index));
    double alpha = config.get_number("lora_alpha", -1e9, 1e9);
    const auto number = [&](const char* key, const Json& json) {
      if (const auto* const whole = std::get_if<std::int64_t>(&json.value)) return static_cast<double>(*whole);
      if (const auto* const real = std::get_if<double>(&json.value)) return *real;
      config.fail(key, "expected a number, found " + json.describe());
    };
    if (const Json* const json = find_pattern(config, "rank_pattern", module)) rank = number("rank_pattern", *json);
    if (const Json* const json = find_pattern(config, "alpha_pattern", module)) alpha = number("alpha_pattern", *json);
    if (!(rank >= 1.0 && rank <= max_index && std::floor(rank) >= rank)) {
      config.fail("rank_pattern", "expected ranks from 1 on");
    }
    if (!(std::abs(alpha) <= 1e9)) config.fail("alpha_pattern", "expected numbers up to 1e9");
    const double divisor = config.get_bool("use_rslora", false) ? std::sqrt(rank) : rank;
    return {static_cast<index_t>(rank), static_cast<float>(alpha / divisor)};
  }

  void read(const std::vector<Tensor>& tensors, const std::string& file, const JsonObject& config) {
    constexpr std::string_view prefix = "base_model.model.", a_end = ".lora_A.weight", b_end = ".lora_B.weight";
    const auto refuse = [&](const Tensor& tensor, const std::string& what) {
      throw Error(ErrorCode::bad_file, {file, tensor.name, static_cast<std::int64_t>(tensor.offset), what});
    };
    for (const Tensor& tensor : tensors) {
      const std::string_view name = tensor.name;
      const bool is_a = name.ends_with(a_end);
      if (!name.starts_with(prefix) || !(is_a || name.ends_with(b_end)) ||
          name.size() <= prefix.size() + a_end.size()) {
        refuse(tensor, name.find("lora_magnitude_vector") != name.npos
                           ? "DoRA is not supported"
                           : "expected base_model.model.MODULE.lora_A.weight or lora_B.weight, nothing else");
      }
      if (!tensor.opaque.empty()) refuse(tensor, tensor.opaque);
      if (tensor.panels || (tensor.dtype != DType::f32 && tensor.dtype != DType::bf16 && tensor.dtype != DType::f16)) {
        refuse(tensor, "expected type F32, BF16 or F16, found " + std::string(info(tensor.dtype).name));
      }
      if (tensor.shape.rank() != 2 || tensor.shape[0] < 1 || tensor.shape[1] < 1 || tensor.shape[0] > max_index ||
          tensor.shape[1] > max_index) {
        refuse(tensor, "expected a matrix, found shape " + tensor.shape.describe());
      }
      const std::string_view module =
          name.substr(prefix.size(), name.size() - prefix.size() - (is_a ? a_end : b_end).size());
      if (is_a) {  // lora_A stands before lora_B, for names are sorted
        modules_.push_back({{.rank = static_cast<index_t>(tensor.shape[0]),
                             .in_size = static_cast<index_t>(tensor.shape[1]),
                             .a = floats(tensor),
                             .b = {}},
                            std::string(module)});
        continue;
      }
      if (modules_.empty() || modules_.back().name != module) refuse(tensor, "its lora_A is missing");
      if (tensor.shape[1] != modules_.back().rank) {
        refuse(tensor, "its rank " + std::to_string(tensor.shape[1]) + " is not that of its lora_A, " +
                           std::to_string(modules_.back().rank));
      }
      modules_.back().out_size = static_cast<index_t>(tensor.shape[0]);
      modules_.back().b = floats(tensor);
    }
    if (modules_.empty()) throw Error(ErrorCode::bad_file, {file, "", -1, "the adapter has no tensors"});
    for (Module& module : modules_) {
      if (module.b.empty()) throw Error(ErrorCode::bad_file, {file, module.name, -1, "its lora_B is missing"});
      const auto [rank, scale] = rank_and_scale(config, module.name);
      if (rank != module.rank) {
        throw Error(ErrorCode::bad_file, {file, module.name, -1,
                                          "its rank is " + std::to_string(module.rank) + ", that of " +
                                              std::string(config_name) + " " + std::to_string(rank)});
      }
      module.scale = scale;
    }
    std::sort(modules_.begin(), modules_.end(), [](const Module& a, const Module& b) { return a.name < b.name; });
  }
  static std::vector<float> floats(const Tensor& tensor) {
    std::vector<float> values(as_size(tensor.shape.elements()));
    read_elements(tensor, 0, values);
    return values;
  }

  std::string path_;
  std::vector<Module> modules_;
};

// Adapters of one base model as the experts of one of its projections, in their order: for RoutedLinear. Throws
// bad_file where one has no such module, usage where they do not fit each other.
template <WeightFormat Format = F32, class Backend = NativeBackend>
LoraExperts<Format, Backend> lora_experts(std::span<const LoraAdapter> adapters, std::string_view module,
                                          Format format = {}) {
  std::vector<LoraMatrices> experts;
  for (const LoraAdapter& adapter : adapters) experts.push_back(adapter.require(module).matrices());
  if (experts.empty()) throw Error(ErrorCode::usage, {"", std::string(module), -1, "no adapters given"});
  return {experts[0].a.cols, experts[0].b.rows, experts, format};
}

}  // namespace headgate::inline HEADGATE_ABI
