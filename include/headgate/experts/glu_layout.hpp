// GluLayout: where the weights of a bank of feed-forward experts lie in one buffer. Expert after expert: the panels of
// gate and up in turn (up alone without a gate; all of gate first where up has another format), then those of down
// (kernels/panel16.hpp). So one expert is one stretch of memory, and a block of 16 rows of gate and up is read as one
// stream where it can be. Biases stand block by block, those of gate first.
#pragma once

#include "headgate/core/status.hpp"
#include "headgate/kernels/activation.hpp"
#include "headgate/kernels/kernel_backend.hpp"
#include "headgate/kernels/panel16.hpp"

namespace headgate::inline HEADGATE_ABI {

struct GluShape {
  index_t num_experts = 0;
  index_t hidden_size = 0;
  index_t ffn_size = 0;
  Activation activation = {};
  bool gated = true;      // false: no gate matrix
  bool has_bias = false;  // of every matrix

  // Scratch of a batch: a gathered row of x and one of h, which is padded to whole panels.
  constexpr std::int64_t floats_per_entry() const noexcept {
    return std::int64_t{hidden_size} + std::int64_t{divide_up(ffn_size, panel_rows)} * panel_rows;
  }
  // Entries of a plan that are computed together: as many as 16 MiB hold, but a whole tile.
  constexpr index_t entries_at_a_time() const noexcept {
    constexpr std::int64_t max_floats = (std::int64_t{16} << 20) / sizeof(float);
    const std::int64_t fitting = floats_per_entry() == 0 ? max_floats : max_floats / floats_per_entry();
    return static_cast<index_t>(fitting < F32Tile::max_rows ? F32Tile::max_rows : fitting);
  }
};

// The matrices of one expert, somebody else's. gate is empty without a gate, biases are empty without biases.
struct GluMatrices {
  ConstRows gate;                         // (ffn_size, hidden_size)
  ConstRows up;                           // (ffn_size, hidden_size)
  ConstRows down;                         // (hidden_size, ffn_size)
  std::span<const float> gate_bias = {};  // (ffn_size)
  std::span<const float> up_bias = {};    // (ffn_size)
  std::span<const float> down_bias = {};  // (hidden_size)
};

// The panels of one expert where somebody else owns and keeps them, each matrix in one piece. gate: null without one.
struct GluPanels {
  const std::byte* gate = nullptr;
  const std::byte* up = nullptr;
  const std::byte* down = nullptr;
};

// The format of each matrix, the same for all experts; that of gate says nothing without a gate.
template <WeightFormat Format>
struct GluFormats {
  [[no_unique_address]] Format gate = {};
  [[no_unique_address]] Format up = {};
  [[no_unique_address]] Format down = {};
};

// Precondition of what is not check(): a shape that passed it.
template <WeightFormat Format>
struct GluLayout {
  GluShape shape;
  [[no_unique_address]] GluFormats<Format> formats = {};
  bool is_seen =
      false;  // the panels lie elsewhere, each matrix by itself (GluPanels): of places here none means anything

  constexpr index_t panels_per_block() const noexcept { return shape.gated ? 2 : 1; }
  // Blocks of 16 rows of h = act(gate) * up; a row of h is padded to whole blocks.
  constexpr index_t ffn_blocks() const noexcept { return divide_up(shape.ffn_size, panel_rows); }
  constexpr index_t down_panels() const noexcept { return divide_up(shape.hidden_size, panel_rows); }
  // Whether the panels of gate and up alternate, so that one kernel call reads both. Without a gate there is only up.
  constexpr bool is_interleaved() const noexcept { return !shape.gated || (!is_seen && formats.gate == formats.up); }

  constexpr std::int64_t expert_bytes() const noexcept {
    return h_bytes() + round_up_to_line(down_panels() * down_panel_bytes());
  }
  constexpr std::int64_t block_bytes() const noexcept { return gate_panel_bytes() + up_panel_bytes(); }
  constexpr std::int64_t down_panel_bytes() const noexcept { return formats.down.panel_bytes(shape.ffn_size); }
  // Bytes from the start of the buffer.
  constexpr std::int64_t gate_panel(ExpertId e, index_t b) const noexcept {
    return e * expert_bytes() + b * (is_interleaved() ? block_bytes() : gate_panel_bytes());
  }
  constexpr std::int64_t up_panel(ExpertId e, index_t b) const noexcept {
    if (is_interleaved()) return gate_panel(e, b) + gate_panel_bytes();
    return e * expert_bytes() + round_up_to_line(ffn_blocks() * gate_panel_bytes()) + b * up_panel_bytes();
  }
  constexpr std::int64_t down_panel(ExpertId e, index_t p) const noexcept {
    return e * expert_bytes() + h_bytes() + p * down_panel_bytes();
  }

  constexpr std::int64_t biases_per_expert() const noexcept {
    if (!shape.has_bias) return 0;
    return std::int64_t{panel_rows} * (panels_per_block() * ffn_blocks() + down_panels());
  }
  // Positions in the array of all biases.
  constexpr std::int64_t block_bias(ExpertId e, index_t b) const noexcept {
    return e * biases_per_expert() + std::int64_t{panel_rows} * panels_per_block() * b;
  }
  constexpr std::int64_t gate_bias(ExpertId e, index_t row) const noexcept {
    return block_bias(e, row / panel_rows) + row % panel_rows;
  }
  constexpr std::int64_t up_bias(ExpertId e, index_t row) const noexcept {
    return gate_bias(e, row) + (panels_per_block() - 1) * panel_rows;
  }
  constexpr std::int64_t down_bias(ExpertId e, index_t row) const noexcept { return block_bias(e, ffn_blocks()) + row; }

  Status check() const noexcept {
    constexpr index_t max_size = index_t{1} << 29;  // so that counts of padded rows fit index_t
    if (shape.num_experts < 0) return Status::mismatch("num_experts, at least", shape.num_experts, 0);
    if (shape.hidden_size < 1) return Status::mismatch("hidden_size, at least", shape.hidden_size, 1);
    if (shape.hidden_size > max_size) return Status::mismatch("hidden_size, at most", shape.hidden_size, max_size);
    if (shape.ffn_size < 1) return Status::mismatch("ffn_size, at least", shape.ffn_size, 1);
    if (shape.ffn_size > max_size) return Status::mismatch("ffn_size, at most", shape.ffn_size, max_size);
    if (shape.activation.kind == ActivationKind::clamped_swiglu && !shape.gated) {
      return Status::mismatch("gate matrices of an expert with clamped_swiglu", 0, 1);
    }
    const bool fits = formats.up.fits(shape.hidden_size) && formats.down.fits(shape.ffn_size) &&
                      (!shape.gated || formats.gate.fits(shape.hidden_size));
    if (!fits) return {ErrorCode::usage, "a row of an expert is no whole blocks of its format"};
    if constexpr (!std::is_empty_v<typename Format::Tile>) {
      if (shape.gated && tile_of(formats.gate) != tile_of(formats.up)) {
        return {ErrorCode::usage, "gate and up are multiplied with activations of different formats"};
      }
    }
    constexpr double tebi = 0x1p40;
    constexpr double max_bytes = 0x1p62;
    const double bytes =
        static_cast<double>(shape.num_experts) *
        (static_cast<double>(block_bytes()) * ffn_blocks() + static_cast<double>(down_panel_bytes()) * down_panels());
    if (bytes > max_bytes) {
      return {ErrorCode::limit, "TiB of expert weights", static_cast<std::int64_t>(bytes / tebi),
              static_cast<std::int64_t>(max_bytes / tebi)};
    }
    return Status::success();
  }
  // Whether these can be the matrices of expert e.
  Status check(ExpertId e, const GluMatrices& m) const noexcept {
    if (e < 0 || e >= shape.num_experts) return Status::mismatch("expert id", e, shape.num_experts - 1);
    const index_t ffn = shape.ffn_size;
    const index_t hidden = shape.hidden_size;
    const struct {
      const char* what;
      std::int64_t found;
      std::int64_t allowed;
    } sizes[] = {
        {"rows of gate", m.gate.rows, shape.gated ? ffn : 0},
        {"width of gate", m.gate.cols, shape.gated ? hidden : 0},
        {"rows of up", m.up.rows, ffn},
        {"width of up", m.up.cols, hidden},
        {"rows of down", m.down.rows, hidden},
        {"width of down", m.down.cols, ffn},
        {"size of the gate bias", static_cast<std::int64_t>(m.gate_bias.size()),
         shape.has_bias && shape.gated ? ffn : 0},
        {"size of the up bias", static_cast<std::int64_t>(m.up_bias.size()), shape.has_bias ? ffn : 0},
        {"size of the down bias", static_cast<std::int64_t>(m.down_bias.size()), shape.has_bias ? hidden : 0},
    };
    for (const auto& size : sizes) {
      if (size.found == size.allowed) continue;
      Status status = Status::mismatch(size.what, size.found, size.allowed);
      status.expert = e;
      return status;
    }
    for (const ConstRows& matrix : {m.gate, m.up, m.down}) {
      Status status = check_view(matrix);
      status.expert = e;
      if (!status.ok()) return status;
    }
    return Status::success();
  }

  constexpr std::int64_t gate_panel_bytes() const noexcept {
    return shape.gated ? formats.gate.panel_bytes(shape.hidden_size) : 0;
  }
  constexpr std::int64_t up_panel_bytes() const noexcept { return formats.up.panel_bytes(shape.hidden_size); }

 private:
  // Of gate and up.
  constexpr std::int64_t h_bytes() const noexcept {
    if (is_interleaved()) return round_up_to_line(ffn_blocks() * block_bytes());
    return round_up_to_line(ffn_blocks() * gate_panel_bytes()) + round_up_to_line(ffn_blocks() * up_panel_bytes());
  }
};

}  // namespace headgate::inline HEADGATE_ABI
