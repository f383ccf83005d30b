// Rope: rotary position embedding (Su et al. 2021, "RoFormer"), the half-rotation form of Hugging Face checkpoints: of
// the d channels of a head that turn, the pair (x_i, x_{i + d/2}) at position p turns by the angle p * f_i, with
// f_i = theta^(-2i/d) unless a kind says otherwise:
//   linear     f_i / factor                                    (positions squeezed together)
//   dynamic    theta * s^(d/(d-2)) for theta, s = factor * n / max - (factor - 1), n = max(context, max)       (NTK)
//   llama3     f_i / factor where the wavelength is above original / low_freq_factor, f_i where it is below
//              original / high_freq_factor, blended between
//   yarn       f_i / factor for slow pairs, f_i for fast ones, a ramp between (Peng et al. 2023)
//   longrope   f_i / short_factor_i, or long_factor_i beyond the original context (Ding et al. 2024)
// Cosines and sines are multiplied by an attention factor (yarn, longrope). As transformers' modeling_rope_utils, but
// computed in double: at position 100,000 a float angle is off by 0.004.
//
// dynamic and longrope ask how long a text is. transformers asks each pass, so that keys it has cached were turned by
// other angles than those beside them. Here the context of the session answers, the positions that its text may reach:
// so every bit is the same however a text is cut into passes.
//
// The kernels turn (Backend::rope); this gives the angles, once a pass for all layers that agree in them. Pairs that
// lie side by side in a checkpoint (x_2i, x_2i+1) are no kind: their rows of q and k are put apart when it is loaded.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numbers>
#include <optional>
#include <string>
#include <vector>

#include "headgate/core/expected.hpp"
#include "headgate/core/matrix_view.hpp"

namespace headgate::inline HEADGATE_ABI {

enum class RopeKind : std::uint8_t { plain, linear, dynamic, llama3, yarn, longrope };

// Everything that the angles depend on. What a kind does not read has its initial value, so that equal settings mean
// equal angles.
struct RopeSettings {
  RopeKind kind = RopeKind::plain;
  double theta = 0.0;
  index_t rotary_dim = 0;  // channels that turn, even; the first ones of a head
  double factor = 1.0;     // all but plain
  // dynamic: max_position_embeddings; llama3, yarn, longrope: of the training before the context was stretched
  index_t original_context = 0;
  double low_freq_factor = 0.0;                 // llama3
  double high_freq_factor = 0.0;                // llama3
  double beta_fast = 32.0;                      // yarn: turns within the original context, above which a pair is fast
  double beta_slow = 1.0;                       // yarn: and below which it is slow
  bool truncate = true;                         // yarn: the ramp begins and ends at whole pairs
  std::optional<double> attention_factor = {};  // yarn, longrope: given instead of computed
  std::optional<double> mscale = {};            // yarn
  std::optional<double> mscale_all_dim = {};    // yarn
  std::vector<double> short_factor = {};        // longrope: (rotary_dim / 2)
  std::vector<double> long_factor = {};         // longrope: (rotary_dim / 2)
  std::optional<double> short_mscale = {};      // longrope: PhiMoE's attention factor of the short list
  std::optional<double> long_mscale = {};       // longrope: and of the long one

  bool operator==(const RopeSettings&) const = default;

  // YaRN's growth of attention scores with the context: 0.1 mscale ln factor + 1. DeepSeek's MLA also multiplies its
  // softmax scale by the square of it, with mscale_all_dim.
  static double yarn_scale(double factor, double mscale) noexcept {
    return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
  }
};

class Rope {
 public:
  static Expected<Rope> create(RopeSettings settings) {
    if (std::optional<Error> error = refusal(settings)) return *std::move(error);
    return Rope(std::move(settings));
  }
  // The plain kind, of whole heads.
  static Expected<Rope> create(double theta, index_t head_dim) {
    return create({.theta = theta, .rotary_dim = head_dim});
  }

  const RopeSettings& settings() const noexcept { return settings_; }
  index_t half() const noexcept { return settings_.rotary_dim / 2; }

  // Radians per position of pair i < half() in texts that may reach context_size positions.
  double frequency(index_t i, index_t context_size) const noexcept {
    const double base = frequencies_[as_size(i)];
    if (settings_.kind == RopeKind::longrope) return is_long(context_size) ? long_frequencies_[as_size(i)] : base;
    if (settings_.kind != RopeKind::dynamic || !is_long(context_size)) return base;
    const double stretch = settings_.factor * context_size / settings_.original_context - (settings_.factor - 1.0);
    return base * std::pow(stretch, -2.0 * i / (settings_.rotary_dim - 2));
  }
  // What cosines and sines are multiplied by.
  double attention_factor(index_t context_size) const noexcept {
    const RopeSettings& s = settings_;
    if (s.kind == RopeKind::longrope) {
      const std::optional<double>& mscale = is_long(context_size) ? s.long_mscale : s.short_mscale;
      if (mscale) return *mscale;
      if (s.attention_factor) return *s.attention_factor;
      return s.factor <= 1.0 ? 1.0 : std::sqrt(1.0 + std::log(s.factor) / std::log(s.original_context));
    }
    if (s.kind != RopeKind::yarn) return 1.0;
    if (s.attention_factor) return *s.attention_factor;
    // As in Python, 0 is as good as none.
    const double numerator = s.mscale.value_or(0.0);
    const double denominator = s.mscale_all_dim.value_or(0.0);
    if (numerator > 0.0 && denominator > 0.0) {
      return RopeSettings::yarn_scale(s.factor, numerator) / RopeSettings::yarn_scale(s.factor, denominator);
    }
    return RopeSettings::yarn_scale(s.factor, 1.0);
  }

  // cosines and sines of the positions first_position, first_position + 1, ..., times the attention factor.
  // Precondition: both are (tokens, half).
  void angles(index_t first_position, index_t context_size, Rows cosines, Rows sines) const noexcept {
    const double scale = attention_factor(context_size);
    for (index_t i = 0; i < half(); ++i) {
      const double per_position = frequency(i, context_size);
      for (index_t t = 0; t < cosines.rows; ++t) {
        const double angle = (static_cast<double>(first_position) + t) * per_position;
        cosines.row_data(t)[i] = static_cast<float>(scale * std::cos(angle));
        sines.row_data(t)[i] = static_cast<float>(scale * std::sin(angle));
      }
    }
  }

 private:
  explicit Rope(RopeSettings settings) : settings_(std::move(settings)) {
    const RopeSettings& s = settings_;
    frequencies_.resize(as_size(half()));
    for (index_t i = 0; i < half(); ++i) frequencies_[as_size(i)] = std::pow(s.theta, -2.0 * i / s.rotary_dim);
    if (s.kind == RopeKind::longrope) long_frequencies_ = frequencies_;
    for (index_t i = 0; i < half(); ++i) {
      double& f = frequencies_[as_size(i)];
      if (s.kind == RopeKind::linear) f /= s.factor;
      if (s.kind == RopeKind::llama3) f = of_llama3(f);
      if (s.kind == RopeKind::yarn) f = of_yarn(f, i);
      if (s.kind == RopeKind::longrope) {
        f /= s.short_factor[as_size(i)];
        long_frequencies_[as_size(i)] /= s.long_factor[as_size(i)];
      }
    }
  }

  bool is_long(index_t context_size) const noexcept { return context_size > settings_.original_context; }

  double of_llama3(double f) const noexcept {
    const RopeSettings& s = settings_;
    const double turns = s.original_context * f / (2.0 * std::numbers::pi);  // within the original context
    const double blend = (turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
    return std::lerp(f / s.factor, f, std::clamp(blend, 0.0, 1.0));
  }
  double of_yarn(double f, index_t i) const noexcept {
    const RopeSettings& s = settings_;
    // The pair, as a number between pairs, that turns so often within the original context.
    const auto pair_of = [&](double turns) {
      return s.rotary_dim * std::log(s.original_context / (turns * 2.0 * std::numbers::pi)) / (2.0 * std::log(s.theta));
    };
    double low = pair_of(s.beta_fast);
    double high = pair_of(s.beta_slow);
    if (s.truncate) {
      low = std::floor(low);
      high = std::ceil(high);
    }
    low = std::max(low, 0.0);
    high = std::min(high, s.rotary_dim - 1.0);
    if (!(low < high || high < low)) high += 0.001;
    const double slow = std::clamp((i - low) / (high - low), 0.0, 1.0);
    return std::lerp(f, f / s.factor, slow);
  }

  // Where the settings fit no angles: the reason.
  static std::optional<Error> refusal(const RopeSettings& s) {
    const auto refuse = [](const char* field, const std::string& expected, double found) {
      char text[32];
      const std::string number(text, std::to_chars(text, text + sizeof text, found).ptr);
      return Error(ErrorCode::usage, {"", field, -1, "expected " + expected + ", found " + number});
    };
    const auto positive = [](double x) { return x > 0.0 && std::isfinite(x); };
    if (s.rotary_dim < 2 || s.rotary_dim % 2 != 0) {
      return Error(Status::mismatch("channels of a head with rotary positions, even and at least", s.rotary_dim, 2));
    }
    if (!positive(s.theta)) return refuse("rope_theta", "a positive number", s.theta);
    if (s.kind == RopeKind::plain) return std::nullopt;
    if (!(s.factor >= 1.0 && std::isfinite(s.factor))) return refuse("factor", "a number from 1", s.factor);
    if (s.kind == RopeKind::linear) return std::nullopt;
    if (s.original_context < 1) {
      return refuse("original_max_position_embeddings", "an integer from 1", s.original_context);
    }
    if (s.kind == RopeKind::dynamic && s.rotary_dim < 4) {
      return Error(Status::mismatch("channels of a head with dynamic rotary positions, at least", s.rotary_dim, 4));
    }
    if (s.kind == RopeKind::llama3) {
      if (!positive(s.low_freq_factor)) return refuse("low_freq_factor", "a positive number", s.low_freq_factor);
      if (!(s.high_freq_factor > s.low_freq_factor && std::isfinite(s.high_freq_factor))) {
        return refuse("high_freq_factor", "a number above low_freq_factor", s.high_freq_factor);
      }
    }
    if (s.kind == RopeKind::yarn) {
      if (!(s.theta > 1.0)) return refuse("rope_theta", "a number above 1 for yarn", s.theta);
      if (!positive(s.beta_slow)) return refuse("beta_slow", "a positive number", s.beta_slow);
      if (!(s.beta_fast >= s.beta_slow && std::isfinite(s.beta_fast))) {
        return refuse("beta_fast", "a number from beta_slow", s.beta_fast);
      }
    }
    if (s.kind == RopeKind::longrope) {
      for (const auto* const list : {&s.short_factor, &s.long_factor}) {
        const char* const field = list == &s.short_factor ? "short_factor" : "long_factor";
        if (static_cast<std::int64_t>(list->size()) != s.rotary_dim / 2) {
          return refuse(field, std::to_string(s.rotary_dim / 2) + " numbers", static_cast<double>(list->size()));
        }
        for (const double x : *list) {
          if (!positive(x)) return refuse(field, "positive numbers", x);
        }
      }
      if (s.original_context < 2 && s.factor > 1.0 && !s.attention_factor) {
        return refuse("original_max_position_embeddings", "an integer from 2", s.original_context);
      }
    }
    for (const auto& [field, value] :
         {std::pair{"attention_factor", s.attention_factor}, std::pair{"short_mscale", s.short_mscale},
          std::pair{"long_mscale", s.long_mscale}}) {
      if (value && !positive(*value)) return refuse(field, "a positive number", *value);
    }
    for (const auto& [field, value] : {std::pair{"mscale", s.mscale}, std::pair{"mscale_all_dim", s.mscale_all_dim}}) {
      if (value && !(*value >= 0.0 && std::isfinite(*value))) return refuse(field, "a number from 0", *value);
    }
    return std::nullopt;
  }

  RopeSettings settings_;
  std::vector<double> frequencies_;       // (half), in radians per position; of longrope the short ones
  std::vector<double> long_frequencies_;  // (half) of longrope, else empty
};

}  // namespace headgate::inline HEADGATE_ABI
