// ModelDescription: what a checkpoint is and what a token of it costs, from config.json and the headers of its tensors.
#pragma once

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "headgate/io/tensor_source.hpp"
#include "headgate/models/blueprint.hpp"
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
// Layers have so many parts that these words describe.
struct PartSummary {
  std::string words;
  index_t count = 0;
};

struct ModelDescription {
  ModelConfig config;                       // config.model_type is the family
  WeightCount weights;                      // parameters, bytes read per token, bytes of an expert, ...
  std::vector<PartSummary> mixers;          // attentions and the like, in the order of their first layer
  std::vector<PartSummary> feed_forwards;   // routed and dense
  index_t routed_layers = 0;                // layers with a router
  RoutingSummary routing;                   // of the first of them
  std::vector<TensorSummary> tensors;       // of the files, by the names that they have there
  std::vector<std::string> unused_tensors;  // that the family knows nothing of: ignored
  std::vector<std::string> unknown_keys;    // of config.json that the family knows nothing of: ignored
  std::vector<SkippedPart> skipped;         // files and entries of an index or document that were passed over
  std::vector<std::string> files;           // that the model is read from, by name
  std::vector<DType> dtypes;                // of the tensors that are used, each once; F64 is packed as F32

  // "6 x 32 heads of 64, 8 KV heads; 18 x short convolution": of mixers or feed_forwards.
  static std::string words(const std::vector<PartSummary>& parts) {
    std::string text;
    for (const PartSummary& part : parts) {
      text += (text.empty() ? "" : "; ") + (parts.size() > 1 ? std::to_string(part.count) + " x " : "") + part.words;
    }
    return text;
  }

  static ModelDescription of(const Blueprint& blueprint, const TensorSource& source) {
    ModelDescription description;
    description.config = blueprint.config;
    description.scratch_ = ScratchCount::of(blueprint);
    blueprint.each_operation(
        [&](const auto& part, index_t layer) { description.add(part, layer, blueprint.token_gates); });

    const WeightList weights = blueprint.weights();
    description.weights = WeightCount::of(weights);
    std::set<std::string> used;
    std::set<DType> types;
    for (const WeightUse& use : weights) {
      use.rows.for_each_tensor([&](const Tensor& tensor) {
        used.insert(source.stored_name(tensor.name));
        types.insert(tensor.dtype);
      });
    }
    description.dtypes.assign(types.begin(), types.end());
    for (const Tensor& tensor : source.stored_tensors()) {
      description.tensors.push_back({tensor.name, tensor.dtype, tensor.shape});
      if (used.count(tensor.name) == 0) description.unused_tensors.push_back(tensor.name);
    }
    description.skipped.assign(source.skipped().begin(), source.skipped().end());
    for (const MappedFile& file : source.files()) {
      description.files.push_back(file.path().substr(file.path().find_last_of('/') + 1));
    }
    return description;
  }

  // What loading the model and one session of these options on so many threads will take, at most. context_size 0: the
  // model's own. A layer schedule is one of this many layers. Several sessions of one pass: each has a cache and logits
  // of its own.
  MemoryPlan memory(const SessionOptions& options = {}, index_t threads = 1, index_t sessions = 1) const {
    const index_t context = options.context_size == 0 ? config.max_position_embeddings : options.context_size;
    const index_t rows = std::min(options.rows_per_pass, context);
    const StateSize size{context, rows, options.spare_positions, options.cache_type};
    double states = 0.0;
    for (std::size_t i = 0; i < states_.size(); ++i) {
      const index_t runs = options.layer_schedule.runs(layers_[i]);
      states += static_cast<double>(states_[i](size)) * runs;
    }
    const std::int64_t logits = std::int64_t{2} * config.vocab_size * (options.all_logits ? context : 1);
    const PassSize pass{rows, sessions, context, threads};
    const std::size_t scratch = scratch_.bytes(pass, options.all_logits ? rows : sessions, config.vocab_size);
    return {.weights = weights.packed_bytes,
            .kv_cache = static_cast<std::int64_t>(std::min(sessions * states, 0x1p62)),
            .workspace = static_cast<std::int64_t>(Workspace::held_for(scratch)) +
                         std::int64_t{sizeof(float)} * logits * sessions,
            .largest_tensor = weights.largest_tensor,
            .mapped = weights.mapped_bytes};
  }

  // What a row costs with what layers keep of a text that is so many positions long, itself included.
  std::int64_t text_bytes_read(index_t length, CacheType type = CacheType::f32) const {
    std::int64_t bytes = 0;
    for (std::size_t i = 0; i < states_.size(); ++i) {
      const std::int64_t read = reads_[i] ? reads_[i](length).positions : 1;
      bytes += states_[i] ? states_[i]({static_cast<index_t>(read), 1, 0, type}) : 0;
    }
    return bytes;
  }
  std::int64_t text_multiply_adds(index_t length) const {
    std::int64_t sum = 0;
    for (const ReadCount& reads : reads_) sum += reads ? reads(length).multiply_adds : 0;
    return sum;
  }

 private:
  static void count(const std::string& words, std::vector<PartSummary>& all) {
    const auto found = std::find_if(all.begin(), all.end(), [&](const PartSummary& s) { return s.words == words; });
    if (found == all.end()) {
      all.push_back({words, 1});
    } else {
      ++found->count;
    }
  }
  using Gates = std::map<index_t, TokenGatePart>;
  void add(const MixerPart& part, index_t layer, const Gates& gates) {
    const auto gate = gates.find(layer);
    count(part.words() + (gate == gates.end() ? "" : ", " + gate->second.words()), mixers);
    layers_.push_back(layer);
    states_.push_back(part.state());
    if (gate != gates.end()) {  // which positions were kept
      states_.back() = [own = part.state()](const StateSize& size) {
        return own(size) + std::int64_t{size.context_size} * std::int64_t{sizeof(index_t)};
      };
    }
    reads_.push_back(part.reads());
  }
  template <class Made>
  void add(const AnyPart<Made>& part, index_t /*layer*/, const Gates& /*gates*/) {
    count(part.words(), feed_forwards);
    if (part.routing() == nullptr) return;
    if (routed_layers++ == 0) routing = *part.routing();
  }

  ScratchCount scratch_;
  std::vector<StateNeed> states_;  // one a mixer
  std::vector<index_t> layers_;    // of the mixers
  std::vector<ReadCount> reads_;
};

}  // namespace headgate::inline HEADGATE_ABI
