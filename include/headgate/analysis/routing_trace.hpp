// RoutingTrace: what the plans of one text add up to, by layer and by block of neighbouring tokens, so that metrics can
// be taken of any choice of blocks (analysis/bootstrap.hpp). S_t are the experts of token t, T tokens, c_e of them sent
// to expert e:
// clang-format off
//   mean k              mean of |S_t|
//   experts per token   the same without experts that compute nothing: rows of feed-forward networks per token
//   overlap             mean of |S_t and S_{t-1}| / |S_t| over tokens with a neighbour before them and experts
//     by chance         mean of |S_{t-1}| / E over these: expected of S_{t-1} drawn uniformly, as many
//     by load           mean of sum_{e in S_t} (c_e - 1) / (T - 1) / |S_t|: the overlap with a random other token
//   agreement           with the row of a reference for the same token, as analysis/row_likeness.hpp defines it
//     by chance         its chance
//     by load           with the reference's row of another token of the call, half of them away
//   weight ...          as there; weight sum is the mean of the sum of a row's weights
// clang-format on
// Loads are summed in integers; sums run in the order of the tokens.
#pragma once

#include <algorithm>
#include <limits>
#include <map>
#include <span>
#include <vector>

#include "headgate/analysis/load_stats.hpp"
#include "headgate/analysis/row_likeness.hpp"
#include "headgate/core/expected.hpp"
#include "headgate/routing/routing_plan.hpp"

namespace headgate::inline HEADGATE_ABI {

// Means over layers, except for `dead`, the sum. NaN: of nothing.
struct RoutingMetrics {
  double mean_k = 0;
  double experts_per_token = 0;
  double max_violation = 0;
  double variation = 0;
  double gini = 0;
  double jain = 0;
  double entropy_ratio = 0;
  double dead = 0;
  double overlap = 0;
  double overlap_by_chance = 0;
  double overlap_by_load = 0;
  double agreement = 0;
  double agreement_by_chance = 0;
  double agreement_by_load = 0;
  double weight_total_variation = 0;
  double weight_distance = 0;
  double weight_sum = 0;
};

class RoutingTrace {
 public:
  // The experts from num_computing on compute nothing. Throws where layers, experts or tokens of a block are below 1.
  RoutingTrace(index_t layers, index_t num_experts, index_t num_computing, index_t block_tokens)
      : num_experts_(num_experts),
        num_computing_(num_computing),
        block_tokens_(block_tokens),
        layers_(as_size(std::max(layers, 0))) {
    for (const index_t size : {layers, num_experts, block_tokens}) {
      if (size < 1) throw_if_error(Status::mismatch("layers, experts or tokens of a block, at least", size, 1));
    }
  }

  // So many tokens in a block that a text of `tokens` gives about 64.
  static index_t block_size(std::int64_t tokens) {
    return static_cast<index_t>(std::clamp<std::int64_t>((tokens + 63) / 64, 1, max_index));
  }

  // The token that comes next has no neighbour before it.
  void begin_text() {
    for (Layer& layer : layers_) layer.has_before = false;
  }
  // The next tokens of layer < num_layers(), with a reference's plan for the same tokens where there is one.
  void add(index_t layer, const RoutingPlan& plan, const RoutingPlan* reference = nullptr) {
    if (layer < 0 || layer >= num_layers()) throw_if_error(Status::mismatch("layer", layer, num_layers() - 1));
    throw_if_different("experts of the plan against experts of the trace", plan.num_experts(), num_experts_);
    if (reference != nullptr) throw_if_different("tokens of the reference", reference->tokens(), plan.tokens());
    Layer& of = layers_[as_size(layer)];
    for (index_t t = 0; t < plan.tokens(); ++t) {
      if (of.tokens++ % block_tokens_ == 0) {
        of.blocks.emplace_back();
        of.blocks.back().loads.resize(as_size(num_experts_));
        of.blocks.back().shares.resize(as_size(num_experts_));
      }
      const std::span<const ExpertId> experts = plan.experts(t);
      const auto size = static_cast<double>(experts.size());
      Block& block = of.blocks.back();
      ++block.tokens;
      for (const ExpertId e : experts) {
        ++block.loads[as_size(e)];
        block.computing += e < num_computing_ ? 1 : 0;
      }
      for (const float w : plan.weights(t)) block.sums[weight_sum] += static_cast<double>(w);
      if (of.has_before && !experts.empty()) {
        ++block.neighbours;
        block.sums[overlap] += common_experts(experts, of.before) / size;
        block.sums[overlap_by_chance] += static_cast<double>(of.before.size()) / num_experts_;
        for (const ExpertId e : experts) block.shares[as_size(e)] += 1.0 / size;
      }
      of.before.assign(experts.begin(), experts.end());
      of.has_before = true;
      if (reference != nullptr) add_compared(block, plan, t, *reference);
    }
  }

  index_t num_layers() const noexcept { return static_cast<index_t>(layers_.size()); }
  index_t num_experts() const noexcept { return num_experts_; }
  index_t num_blocks() const noexcept { return static_cast<index_t>(layers_.front().blocks.size()); }
  std::int64_t tokens() const noexcept { return layers_.front().tokens; }

  // Tokens of each expert in a layer, block b counting times[b] times; every block once without times.
  std::vector<std::int64_t> loads(index_t layer, std::span<const index_t> times = {}) const {
    std::vector<std::int64_t> sum(as_size(num_experts_), 0);
    for_blocks(layer, times, [&](const Block& block, index_t n) {
      for (std::size_t e = 0; e < sum.size(); ++e) sum[e] += std::int64_t{n} * block.loads[e];
    });
    return sum;
  }
  RoutingMetrics layer_metrics(index_t layer, std::span<const index_t> times = {}) const {
    Block sum;
    sum.shares.resize(as_size(num_experts_));
    for_blocks(layer, times, [&](const Block& block, index_t n) {
      sum.tokens += n * block.tokens;
      sum.computing += n * block.computing;
      sum.neighbours += n * block.neighbours;
      sum.compared += n * block.compared;
      for (std::size_t s = 0; s < num_sums; ++s) sum.sums[s] += n * block.sums[s];
      for (std::size_t e = 0; e < sum.shares.size(); ++e) sum.shares[e] += n * block.shares[e];
    });
    const std::vector<std::int64_t> of = loads(layer, times);
    const LoadStats balance = LoadStats::of(of);
    double by_load = 0;  // times T - 1
    for (std::size_t e = 0; e < of.size(); ++e) by_load += sum.shares[e] * static_cast<double>(of[e] - 1);
    return {.mean_k = mean(static_cast<double>(balance.total), sum.tokens),
            .experts_per_token = mean(static_cast<double>(sum.computing), sum.tokens),
            .max_violation = balance.max_violation,
            .variation = balance.variation,
            .gini = balance.gini,
            .jain = balance.jain,
            .entropy_ratio = balance.entropy_ratio,
            .dead = static_cast<double>(balance.dead),
            .overlap = mean(sum.sums[overlap], sum.neighbours),
            .overlap_by_chance = mean(sum.sums[overlap_by_chance], sum.neighbours),
            .overlap_by_load = mean(by_load, sum.neighbours * (sum.tokens - 1)),
            .agreement = mean(sum.sums[agree], sum.compared),
            .agreement_by_chance = mean(sum.sums[agree_by_chance], sum.compared),
            .agreement_by_load = mean(sum.sums[agree_by_load], sum.compared),
            .weight_total_variation = mean(sum.sums[weight_total_variation], sum.compared),
            .weight_distance = mean(sum.sums[weight_distance], sum.compared),
            .weight_sum = mean(sum.sums[weight_sum], sum.tokens)};
  }
  RoutingMetrics metrics(std::span<const index_t> times = {}) const {
    RoutingMetrics all;
    using M = RoutingMetrics;
    constexpr double M::* members[] = {&M::mean_k,
                                       &M::experts_per_token,
                                       &M::max_violation,
                                       &M::variation,
                                       &M::gini,
                                       &M::jain,
                                       &M::entropy_ratio,
                                       &M::overlap,
                                       &M::overlap_by_chance,
                                       &M::overlap_by_load,
                                       &M::agreement,
                                       &M::agreement_by_chance,
                                       &M::agreement_by_load,
                                       &M::weight_total_variation,
                                       &M::weight_distance,
                                       &M::weight_sum};
    for (index_t l = 0; l < num_layers(); ++l) {
      const RoutingMetrics layer = layer_metrics(l, times);
      for (const auto member : members) all.*member += layer.*member;
      all.dead += layer.dead;
    }
    for (const auto member : members) all.*member /= static_cast<double>(num_layers());
    return all;
  }

 private:
  enum Sum : std::size_t {
    overlap,
    overlap_by_chance,
    agree,
    agree_by_chance,
    agree_by_load,
    weight_total_variation,
    weight_distance,
    weight_sum,
    num_sums
  };
  struct Block {
    std::vector<std::int64_t> loads;  // (num_experts)
    std::vector<double> shares;       // (num_experts), of tokens with a neighbour: sum of 1 / |S_t| over e in S_t
    std::int64_t tokens = 0;
    std::int64_t computing = 0;  // entries of experts that compute
    std::int64_t neighbours = 0;
    std::int64_t compared = 0;
    double sums[num_sums] = {};
  };
  struct Layer {
    std::vector<Block> blocks;
    std::int64_t tokens = 0;
    std::vector<ExpertId> before;  // the experts of the last token
    bool has_before = false;
  };

  static void throw_if_different(const char* what, index_t found, index_t wanted) {
    if (found != wanted) throw_if_error(Status::mismatch(what, found, wanted));
  }
  void add_compared(Block& block, const RoutingPlan& plan, index_t t, const RoutingPlan& reference) {
    ++block.compared;
    const std::span<const ExpertId> own = plan.experts(t);
    const std::span<const ExpertId> of = reference.experts(t);
    block.sums[agree] += agreement(own, of);
    const auto sizes = std::pair(static_cast<index_t>(own.size()), static_cast<index_t>(of.size()));
    const auto [chance, is_new] = chances_.try_emplace(sizes, 0.0);
    if (is_new) chance->second = agreement_by_chance(sizes.first, sizes.second, num_experts_);
    block.sums[agree_by_chance] += chance->second;
    block.sums[agree_by_load] += agreement(own, reference.experts((t + plan.tokens() / 2) % plan.tokens()));
    const WeightLikeness weights = weight_likeness(plan, t, reference, t);
    block.sums[weight_total_variation] += weights.total_variation;
    block.sums[weight_distance] += weights.distance;
  }
  static double mean(double sum, std::int64_t count) noexcept {
    return count == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(count);
  }
  template <class F>
  void for_blocks(index_t layer, std::span<const index_t> times, F&& f) const {
    const std::vector<Block>& blocks = layers_[as_size(layer)].blocks;
    for (std::size_t b = 0; b < blocks.size(); ++b) {
      if (const index_t n = times.empty() ? 1 : times[b]; n > 0) f(blocks[b], n);
    }
  }

  index_t num_experts_;
  index_t num_computing_;
  index_t block_tokens_;
  std::vector<Layer> layers_;
  std::map<std::pair<index_t, index_t>, double> chances_;  // agreement by chance of two sizes
};

}  // namespace headgate::inline HEADGATE_ABI
