// ModelDescription: what a checkpoint is and what a token of it costs, from config.json and the headers of its tensors.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "headgate/attention/region_cache.hpp"
#include "headgate/models/memory_plan.hpp"
#include "headgate/models/scratch_count.hpp"
#include "headgate/models/session_options.hpp"
#include "headgate/models/weight_count.hpp"

namespace headgate::inline HEADGATE_ABI {

struct TensorSummary {
  std::string name;
  DType dtype;
  Shape shape;
};

struct ModelDescription {
  ModelConfig config;                       // config.model_type is the family
  WeightCount weights;                      // parameters, bytes read per token, bytes of an expert, ...
  std::vector<TensorSummary> tensors;       // of the files, by name
  std::vector<std::string> unused_tensors;  // that the family knows nothing of: ignored
  std::vector<std::string> unknown_keys;    // of config.json that the family knows nothing of: ignored
  std::vector<SkippedPart> skipped;         // files and entries of an index or document that were passed over
  std::vector<std::string> files;           // that the model is read from, by name
  std::vector<DType> dtypes;                // of the tensors that are used, each once; F16 and F64 are packed as F32

  static ModelDescription of(const ModelConfig& config, const DecoderTensors& found, const TensorSource& source) {
    ModelDescription description;
    description.config = config;
    description.weights = WeightCount::of(config, found);
    std::set<const Tensor*> used;
    std::set<DType> types;
    found.for_each([&](const Tensor& tensor) {
      used.insert(&tensor);
      types.insert(tensor.dtype);
    });
    description.dtypes.assign(types.begin(), types.end());
    for (const Tensor& tensor : source.tensors()) {
      description.tensors.push_back({tensor.name, tensor.dtype, tensor.shape});
      if (used.count(&tensor) == 0) description.unused_tensors.push_back(tensor.name);
    }
    description.skipped.assign(source.skipped().begin(), source.skipped().end());
    for (const MappedFile& file : source.files()) {
      description.files.push_back(file.path().substr(file.path().find_last_of('/') + 1));
    }
    return description;
  }

  // Of one layer.
  std::int64_t cache_bytes(index_t context) const noexcept {
    if (config.attention == AttentionKind::bilevel) {
      return RegionCache::bytes({context, context, 0}, config.num_key_value_heads, config.head_dim, config.region_size);
    }
    return KvCache::bytes({context, context, 0}, config.num_key_value_heads, config.head_dim);
  }
  // What loading the model and one session of these options on so many threads will take, at most. context_size 0: the
  // model's own.
  MemoryPlan memory(const SessionOptions& options = {}, index_t threads = 1) const noexcept {
    const index_t context = options.context_size == 0 ? config.max_position_embeddings : options.context_size;
    const index_t rows = std::min(options.rows_per_pass, context);
    const double kv_cache = static_cast<double>(config.num_hidden_layers) * static_cast<double>(cache_bytes(context));
    const std::int64_t logits = std::int64_t{2} * config.vocab_size * (options.all_logits ? context : 1);
    const ScratchCount scratch{config, rows, context, threads};
    const auto scratch_bytes =
        static_cast<std::int64_t>(Workspace::held_for(scratch.bytes(options.all_logits ? rows : 1)));
    return {.weights = weights.packed_bytes,
            .kv_cache = static_cast<std::int64_t>(std::min(kv_cache, 0x1p62)),
            .workspace = scratch_bytes + std::int64_t{sizeof(float)} * logits,
            .largest_tensor = weights.largest_tensor};
  }
};

}  // namespace headgate::inline HEADGATE_ABI
