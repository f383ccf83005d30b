#include "headgate/routing/balancing/bias_balancer.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>
#include <thread>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/staged_router.hpp"
#include "headgate/routing/stages/top_k.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/routing.hpp"
#include "support/status.hpp"

namespace {

using namespace headgate;
using Loads = std::vector<std::int64_t>;

// A plan that sends so many tokens to each expert.
RoutingPlan plan_of(const Loads& loads) {
  RoutingPlan plan;
  plan.clear(static_cast<index_t>(loads.size()));
  const float weight = 1.0f;
  for (ExpertId e = 0; as_size(e) < loads.size(); ++e) {
    for (std::int64_t i = 0; i < loads[as_size(e)]; ++i) throw_if_error(plan.append_row({&e, 1}, {&weight, 1}));
  }
  return plan;
}
Loads random_loads(std::size_t experts, std::mt19937& rng) {
  Loads loads(experts);
  for (std::int64_t& load : loads) load = static_cast<std::int64_t>(rng() % 50);
  return loads;
}

// Ten lines that a balancer has to agree with in bits.
void reference_step(std::vector<float>& bias, const Loads& loads, const BalanceRule& rule, int n) {
  const float u = rule.schedule == BalanceRate::constant ? rule.rate : rule.rate / static_cast<float>(n);
  const auto experts = static_cast<std::int64_t>(loads.size());
  const std::int64_t total = std::accumulate(loads.begin(), loads.end(), std::int64_t{0});
  std::vector<float> d;
  for (const std::int64_t c : loads) {
    const std::int64_t e = total - c * experts;  // experts * (mean - c)
    d.push_back(u * (rule.error == BalanceError::sign ? static_cast<float>(e > 0   ? 1
                                                                           : e < 0 ? -1
                                                                                   : 0)
                                                      : static_cast<float>(e) / static_cast<float>(experts)));
  }
  const float mean = std::accumulate(d.begin(), d.end(), 0.0f) / static_cast<float>(experts);
  for (std::size_t i = 0; i < d.size(); ++i) bias[i] += rule.centred ? d[i] - mean : d[i];
  if (rule.multiplicative)
    for (float& b : bias) b = b < 1e-6f ? 1e-6f : b;
}

std::vector<BalanceRule> all_rules() {
  std::vector<BalanceRule> rules;
  for (const auto error : {BalanceError::sign, BalanceError::proportional}) {
    for (const auto schedule : {BalanceRate::constant, BalanceRate::decaying}) {
      for (const bool centred : {false, true}) {
        for (const bool multiplicative : {false, true})
          rules.push_back({error, schedule, 3e-3f, centred, multiplicative});
      }
    }
  }
  return rules;
}

// Tokens with fixed affinities, sent where affinity + bias is largest.
class Market {
  using Selection = StagedSelection<IdentityScore, TopK, EqualWeights>;

 public:
  Market(index_t tokens, index_t experts, index_t k, unsigned seed)
      : affinity_(random_floats(as_size(tokens) * as_size(experts), 0.5f, seed)),
        scratch_(affinity_.size()),
        tokens_(tokens),
        selection_(Selection::create(experts, {}, TopK{k}, EqualWeights{1.0f}).value()) {
    // Skewed: without a bias, later experts are wanted more.
    for (std::size_t i = 0; i < affinity_.size(); ++i) {
      affinity_[i] += 0.3f * static_cast<float>(i % as_size(experts)) / static_cast<float>(experts);
    }
  }
  // New tokens, as skewed.
  void draw(std::mt19937& rng) {
    const std::size_t experts = as_size(selection_.num_experts());
    for (std::size_t i = 0; i < affinity_.size(); ++i) {
      affinity_[i] = static_cast<float>(rng() >> 8) * 0x1p-24f +
                     0.3f * static_cast<float>(i % experts) / static_cast<float>(experts);
    }
  }
  const RoutingPlan& route(std::span<const float> bias) {
    throw_if_error(selection_.set_selection_bias(bias));
    scratch_ = affinity_;
    throw_if_error(selection_.route({scratch_.data(), tokens_, selection_.num_experts()}, {}, plan_, ctx_));
    return plan_;
  }
  double affinity(index_t token, ExpertId e) const {
    return static_cast<double>(affinity_[as_size(token) * as_size(selection_.num_experts()) + as_size(e)]);
  }
  // The dual function D(b) = sum over tokens of the chosen affinity + bias, less the target load times sum b.
  double dual(const RoutingPlan& plan, std::span<const float> bias) const {
    double sum = 0.0;
    for (index_t t = 0; t < tokens_; ++t) {
      for (const ExpertId e : plan.experts(t)) sum += affinity(t, e) + static_cast<double>(bias[as_size(e)]);
    }
    const double target = static_cast<double>(plan.entries()) / static_cast<double>(bias.size());
    for (const float b : bias) sum -= target * static_cast<double>(b);
    return sum;
  }

 private:
  std::vector<float> affinity_;
  std::vector<float> scratch_;
  index_t tokens_;
  Selection selection_;
  RoutingPlan plan_;
  Context ctx_;
};

double imbalance(std::span<const std::int64_t> loads) {
  const double mean = static_cast<double>(std::accumulate(loads.begin(), loads.end(), std::int64_t{0})) /
                      static_cast<double>(loads.size());
  double sum = 0.0;
  for (const std::int64_t load : loads) sum += std::abs(static_cast<double>(load) - mean);
  return sum;
}

}  // namespace

TEST_CASE("P18: every rule agrees with a ten-line reference, in bits") {
  std::mt19937 rng(3);
  for (const BalanceRule& rule : all_rules()) {
    BiasBalancer balancer = BiasBalancer::create(7, rule).value();
    std::vector<float> bias(7, rule.multiplicative ? 1.0f : 0.0f);
    for (int n = 1; n <= 100; ++n) {
      const Loads loads = random_loads(7, rng);
      throw_if_error(balancer.observe(plan_of(loads)));
      CHECK(Loads(balancer.loads().begin(), balancer.loads().end()) == loads);
      balancer.step();
      reference_step(bias, loads, rule, n);
      REQUIRE(std::equal(bias.begin(), bias.end(), balancer.bias().begin()));
      CHECK(balancer.steps() == n);
    }
  }
}

TEST_CASE("P18: equal loads, and no loads at all, are a fixed point of every rule") {
  for (const BalanceRule& rule : all_rules()) {
    BiasBalancer balancer = BiasBalancer::create(5, rule).value();
    throw_if_error(balancer.observe(plan_of({9, 1, 4, 4, 4})));
    balancer.step();
    const std::vector<float> bias(balancer.bias().begin(), balancer.bias().end());
    throw_if_error(balancer.observe(plan_of({6, 6, 6, 6, 6})));
    balancer.step();
    balancer.step();
    CHECK(std::equal(bias.begin(), bias.end(), balancer.bias().begin()));
  }
}

TEST_CASE("the proportional rule keeps the sum of the biases, and centring keeps it for the sign rule") {
  std::mt19937 rng(4);
  BiasBalancer proportional = BiasBalancer::create(8, {.error = BalanceError::proportional, .rate = 1e-2f}).value();
  BiasBalancer centred = BiasBalancer::create(8, {.rate = 1e-2f, .centred = true}).value();
  BiasBalancer plain = BiasBalancer::create(8, {.rate = 1e-2f}).value();
  const auto sum = [](const BiasBalancer& b) { return std::accumulate(b.bias().begin(), b.bias().end(), 0.0); };
  for (int n = 0; n < 200; ++n) {
    const RoutingPlan plan = plan_of(random_loads(8, rng));
    for (BiasBalancer* balancer : {&proportional, &centred, &plain}) {
      throw_if_error(balancer->observe(plan));
      balancer->step();
    }
  }
  CHECK(std::abs(sum(proportional)) < 1e-3);
  CHECK(std::abs(sum(centred)) < 1e-4);
  // Centring shifts all biases alike.
  for (std::size_t e = 1; e < 8; ++e) {
    CHECK(centred.bias()[e] - centred.bias()[0] == Catch::Approx(plain.bias()[e] - plain.bias()[0]).margin(1e-5));
  }
}

TEST_CASE("P18: a constant added to all biases changes no plan, and no bias changes the weights of a set") {
  const std::vector<float> gate = random_floats(9 * 6, 0.6f, 5);
  const std::vector<float> x = random_floats(50 * 6, 1.0f, 6);
  const ConstRows rows(x.data(), 50, 6);
  using Balanced = StagedRouter<SigmoidScore, TopK, Renormalize>;
  Balanced router({.gate = {gate.data(), 9, 6}}, {3}, {});
  const RoutingPlan plain = routed(router, rows);
  throw_if_error(router.set_selection_bias(std::vector<float>(9, 0.0f)));
  CHECK(routed(router, rows) == plain);
  throw_if_error(router.set_selection_bias(std::vector<float>(9, 4.0f)));
  CHECK(routed(router, rows) == plain);
  // 12 + 1e-8 - 12 is 0: weights come from scores, whatever the bias.
  std::vector<float> bias = random_floats(9, 12.0f, 7);
  throw_if_error(router.set_selection_bias(bias));
  const RoutingPlan biased = routed(router, rows);
  CHECK_FALSE(biased == plain);
  for (index_t t = 0; t < 50; ++t) {
    if (experts_of(biased, t) == experts_of(plain, t)) CHECK(weights_of(biased, t) == weights_of(plain, t));
  }
}

TEST_CASE("a router takes new biases and factors between calls, keeps its mask, and refuses others whole") {
  const std::vector<float> gate = identity_gate(4);
  const std::vector<float> x = {2.0f, 1.0f, 0.5f, 0.0f};
  const std::vector<std::uint8_t> mask = {1, 1, 1, 0};
  StagedRouter<SoftmaxScore, TopK, Keep> router({.gate = {gate.data(), 4, 4}, .mask = mask}, {2}, {});
  const ConstRows rows(x.data(), 1, 4);
  const std::vector<float> before = weights_of(routed(router, rows), 0);
  throw_if_error(router.set_selection_bias(std::vector<float>{-1.0f, 0.0f, 0.0f, 9.0f}));
  CHECK(experts_of(routed(router, rows), 0) == std::vector<ExpertId>{1, 2});
  CHECK_FALSE(router.set_selection_bias(std::vector<float>{1.0f, std::nanf(""), 0.0f, 0.0f}).ok());
  CHECK_FALSE(router.set_selection_bias(std::vector<float>(3, 0.0f)).ok());
  CHECK_FALSE(router.set_selection_bias({}).ok());
  CHECK(experts_of(routed(router, rows), 0) == std::vector<ExpertId>{1, 2});
  throw_if_error(router.set_selection_bias(std::vector<float>(4, 0.0f)));
  CHECK(weights_of(routed(router, rows), 0) == before);

  // Multiplicative: keys are score * factor, weights the scores.
  throw_if_error(router.set_selection_factor(std::vector<float>{0.1f, 1.0f, 1.0f, 9.0f}));
  const RoutingPlan plan = routed(router, rows);
  CHECK(experts_of(plan, 0) == std::vector<ExpertId>{1, 2});
  CHECK(plan.weights(0)[0] == before[1]);
  for (const float bad : {0.0f, -1.0f, 1e9f, std::nanf("")}) {
    CHECK_FALSE(router.set_selection_factor(std::vector<float>{1.0f, 1.0f, bad, 1.0f}).ok());
  }
  CHECK_FALSE(router.set_selection_factor(std::vector<float>(5, 1.0f)).ok());
  throw_if_error(router.set_selection_factor(std::vector<float>(4, 1.0f)));
  CHECK(weights_of(routed(router, rows), 0) == before);
}

TEST_CASE("P18: a token moves only to an expert whose bias rose more: from crowded to less crowded ones") {
  for (const BalanceRule& rule : all_rules()) {
    if (rule.multiplicative) continue;
    BalanceRule faster = rule;
    faster.rate = rule.error == BalanceError::sign ? 2e-2f : 1e-3f;
    for (const index_t k : {1, 2, 6}) {
      Market market(60, 8, k, 8);
      BiasBalancer balancer = BiasBalancer::create(8, faster).value();
      RoutingPlan before = market.route(balancer.bias());
      std::int64_t moves = 0;
      for (int n = 0; n < 60; ++n) {
        throw_if_error(balancer.observe(before));
        const Loads loads(balancer.loads().begin(), balancer.loads().end());
        balancer.step();
        const RoutingPlan after = market.route(balancer.bias());
        for (index_t t = 0; t < 60; ++t) {
          const auto has = [&](const RoutingPlan& plan, ExpertId e) {
            return std::find(plan.experts(t).begin(), plan.experts(t).end(), e) != plan.experts(t).end();
          };
          for (const ExpertId left : before.experts(t)) {
            if (has(after, left)) continue;
            for (const ExpertId taken : after.experts(t)) {
              if (has(before, taken)) continue;
              ++moves;
              CHECK(loads[as_size(taken)] < loads[as_size(left)]);
              if (rule.error == BalanceError::sign) {
                CHECK(8 * loads[as_size(left)] >= 60 * k);
                CHECK(8 * loads[as_size(taken)] <= 60 * k);
              }
            }
          }
        }
        before = after;
      }
      CHECK(moves > 0);
    }
  }
}

TEST_CASE("P18: small steps end with loads within E - 1 of their mean") {
  const struct {
    index_t k, experts, tokens;
  } markets[] = {{1, 8, 128}, {2, 16, 256}};
  for (const auto& m : markets) {
    for (const auto schedule : {BalanceRate::constant, BalanceRate::decaying}) {
      Market market(m.tokens, m.experts, m.k, 9);
      const float rate = schedule == BalanceRate::constant ? 1e-3f : 0.3f;
      BiasBalancer balancer = BiasBalancer::create(m.experts, {.schedule = schedule, .rate = rate}).value();
      std::int64_t worst = 0;
      for (int n = 0; n < 800; ++n) {
        throw_if_error(balancer.observe(market.route(balancer.bias())));
        worst = 0;
        for (const std::int64_t load : balancer.loads()) {
          worst = std::max<std::int64_t>(worst, std::abs(load - std::int64_t{m.tokens} * m.k / m.experts));
        }
        if (n == 0) CHECK(worst > m.experts - 1);
        balancer.step();
      }
      CHECK(worst <= m.experts - 1);
    }
  }
}

TEST_CASE("P18: the dual function falls in every step of the sign rule that moves few assignments") {
  // Each move recovers at most 2 u; the step itself gains u * sum |load - mean|. Without the condition it may rise.
  constexpr index_t tokens = 240;
  for (const float u : {1e-3f, 4e-3f}) {
    Market market(tokens, 8, 2, 10);
    BiasBalancer balancer = BiasBalancer::create(8, {.rate = u}).value();
    RoutingPlan before = market.route(balancer.bias());
    int met = 0;
    for (int n = 0; n < 300; ++n) {
      const double dual = market.dual(before, balancer.bias());
      throw_if_error(balancer.observe(before));
      const double gain = imbalance(balancer.loads());
      balancer.step();
      const RoutingPlan after = market.route(balancer.bias());
      std::int64_t moved = 0;
      for (index_t t = 0; t < tokens; ++t) {
        for (const ExpertId e : after.experts(t)) {
          moved += std::find(before.experts(t).begin(), before.experts(t).end(), e) == before.experts(t).end() ? 1 : 0;
        }
      }
      if (static_cast<double>(moved) <= 0.5 * gain) {
        ++met;
        CHECK(market.dual(after, balancer.bias()) <= dual + 1e-4);
      }
      before = after;
    }
    CHECK(met > 10);
  }
}

TEST_CASE("P18: with new tokens in every batch, regret of c / n steps levels off and that of constant steps grows on") {
  constexpr index_t tokens = 32;
  constexpr index_t experts = 8;
  // Affinities are uniform in [a_e, a_e + 1): with bias -a_e all experts are alike, the best there is.
  std::vector<float> best;
  for (index_t e = 0; e < experts; ++e) best.push_back(-0.3f * static_cast<float>(e) / static_cast<float>(experts));
  // Added up over batches 1 ... 400, 401 ... 2200 and 2201 ... 4000.
  const auto regrets = [&](const BalanceRule& rule) {
    Market market(tokens, experts, 1, 11);
    std::mt19937 rng(12);
    BiasBalancer balancer = BiasBalancer::create(experts, rule).value();
    std::array<double, 3> sums{};
    for (int n = 1; n <= 4000; ++n) {
      market.draw(rng);
      const double optimum = market.dual(market.route(best), best);
      const RoutingPlan& plan = market.route(balancer.bias());
      sums[n <= 400 ? 0 : n <= 2200 ? 1 : 2] += (market.dual(plan, balancer.bias()) - optimum) / tokens;
      throw_if_error(balancer.observe(plan));
      balancer.step();
    }
    return sums;
  };
  constexpr auto proportional = BalanceError::proportional;
  const auto decayed = regrets({.error = proportional, .schedule = BalanceRate::decaying, .rate = 2.0f / tokens});
  const auto constant = regrets({.error = proportional, .rate = 0.05f / tokens});
  const auto sign = regrets({.rate = 1e-2f});
  CAPTURE(decayed, constant, sign);
  CHECK(decayed[1] + decayed[2] < 0.05);  // logarithmic: nine times the batches, a seventh of the regret
  CHECK(decayed[2] < 0.2 * decayed[0]);
  for (const auto& linear : {constant, sign}) {
    CHECK(linear[2] == Catch::Approx(linear[1]).epsilon(0.2));
    CHECK(linear[2] > 10 * (decayed[1] + decayed[2]));
  }
}

TEST_CASE("plans may be observed by many threads in any order: loads are the same") {
  std::mt19937 rng(13);
  std::vector<RoutingPlan> plans;
  Loads expected(6, 0);
  for (int i = 0; i < 24; ++i) {
    const Loads loads = random_loads(6, rng);
    for (std::size_t e = 0; e < 6; ++e) expected[e] += loads[e];
    plans.push_back(plan_of(loads));
  }
  BiasBalancer balancer = BiasBalancer::create(6, {}).value();
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      for (std::size_t p = i; p < plans.size(); p += 3) static_cast<void>(balancer.observe(plans[p]));
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(Loads(balancer.loads().begin(), balancer.loads().end()) == expected);
  const Status status = balancer.observe(plan_of({1, 2}));
  CHECK(status.found == 2);
  CHECK(status.allowed == 6);
}

TEST_CASE("a balancer is the same after a round trip through bytes, and goes on in the same bits") {
  std::mt19937 rng(14);
  for (const BalanceRule& rule : all_rules()) {
    BiasBalancer balancer = BiasBalancer::create(5, rule).value();
    for (int n = 0; n < 3; ++n) {
      throw_if_error(balancer.observe(plan_of(random_loads(5, rng))));
      balancer.step();
    }
    throw_if_error(balancer.observe(plan_of({1, 2, 3, 4, 5})));
    BiasBalancer read = BiasBalancer::deserialize(balancer.serialize()).value();
    CHECK(read.serialize() == balancer.serialize());
    CHECK(read.steps() == 3);
    CHECK(read.rule().rate == rule.rate);
    balancer.step();
    read.step();
    CHECK(std::equal(read.bias().begin(), read.bias().end(), balancer.bias().begin()));
  }
}

TEST_CASE("bytes that are no balancer are an error, whichever is wrong") {
  BiasBalancer balancer = BiasBalancer::create(3, {.multiplicative = true}).value();
  throw_if_error(balancer.observe(plan_of({1, 2, 3})));
  const std::string bytes = balancer.serialize();
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    CHECK_FALSE(BiasBalancer::deserialize(std::string_view(bytes).substr(0, n)).has_value());
  }
  CHECK_FALSE(BiasBalancer::deserialize(bytes + "x").has_value());
  const auto with = [&](std::size_t offset, auto value) {
    std::string damaged = bytes;
    std::memcpy(damaged.data() + offset, &value, sizeof value);
    return BiasBalancer::deserialize(damaged);
  };
  CHECK(with(7, '2').error().code() == ErrorCode::bad_file);
  for (std::size_t flag = 8; flag < 12; ++flag) CHECK_FALSE(with(flag, char{2}).has_value());
  CHECK_FALSE(with(12, std::nanf("")).has_value());  // rate
  CHECK_FALSE(with(12, -1.0f).has_value());
  CHECK_FALSE(with(16, index_t{0}).has_value());  // experts
  CHECK_FALSE(with(16, index_t{-1}).has_value());
  CHECK_FALSE(with(16, index_t{2000000000}).has_value());
  CHECK_FALSE(with(20, std::int64_t{-1}).has_value());  // steps
  CHECK_FALSE(with(28, std::nanf("")).has_value());     // biases
  CHECK_FALSE(with(28, 0.0f).has_value());
  CHECK_FALSE(with(40, std::int64_t{-1}).has_value());  // loads
  CHECK(with(40, std::int64_t{8}).has_value());
}

TEST_CASE("a balancer refuses no experts and a rate that is none") {
  CHECK(BiasBalancer::create(0, {}).error().what() == std::string("experts to balance, at least (got 0, allowed 1)"));
  for (const float rate : {-1e-3f, std::nanf(""), std::numeric_limits<float>::infinity()}) {
    CHECK_FALSE(BiasBalancer::create(2, {.rate = rate}).has_value());
  }
}

TEST_CASE("a balancer says what it refuses, and takes the bounds") {
  CHECK(BalanceRule{}.rate == 1e-3f);
  CHECK(BalanceRule{}.error == BalanceError::sign);
  CHECK(BalanceRule{}.schedule == BalanceRate::constant);
  CHECK_FALSE(BalanceRule{}.centred);
  CHECK_FALSE(BalanceRule{}.multiplicative);
  CHECK(refused(BiasBalancer::create(1, {.rate = 0.0f})) == "made");
  CHECK(refused(BiasBalancer::create(0, {})) == "experts to balance, at least (got 0, allowed 1)");
  CHECK(refused(BiasBalancer::create(1, {.rate = -1e-9f})) == "rate of a balancer is negative or not finite");
  BiasBalancer balancer = BiasBalancer::create(2, {.rate = 0.25f}).value();
  CHECK(said(balancer.observe(plan_of({1, 2, 3}))) ==
        "usage: experts of the plan against experts of the balancer (got 3, allowed 2)");
  CHECK(balancer.steps() == 0);
  throw_if_error(balancer.observe(plan_of({3, 1})));
  balancer.step();
  CHECK(balancer.steps() == 1);
  CHECK(balancer.bias()[0] == -0.25f);
  CHECK(balancer.bias()[1] == 0.25f);
  CHECK(balancer.loads()[0] == 0);
}

TEST_CASE("a factor never falls below its smallest, and bytes of a balancer say what is wrong") {
  BiasBalancer balancer = BiasBalancer::create(2, {.rate = 1.0f, .multiplicative = true}).value();
  throw_if_error(balancer.observe(plan_of({3, 1})));
  balancer.step();
  CHECK(balancer.bias()[0] == 1e-6f);
  CHECK(balancer.bias()[1] == 2.0f);
  throw_if_error(balancer.observe(plan_of({5, 0})));
  const std::string bytes = balancer.serialize();
  REQUIRE(bytes.size() == 8 + 4 + 4 + 4 + 8 + 2 * (4 + 8));
  const auto outcome = [&](std::size_t place, auto value) {
    std::string changed = bytes;
    std::memcpy(&changed[place], &value, sizeof(value));
    return refused(BiasBalancer::deserialize(changed));
  };
  CHECK(refused(BiasBalancer::deserialize(bytes)) == "made");
  CHECK(outcome(0, 'X') == "balancer: not a saved balancer");
  CHECK(refused(BiasBalancer::deserialize(std::string_view(bytes).substr(0, 27))) == "balancer: not a saved balancer");
  for (const std::size_t place : {8u, 9u, 10u, 11u}) CHECK(outcome(place, std::uint8_t{2}) == "balancer: unknown rule");
  CHECK(outcome(8, std::uint8_t{1}) == "made");
  CHECK(outcome(12, -1.0f) == "rate of a balancer is negative or not finite");
  CHECK(outcome(16, index_t{0}) == "balancer: size 52 does not fit 0 experts");
  CHECK(outcome(16, index_t{3}) == "balancer: size 52 does not fit 3 experts");
  CHECK(outcome(20, std::int64_t{-1}) == "balancer: size 52 does not fit 2 experts");
  CHECK(outcome(20, std::int64_t{0}) == "made");
  CHECK(outcome(28, std::nanf("")) == "balancer: a bias is not finite");
  CHECK(outcome(32, 0.0f) == "balancer: a factor is not positive");
  CHECK(outcome(36, std::int64_t{-1}) == "balancer: a load is negative");
  CHECK(outcome(44, std::int64_t{0}) == "made");
}

TEST_CASE("a balancer of one expert, before its first step and after, comes back from its bytes") {
  BiasBalancer balancer = BiasBalancer::create(1, {}).value();
  const std::string before = balancer.serialize();
  CHECK(BiasBalancer::deserialize(before).value().serialize() == before);
  throw_if_error(balancer.observe(plan_of({3})));
  balancer.step();
  CHECK(balancer.bias()[0] == 0.0f);
  CHECK(BiasBalancer::deserialize(balancer.serialize()).value().steps() == 1);
}
