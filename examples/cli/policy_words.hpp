// A model's router and attention in a few words, for people.
#pragma once

#include <string>

#include <fmt/format.h>

#include "headgate/models/model_config.hpp"

inline std::string router_words(const headgate::ModelConfig& c) {
  const std::string top = fmt::format("top {} of {}", c.num_experts_per_tok, c.num_experts);
  switch (c.router) {
    case headgate::RouterKind::null_expert:
      return fmt::format("null experts, {} + {} null", top, c.null_experts);
    case headgate::RouterKind::gru:
      return fmt::format("recurrent ({}), {}", c.router_state_size, top);
    case headgate::RouterKind::bias_balanced:
      return fmt::format("sigmoid + bias, {}", top);
    case headgate::RouterKind::top_k_softmax:
      break;
  }
  return fmt::format("softmax, {}", top);
}

inline std::string attention_words(const headgate::ModelConfig& c) {
  if (c.attention == headgate::AttentionKind::dense) return "dense";
  return fmt::format("bi-level, {} regions of {}", c.routed_regions, c.region_size);
}
