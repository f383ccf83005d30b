// WeightUse: one matrix or vector of a checkpoint, how it is held in memory, and whether a token reads it. What a part
// lists of itself (part.hpp); from these lists come all counts.
#pragma once

#include <vector>

#include "headgate/kernels/panel16.hpp"
#include "headgate/models/packer.hpp"

namespace headgate::inline HEADGATE_ABI {

struct WeightUse {
  WeightRows rows;
  std::int64_t packed_bytes;       // wherever they lie
  bool is_active = true;           // it takes part in the computation of a token: not so most experts
  bool is_read = true;             // and is read whole for it: not so an embedding, of which a token reads a row
  bool is_head = false;            // it meets only the rows whose logits are wanted
  index_t expert = -1;             // of which routed expert it is; -1: of none
  bool is_mapped = false;          // it stays in the file
  Compute compute = Compute::f32;  // what the activations are that it meets
  bool is_again = false;           // an earlier part lists it as well and holds it; here it is read again
  bool may_quantize = false;       // it is packed as it is stored, so quantized weights can stand in its place

  // Packed for products.
  static WeightUse matrix(const WeightRows& rows, AnyFormat format) {
    WeightUse use{rows, divide_up(rows.rows(), panel_rows) * format.panel_bytes(rows.cols())};
    if (format.tile() == AnyTile(Int8Tile{})) use.compute = Compute::int8;
    if (format.tile() == AnyTile(Bf16Tile{})) use.compute = Compute::bf16;
    use.may_quantize = true;
    return use;
  }
  // Packed so whatever else could stand in its place.
  static WeightUse fixed(const WeightRows& rows, AnyFormat format = F32{}) {
    WeightUse use = matrix(rows, format);
    use.may_quantize = false;
    return use;
  }
  // In the format that keeps its values: packed, or left where it lies.
  static WeightUse matrix(const WeightRows& rows) {
    WeightUse use = matrix(rows, rows.format());
    use.is_mapped = rows.mapped() != nullptr;
    return use;
  }
  // Held as floats.
  static WeightUse vector(const WeightRows& rows) { return {rows, rows.parameters() * std::int64_t{sizeof(float)}}; }
};
using WeightList = std::vector<WeightUse>;

}  // namespace headgate::inline HEADGATE_ABI
