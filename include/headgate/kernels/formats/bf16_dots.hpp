// Bf16Dots: weights as Bf16 packs them, to be multiplied with activations in bfloat16: a line is what a processor's dot
// product of pairs takes.
#pragma once

#include "headgate/kernels/formats/bf16.hpp"
#include "headgate/kernels/formats/bf16_tile.hpp"

namespace headgate::inline HEADGATE_ABI {

struct Bf16Dots : Bf16 {
  using Tile = Bf16Tile;
  static constexpr const char* name() noexcept { return "bf16-dots"; }

  // What vector kernels ask (formats/f32.hpp): the pairs of a line are multiplied as they are.
  static constexpr index_t per_line = 1;
  template <index_t COLUMN, class Words>
  static HEADGATE_INLINE Words float_bits(Words line) noexcept {
    return line;
  }

  friend constexpr bool operator==(Bf16Dots, Bf16Dots) noexcept = default;
};
static_assert(WeightFormat<Bf16Dots>);

}  // namespace headgate::inline HEADGATE_ABI
