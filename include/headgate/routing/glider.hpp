// Routers over LoRA experts that were trained apart, of softmax scores s, the k = 2 best and their share of the sum:
//   PHATGOOSE  s = softmax(<LN(x), LN(w_e)> / sqrt(d))                                Muqeeth et al. 2024, 2402.05859
//   Glider     s = softmax(<LN(x), w_e> / sqrt(d) + beta cos(t, tau_e))               Li et al. 2024, 2410.07172
//   w_e = s_e / (sum_A s + 1e-6)
// t is an embedding of the sequence's task, which a language model has put into words, tau_e one of the expert's: the
// global part, a SequenceBias. beta is 100 to 1000 (T0 tasks) or 3 (FLAN). Follows Router and FFNExperts of PHATGOOSE's
// moe.py (score_type original, normalize_topk) and MoLoRALinearLayer of Glider's layers.py, of which golden vectors
// come.
#pragma once

#include <algorithm>
#include <cmath>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/layer_norm_gate.hpp"
#include "headgate/routing/sequence_bias.hpp"
#include "headgate/routing/stages/top_k.hpp"

namespace headgate::inline HEADGATE_ABI {

template <class Backend = NativeBackend>
using PhatgooseRouter = GatedRouter<LayerNormGate<Backend>, SoftmaxScore, TopK, Renormalize, Backend>;
template <class Backend = NativeBackend>
using GliderRouter = SequenceBiasRouter<LayerNormGate<Backend>, SoftmaxScore, TopK, Renormalize, Backend>;

// Table of routers: phatgoose_router | normalised tokens and rows, softmax, top k, divided by their sum |
//   Muqeeth et al. 2024, 2402.05859
// weights: (num_experts, hidden_size), a row per expert.
template <class Backend = NativeBackend>
Expected<PhatgooseRouter<Backend>> phatgoose_router(ConstRows weights, index_t k = 2) {
  return PhatgooseRouter<Backend>::create(LayerNormGate<Backend>::create(weights, GateRows::normalized), TopK{k},
                                          Renormalize{.add = 1e-6f});
}
// Table of routers: glider_router | normalised tokens, plus how near the sequence's task is to each expert |
//   Li et al. 2024, 2410.07172
template <class Backend = NativeBackend>
Expected<GliderRouter<Backend>> glider_router(ConstRows weights, index_t k = 2) {
  using Gate = BiasedGate<LayerNormGate<Backend>, Backend>;
  return GliderRouter<Backend>::create(Gate::create(LayerNormGate<Backend>::create(weights, GateRows::as_they_are)),
                                       TopK{k}, Renormalize{.add = 1e-6f});
}

// Glider's bias of one sequence, a row of SequenceBias::logits: beta cos(task, tau_e). task: (width), experts:
// (num_experts, width), logits: (num_experts). Norms are at least 1e-8, as torch has it.
inline Status glider_bias(std::span<const float> task, ConstRows experts, float beta, std::span<float> logits) {
  if (Status status = check_view(experts); !status.ok()) return status;
  const auto width = static_cast<std::int64_t>(task.size());
  if (width != experts.cols) return Status::mismatch("width of a task against that of experts", width, experts.cols);
  const auto size = static_cast<std::int64_t>(logits.size());
  if (size != experts.rows) return Status::mismatch("logits of a task against experts", size, experts.rows);
  const auto dot = [](std::span<const float> a, std::span<const float> b) {
    double sum = 0.0;
    for (std::size_t j = 0; j < a.size(); ++j) sum += static_cast<double>(a[j]) * static_cast<double>(b[j]);
    return sum;
  };
  for (index_t e = 0; e < experts.rows; ++e) {
    const double norms =
        std::max(std::sqrt(dot(task, task)), 1e-8) * std::max(std::sqrt(dot(experts.row(e), experts.row(e))), 1e-8);
    logits[as_size(e)] = static_cast<float>(static_cast<double>(beta) * dot(task, experts.row(e)) / norms);
    if (!std::isfinite(logits[as_size(e)])) return Status::not_finite("bias of a task is not finite", -1, -1, e);
  }
  return Status::success();
}

}  // namespace headgate::inline HEADGATE_ABI
