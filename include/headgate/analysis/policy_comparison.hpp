// Policies (analysis/policies.hpp, yours among them) on one PolicyInput: what routing costs, what the plans cost, how
// balanced they are, and how far they agree with a reference, plain top-k softmax unless another is named. The same
// parameters for all. A policy whose selection bias is trained gets it here, from BiasBalancer on the same tokens: 60
// steps of the sign rule, the better of two step sizes.
#pragma once

#include <chrono>

#include "headgate/analysis/policy_input.hpp"
#include "headgate/analysis/routing_columns.hpp"
#include "headgate/routing/balancing/bias_balancer.hpp"

namespace headgate::inline HEADGATE_ABI {

struct PolicyComparisonOptions {
  std::uint64_t seed = 1;
  int timing_rounds = 9;              // 0: no time is taken
  std::string reference = "Mixtral";  // a name among the policies
};

namespace detail {

// The plans of all layers.
inline void route_layers(const std::vector<AnyRouter>& routers, const PolicyInput& in, std::vector<RoutingPlan>& plans,
                         Context& ctx) {
  AnyRouter::State state;
  plans.resize(routers.size());
  for (std::size_t l = 0; l < routers.size(); ++l) {
    if (l == 0 || routers[l].traits().state == StateScope::per_text) state.reset(in.tokens);
    throw_if_error(routers[l].route({in.hidden(l), in.token_ids, static_cast<index_t>(l)}, state, plans[l], ctx));
  }
}

// Nanoseconds of a token in one layer: one number a round.
inline std::vector<double> routing_times(const std::vector<AnyRouter>& routers, const PolicyInput& in, int rounds,
                                         Context& ctx) {
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

// Writes the selection bias that spreads the layer's tokens most evenly.
inline void train_bias(const Policy& policy, PolicyParameters& parameters, ConstRows hidden, Context& ctx) {
  std::vector<float> best = parameters.selection_bias;
  double least = std::numeric_limits<double>::infinity();
  for (const float rate : {0.02f, 0.2f / static_cast<float>(parameters.num_experts)}) {  // of sigmoids, of a softmax
    BiasBalancer balancer = BiasBalancer::create(parameters.num_experts, {.rate = rate}).value();
    for (int step = 0; step <= 60; ++step) {
      parameters.selection_bias.assign(balancer.bias().begin(), balancer.bias().end());
      AnyRouter::State state;
      state.reset(hidden.rows);
      RoutingPlan plan;
      throw_if_error(policy.make(parameters).route({.hidden = hidden}, state, plan, ctx));
      throw_if_error(balancer.observe(plan));
      if (const double variation = LoadStats::of(balancer.loads()).variation; variation < least) {
        least = variation;
        best = parameters.selection_bias;
      }
      balancer.step();
    }
  }
  parameters.selection_bias = best;
}

// The routers of all layers.
inline std::vector<AnyRouter> routers_of(const Policy& policy, const PolicyInput& in, Context& ctx) {
  std::vector<AnyRouter> routers;
  for (std::size_t l = 0; l < in.layers.size(); ++l) {
    PolicyParameters parameters = in.layers[l].parameters;
    if ((policy.laws & trained_bias) != 0) train_bias(policy, parameters, in.hidden(l), ctx);
    routers.push_back(policy.make(parameters));
  }
  return routers;
}

inline double median_of(std::vector<double> values, std::span<const index_t> times) {
  std::vector<double> drawn;
  for (std::size_t i = 0; i < values.size(); ++i) drawn.insert(drawn.end(), as_size(times[i]), values[i]);
  if (drawn.empty()) return std::numeric_limits<double>::quiet_NaN();
  std::sort(drawn.begin(), drawn.end());
  return (drawn[(drawn.size() - 1) / 2] + drawn[drawn.size() / 2]) / 2.0;
}

}  // namespace detail

// A row for each policy. Throws usage where no policy has the reference's name, and whatever a policy's make throws.
inline Comparison compare_policies(const PolicyInput& in, const Policies& policies,
                                   const PolicyComparisonOptions& options, Context& ctx) {
  Comparison table;
  table.title = in.name;
  table.note = in.note + (in.note.empty() ? "" : " ") + "Per token and layer; times on one thread. Compared with " +
               options.reference + ". Random parts are parameters that the gate does not give; selection biases were " +
               "balanced on these tokens.";
  table.label_columns = {"input", "policy", "random part"};
  table.columns = {{"ns_per_token", "ns/token", 0, Better::lower, "time to route a token in one layer, in nanoseconds"},
                   {"time_ratio", "time\nratio", 2, Better::lower, "that time / the reference's"}};
  for (const auto& columns : {cost_columns(), balance_columns(), overlap_columns(), likeness_columns()}) {
    table.columns.insert(table.columns.end(), columns.begin(), columns.end());
  }

  const auto named = [&](const Policy& policy) { return policy.name == options.reference; };
  const auto reference = std::find_if(policies.begin(), policies.end(), named);
  if (reference == policies.end()) {
    throw Error(ErrorCode::usage, {"", "reference", -1, "no policy is named '" + escaped(options.reference, 80) + "'"});
  }
  const std::vector<AnyRouter> references = detail::routers_of(*reference, in, ctx);
  std::vector<RoutingPlan> reference_plans;
  detail::route_layers(references, in, reference_plans, ctx);
  const index_t num_experts = in.layers.front().parameters.num_experts;
  const WeightCost cost{static_cast<double>(in.expert_bytes), 0.0};

  for (const Policy& policy : policies) {
    const std::vector<AnyRouter> routers = detail::routers_of(policy, in, ctx);
    std::vector<RoutingPlan> plans;
    detail::route_layers(routers, in, plans, ctx);
    RoutingTrace trace(static_cast<index_t>(in.layers.size()), num_experts,
                       num_experts - ((policy.laws & last_is_free) != 0 ? 1 : 0), RoutingTrace::block_size(in.tokens));
    for (std::size_t l = 0; l < plans.size(); ++l) trace.add(static_cast<index_t>(l), plans[l], &reference_plans[l]);

    ComparisonRow row{{in.name, policy.name, policy.random_part.empty() ? "-" : policy.random_part}, {}, {}};
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
    const std::vector<Interval> metrics = bootstrap(
        trace.num_blocks(),
        [&](std::span<const index_t> times) {
          const RoutingMetrics m = trace.metrics(times);
          std::vector<double> values;
          for (const auto& part : {cost_values(m, cost), balance_values(m), overlap_values(m), likeness_values(m)}) {
            values.insert(values.end(), part.begin(), part.end());
          }
          return values;
        },
        {.seed = options.seed});
    row.values.insert(row.values.end(), metrics.begin(), metrics.end());
    for (index_t l = 0; l < trace.num_layers(); ++l) row.loads.push_back(trace.loads(l));
    table.rows.push_back(std::move(row));
  }
  return table;
}

}  // namespace headgate::inline HEADGATE_ABI
