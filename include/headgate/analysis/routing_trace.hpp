// RoutingTrace: what the plans of one text add up to, by layer and by block of neighbouring tokens, so that metrics can
// be taken of any choice of blocks (analysis/bootstrap.hpp). S_t are the experts of token t:
//   mean k              mean of |S_t|
//   experts per token   the same without experts that compute nothing: rows of feed-forward networks per token
//   adjacent overlap    mean of |S_t and S_{t-1}| / |S_t| over tokens with a neighbour before them and experts
//   agreement           mean of |S_t and R_t| / |S_t or R_t| (Jaccard) with a reference's R_t; both empty: 1
// All but the agreement are summed in integers; sums run in the order of the tokens.
#pragma once

#include <algorithm>
#include <limits>
#include <span>
#include <vector>

#include "headgate/analysis/load_stats.hpp"
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
  double agreement = 0;
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
      }
      const std::span<const ExpertId> experts = plan.experts(t);
      Block& block = of.blocks.back();
      ++block.tokens;
      for (const ExpertId e : experts) {
        ++block.loads[as_size(e)];
        block.computing += e < num_computing_ ? 1 : 0;
      }
      if (of.has_before && !experts.empty()) {
        ++block.neighbours;
        block.overlap += share(common(experts, of.before), static_cast<index_t>(experts.size()));
      }
      of.before.assign(experts.begin(), experts.end());
      of.has_before = true;
      if (reference != nullptr) {
        ++block.compared;
        const index_t both = common(experts, reference->experts(t));
        block.agreement += share(both, static_cast<index_t>(experts.size() + reference->experts(t).size()) - both);
      }
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
    for_blocks(layer, times, [&](const Block& block, index_t n) {
      sum.tokens += n * block.tokens;
      sum.computing += n * block.computing;
      sum.neighbours += n * block.neighbours;
      sum.compared += n * block.compared;
      sum.overlap += static_cast<double>(n) * block.overlap;
      sum.agreement += static_cast<double>(n) * block.agreement;
    });
    const LoadStats balance = LoadStats::of(loads(layer, times));
    return {mean(static_cast<double>(balance.total), sum.tokens),
            mean(static_cast<double>(sum.computing), sum.tokens),
            balance.max_violation,
            balance.variation,
            balance.gini,
            balance.jain,
            balance.entropy_ratio,
            static_cast<double>(balance.dead),
            mean(sum.overlap, sum.neighbours),
            mean(sum.agreement, sum.compared)};
  }
  RoutingMetrics metrics(std::span<const index_t> times = {}) const {
    RoutingMetrics all;
    constexpr double RoutingMetrics::* members[] = {&RoutingMetrics::mean_k,        &RoutingMetrics::experts_per_token,
                                                    &RoutingMetrics::max_violation, &RoutingMetrics::variation,
                                                    &RoutingMetrics::gini,          &RoutingMetrics::jain,
                                                    &RoutingMetrics::entropy_ratio, &RoutingMetrics::overlap,
                                                    &RoutingMetrics::agreement};
    for (index_t l = 0; l < num_layers(); ++l) {
      const RoutingMetrics layer = layer_metrics(l, times);
      for (const auto member : members) all.*member += layer.*member;
      all.dead += layer.dead;
    }
    for (const auto member : members) all.*member /= static_cast<double>(num_layers());
    return all;
  }

 private:
  struct Block {
    std::vector<std::int64_t> loads;  // (num_experts)
    std::int64_t tokens = 0;
    std::int64_t computing = 0;  // entries of experts that compute
    std::int64_t neighbours = 0;
    std::int64_t compared = 0;
    double overlap = 0;
    double agreement = 0;
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
  static index_t common(std::span<const ExpertId> a, std::span<const ExpertId> b) noexcept {
    index_t count = 0;
    for (const ExpertId e : a) count += std::find(b.begin(), b.end(), e) != b.end() ? 1 : 0;
    return count;
  }
  static double share(index_t part, index_t all) noexcept { return all == 0 ? 1.0 : static_cast<double>(part) / all; }
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
};

}  // namespace headgate::inline HEADGATE_ABI
