#include "headgate/models/parts/joined_part.hpp"

#include "models/parts/bank_part.hpp"
#include "support/catch.hpp"

using namespace headgate;
using namespace models_test;

namespace {

ExpertRows expert(const SmallFile& file, const std::string& name, index_t width) {
  return {.gate = WeightRows::find(file.source, name + "in", {width, 5}),
          .up = WeightRows::find(file.source, name + "in", {width, 5}),
          .down = WeightRows::find(file.source, name + "out", {5, width})};
}

}  // namespace

TEST_CASE("experts of different widths stand behind one router, and those behind them add nothing") {
  const SmallFile file(
      {counting("a_in", {2, 5}), counting("a_out", {5, 2}), counting("b_in", {7, 5}), counting("b_out", {5, 7})});
  const ExpertsPart small{std::vector<ExpertRows>(2, expert(file, "a_", 2))};
  const ExpertsPart big{{expert(file, "b_", 7)}};
  const JoinedPart part{{small, big}, 1};
  CHECK(part.words() == "2 experts, 2 wide + 1 experts, 7 wide + 1 that skip");
  const WeightCount count = count_of(part);
  CHECK(count.parameters == 2 * 30 + 105);
  CHECK(count.active_parameters == 105);  // where a token chooses the widest
  CHECK(count.expert_bytes == count_of(small).expert_bytes);

  const auto joined = outputs_of(part, 5, {1}, {2, 3});
  const auto of_small = outputs_of(small, 5, {1}, {});
  const auto of_big = outputs_of(big, 5, {}, {0});
  CHECK(std::equal(joined.view().row_data(0), joined.view().row_data(0) + 5, of_small.view().row_data(0)));
  CHECK(std::equal(joined.view().row_data(1), joined.view().row_data(1) + 5, of_big.view().row_data(1)));
  for (const ExpertsPart& bank : part.banks) CHECK(part.scratch()({2, 1, 2, 1}) > bank.scratch()({2, 1, 2, 1}));
}
