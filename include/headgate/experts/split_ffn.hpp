// split_ffn: the matrices of a dense feed-forward network as those of experts, each of a part of its channels (rows of
// gate and up, columns of down):
//   E_p(x) = W_down[:, p] (act(W_gate[p] x + b_gate[p]) * (W_up[p] x + b_up[p])),  dense(x) = sum over p of E_p(x) + b
// The output's bias b belongs to no expert, for it is added once whatever is chosen (experts/output_bias.hpp). Parts
// are contiguous; another partition is another order of the channels (experts/channel_order.hpp). Who cuts how:
//   Gui et al. 2023, SPT, 2312.10365            blocks; k of them chosen, weight 1 (spt_router)
//   Zhao et al. 2024, FactorLLM, 2408.11855     4 parts; weight E / k rounded down (factor_llm_router)
//   Lu et al. 2025, Dynamic-DINO, 2507.17436    copies of the network, each cut; gate rows repeated (repeat_gate_rows)
//   He et al. 2025, unified models, 2512.02351  the most important channels shared, the rest dealt out (deal_channels)
// Follows the code of FactorLLM and the unified models, and descriptions of SPT's; of Dynamic-DINO, whose code is not
// published, the idea: copies, cut, of which a token at first meets one whole.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "headgate/core/expected.hpp"
#include "headgate/experts/glu_layout.hpp"

namespace headgate::inline HEADGATE_ABI {

struct FfnSplit {
  index_t num_parts = 0;        // they divide the channels that are not shared
  index_t copies = 1;           // experts of each part, with the same weights: expert copy * num_parts + part
  index_t shared_channels = 0;  // the first so many are a network that sees every token

  // Whether a network of so many channels can be cut so. Each part has at least one.
  Status check(index_t channels) const noexcept {
    if (num_parts < 1) return Status::mismatch("parts of a network, at least", num_parts, 1);
    if (copies < 1) return Status::mismatch("experts of a part, at least", copies, 1);
    if (shared_channels < 0) return Status::mismatch("shared channels, at least", shared_channels, 0);
    const index_t rest = channels - shared_channels;
    if (rest < num_parts) return Status::mismatch("channels that are not shared, at least", rest, num_parts);
    if (rest % num_parts != 0) return Status::mismatch("channels that equal parts leave over", rest % num_parts, 0);
    const std::int64_t experts = std::int64_t{num_parts} * copies;
    if (experts > max_index) return Status::mismatch("number of experts", experts, max_index);
    return Status::success();
  }
};

// Views of the dense network, which outlives them. Moved, not copied: of networks with biases it owns some.
struct SplitFfn {
  SplitFfn() = default;
  SplitFfn(const SplitFfn&) = delete;
  SplitFfn& operator=(const SplitFfn&) = delete;
  SplitFfn(SplitFfn&&) = default;
  SplitFfn& operator=(SplitFfn&&) = default;
  ~SplitFfn() = default;

  GluShape shape;                           // of the experts
  std::vector<GluMatrices> experts;         // (copies * num_parts)
  GluShape shared_shape;                    // of one expert; nothing where no channel is shared
  std::optional<GluMatrices> shared;        // of the shared channels
  std::span<const float> output_bias = {};  // (hidden_size), or empty: of the dense network
  std::vector<float> no_output_bias = {};   // (hidden_size) zeros that experts with other biases have instead
};

// dense: gate (channels, hidden_size), or nothing: not gated; up likewise, down (hidden_size, channels). Biases: of up
// and, where there is one, of gate, or of neither; of the output by itself. usage: sizes that do not fit each other,
// parts that do not divide the channels.
inline Expected<SplitFfn> split_ffn(const GluMatrices& dense, const FfnSplit& how, Activation activation = {}) {
  const index_t channels = dense.up.rows;
  const index_t hidden = dense.up.cols;
  GluShape shape{.num_experts = 1,
                 .hidden_size = hidden,
                 .ffn_size = channels,
                 .activation = activation,
                 .gated = dense.gate.rows > 0,
                 .has_bias = !dense.up_bias.empty()};
  SplitFfn split;
  split.output_bias = dense.down_bias;
  if (shape.has_bias) split.no_output_bias.assign(as_size(hidden < 0 ? 0 : hidden), 0.0f);
  GluMatrices plain = dense;
  plain.down_bias = split.no_output_bias;
  const GluLayout<F32> layout{shape};
  if (Status status = layout.check(); !status.ok()) return status;
  if (Status status = layout.check(0, plain); !status.ok()) return status;
  const auto biases = static_cast<std::int64_t>(dense.down_bias.size());
  if (biases != 0 && biases != hidden) return Status::mismatch("size of the down bias", biases, hidden);

  if (Status status = how.check(channels); !status.ok()) return status;

  const auto part = [&](index_t first, index_t count) {
    const auto of_bias = [&](std::span<const float> bias) {
      return bias.empty() ? bias : bias.subspan(as_size(first), as_size(count));
    };
    GluMatrices m;
    if (shape.gated) m.gate = dense.gate.middle_rows(first, count);
    m.up = dense.up.middle_rows(first, count);
    m.down = {dense.down.data + first, hidden, count, dense.down.stride};
    m.gate_bias = of_bias(dense.gate_bias);
    m.up_bias = of_bias(dense.up_bias);
    m.down_bias = split.no_output_bias;
    return m;
  };
  if (how.shared_channels > 0) {
    split.shared_shape = shape;
    split.shared_shape.ffn_size = how.shared_channels;
    split.shared = part(0, how.shared_channels);
  }
  split.shape = shape;
  split.shape.num_experts = how.num_parts * how.copies;
  split.shape.ffn_size = (channels - how.shared_channels) / how.num_parts;
  for (index_t e = 0; e < split.shape.num_experts; ++e) {
    split.experts.push_back(part(how.shared_channels + e % how.num_parts * split.shape.ffn_size, split.shape.ffn_size));
  }
  return split;
}

// A gate (copies * num_parts, width) whose rows are those of gate (copies, width), each for all parts of a copy: their
// logits are equal, so that the best num_parts are all of one copy (ties go to the lower id) and add up to the network.
inline std::vector<float> repeat_gate_rows(ConstRows gate, index_t num_parts) {
  std::vector<float> rows;
  for (index_t e = 0; e < gate.rows; ++e) {
    for (index_t part = 0; part < num_parts; ++part) {
      rows.insert(rows.end(), gate.row_data(e), gate.row_data(e) + gate.cols);
    }
  }
  return rows;
}

}  // namespace headgate::inline HEADGATE_ABI
