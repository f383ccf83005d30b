// The router policies of this library as a list: what the generic properties of the routers' tests, the comparison
// (analysis/policy_comparison.hpp, `headgate routers --policies`) and the benchmark walk. A list is a value: a program
// of your own adds its policies with push_back and calls the same comparison (examples/06_compare_your_router.cpp).
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "headgate/analysis/policy_parameters.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/kernels/scalar.hpp"
#include "headgate/routing/any_router.hpp"
#include "headgate/routing/bilevel_expert.hpp"
#include "headgate/routing/block_ffn_router.hpp"
#include "headgate/routing/deepseek.hpp"
#include "headgate/routing/dynmoe_router.hpp"
#include "headgate/routing/expert_choice.hpp"
#include "headgate/routing/glider.hpp"
#include "headgate/routing/graph_of_tokens.hpp"
#include "headgate/routing/gru_router.hpp"
#include "headgate/routing/hard_top_k.hpp"
#include "headgate/routing/hash_router.hpp"
#include "headgate/routing/longcat.hpp"
#include "headgate/routing/moe_plus_plus_router.hpp"
#include "headgate/routing/mora_router.hpp"
#include "headgate/routing/null_expert.hpp"
#include "headgate/routing/peer_router.hpp"
#include "headgate/routing/promoe_router.hpp"
#include "headgate/routing/relu_router.hpp"
#include "headgate/routing/sentence_router.hpp"
#include "headgate/routing/sparse_mixer.hpp"
#include "headgate/routing/stages/top_p.hpp"
#include "headgate/routing/topk_sigmoid.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "headgate/routing/tutel_cosine_router.hpp"

namespace headgate::inline HEADGATE_ABI {

enum Laws : unsigned {
  no_law = 0,
  shift_invariant = 1,  // the same constant added to every logit changes nothing
  logit_order = 2,      // the chosen are those with the largest logits, in their order, and k of them
  by_place = 4,         // what an expert is depends on its place, in a group or at the end: permuting experts is no law
  last_is_free = 8,     // the last expert is a zero expert: it has a place in the plan and computes nothing
  trained_bias = 16,    // its selection bias is one that training moves towards equal loads
};

// A policy: a name, which laws its logits obey, and its router for some parameters (throws where there is none).
struct Policy {
  std::string name;
  unsigned laws = no_law;
  std::function<AnyRouter(const PolicyParameters&)> make;
  std::string random_part = {};  // of its parameters, what PolicyParameters does not have and is random; "": nothing
};
using Policies = std::vector<Policy>;

// AdaMoE's router with m null experts, which no permutation touches.
template <class Backend>
auto adamoe_of(const PolicyParameters& i, index_t m) {
  std::vector<float> gate = i.gate;
  std::vector<float> bias = i.gate_bias;
  for (const float w : uniform_floats(std::int64_t{m} * i.hidden_size, i.gate_bound, 71)) gate.push_back(w);
  for (const float b : uniform_floats(m, 0.5f, 72)) bias.push_back(i.null_bias + b);
  const index_t rows = i.num_experts + m;
  return adamoe_router<Backend>({.gate = {gate.data(), rows, i.hidden_size}, .gate_bias = bias}, m, i.k).value();
}

// Groups that divide the experts, of which so many of 8 compete: at least those that k experts need.
inline DeepseekGroups groups_of(const PolicyParameters& i, index_t of_8) {
  const index_t count = i.num_experts % 8 == 0 ? (i.num_experts > 8 ? 8 : 4) : i.num_experts % 13 == 0 ? 5 : 1;
  return {count, std::max(divide_up(of_8 * count, 8), divide_up(i.k, i.num_experts / count))};
}

// A bound for the random weights of a sum over n inputs of the size of 1, which then is no larger.
inline float sum_bound(float bound, index_t n) { return std::min(bound, std::sqrt(3.0f / static_cast<float>(n))); }

// RMoE's router: the first columns of the instance's gate are its gate, all routers share a cell: of the paper's size
// 128 where the hidden size is a model's, else of an odd one.
template <class Backend>
auto gru_of(const PolicyParameters& i, RecurrentKind kind) {
  const bool is_large = i.hidden_size >= 1024;
  const index_t inputs = is_large ? 128 : 9;
  const index_t size = is_large ? 128 : 11;
  const auto make = [](RecurrentKind of_kind, index_t in, index_t out) {
    const index_t rows = num_gates(of_kind) * out;
    const std::vector<float> ih = uniform_floats(std::int64_t{rows} * in, sum_bound(0.6f, in), 81);
    const std::vector<float> hh = uniform_floats(std::int64_t{rows} * out, sum_bound(0.6f, out), 82);
    const std::vector<float> b = uniform_floats(std::int64_t{2} * rows, 0.3f, 83);
    const std::span<const float> bias(b);
    return RecurrentCell::create({of_kind, ih, hh, bias.first(as_size(rows)), bias.last(as_size(rows))}, in, out)
        .value();
  };
  static const RecurrentCell odd[] = {make(RecurrentKind::gru, 9, 11), make(RecurrentKind::rnn, 9, 11)};
  static const RecurrentCell large[] = {make(RecurrentKind::gru, 128, 128), make(RecurrentKind::rnn, 128, 128)};
  const std::vector<float> projection =
      uniform_floats(std::int64_t{inputs} * i.hidden_size, sum_bound(0.5f, i.hidden_size), 84);
  // Rows wider than the hidden size go on into the next one, the last into zeros.
  std::vector<float> gate(i.gate.size() + as_size(std::max(size - i.hidden_size, 0)));
  for (std::size_t w = 0; w < i.gate.size(); ++w) gate[w] = 4.0f * (0.5f / i.gate_bound) * i.gate[w];
  return GruRouter<TopK, Renormalize, Backend>::create(
             (is_large ? large : odd)[kind == RecurrentKind::gru ? 0 : 1], {projection.data(), inputs, i.hidden_size},
             {gate.data(), i.num_experts, size, i.hidden_size}, TopK{i.k}, Renormalize{})
      .value();
}

// MoE++'s router: a two-layer gate, 8 E wide inside where the hidden size is no smaller, and a gate residual made of
// the rows of two experts.
template <class Backend>
auto moe_plus_plus_of(const PolicyParameters& i, ZeroExpertWeight zero_expert, float norm_std) {
  const index_t inner = std::min(i.hidden_size, 8 * i.num_experts);
  const std::vector<float> first =
      uniform_floats(std::int64_t{inner} * i.hidden_size, sum_bound(0.4f, i.hidden_size), 91);
  std::vector<float> residual;
  const float factor = 0.3f * (0.5f / i.gate_bound) * (0.5f / i.gate_bound);
  for (index_t e = 0; e < i.num_experts; ++e) {
    for (index_t f = 0; f < i.num_experts; ++f) {
      residual.push_back(factor * i.gate[as_size(e) * as_size(i.hidden_size)] *
                         i.gate[as_size(f) * as_size(i.hidden_size) + 1]);
    }
  }
  const MoePlusPlusGate gate{.first = {first.data(), inner, i.hidden_size},
                             .last = {i.gate.data(), i.num_experts, inner, i.hidden_size},
                             .residual = {residual.data(), i.num_experts, i.num_experts}};
  return MoePlusPlusRouter<Backend>::create(gate, {zero_expert, i.k, norm_std}).value();
}

// DynMoE's router, whose thresholds let about k experts through: cosines of tokens and random prototypes are nearly
// normal, of deviation 1 / sqrt(hidden_size).
template <class Backend>
auto dynmoe_of(const PolicyParameters& i) {
  const float above = static_cast<float>(i.k) / (static_cast<float>(i.num_experts) + 1.0f);
  std::vector<float> thresholds;
  for (const float b : i.gate_bias) {
    const float deviations = std::log((1.0f - above) / above) / 1.7f - b;
    thresholds.push_back(deviations / std::sqrt(static_cast<float>(i.hidden_size)));
  }
  return dynmoe_router<Backend>({.prototypes = {i.gate.data(), i.num_experts, i.hidden_size}, .thresholds = thresholds})
      .value();
}

// LongCat's zero experts behind DeepSeek-V3's gate: the last expert is one, where there is another; the others stand in
// groups of two or more, of which half compete, or as many as k experts need.
template <class Backend>
auto grouped_zero_expert_of(const PolicyParameters& i) {
  const index_t others = std::max(i.num_experts - 1, 1);
  const auto divides = [&](index_t groups) { return others % groups == 0 && others > groups; };
  const index_t count = divides(8) ? 8 : divides(3) ? 3 : divides(2) ? 2 : 1;
  const index_t needed = divide_up(std::min(i.k, others), others / count);
  return grouped_zero_expert_router<Backend>(i.biased(), i.num_experts - others, i.k, 2.5f,
                                             {count, std::max(divide_up(count, 2), needed)})
      .value();
}

// Tutel's cosine router, its projector 256 wide where the hidden size is no smaller, its prototypes the first columns
// of the gate.
template <class Backend>
auto tutel_cosine_of(const PolicyParameters& i) {
  const index_t width = std::min(i.hidden_size, index_t{256});
  const std::vector<float> projector =
      uniform_floats(std::int64_t{width} * i.hidden_size, sum_bound(0.5f, i.hidden_size), 101);
  return tutel_cosine_router<Backend>({.prototypes = {i.gate.data(), i.num_experts, width, i.hidden_size},
                                       .temperature = std::log(2.0f),
                                       .projector = {projector.data(), width, i.hidden_size}},
                                      i.k)
      .value();
}

// ProMoE's router of tokens without labels.
template <class Backend>
auto promoe_of(const PolicyParameters& i) {
  return ProMoeRouter<IdentityScore, Backend>::create({i.gate.data(), i.num_experts, i.hidden_size},
                                                      {.k = i.k, .null_expert = false})
      .value();
}

// Experts that choose k tokens of E on the average.
template <class Backend>
auto expert_choice_of(const PolicyParameters& i) {
  return ExpertChoiceRouter<Backend>::create({i.gate.data(), i.num_experts, i.hidden_size},
                                             {.capacity_factor = static_cast<double>(i.k)}, i.gate_bias)
      .value();
}

// RouterRetriever's router: an expert's examples are its row of the gate and two near it.
template <class Backend>
auto sentence_of(const PolicyParameters& i) {
  const std::size_t width = as_size(i.hidden_size);
  std::vector<float> embeddings = i.gate;
  const std::vector<float> apart = uniform_floats(std::int64_t{2} * std::ssize(i.gate), 0.3f * i.gate_bound, 111);
  for (std::size_t j = 0; j < apart.size(); ++j) embeddings.push_back(i.gate[j % i.gate.size()] + apart[j]);
  std::vector<ExpertId> expert_of;
  for (std::size_t p = 0; p < embeddings.size() / width; ++p) {
    expert_of.push_back(static_cast<ExpertId>(p % as_size(i.num_experts)));
  }
  const ConstRows rows{embeddings.data(), static_cast<index_t>(expert_of.size()), i.hidden_size};
  return SentenceRouter<Backend>::create(rows, expert_of, i.num_experts).value();
}

// A hash table that permutes with the experts: token v goes to the k whose gate is largest in column v.
inline HashRouter hash_of(const PolicyParameters& i) {
  std::vector<ExpertId> table;
  for (index_t v = 0; v < i.hidden_size; ++v) {
    std::vector<float> column;
    for (index_t e = 0; e < i.num_experts; ++e)
      column.push_back(i.gate[as_size(e) * as_size(i.hidden_size) + as_size(v)]);
    std::vector<ExpertId> row(as_size(i.k));
    Scalar::top_k(column.data(), i.num_experts, i.k, row.data());
    table.insert(table.end(), row.begin(), row.end());
  }
  return HashRouter::create(table, i.k, i.num_experts, i.hidden_size).value();
}

// PEER's router, one head, for E = I J experts, I the largest divisor of E up to its root: the sum of scores that comes
// nearest to the gate's logits, which is, but for a constant, their mean over j plus their mean over i. The queries are
// these means, the keys pick one each.
template <class Backend>
auto peer_of(const PolicyParameters& i) {
  index_t first = 1;
  for (index_t d = 2; std::int64_t{d} * d <= i.num_experts; ++d) first = i.num_experts % d == 0 ? d : first;
  const index_t second = i.num_experts / first;
  const auto width = as_size(i.hidden_size);
  std::vector<float> query(2 * as_size(second) * width);
  for (index_t e = 0; e < i.num_experts; ++e) {
    float* const of_first = query.data() + as_size(e / second) * width;
    float* const of_second = query.data() + as_size(second + e % second) * width;
    for (std::size_t c = 0; c < width; ++c) {
      of_first[c] += i.gate[as_size(e) * width + c] / static_cast<float>(second);
      of_second[c] += i.gate[as_size(e) * width + c] / static_cast<float>(first);
    }
  }
  std::vector<float> keys(as_size(second) * as_size(second));
  for (std::size_t j = 0; j < as_size(second); ++j) keys[j * as_size(second) + j] = 1.0f;
  return PeerRouter<Backend>::create({.query = {query.data(), 2 * second, i.hidden_size},
                                      .first_keys = {keys.data(), first, second},
                                      .second_keys = {keys.data(), second, second}},
                                     {.heads = 1, .k = i.k})
      .value();
}

// The policies, every one with a name of its own. A row with a model's name is that model's policy, with its constants;
// k, E and the gate are the parameters'. clang-format off keeps one line each.
template <class Backend = NativeBackend>
Policies all_policies() {
  using I = const PolicyParameters&;
  using NormalizedSigmoid = Then<SigmoidOverSelected, Renormalize>;
  constexpr unsigned softmax_laws = shift_invariant | logit_order;
  // clang-format off
  return {
    {"Switch", softmax_laws, [](I i) { return switch_router<Backend>(i.plain()).value(); }},
    {"Mixtral", softmax_laws, [](I i) { return mixtral_router<Backend>(i.plain(), i.k).value(); }},
    {"OLMoE", softmax_laws, [](I i) { return olmoe_router<Backend>(i.plain(), i.k).value(); }},
    {"Qwen2-MoE", softmax_laws, [](I i) { return qwen2_moe_router<Backend>(i.plain(), i.k).value(); }},
    {"Qwen3-MoE", softmax_laws, [](I i) { return qwen3_moe_router<Backend>(i.plain(), i.k).value(); }},
    {"Granite", softmax_laws, [](I i) { return granite_router<Backend>(i.plain(), i.k).value(); }},
    {"Tutel", softmax_laws, [](I i) { return SoftmaxTopK<Renormalize, Backend>(i.plain(), {i.k}, {0.0f, 0x1p-23f, true}); }},
    {"ERNIE 4.5", shift_invariant | trained_bias, [](I i) { return ernie_router<Backend>(i.biased(), i.k).value(); }},
    {"DeepSeek-V2, greedy", softmax_laws, [](I i) { return deepseek_v2_router<Backend>(i.plain(), i.k, Scale{16.0f}).value(); }},
    {"DeepSeek-V2, in groups", shift_invariant | by_place, [](I i) { return deepseek_v2_router<Backend>(i.plain(), i.k, Scale{16.0f}, groups_of(i, 3)).value(); }},
    {"DeepSeek-V3", by_place | trained_bias, [](I i) { return deepseek_v3_router<Backend>(i.biased(), i.k, 2.5f, groups_of(i, 4)).value(); }},
    {"Moonlight", trained_bias, [](I i) { return deepseek_v3_router<Backend>(i.biased(), i.k, 2.446f, {1, 1}).value(); }},
    {"LongCat-Flash", shift_invariant | trained_bias | last_is_free, [](I i) { return longcat_router<Backend>(i.biased(), i.k, 6.0f).value(); }},
    {"DeepSeek-V3, zero expert", by_place | trained_bias | last_is_free, [](I i) { return grouped_zero_expert_of<Backend>(i); }},
    {"MiniMax-M2", trained_bias, [](I i) { return minimax_m2_router<Backend>(i.biased(), i.k).value(); }},
    {"LFM2-MoE", trained_bias, [](I i) { return lfm2_moe_router<Backend>(i.biased(), i.k).value(); }},
    {"PhiMoE", logit_order, [](I i) { return sparse_mixer_router<Backend>(i.plain(), 0.01f, i.k).value(); }},
    {"Llama 4", logit_order, [](I i) { return StagedRouter<IdentityScore, TopK, SigmoidOverSelected, Backend>(i.plain(), {i.k}, {}); }},
    {"SmallThinker", logit_order, [](I i) { return StagedRouter<IdentityScore, TopK, NormalizedSigmoid, Backend>(i.plain(), {i.k}, {}); }},
    {"FactorLLM", softmax_laws, [](I i) { return factor_llm_router<Backend>(i.plain(), i.k).value(); }},
    {"SPT", softmax_laws, [](I i) { return spt_router<Backend>(i.plain(), i.k).value(); }},
    {"Duo-LLM", softmax_laws, [](I i) { return duo_llm_router<Backend>(i.plain()).value(); }},
    {"top-p", shift_invariant, [](I i) { return StagedRouter<SoftmaxScore, TopP, Keep, Backend>(i.plain(), {0.6f}, {}); }},
    {"top-p, at most k", shift_invariant, [](I i) { return StagedRouter<SoftmaxScore, TopP, Renormalize, Backend>(i.plain(), {0.6f, i.k}, {}); }},
    {"Tutel, cosine", no_law, [](I i) { return tutel_cosine_of<Backend>(i); }, "projector"},
    {"DynMoE", no_law, [](I i) { return dynmoe_of<Backend>(i); }},
    {"ProMoE", no_law, [](I i) { return promoe_of<Backend>(i); }},
    {"expert choice", no_law, [](I i) { return expert_choice_of<Backend>(i); }},
    {"PHATGOOSE", no_law, [](I i) { return phatgoose_router<Backend>({i.gate.data(), i.num_experts, i.hidden_size}, i.k).value(); }},
    {"Glider", no_law, [](I i) { return glider_router<Backend>({i.gate.data(), i.num_experts, i.hidden_size}, i.k).value(); }},
    {"RouterRetriever", by_place, [](I i) { return sentence_of<Backend>(i); }, "embeddings"},
    {"AdaMoE", no_law, [](I i) { return adamoe_of<Backend>(i, 3); }, "3 null experts"},
    {"RMoE", no_law, [](I i) { return gru_of<Backend>(i, RecurrentKind::gru); }, "projection, cell"},
    {"RMoE, plain cell", no_law, [](I i) { return gru_of<Backend>(i, RecurrentKind::rnn); }, "projection, cell"},
    {"experts in regions", shift_invariant | by_place, [](I i) { return bilevel_expert_router<Backend>(i.plain(), i.k, {groups_of(i, 2).num_groups, groups_of(i, 2).topk_group}).value(); }},
    {"ReMoE", no_law, [](I i) { return relu_router<Backend>(i.plain()).value(); }},
    {"BlockFFN", no_law, [](I i) { return block_ffn_router<Backend>(i.plain(), i.gain, 1e-5f).value(); }},
    {"PEER", by_place, [](I i) { return peer_of<Backend>(i); }},
    {"MoRA", no_law, [](I i) { return mora_router<Backend>({i.gate.data(), i.num_experts, i.hidden_size}, {.k = i.k, .temperature = 0.25f, .at_least = 0.0f}).value(); }},
    {"Graph of Tokens", shift_invariant, [](I i) { return GraphOfTokens<MixDomain::probabilities, TopK, Renormalize, Backend>::create(i.plain(), {i.k}, {}, {.temperature = std::sqrt(static_cast<float>(i.hidden_size))}).value(); }},
    {"hash", no_law, [](I i) { return hash_of(i); }, "table"},
    {"MoE++ of the paper", last_is_free, [](I i) { return moe_plus_plus_of<Backend>(i, ZeroExpertWeight::paper, 0.0f); }, "first matrix, residual"},
    {"MoE++ of the code", by_place | last_is_free, [](I i) { return moe_plus_plus_of<Backend>(i, ZeroExpertWeight::code, 1.0f); }, "first matrix, residual"},
  };
  // clang-format on
}

}  // namespace headgate::inline HEADGATE_ABI
