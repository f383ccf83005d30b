// What a session takes: said before it is taken, and refused where this machine does not have it.
#pragma once

#include <cstdint>

#include "headgate/models/description.hpp"
#include "headgate/models/session_options.hpp"
#include "statistics.hpp"

struct SessionRequest {
  std::int64_t context;  // positions; 0: what the model was made for
  std::int64_t batch_rows;
  std::int64_t ubatch_rows;
  std::int64_t threads;
  std::int64_t parallel = 1;  // texts
  headgate::CacheType cache_type = headgate::CacheType::f32;
};

// Writes the plan to standard error and to use. limit (exit 5): more memory than there is.
headgate::SessionOptions plan_session(const SessionRequest& request, const headgate::ModelDescription& model,
                                      MemoryUse& use);
