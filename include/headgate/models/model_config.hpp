// ModelConfig: what sessions, samplers and programs need to know of any decoder, whatever its family. What only one
// family knows stands in its parts (blueprint.hpp).
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

struct ModelConfig {
  std::string model_type;  // the family

  index_t vocab_size = 0;
  index_t hidden_size = 0;
  index_t num_hidden_layers = 0;
  index_t max_position_embeddings = 0;  // positions the model was made for

  std::int32_t bos_token_id = -1;           // -1: none
  std::vector<std::int32_t> eos_token_ids;  // of config.json and generation_config.json, ascending

  bool is_eos(std::int32_t token) const {
    return std::find(eos_token_ids.begin(), eos_token_ids.end(), token) != eos_token_ids.end();
  }
};

}  // namespace headgate::inline HEADGATE_ABI
