// headgate chat: a conversation, question by question, on a terminal or through a pipe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "headgate/core/cache_type.hpp"
#include "headgate/core/compute.hpp"
#include "sampling_flags.hpp"

struct ChatOptions {
  std::optional<std::string> model;
  std::optional<std::string> format;  // none: the checkpoint's template says it
  std::optional<std::string> system;
  std::int64_t max_tokens = -1;  // of an answer; -1, -2: until the context is full
  std::int64_t context = 0;
  std::int64_t threads = -1;
  std::optional<headgate::Compute> compute;
  std::optional<std::string> lora;
  headgate::CacheType cache_type = headgate::CacheType::f32;
  std::int64_t batch_rows = 2048;
  std::int64_t ubatch_rows = 512;
  SamplingFlags sampling;
  bool json = false;
};

// Until the input ends. Returns the exit code: 0, or 143 where SIGTERM ended the run. Throws headgate::Error.
int chat(const ChatOptions& options);
