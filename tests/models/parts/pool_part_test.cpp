#include "headgate/models/parts/pool_part.hpp"

#include "models/parts/bank_part.hpp"
#include "support/catch.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("layers of a pool hold one bank, which the first lists and all read") {
  const SmallFile file({counting("in", {3, 5}), counting("out", {5, 3})});
  const ExpertRows one{.gate = WeightRows::find(file.source, "in", {3, 5}),
                       .up = WeightRows::find(file.source, "in", {3, 5}),
                       .down = WeightRows::find(file.source, "out", {5, 3})};
  const auto shared = std::make_shared<PoolPart::Shared>(PoolPart::Shared{{std::vector<ExpertRows>(6, one), {}, 2}});
  const PoolPart first{shared, 2, true};
  const PoolPart second{shared, 2, false};
  CHECK(first.words() == "6 experts, 3 wide, shared by 2 layers");
  CHECK(second.words() == first.words());
  CHECK(count_of(first).parameters == 6 * 45);
  CHECK(count_of(second).parameters == 0);
  CHECK(count_of(second).packed_bytes == 0);
  CHECK(count_of(second).bytes_per_token == count_of(first).bytes_per_token);
  CHECK(count_of(second).multiply_adds == count_of(first).multiply_adds);
  CHECK(first.scratch()({3, 1, 3, 1}) == shared->experts.scratch()({3, 1, 3, 1}));

  const auto y = outputs_of(first, 5, {0}, {5, 1});
  REQUIRE(shared->packed.has_value());
  CHECK(outputs_of(second, 5, {0}, {5, 1}) == y);
  CHECK(outputs_of(shared->experts, 5, {0}, {5, 1}) == y);
}
