#include "headgate/models/parts/compressed_part.hpp"

#include "models/parts/bank_part.hpp"
#include "support/catch.hpp"

using namespace headgate;
using namespace models_test;

namespace {

CompressedPart compressed(const SmallFile& file, index_t main_k, index_t others) {
  const ExpertRows one{.gate = WeightRows::find(file.source, "in", {3, 5}),
                       .up = WeightRows::find(file.source, "in", {3, 5}),
                       .down = WeightRows::find(file.source, "out", {5, 3})};
  return {
      {std::vector<ExpertRows>(4, one), {}, main_k}, WeightRows::find(file.source, "theta", {4, 5}), main_k, others};
}
SmallFile small_file() {
  return SmallFile({counting("in", {3, 5}), counting("out", {5, 3}), counting("theta", {4, 5})});
}

}  // namespace

TEST_CASE("of compressed experts a token reads its main ones and a vector for each other") {
  const SmallFile file = small_file();
  const CompressedPart part = compressed(file, 1, 2);
  CHECK(part.words() == "4 experts, 3 wide, of a token's the first 1 compute");
  const WeightCount count = count_of(part);
  CHECK(count.parameters == 4 * 45 + 20);
  CHECK(count.active_parameters == 45 + 2 * 5);
  CHECK(part.scratch()({3, 1, 3, 1}) > part.experts.scratch()({3, 1, 3, 1}));
}

TEST_CASE("compressed experts compute with the first of a token alone, and scale its input by the others") {
  const SmallFile file = small_file();
  const CompressedPart part = compressed(file, 1, 1);
  // Of the first token 1 is the main one, whose input theta_2 scales; without others nothing is scaled.
  const auto both = outputs_of(part, 5, {1, 2}, {1});
  const auto alone = outputs_of(part.experts, 5, {1}, {1});
  CHECK(std::equal(both.view().row_data(1), both.view().row_data(1) + 5, alone.view().row_data(1)));
  CHECK_FALSE(std::equal(both.view().row_data(0), both.view().row_data(0) + 5, alone.view().row_data(0)));
}
