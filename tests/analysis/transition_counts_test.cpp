#include "headgate/analysis/transition_counts.hpp"

#include <cmath>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "headgate/analysis/expert_cache.hpp"
#include "headgate/analysis/text_run.hpp"
#include "headgate/routing/lookahead.hpp"
#include "headgate/tokenizer/tokenizer.hpp"
#include "support/catch.hpp"
#include "support/routing.hpp"
#include "support/shared_data.hpp"

namespace {

using namespace headgate;

// A story through the model in the repository: the plans of its layers, and the rows and routers that made them.
struct Recorded {
  std::vector<RoutingPlan> plans;
  PolicyInput input;
};
const Recorded& recorded() {
  static const Recorded all = [] {
    const std::string folder = HEADGATE_SOURCE_DIR "/examples/models/tales";
    const auto model = load_model(folder);
    Context ctx;
    Session session(model, {.context_size = 512, .all_logits = true});
    const std::vector<std::int32_t> ids =
        Tokenizer::from_file(folder + "/tokenizer.json")
            .encode(
                "Once upon a time there was a king who had three sons and a golden horse. The eldest went into the "
                "forest to seek his fortune, and he had not gone far when he met an old woman who asked him for a "
                "piece of bread. But he laughed at her and rode on, and in the evening he lost his way.");
    std::vector<RoutingPlan> plans(as_size(model->num_layers()));
    session.on_route = [&](index_t layer, index_t, const RoutingPlan& plan) { plans[as_size(layer)] = plan; };
    throw_if_error(session.forward(ids, ctx));
    session.on_route = {};
    throw_if_error(session.truncate(0));
    return Recorded{std::move(plans), live_input(folder, session, ids, 2, ctx)};
  }();
  return all;
}

}  // namespace

TEST_CASE("what came before tells no less than loads do, by hand") {
  TransitionCounts counts(2, 3);
  CHECK(std::isnan(counts.hit_rate(1)));
  counts.add(plan_of(2, {{0}, {0}, {1}, {1, 0}}), plan_of(3, {{2}, {2}, {1}, {0}}));
  CHECK(counts.pairs() == 5);
  CHECK(counts.hit_rate(1) == 3.0 / 5.0);  // with 0 come 2, 2 and 0, with 1 come 1 and 0
  CHECK(counts.hit_rate_by_load(1) == 2.0 / 5.0);
  CHECK(counts.hit_rate(3) == 1.0);
  CHECK(counts.hit_rate(0) == 0.0);
  CHECK_THROWS_AS(counts.add(2, 0), Error);
  CHECK_THROWS_AS(counts.add(0, -1), Error);
  CHECK_THROWS_AS(counts.add(plan_of(2, {{0}}), plan_of(3, {})), Error);
  CHECK_THROWS_AS(TransitionCounts(0, 1), Error);
}

TEST_CASE("on recorded counts of OLMoE and Mistral the layer before tells which experts to fetch") {
  const auto path = shared_data("data/routing/cross_layer_counts.csv");
  if (!path) return;
  std::map<std::string, TransitionCounts> counts;
  std::ifstream file(*path);
  std::string line;
  std::getline(file, line);
  while (std::getline(file, line)) {
    std::istringstream fields(line);
    std::string model, dataset, field;
    std::getline(fields, model, ',');
    std::getline(fields, dataset, ',');
    std::vector<std::int64_t> numbers;
    while (std::getline(fields, field, ',')) numbers.push_back(std::stoll(field));
    REQUIRE(numbers.size() == 5);
    const index_t experts = model == "olmoe" ? 64 : 8;
    const std::string key = model + "," + dataset + "," + std::to_string(numbers[0]);
    counts.try_emplace(key, experts, experts)
        .first->second.add(static_cast<ExpertId>(numbers[2]), static_cast<ExpertId>(numbers[3]), numbers[4]);
  }
  CHECK(counts.size() == 8);
  for (const auto& [key, of] : counts) {
    CAPTURE(key);
    const index_t experts = key.starts_with("olmoe") ? 64 : 8;
    for (index_t c = 1; c <= experts; ++c) {
      CHECK(of.hit_rate(c) >= of.hit_rate_by_load(c));
      CHECK(of.hit_rate_by_load(c) >= static_cast<double>(c) / experts - 1e-12);
      CHECK(of.hit_rate(c) >= of.hit_rate(c - 1));
    }
    CHECK(of.hit_rate(experts) == 1.0);
    if (experts == 64) CHECK(of.hit_rate(8) > of.hit_rate_by_load(8));
  }
}

TEST_CASE("on a story, the layer before tells more than loads do") {
  const std::vector<RoutingPlan>& plans = recorded().plans;
  const index_t experts = plans[0].num_experts();
  for (std::size_t l = 1; l < plans.size(); ++l) {
    TransitionCounts counts(experts, experts);
    counts.add(plans[l - 1], plans[l]);
    CHECK(counts.pairs() == std::int64_t{plans[l].tokens()} * 4);  // 2 of 16 in both
    CHECK(counts.hit_rate(4) > counts.hit_rate_by_load(4));
    CHECK(counts.hit_rate_by_load(4) > 4.0 / experts);
  }
}

TEST_CASE(
    "the gate of a later layer on the rows of this one finds more experts than chance, the layer's own finds all") {
  const Recorded& trace = recorded();
  const index_t experts = trace.plans[0].num_experts();
  for (const index_t distance : {0, 1, 2}) {
    std::vector<AnyRouter> routers;  // all experts, best first
    for (const PolicyLayer& layer : trace.input.layers) {
      routers.emplace_back(qwen3_moe_router(layer.parameters.plain(), experts).value());
    }
    const auto gates = LookaheadGates<AnyRouter>::create(std::move(routers), distance).value();
    double before = -1.0;
    for (const index_t c : {1, 2, 4, 8, 16}) {
      CAPTURE(distance, c);
      CacheCurve sum;
      for (index_t layer = 0; gates.reaches(layer); ++layer) {
        Context ctx;
        RoutingPlan guess;
        throw_if_error(gates.guess({.hidden = trace.input.hidden(as_size(layer)), .layer = layer}, guess, ctx));
        sum += cache_curve(trace.plans[as_size(layer + distance)], Eviction::lru, FirstUse::misses, {&guess, c});
      }
      const double rate = sum.rate(0);  // without a cache
      CHECK(rate > before);
      if (c < experts) CHECK(rate > static_cast<double>(c) / experts);
      if (c == experts) CHECK(rate == 1.0);
      if (distance == 0) CHECK(rate == std::min(1.0, static_cast<double>(c) / 2.0));
      before = rate < 1.0 ? rate : before;
    }
  }
}
