// headgate generate: writes on from a prompt.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "headgate/core/cache_type.hpp"
#include "headgate/core/compute.hpp"
#include "sampling_flags.hpp"

struct GenerateOptions {
  std::optional<std::string> model;        // none: the demo model
  std::optional<std::string> prompt;       // one of these three
  std::optional<std::string> prompt_file;  // -: standard input
  std::optional<std::vector<std::int32_t>> token_ids;
  std::int64_t max_tokens = -1;  // -1, -2: until the context is full; 0: only the prompt is read
  std::int64_t context = 0;      // positions; 0: what the model was made for
  std::int64_t threads = -1;     // 0, -1: all processors this process may use
  std::optional<headgate::Compute> compute;
  std::optional<std::string> lora;
  headgate::CacheType cache_type = headgate::CacheType::f32;
  std::int64_t batch_rows = 2048;  // prompt rows given at a time, and
  std::int64_t ubatch_rows = 512;  // of them in one forward pass: the smaller counts
  SamplingFlags sampling;
  bool ignore_eos = false;
  std::int64_t parallel = 1;         // continuations of the prompt
  std::vector<std::string> stop;     // strings that end the text and are no part of it
  std::int64_t logprobs = 0;         // best tokens listed per step; 0: none
  std::optional<std::string> trace;  // file of routes
  bool json = false;
};

// Returns the exit code: 0, or 128 + the number of the signal that ended the run. Throws headgate::Error.
int generate(const GenerateOptions& options);
