// SessionOptions: how large a session is and how it cuts its work.
#pragma once

#include <vector>

#include "headgate/core/cache_type.hpp"
#include "headgate/core/types.hpp"
#include "headgate/layers/layer_schedule.hpp"

namespace headgate::inline HEADGATE_ABI {

struct SessionOptions {
  index_t context_size = 0;     // positions; 0: max_position_embeddings of the model
  index_t rows_per_pass = 512;  // tokens that pass through the layers together; changes time and memory, never a bit
  bool all_logits = false;      // keep the logits of every token of a forward, not only of the last
  // truncate can go back at least so many positions where a layer holds only the end of a text (sliding windows,
  // convolutions), which costs a row of it each. Layers that hold all positions go back to any.
  index_t spare_positions = 16;
  // How layers hold what they cache of every position: it changes memory, time and, but for f32, the numbers. usage,
  // with the layer, where one cannot. What holds a few rows, whatever the text's length, stays as it is.
  CacheType cache_type = CacheType::f32;
  // How often each layer runs: skipped, once, or twice with memory of its own each time. Session::choose_layers asks a
  // policy in its place.
  LayerSchedule layer_schedule = {};
  // (num_experts) What is added to the router logits of every token in every layer whose router reads such a bias
  // (SequenceBias, routing/sequence_bias.hpp; Glider's global part): finite; empty: nothing. usage where no router
  // does.
  std::vector<float> sequence_bias = {};
};

}  // namespace headgate::inline HEADGATE_ABI
