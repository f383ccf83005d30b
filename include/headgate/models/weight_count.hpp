// WeightCount: how many weights a decoder has, how many bytes they take, in memory or in mapped files, and how many of
// them a token reads. From shapes and types alone.
#pragma once

#include <algorithm>
#include <array>
#include <iterator>

#include "headgate/models/weight_use.hpp"

namespace headgate::inline HEADGATE_ABI {

// Multiply-adds, by what the activations are: the value of a Compute.
using MultiplyAdds = std::array<std::int64_t, std::size(all_computes)>;

struct WeightCount {
  std::int64_t parameters = 0;         // all
  std::int64_t active_parameters = 0;  // all but the experts that a token does not choose
  std::int64_t packed_bytes = 0;       // all that is copied into memory
  std::int64_t mapped_bytes = 0;       // all that is left in files and read there
  std::int64_t bytes_to_pack = 0;      // of the files, that are read for packed_bytes
  std::int64_t bytes_per_token = 0;    // read for one token of decoding
  std::int64_t expert_bytes = 0;       // of one routed expert of the first routed layer
  std::int64_t routed_bytes = 0;       // of all routed experts
  std::int64_t chosen_bytes = 0;       // of those that a token chooses
  std::int64_t head_bytes = 0;         // of the output head, in bytes_per_token, too
  MultiplyAdds multiply_adds = {};     // of a token with weights, but those of the head
  MultiplyAdds head_multiply_adds = {};
  std::int64_t largest_tensor = 0;  // bytes of one that is packed, as stored
  Compute compute = Compute::f32;   // that there are weights for: what activations are where they meet these

  std::int64_t weight_bytes() const noexcept { return packed_bytes + mapped_bytes; }

  static WeightCount of(const WeightList& weights) {
    WeightCount count;
    bool is_first_expert = true;  // 0 of the first bank
    bool seen = false;
    for (const WeightUse& use : weights) {
      const std::int64_t parameters = use.rows.parameters();
      if (!use.is_again) {
        count.parameters += parameters;
        (use.is_mapped ? count.mapped_bytes : count.packed_bytes) += use.packed_bytes;
        if (!use.is_mapped) count.bytes_to_pack += use.rows.stored_size();
      }
      if (use.is_active) count.active_parameters += parameters;
      if (use.is_read) count.bytes_per_token += use.packed_bytes;
      if (use.compute != Compute::f32) count.compute = use.compute;
      if (use.is_head) count.head_bytes += use.packed_bytes;
      if (use.expert >= 0) {
        if (!use.is_again) count.routed_bytes += use.packed_bytes;
        if (use.is_read) count.chosen_bytes += use.packed_bytes;
      }
      if (use.is_read) {
        MultiplyAdds& all = use.is_head ? count.head_multiply_adds : count.multiply_adds;
        all[static_cast<std::size_t>(use.compute)] += parameters;
      }
      if (use.expert == 0 && is_first_expert) {
        seen = true;
        count.expert_bytes += use.packed_bytes;
      } else if (seen) {
        is_first_expert = false;
      }
      if (use.is_mapped || use.is_again) continue;
      use.rows.for_each_tensor([&](const Tensor& tensor) {
        count.largest_tensor = std::max(count.largest_tensor, static_cast<std::int64_t>(tensor.bytes.size()));
      });
    }
    return count;
  }
};

}  // namespace headgate::inline HEADGATE_ABI
