// Every policy of analysis/policies.hpp on one PolicyInput: what routing costs, what the plans cost, how balanced they
// are, and how far they agree with plain top-k softmax. The same parameters for all. A policy whose selection bias is
// trained gets it here, from BiasBalancer on the same tokens: 60 steps of the sign rule, the better of two step sizes.
#pragma once

#include <chrono>

#include "headgate/analysis/policy_input.hpp"
#include "headgate/analysis/routing_columns.hpp"
#include "headgate/routing/balancing/bias_balancer.hpp"

namespace headgate::inline HEADGATE_ABI {

struct PolicyComparisonOptions {
  std::uint64_t seed = 1;
  int timing_rounds = 9;  // 0: no time is taken
};

namespace detail {

// The plans of all layers.
template <Router R>
void route_layers(const std::vector<R>& routers, const PolicyInput& in, std::vector<RoutingPlan>& plans, Context& ctx) {
  typename R::State state;
  state.reset(in.tokens);
  plans.resize(routers.size());
  for (std::size_t l = 0; l < routers.size(); ++l) {
    throw_if_error(routers[l].route({in.hidden(l), in.token_ids, static_cast<index_t>(l)}, state, plans[l], ctx));
  }
}

// Nanoseconds of a token in one layer: one number a round.
template <Router R>
std::vector<double> routing_times(const std::vector<R>& routers, const PolicyInput& in, int rounds, Context& ctx) {
  std::vector<RoutingPlan> plans;
  std::vector<double> times;
  const auto divisor = static_cast<double>(in.tokens) * static_cast<double>(routers.size());
  for (int round = -1; round < rounds; ++round) {  // one that does not count makes the memory
    const auto start = std::chrono::steady_clock::now();
    route_layers(routers, in, plans, ctx);
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
    if (round >= 0) times.push_back(took.count() / divisor);
  }
  return times;
}

template <Router R>
void train_bias(R& router, ConstRows hidden, Context& ctx) {
  std::vector<float> best(as_size(router.num_experts()), 0.0f);
  double least = std::numeric_limits<double>::infinity();
  for (const float rate : {0.02f, 0.2f / static_cast<float>(router.num_experts())}) {  // of sigmoids, of a softmax
    BiasBalancer balancer = BiasBalancer::create(router.num_experts(), {.rate = rate}).value();
    for (int step = 0; step <= 60; ++step) {
      NoState none;
      RoutingPlan plan;
      throw_if_error(router.set_selection_bias(balancer.bias()));
      throw_if_error(router.route({.hidden = hidden}, none, plan, ctx));
      throw_if_error(balancer.observe(plan));
      if (const double variation = LoadStats::of(balancer.loads()).variation; variation < least) {
        least = variation;
        best.assign(balancer.bias().begin(), balancer.bias().end());
      }
      balancer.step();
    }
  }
  throw_if_error(router.set_selection_bias(best));
}

inline double median_of(std::vector<double> values, std::span<const index_t> times) {
  std::vector<double> drawn;
  for (std::size_t i = 0; i < values.size(); ++i) drawn.insert(drawn.end(), as_size(times[i]), values[i]);
  if (drawn.empty()) return std::numeric_limits<double>::quiet_NaN();
  std::sort(drawn.begin(), drawn.end());
  return (drawn[(drawn.size() - 1) / 2] + drawn[drawn.size() / 2]) / 2.0;
}

}  // namespace detail

template <class Backend>
Comparison compare_policies(const PolicyInput& in, const PolicyComparisonOptions& options, Context& ctx) {
  Comparison table;
  table.title = in.name;
  table.label_columns = {"input", "policy"};
  table.columns = {{"ns_per_token", "ns/token", 0}, {"time_ratio", "of top-k", 2}};
  for (const auto& columns : {cost_columns(), balance_columns()}) {
    table.columns.insert(table.columns.end(), columns.begin(), columns.end());
  }
  table.columns.push_back({"agreement", "agree", 4});

  using Reference = SoftmaxTopK<Renormalize, Backend>;
  std::vector<Reference> references;
  for (const PolicyLayer& layer : in.layers) {
    references.push_back(mixtral_router<Backend>(layer.parameters.plain(), layer.parameters.k).value());
  }
  std::vector<RoutingPlan> reference_plans;
  detail::route_layers(references, in, reference_plans, ctx);
  const index_t num_experts = in.layers.front().parameters.num_experts;
  const WeightCost cost{static_cast<double>(in.expert_bytes), 0.0};

  for_each_policy<Backend>([&](const char* name, unsigned laws, auto make) {
    using R = decltype(make(in.layers.front().parameters));
    std::vector<R> routers;
    for (std::size_t l = 0; l < in.layers.size(); ++l) {
      routers.push_back(make(in.layers[l].parameters));
      if constexpr (requires(R& router, std::span<const float> bias) { router.set_selection_bias(bias); }) {
        if ((laws & trained_bias) != 0) detail::train_bias(routers.back(), in.hidden(l), ctx);
      }
    }
    std::vector<RoutingPlan> plans;
    detail::route_layers(routers, in, plans, ctx);
    RoutingTrace trace(static_cast<index_t>(in.layers.size()), num_experts,
                       num_experts - ((laws & last_is_free) != 0 ? 1 : 0), RoutingTrace::block_size(in.tokens));
    for (std::size_t l = 0; l < plans.size(); ++l) trace.add(static_cast<index_t>(l), plans[l], &reference_plans[l]);

    ComparisonRow row{{in.name, name}, {}, {}};
    if (options.timing_rounds > 0) {
      // Taken in one go with the reference's, so that what slows the machine slows both.
      const std::vector<double> plain = detail::routing_times(references, in, options.timing_rounds, ctx);
      const std::vector<double> own = detail::routing_times(routers, in, options.timing_rounds, ctx);
      row.values = bootstrap(options.timing_rounds,
                             [&](std::span<const index_t> times) {
                               const double ns = detail::median_of(own, times);
                               return std::vector<double>{ns, ns / detail::median_of(plain, times)};
                             },
                             {.seed = options.seed});
    } else {
      row.values.resize(2);
    }
    const std::vector<Interval> metrics = bootstrap(trace.num_blocks(),
                                                    [&](std::span<const index_t> times) {
                                                      const RoutingMetrics m = trace.metrics(times);
                                                      std::vector<double> values = cost_values(m, cost);
                                                      for (const double v : balance_values(m)) values.push_back(v);
                                                      values.push_back(m.agreement);
                                                      return values;
                                                    },
                                                    {.seed = options.seed});
    row.values.insert(row.values.end(), metrics.begin(), metrics.end());
    for (index_t l = 0; l < trace.num_layers(); ++l) row.loads.push_back(trace.loads(l));
    table.rows.push_back(std::move(row));
  });
  return table;
}

}  // namespace headgate::inline HEADGATE_ABI
