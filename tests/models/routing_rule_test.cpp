#include "headgate/models/routing_rule.hpp"

#include "support/catch.hpp"

using namespace headgate;

namespace {

RoutingPlan rows(index_t count) {
  RoutingPlan plan;
  plan.clear(3);
  for (index_t t = 0; t < count; ++t) throw_if_error(plan.append_row({}, {}));
  return plan;
}

}  // namespace

TEST_CASE("a rule applies to its layer and from its first position to before its end") {
  const RoutingRule one{.layer = 2, .first_position = 4, .end_position = 6, .edits = {.k = 1}};
  CHECK_FALSE(one.applies(2, 3));
  CHECK(one.applies(2, 4));
  CHECK(one.applies(2, 5));
  CHECK_FALSE(one.applies(2, 6));
  CHECK_FALSE(one.applies(1, 5));
  const RoutingRule all{.edits = {.k = 1}};
  CHECK(all.layer == RoutingRule::every_layer);
  CHECK(all.applies(0, 0));
  CHECK(all.applies(77, static_cast<index_t>(max_index) - 1));
}

TEST_CASE("a rule that forces a plan ends with the plan's rows, or before") {
  const RoutingPlan plan = rows(5);
  CHECK(RoutingRule{.first_position = 10, .edits = {.forced_plan = &plan}}.end() == 15);
  CHECK(RoutingRule{.first_position = 10, .end_position = 12, .edits = {.forced_plan = &plan}}.end() == 12);
  CHECK(RoutingRule{.first_position = 10, .end_position = 99, .edits = {.forced_plan = &plan}}.end() == 15);
  const index_t late = static_cast<index_t>(max_index) - 2;
  CHECK(RoutingRule{.first_position = late, .edits = {.forced_plan = &plan}}.end() == max_index);
  CHECK(RoutingRule{.first_position = 10}.end() == max_index);
}

TEST_CASE("the next change after a position is the nearest begin or end of a rule") {
  const RoutingRule rules[] = {{.layer = 3, .first_position = 4, .end_position = 9}, {.first_position = 7}};
  CHECK(RoutingRule::next_change(rules, 0) == 4);
  CHECK(RoutingRule::next_change(rules, 3) == 4);
  CHECK(RoutingRule::next_change(rules, 4) == 7);
  CHECK(RoutingRule::next_change(rules, 7) == 9);
  CHECK(RoutingRule::next_change(rules, 9) == max_index);
  CHECK(RoutingRule::next_change({}, 0) == max_index);
}

TEST_CASE("rules come to one edit a layer: what they say adds up, and one layer's stand above all layers'") {
  const RoutingPlan plan = rows(5);
  const std::uint8_t mask[] = {1, 0, 1};
  const std::uint8_t own[] = {0, 1, 1};
  const RoutingRule rules[] = {
      {.layer = 2, .edits = {.expert_mask = own, .mask_meaning = MaskMeaning::prune}},
      {.edits = {.expert_mask = mask, .mask_meaning = MaskMeaning::zero_output, .k = 2}},
      {.layer = 5, .first_position = 3, .edits = {.k = 1, .forced_plan = &plan}},
  };
  RouteEdits edits;
  index_t row = -1;
  REQUIRE(RoutingRule::resolve(rules, 2, 0, edits, row).ok());
  CHECK(edits.expert_mask.data() == own);
  CHECK(edits.mask_meaning == MaskMeaning::prune);
  CHECK(edits.k == 2);
  CHECK(edits.forced_plan == nullptr);
  REQUIRE(RoutingRule::resolve(rules, 5, 6, edits, row).ok());
  CHECK(edits.expert_mask.data() == mask);
  CHECK(edits.mask_meaning == MaskMeaning::zero_output);
  CHECK(edits.k == 1);
  CHECK(edits.forced_plan == &plan);
  CHECK(row == 3);
  REQUIRE(RoutingRule::resolve(rules, 5, 8, edits, row).ok());
  CHECK(edits.forced_plan == nullptr);
  CHECK(edits.k == 2);
  REQUIRE(RoutingRule::resolve({}, 5, 8, edits, row).ok());
  CHECK(edits.empty());
}

TEST_CASE("two rules of one rank that say the same thing are an error where both apply") {
  const std::uint8_t mask[] = {1, 0, 1};
  const RoutingPlan plan = rows(9);
  RouteEdits edits;
  index_t row = 0;
  const auto code = [&](const RoutingRule& a, const RoutingRule& b, index_t position = 4) {
    const RoutingRule rules[] = {a, b};
    return RoutingRule::resolve(rules, 1, position, edits, row).code;
  };
  CHECK(code({.edits = {.k = 1}}, {.edits = {.k = 1}}) == ErrorCode::usage);
  CHECK(code({.edits = {.expert_mask = mask}}, {.edits = {.expert_mask = mask}}) == ErrorCode::usage);
  CHECK(code({.edits = {.forced_plan = &plan}}, {.edits = {.forced_plan = &plan}}) == ErrorCode::usage);
  CHECK(code({.layer = 1, .edits = {.k = 1}}, {.layer = 1, .edits = {.k = 2}}) == ErrorCode::usage);
  CHECK(code({.layer = 1, .edits = {.k = 1}}, {.edits = {.k = 2}}) == ErrorCode::ok);
  CHECK(code({.edits = {.k = 1}}, {.edits = {.expert_mask = mask}}) == ErrorCode::ok);
  CHECK(code({.layer = 2, .edits = {.k = 1}}, {.layer = 2, .edits = {.k = 2}}) == ErrorCode::ok);
  CHECK(code({.end_position = 4, .edits = {.k = 1}}, {.first_position = 4, .edits = {.k = 2}}) == ErrorCode::ok);
  CHECK(edits.k == 2);
}

TEST_CASE("a clash of rules names the layer, and the rule of one layer stands above wherever it stands") {
  const RoutingPlan plan = rows(9);
  const RoutingPlan other = rows(2);
  const std::uint8_t mask[] = {1, 0, 1};
  const std::uint8_t own[] = {0, 1, 1};
  RouteEdits edits;
  index_t row = -1;
  const RoutingRule clash[] = {{.edits = {.k = 1}}, {.edits = {.k = 1}}};
  const Status status = RoutingRule::resolve(clash, 6, 0, edits, row);
  CHECK(status.code == ErrorCode::usage);
  CHECK(std::string(status.what) == "two rules of one rank edit the same thing of a layer");
  CHECK(status.layer == 6);
  CHECK(row == -1);

  const RoutingRule all{
      .first_position = 1,
      .edits = {.expert_mask = mask, .mask_meaning = MaskMeaning::zero_output, .k = 2, .forced_plan = &plan}};
  const RoutingRule one{
      .layer = 6,
      .first_position = 3,
      .edits = {.expert_mask = own, .mask_meaning = MaskMeaning::prune, .k = 1, .forced_plan = &other}};
  for (const bool is_first : {true, false}) {
    const RoutingRule rules[] = {is_first ? one : all, is_first ? all : one};
    REQUIRE(RoutingRule::resolve(rules, 6, 4, edits, row).ok());
    CHECK(edits.expert_mask.data() == own);
    CHECK(edits.mask_meaning == MaskMeaning::prune);
    CHECK(edits.k == 1);
    CHECK(edits.forced_plan == &other);
    CHECK(row == 1);
    REQUIRE(RoutingRule::resolve(rules, 6, 5, edits, row).ok());  // the plan of layer 6 has ended
    CHECK(edits.expert_mask.data() == mask);
    CHECK(edits.k == 2);
    CHECK(edits.forced_plan == &plan);
    CHECK(row == 4);
    REQUIRE(RoutingRule::resolve(rules, 6, 0, edits, row).ok());
    CHECK(edits.empty());
    REQUIRE(RoutingRule::resolve(rules, 5, 4, edits, row).ok());
    CHECK(edits.k == 2);
    CHECK(row == 3);
  }
}
