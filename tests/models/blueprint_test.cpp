#include "headgate/models/blueprint.hpp"

#include "models/plain_blueprint.hpp"
#include "models/small_file.hpp"

using namespace headgate;
using namespace models_test;

namespace {

std::vector<std::string> names(const Blueprint& blueprint) {
  std::vector<std::string> all;
  for (const WeightUse& use : blueprint.weights()) {
    use.rows.for_each_tensor([&](const Tensor& tensor) { all.push_back(tensor.name); });
  }
  return all;
}

}  // namespace

TEST_CASE("a blueprint lists every weight it reads, norms of branches and steps included") {
  const SmallFile file({counting("table", {4, 5}), counting("head", {4, 5}), counting("bias", {4}),
                        counting("last", {5}), counting("before", {5}), counting("router", {5}), counting("after", {5}),
                        counting("step", {5})});
  const auto norm = [&](const char* name) { return NormPart{WeightRows::find(file.source, name, {5}), 1e-6f}; };
  StepPlan step = plain_step(nullptr);
  step.branches[0].norm = norm("before");
  step.branches[0].router_norm = norm("router");
  step.branches[0].norm_after = norm("after");
  step.norm_after = norm("step");
  Blueprint blueprint{.config = {},
                      .embedding = {WeightRows::find(file.source, "table", {4, 5})},
                      .layers = {{step}},
                      .norm = norm("last")};
  CHECK(names(blueprint) == std::vector<std::string>{"table", "last", "before", "router", "after", "step"});
  CHECK(blueprint.weights().front().is_read);  // the head
  blueprint.head = {.matrix = WeightRows::find(file.source, "head", {4, 5}),
                    .bias = WeightRows::find(file.source, "bias", {4})};
  CHECK(names(blueprint) ==
        std::vector<std::string>{"table", "head", "bias", "last", "before", "router", "after", "step"});
  CHECK(!blueprint.weights().front().is_read);  // a token reads a row of it
}

TEST_CASE("operations of a blueprint are visited layer by layer, in order") {
  Blueprint blueprint = plain_blueprint(8);
  const auto costing = [](std::int64_t cost) { return plain_step([cost](const PassSize&) { return cost; }); };
  StepPlan both = costing(2);
  both.branches.push_back(costing(3).branches[0]);
  blueprint.layers = {{costing(1), both}, {}, {costing(4)}};
  std::vector<std::pair<index_t, std::int64_t>> seen;
  blueprint.each_operation(
      [&](const auto& part, index_t layer) { seen.emplace_back(layer, part.scratch()({1, 1, 1, 1})); });
  CHECK(seen == std::vector<std::pair<index_t, std::int64_t>>{{0, 1}, {0, 2}, {0, 3}, {2, 4}});
}

TEST_CASE("a pre-norm step adds its operation once, times its scale") {
  const StepPlan step = PreNorm{NormPart{WeightRows(), 1e-5f}}.then(DenseFfnPart(PlainPart{nullptr}), 0.25f);
  REQUIRE(step.branches.size() == 1);
  CHECK(step.branches[0].norm->epsilon == 1e-5f);
  CHECK(!step.branches[0].norm_after);
  CHECK(!step.norm_after);
  CHECK(step.scale == 0.25f);
}
