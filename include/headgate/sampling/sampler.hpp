// Sampler: chooses the next token from logits, in llama.cpp's order: repetition penalty, top-k, top-p, min-p,
// temperature, draw. Same seed and same logits: same tokens.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "headgate/core/exactly_equal.hpp"
#include "headgate/core/expected.hpp"
#include "headgate/sampling/candidates.hpp"
#include "headgate/sampling/random.hpp"

namespace headgate::inline HEADGATE_ABI {

struct SamplerOptions {
  float temperature = 0.8f;     // 0: the most likely token, ties to the lower id
  index_t top_k = 40;           // 0: all
  float top_p = 0.95f;          // 1: all
  float min_p = 0.05f;          // 0: all
  float repeat_penalty = 1.0f;  // 1: none
  index_t repeat_last_n = 64;   // tokens that the penalty looks back on
  std::uint64_t seed = 0;
};

class Sampler {
 public:
  static Expected<Sampler> create(const SamplerOptions& options) {
    const auto refuse = [](const char* option, auto found, const char* allowed) {
      return Error(ErrorCode::usage,
                   {"", option, -1, "expected " + std::string(allowed) + ", found " + std::to_string(found)});
    };
    constexpr float largest = std::numeric_limits<float>::max();
    if (!(options.temperature >= 0.0f && options.temperature <= largest)) {
      return refuse("temperature", options.temperature, "a finite number from 0 on");
    }
    if (options.top_k < 0) return refuse("top_k", options.top_k, "a number from 0 on");
    if (!(options.top_p >= 0.0f && options.top_p <= 1.0f))
      return refuse("top_p", options.top_p, "a number from 0 to 1");
    if (!(options.min_p >= 0.0f && options.min_p <= 1.0f))
      return refuse("min_p", options.min_p, "a number from 0 to 1");
    if (!(options.repeat_penalty > 0.0f && options.repeat_penalty <= largest)) {
      return refuse("repeat_penalty", options.repeat_penalty, "a finite number above 0");
    }
    if (options.repeat_last_n < 0) return refuse("repeat_last_n", options.repeat_last_n, "a number from 0 on");
    return Sampler(options, Checked{});
  }
  // Throws the same error.
  explicit Sampler(const SamplerOptions& options) : Sampler(create(options).value()) {}

  // A token of the text, prompt or chosen, that the repetition penalty shall see.
  void accept(std::int32_t token) {
    if (options_.repeat_last_n == 0) return;
    if (recent_.size() == as_size(options_.repeat_last_n)) recent_.erase(recent_.begin());
    recent_.push_back(token);
  }

  // Chooses from logits (vocab_size) and does not accept it. numeric: NaN, +inf, or nothing but -inf.
  Status sample(std::span<const float> logits, std::int32_t& token) {
    if (logits.empty()) return Status::mismatch("logits to sample from, at least", 0, 1);
    bool any = false;
    for (const float x : logits) {
      if (std::isnan(x) || exactly_equal(x, std::numeric_limits<float>::infinity())) {
        return Status::not_finite("a logit to sample from is NaN or +inf", -1, -1);
      }
      any = any || std::isfinite(x);
    }
    if (!any) return Status::not_finite("every logit to sample from is -inf", -1, -1);

    candidates_.clear();
    for (const float x : logits) candidates_.push_back({static_cast<std::int32_t>(candidates_.size()), x});
    if (!exactly_equal(options_.repeat_penalty, 1.0f)) penalize_repeats(candidates_, recent_, options_.repeat_penalty);
    if (exactly_equal(options_.temperature, 0.0f)) {
      token = std::min_element(candidates_.begin(), candidates_.end(), is_better)->token;
      return Status::success();
    }
    keep_top_k(candidates_, options_.top_k);
    keep_top_p(candidates_, options_.top_p);
    keep_min_p(candidates_, options_.min_p);
    token = draw(unnormalized_probabilities(candidates_, static_cast<double>(options_.temperature)));
    return Status::success();
  }

 private:
  struct Checked {};
  Sampler(const SamplerOptions& options, Checked) : options_(options), random_(options.seed) {}

  std::int32_t draw(std::span<const double> weights) {
    double total = 0.0;
    for (const double w : weights) total += w;
    double left = random_.next_unit() * total;
    std::size_t i = 0;
    while (i + 1 < weights.size() && left >= weights[i]) left -= weights[i++];
    while (exactly_equal(weights[i], 0.0)) --i;  // rounding left the last one, which cannot be: the best has weight 1
    return candidates_[i].token;
  }

  SamplerOptions options_;
  SplitMix64 random_;
  std::vector<std::int32_t> recent_;
  std::vector<Candidate> candidates_;
};

}  // namespace headgate::inline HEADGATE_ABI
