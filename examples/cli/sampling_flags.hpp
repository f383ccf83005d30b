// SamplingFlags: how the next token is chosen, for the commands that write text.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "flags.hpp"
#include "headgate/sampling/sampler.hpp"
#include "numbers.hpp"

struct SamplingFlags {
  std::optional<std::uint64_t> seed;  // none: from the system's entropy
  float temperature = 0.8f;           // 0: always the most likely token
  std::int64_t top_k = 40;            // 0: all
  float top_p = 0.95f;                // 1: all
  float min_p = 0.05f;                // 0: all
  float repeat_penalty = 1.0f;        // 1: none
  std::int64_t repeat_last_n = 64;    // tokens it looks back on; -1: all of the context

  void declare(Flags& flags) {
    flags.value("-s,--seed", "N", "of the sampler; -1: a random one, printed (-1)",
                [this](const std::string& text) { seed = parse_seed("--seed", text); });
    flags.real("--temp,--temperature", "0: always the most likely token (0.8)", 0.0, 1e6, temperature);
    flags.integer("--top-k", "sample from the N most likely; 0: all (40)", 0, Flags::any_count, top_k);
    flags.real("--top-p", "... from the smallest set of this probability; 1: all (0.95)", 1e-6, 1.0, top_p);
    flags.real("--min-p", "... from those this likely against the best; 0: all (0.05)", 0.0, 1.0, min_p);
    flags.real("--repeat-penalty", "divides logits of tokens seen before; 1: none (1.0)", 1e-3, 1e3, repeat_penalty);
    flags.integer("--repeat-last-n", "... among the last N; -1: all, 0: none (64)", -1, Flags::any_count,
                  repeat_last_n);
  }

  // With the seed that the flags gave, or else the caller drew.
  headgate::SamplerOptions options(std::uint64_t drawn_seed, headgate::index_t context_size) const {
    const auto count = [](std::int64_t asked) {
      return static_cast<headgate::index_t>(std::min(asked, std::int64_t{headgate::max_index}));
    };
    return {.temperature = temperature,
            .top_k = count(top_k),
            .top_p = top_p,
            .min_p = min_p,
            .repeat_penalty = repeat_penalty,
            .repeat_last_n = repeat_last_n < 0 ? context_size : count(repeat_last_n),
            .seed = drawn_seed};
  }
};
