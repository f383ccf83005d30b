// split_model: a dense llama checkpoint as one whose networks are cut into experts (experts/split_ffn.hpp): a folder of
// the family headgate_moe (models/headgate_moe.hpp) with the router hard_top_k and llama's attention, that load_model
// runs. Weights keep their values: floats their type too, quantized ones are written as float32 (quantize_model packs
// them again). With all experts chosen and weight 1 it is the dense model, but for the order of a sum.
#pragma once

#include <cmath>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "headgate/experts/split_ffn.hpp"
#include "headgate/io/safetensors_header.hpp"
#include "headgate/models/checkpoint_documents.hpp"
#include "headgate/models/llama.hpp"
#include "headgate/models/load.hpp"

namespace headgate::inline HEADGATE_ABI {

struct SplitOptions {
  index_t num_experts = 0;  // of each layer; it divides intermediate_size
  index_t k = 0;            // chosen for each token
  float weight = 1.0f;      // of each (EqualWeights)
  // A safetensors file, or a folder of them, of trained gates: model.layers.L.mlp.gate.weight (num_experts,
  // hidden_size). None: gates are zero, so that every token goes to the first k experts.
  std::optional<std::string> gates = std::nullopt;
  Progress progress = nullptr;  // bytes of the file; what it throws passes through
};

struct SplitReport {
  index_t num_layers = 0;
  index_t hidden_size = 0;
  index_t dense_size = 0;   // intermediate_size of the dense networks
  index_t expert_size = 0;  // of each expert
  std::int64_t file_bytes = 0;
  std::string config;  // the text of config.json
};

namespace detail {

// config.json of a dense llama model as that of the model that it is cut into.
inline std::string split_config(Json json, const SplitOptions& options, const HeadSizes& heads, index_t expert_size) {
  auto& members = std::get<Json::Object>(json.value);
  const auto set = [&](const char* key, decltype(Json::value) value) {
    std::erase_if(members, [&](const JsonMember& member) { return member.key == key; });
    members.push_back({key, -1, {std::move(value), -1}, {}});
  };
  const auto member = [](const char* key, decltype(Json::value) value) -> JsonMember {
    return {key, -1, {std::move(value), -1}, {}};
  };
  std::erase_if(members, [](const JsonMember& m) { return m.key == "mlp_bias" || m.key == "pretraining_tp"; });
  set("model_type", std::string(HeadgateMoe::model_type));
  set("architectures", Json::Array{{std::string(HeadgateMoe::architecture), -1}});
  set("num_key_value_heads", std::int64_t{heads.num_kv_heads});
  set("head_dim", std::int64_t{heads.head_dim});
  set("num_experts", std::int64_t{options.num_experts});
  set("num_experts_per_tok", std::int64_t{options.k});
  set("moe_intermediate_size", std::int64_t{expert_size});
  set("router", Json::Object{member("type", std::string("hard_top_k")), member("k", std::int64_t{options.k}),
                             member("weight", static_cast<double>(options.weight))});
  set("attention", Json::Object{member("type", std::string("dense")), member("qk_norm", false)});
  return json_text(json) + "\n";
}

// A tensor of the new file: a block of a matrix of the old one, or zeros.
struct SplitTensor {
  SafetensorsEntry entry;
  WeightRows from = {};
  index_t first_row = 0;
  index_t num_rows = 0;
  index_t first_col = 0;
  index_t num_cols = 0;
  bool is_zero = false;

  static SplitTensor of(const WeightRows& rows, std::string name, std::vector<std::int64_t> shape, index_t first_row,
                        index_t num_rows, index_t first_col, index_t num_cols) {
    const DType stored = rows.dtype();
    const DType dtype = stored == DType::bf16 || stored == DType::f16 ? stored : DType::f32;
    const auto bytes = static_cast<std::uint64_t>(std::int64_t{num_rows} * num_cols * (dtype == DType::f32 ? 4 : 2));
    return {{std::move(name), dtype, std::move(shape), bytes}, rows, first_row, num_rows, first_col, num_cols};
  }
  static SplitTensor whole(const WeightRows& rows) {
    const auto sizes = rows.shape().sizes();
    return of(rows, rows.name(), {sizes.begin(), sizes.end()}, 0, rows.rows(), 0, rows.cols());
  }
  static SplitTensor block(const WeightRows& rows, std::string name, index_t first_row, index_t num_rows,
                           index_t first_col, index_t num_cols) {
    return of(rows, std::move(name), {num_rows, num_cols}, first_row, num_rows, first_col, num_cols);
  }
  static SplitTensor zeros(std::string name, index_t rows, index_t cols) {
    const auto bytes = static_cast<std::uint64_t>(std::int64_t{rows} * cols * std::int64_t{sizeof(float)});
    SplitTensor tensor{{std::move(name), DType::f32, {rows, cols}, bytes}};
    tensor.num_rows = rows;
    tensor.num_cols = cols;
    tensor.is_zero = true;
    return tensor;
  }

  void write(const std::function<void(std::string_view)>& write) const {
    std::vector<float> row(as_size(is_zero ? num_cols : from.cols()), 0.0f);
    std::string bytes;
    const auto put = [&](auto value) { bytes.append(reinterpret_cast<const char*>(&value), sizeof value); };
    for (index_t r = 0; r < num_rows; ++r) {
      if (!is_zero) from.read(first_row + r, row);
      bytes.clear();
      for (index_t c = 0; c < num_cols; ++c) {  // floats of 16 bits come back as what they were
        const float value = row[as_size(first_col + c)];
        if (entry.dtype == DType::bf16) {
          put(bf16(value));
        } else if (entry.dtype == DType::f16) {
          put(f16(value));
        } else {
          put(value);
        }
      }
      write(bytes);
    }
    if (!is_zero) from.release();
  }
};

// The tensors of the checkpoint that is made of a dense one. Its networks go by their names, which are llama's.
inline std::vector<SplitTensor> split_tensors(const Blueprint& blueprint, const SplitOptions& options,
                                              const TensorSource* gates, SplitReport& report) {
  std::vector<SplitTensor> tensors;
  const auto is_of = [](const std::string& name, std::string_view end) {
    return name.find(".mlp.") != name.npos && name.ends_with(end);
  };
  const index_t size = report.expert_size;
  for (const WeightUse& use : blueprint.weights()) {
    const WeightRows& rows = use.rows;
    const std::string name = rows.name();
    const bool is_down = is_of(name, ".down_proj.weight");
    const bool is_up = is_of(name, ".up_proj.weight");
    if (!is_down && !is_up && !is_of(name, ".gate_proj.weight")) {
      tensors.push_back(SplitTensor::whole(rows));
      continue;
    }
    const std::size_t split = name.rfind(".mlp.") + std::string_view(".mlp.").size();
    for (index_t e = 0; e < options.num_experts; ++e) {
      const std::string of_expert = name.substr(0, split) + "experts." + std::to_string(e) + "." + name.substr(split);
      tensors.push_back(is_down ? SplitTensor::block(rows, of_expert, 0, rows.rows(), e * size, size)
                                : SplitTensor::block(rows, of_expert, e * size, size, 0, rows.cols()));
    }
    if (!is_up) continue;
    ++report.num_layers;
    const std::string gate = name.substr(0, split) + "gate.weight";
    tensors.push_back(gates == nullptr ? SplitTensor::zeros(gate, options.num_experts, report.hidden_size)
                                       : SplitTensor::whole(WeightRows::find(
                                             *gates, gate, {options.num_experts, report.hidden_size})));
  }
  return tensors;
}

}  // namespace detail

// Writes model.safetensors; the report has config.json, and what else stands beside it (the tokenizer) is the old
// one's. path: as load_model takes it. Throws Error as load_model does, of families other than llama and of gates that
// are not there, too; usage where the networks cannot be cut so; bad_file for networks with biases, which headgate_moe
// has not.
inline SplitReport split_model(const std::string& path, const SplitOptions& options,
                               const std::function<void(std::string_view)>& write) {
  using Dense = FamilyList<Llama>;
  SplitReport report;
  detail::read_checkpoint<Dense>(
      path, {Compute::f32},
      [&](const Blueprint& blueprint, const TensorSource& source, const detail::CheckpointNotes&) {
        std::string file = path;
        std::string text;
        if (source.metadata() != nullptr) {
          text = gguf_config_text<Dense>(TensorSource::open(path));  // under the names of the file
        } else {
          const Descriptor config = Descriptor::open(path).open_inside("config.json");
          file = config.path();
          text = read_small_file(config, std::uint64_t{64} << 20);
        }
        Json json = parse_json(text, file, 0, {.non_finite = true, .repeated_keys = true});
        const JsonObject keys(json, file);
        if (keys.get_bool("mlp_bias", false)) {
          keys.fail("mlp_bias", "networks with biases cannot be cut into experts of headgate_moe, which have none");
        }
        report.hidden_size = blueprint.config.hidden_size;
        report.dense_size = keys.get_index("intermediate_size", 1, ConfigLimits::width);
        throw_if_error(FfnSplit{.num_parts = options.num_experts}.check(report.dense_size));
        report.expert_size = report.dense_size / options.num_experts;
        if (options.k < 1 || options.k > options.num_experts) {
          throw_if_error(Status::mismatch("experts of a token", options.k, options.num_experts));
        }
        if (!std::isfinite(options.weight)) {
          throw_if_error(Status{ErrorCode::usage, "weight of the chosen experts is not finite"});
        }
        const HeadSizes heads = read_heads(keys, report.hidden_size, /*may_omit_kv_heads=*/true);
        report.config = detail::split_config(json, options, heads, report.expert_size);

        std::optional<TensorSource> gates;
        if (options.gates) gates = TensorSource::open(*options.gates);
        const std::vector<detail::SplitTensor> tensors =
            detail::split_tensors(blueprint, options, gates ? &*gates : nullptr, report);
        std::vector<SafetensorsEntry> entries;
        for (const detail::SplitTensor& tensor : tensors) entries.push_back(tensor.entry);
        const std::pair<std::string, std::string> metadata[] = {{"format", "pt"}};
        const std::string header = safetensors_header(entries, metadata);
        std::int64_t total = static_cast<std::int64_t>(header.size());
        for (const SafetensorsEntry& entry : entries) total += static_cast<std::int64_t>(entry.bytes);
        const std::function<void(std::string_view)> put = [&](std::string_view bytes) {
          write(bytes);
          report.file_bytes += static_cast<std::int64_t>(bytes.size());
        };
        put(header);
        for (const detail::SplitTensor& tensor : tensors) {
          tensor.write(put);
          if (options.progress) options.progress(report.file_bytes, total);
        }
      });
  return report;
}

}  // namespace headgate::inline HEADGATE_ABI
