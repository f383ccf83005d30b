// SessionOptions: how large a session is and how it cuts its work.
#pragma once

#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

struct SessionOptions {
  index_t context_size = 0;     // positions; 0: max_position_embeddings of the model
  index_t rows_per_pass = 512;  // tokens that pass through the layers together; changes time and memory, never a bit
  bool all_logits = false;      // keep the logits of every token of a forward, not only of the last
};

}  // namespace headgate::inline HEADGATE_ABI
