#include "headgate/models/parts/lora_part.hpp"

#include "models/parts/bank_part.hpp"
#include "support/catch.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("low-rank experts and ranks as experts are packed with their scale, and counted") {
  const SmallFile file({counting("a", {2, 5}), counting("b", {5, 2})});
  const LoraRows rows{WeightRows::find(file.source, "a", {2, 5}), WeightRows::find(file.source, "b", {5, 2})};
  const LoraPart lora{{rows, rows, rows}, 0.5f, 2};
  CHECK(lora.words() == "3 low-rank experts of rank 2");
  CHECK(count_of(lora).parameters == 60);
  CHECK(count_of(lora).active_parameters == 40);
  CHECK(count_of(lora).chosen_bytes * 3 == count_of(lora).routed_bytes * 2);
  CHECK(lora.scratch()({3, 1, 3, 1}) > 0);
  const RankPart ranks{rows, 0.5f, 2};
  CHECK(ranks.words() == "2 experts of rank one");
  CHECK(count_of(ranks).parameters == 20);
  CHECK(ranks.scratch()({3, 1, 3, 1}) > 0);

  // Both ranks are one of the three.
  const auto whole = outputs_of(lora, 5, {1}, {2});
  const auto both = outputs_of(ranks, 5, {0, 1}, {1, 0});
  for (index_t t = 0; t < 2; ++t) {
    for (index_t i = 0; i < 5; ++i) CHECK(whole.view().row(t)[as_size(i)] == Approx(both.view().row(t)[as_size(i)]));
  }
}
