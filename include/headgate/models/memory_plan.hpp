// MemoryPlan: the memory that running a model takes, known before any of it is allocated.
#pragma once

#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

struct MemoryPlan {
  std::int64_t weights = 0;         // packed, in bytes like all of these
  std::int64_t kv_cache = 0;        // of one session
  std::int64_t workspace = 0;       // scratch of one pass of rows_per_pass tokens, and the logits
  std::int64_t largest_tensor = 0;  // of the files, while it is being packed
  std::int64_t mapped = 0;          // weights that are read in their files: pages that the system lends and takes back

  // Of this process alone: without what is mapped.
  constexpr std::int64_t total() const noexcept { return weights + kv_cache + workspace + largest_tensor; }
};

}  // namespace headgate::inline HEADGATE_ABI
