// ExpertPool: r consecutive layers share their experts (Tan et al. 2025, "ReXMoE", arXiv 2510.17483, section 3.1): each
// has N of its own, and its router chooses among all r N, by ids that mean the same in every layer of the pool:
//   id = layer of the pool * N + expert of that layer;  z = W x, W (r N, hidden_size);  then as in any layer
// The bank exists once: copies of an AnyExperts share it, and so do layers made of them. r = 1 is a plain layer.
//
// While it is trained the pool grows (section 3.2, "progressive scaling routing"): candidates(step) of the r N experts
// may be chosen, linearly more from N at the first step of the growth to r N at the last; mask says which, to be given
// as RouteEdits with MaskMeaning::prune. Which foreign experts come first is reconstructed: those of the next layers of
// the pool, in turn. With N candidates a layer is the plain layer of its own experts, in bits.
#pragma once

#include <cstdint>
#include <vector>

#include "headgate/core/context.hpp"
#include "headgate/core/expected.hpp"

namespace headgate::inline HEADGATE_ABI {

// Table of structures: ExpertPool | experts shared by a group of layers, router ids that mean the same in all of them |
//   Tan et al. 2025, 2510.17483
class ExpertPool {
 public:
  // layers: r; experts_per_layer: N.
  static Expected<ExpertPool> create(index_t layers, index_t experts_per_layer) {
    if (layers < 1) return Status::mismatch("layers of a pool of experts, at least", layers, 1);
    if (experts_per_layer < 1) return Status::mismatch("experts of a layer of a pool, at least", experts_per_layer, 1);
    if (std::int64_t{layers} * experts_per_layer > max_index) {
      return Status::mismatch("experts of a pool, at most", std::int64_t{layers} * experts_per_layer, max_index);
    }
    return ExpertPool(layers, experts_per_layer);
  }

  index_t layers() const noexcept { return layers_; }
  index_t experts_per_layer() const noexcept { return experts_per_layer_; }
  index_t num_experts() const noexcept { return layers_ * experts_per_layer_; }
  // Of the model's layers, counted from the first of the first pool: which one of its pool a layer is, and the ids of
  // its own experts.
  index_t place_of(index_t layer) const noexcept { return layer % layers_; }
  Slice own_ids(index_t layer) const noexcept {
    const index_t first = place_of(layer) * experts_per_layer_;
    return {first, first + experts_per_layer_};
  }

  // Experts that may be chosen in a step of training; the pool grows in steps [first, last]. Precondition: first <
  // last.
  index_t candidates(std::int64_t step, std::int64_t first, std::int64_t last) const noexcept {
    if (step <= first) return experts_per_layer_;
    if (step >= last) return num_experts();
    const double part = static_cast<double>(step - first) / static_cast<double>(last - first);
    const double more = part * static_cast<double>(num_experts() - experts_per_layer_);
    return experts_per_layer_ + static_cast<index_t>(more);
  }
  // (num_experts) 1 for the first `candidates` experts of a layer: its own, then those of the layers after it in the
  // pool, the first one after the last. Precondition: 0 <= candidates <= num_experts.
  std::vector<std::uint8_t> mask(index_t layer, index_t candidates) const {
    std::vector<std::uint8_t> mask(as_size(num_experts()), 0);
    const index_t first = own_ids(layer).first;
    for (index_t i = 0; i < candidates; ++i) mask[as_size((first + i) % num_experts())] = 1;
    return mask;
  }

 private:
  ExpertPool(index_t layers, index_t experts_per_layer) : layers_(layers), experts_per_layer_(experts_per_layer) {}

  index_t layers_;
  index_t experts_per_layer_;
};

}  // namespace headgate::inline HEADGATE_ABI
