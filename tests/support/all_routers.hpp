// Every router, one line each: what runs the generic properties of routing/router_test.cpp over it, and nothing else
// has to be written for them. A line names the router, says which laws its logits obey and makes one from an Instance.
#pragma once

#include "headgate/routing/stages/top_p.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/random.hpp"

// Random parameters of a router. Whatever belongs to one expert stands in its row or place, so that a property can
// permute experts, and shift or raise logits, without knowing the router.
struct Instance {
  Instance(headgate::index_t experts, headgate::index_t hidden, headgate::index_t chosen, unsigned seed)
      : num_experts(experts),
        hidden_size(hidden),
        k(chosen),
        gate(random_floats(headgate::at(experts) * headgate::at(hidden), 0.5f, seed)),
        gate_bias(random_floats(headgate::at(experts), 0.5f, seed + 1)),
        selection_bias(random_floats(headgate::at(experts), 0.3f, seed + 2)),
        mask(headgate::at(experts), 1) {
    for (std::size_t e = 1; e < mask.size(); e += 3) mask[e] = 0;  // at least one expert stays
  }

  headgate::index_t num_experts;
  headgate::index_t hidden_size;
  headgate::index_t k;
  std::vector<float> gate;            // (num_experts, hidden_size)
  std::vector<float> gate_bias;       // (num_experts)
  std::vector<float> selection_bias;  // (num_experts)
  std::vector<std::uint8_t> mask;     // (num_experts)

  headgate::GateWeights plain() const {
    return {.gate = {gate.data(), num_experts, hidden_size}, .gate_bias = gate_bias};
  }
  headgate::GateWeights biased() const {
    headgate::GateWeights weights = plain();
    weights.selection_bias = selection_bias;
    return weights;
  }
  headgate::GateWeights masked() const {
    headgate::GateWeights weights = biased();
    weights.mask = mask;
    return weights;
  }
  // Expert order[i] stands at place i.
  Instance permuted(const std::vector<std::int32_t>& order) const {
    Instance copy = *this;
    for (std::size_t i = 0; i < order.size(); ++i) {
      const std::size_t e = headgate::at(order[i]);
      const std::size_t width = headgate::at(hidden_size);
      for (std::size_t j = 0; j < width; ++j) copy.gate[i * width + j] = gate[e * width + j];
      copy.gate_bias[i] = gate_bias[e];
      copy.selection_bias[i] = selection_bias[e];
      copy.mask[i] = mask[e];
    }
    return copy;
  }
  Instance with_logits_shifted(float by) const {
    Instance copy = *this;
    for (float& b : copy.gate_bias) b += by;
    return copy;
  }
  Instance with_logits_scaled(float by) const {
    Instance copy = *this;
    for (float& w : copy.gate) w *= by;
    for (float& b : copy.gate_bias) b *= by;
    return copy;
  }
  Instance with_logit_raised(headgate::ExpertId expert, float by) const {
    Instance copy = *this;
    copy.gate_bias[headgate::at(expert)] += by;
    return copy;
  }
};

enum Laws : unsigned {
  no_law = 0,
  shift_invariant = 1,  // the same constant added to every logit changes nothing
  logit_order = 2,      // the chosen are those with the largest logits, in their order, and k of them
};

// Calls f(name, laws, make) for every router, make(const Instance&) being a factory. clang-format off keeps one line
// each.
template <class Backend, class F>
void for_all_routers(F&& f) {
  using namespace headgate;
  using I = const Instance&;
  using NormalizedThenScaled = Then<Renormalize, Scale>;
  using NormalizedSigmoid = Then<SigmoidOverSelected, Renormalize>;
  constexpr unsigned softmax_laws = shift_invariant | logit_order;
  // clang-format off
  f("Switch", softmax_laws, [](I i) { return switch_router<Backend>(i.plain()).value(); });
  f("Mixtral", softmax_laws, [](I i) { return mixtral_router<Backend>(i.plain(), i.k).value(); });
  f("OLMoE", softmax_laws, [](I i) { return olmoe_router<Backend>(i.plain(), i.k).value(); });
  f("Qwen2-MoE", softmax_laws, [](I i) { return qwen2_moe_router<Backend>(i.plain(), i.k).value(); });
  f("Qwen3-MoE", softmax_laws, [](I i) { return qwen3_moe_router<Backend>(i.plain(), i.k).value(); });
  f("Granite", softmax_laws, [](I i) { return granite_router<Backend>(i.plain(), i.k).value(); });
  f("masked Granite", shift_invariant, [](I i) { return granite_router<Backend>(i.masked(), i.k).value(); });
  f("Tutel", softmax_laws, [](I i) { return SoftmaxTopK<Renormalize, Backend>(i.plain(), {i.k}, {0.0f, 0x1p-23f, true}); });
  f("ERNIE 4.5", shift_invariant, [](I i) { return SoftmaxTopK<Renormalize, Backend>(i.biased(), {i.k}, {.at_least = 1e-12f}); });
  f("DeepSeek-V2, greedy", softmax_laws, [](I i) { return SoftmaxTopK<Scale, Backend>(i.plain(), {i.k}, {16.0f}); });
  f("DeepSeek-V3, one group", no_law, [](I i) { return StagedRouter<SigmoidScore, TopK, NormalizedThenScaled, Backend>(i.biased(), {i.k}, {{.add = 1e-20f}, {2.5f}}); });
  f("MiniMax-M2", no_law, [](I i) { return StagedRouter<SigmoidScore, TopK, Renormalize, Backend>(i.masked(), {i.k}, {}); });
  f("V3 weights without epsilon", no_law, [](I i) { return StagedRouter<SigmoidScore, TopK, NormalizedThenScaled, Backend>(i.biased(), {i.k}, {{}, {2.5f}}); });
  f("Llama 4", logit_order, [](I i) { return StagedRouter<IdentityScore, TopK, SigmoidOverSelected, Backend>(i.plain(), {i.k}, {}); });
  f("SmallThinker", logit_order, [](I i) { return StagedRouter<IdentityScore, TopK, NormalizedSigmoid, Backend>(i.plain(), {i.k}, {}); });
  f("FactorLLM", softmax_laws, [](I i) { return StagedRouter<IdentityScore, TopK, EqualWeights, Backend>(i.plain(), {i.k}, {2.0f}); });
  f("top-p", shift_invariant, [](I i) { return StagedRouter<SoftmaxScore, TopP, Keep, Backend>(i.plain(), {0.6f}, {}); });
  f("top-p, at most k, renormalized", shift_invariant, [](I i) { return StagedRouter<SoftmaxScore, TopP, Renormalize, Backend>(i.masked(), {0.6f, i.k}, {}); });
  // clang-format on
}
