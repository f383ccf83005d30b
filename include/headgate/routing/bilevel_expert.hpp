// Bi-level routing of experts: BiFormer's two levels (Zhu et al., CVPR 2023, section 3.2) on a router's gate. Experts
// stand in equal regions; a token first chooses regions, then experts among those of its regions only:
//   z = W x;  a region is as good as the mean of its z, which is x's product with the region's mean row
//   A = top k of z in the chosen regions;  w_e = exp(z_e) / sum_A exp(z)
// Defined here, by analogy: BiFormer routes attention, not experts. One region, or all regions chosen, is
// granite_router.
#pragma once

#include "headgate/kernels/native.hpp"
#include "headgate/routing/staged_router.hpp"
#include "headgate/routing/stages/grouped_top_k.hpp"

namespace headgate::inline HEADGATE_ABI {

template <class Backend = NativeBackend>
using BilevelExpertRouter = StagedRouter<IdentityScore, GroupedTopK, SoftmaxOverSelected, Backend>;

struct ExpertRegions {
  index_t count;   // equal ones that the experts stand in
  index_t chosen;  // of them by a token
};

// Table of routers: bilevel_expert_router | regions of experts first, then experts | after Zhu et al. 2023, 2303.08810
template <class Backend = NativeBackend>
Expected<BilevelExpertRouter<Backend>> bilevel_expert_router(const GateWeights& weights, index_t k,
                                                             ExpertRegions regions) {
  const index_t size = regions.count > 0 ? weights.gate.rows / regions.count : 0;
  const GroupedTopK select{k, regions.count, regions.chosen, size};
  return BilevelExpertRouter<Backend>::create(weights, select, SoftmaxOverSelected{});
}

}  // namespace headgate::inline HEADGATE_ABI
