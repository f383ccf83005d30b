// QueryNorm: the batch norm of a router's queries as it is after training, with running statistics:
//   q' = (q - mean) / sqrt(variance + epsilon) * gain + bias  =  scale q + shift
// Values of a model that a router copies from. Spans: one number per column of the queries.
#pragma once

#include <cmath>
#include <span>
#include <utility>

#include "headgate/core/status.hpp"

namespace headgate::inline HEADGATE_ABI {

struct QueryNorm {
  std::span<const float> mean;
  std::span<const float> variance;
  float epsilon = 1e-5f;
  std::span<const float> gain = {};  // empty: 1
  std::span<const float> bias = {};  // empty: 0

  Status check(index_t columns) const noexcept {
    for (const auto& [values, is_required] :
         {std::pair(mean, true), std::pair(variance, true), std::pair(gain, false), std::pair(bias, false)}) {
      const auto count = static_cast<std::int64_t>(values.size());
      if (count != columns && (is_required || count != 0)) {
        return Status::mismatch("numbers of a query norm against rows of the query", count, columns);
      }
      for (const float value : values) {
        if (!std::isfinite(value)) return {ErrorCode::usage, "a number of a query norm is not finite"};
      }
    }
    for (const float v : variance) {
      if (!(v >= 0.0f && v + epsilon > 0.0f && std::isfinite(epsilon))) {
        return {ErrorCode::usage, "variance and epsilon of a query norm do not add up to a positive number"};
      }
    }
    return Status::success();
  }

  // Precondition: the check was a success.
  float scale(index_t c) const noexcept {
    return (gain.empty() ? 1.0f : gain[as_size(c)]) / std::sqrt(variance[as_size(c)] + epsilon);
  }
  float shift(index_t c) const noexcept {
    return (bias.empty() ? 0.0f : bias[as_size(c)]) - mean[as_size(c)] * scale(c);
  }
};

}  // namespace headgate::inline HEADGATE_ABI
