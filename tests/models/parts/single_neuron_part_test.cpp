#include "headgate/models/parts/single_neuron_part.hpp"

#include "models/parts/bank_part.hpp"
#include "support/catch.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("of experts of one neuron a token reads two rows each") {
  const SmallFile file({counting("u", {7, 5}), counting("v", {7, 5})});
  SingleNeuronPart part{WeightRows::find(file.source, "u", {7, 5}),
                        WeightRows::find(file.source, "v", {7, 5}),
                        {ActivationKind::relu},
                        3};
  CHECK(part.words() == "7 experts of one neuron");
  WeightCount count = count_of(part);
  CHECK(count.parameters == 70);
  CHECK(count.active_parameters == 30);
  CHECK(count.expert_bytes == 40);
  CHECK(count.chosen_bytes == 120);
  CHECK(part.scratch()({3, 1, 3, 1}) == 18);
  part.experts_per_token = 9;  // more than there are
  CHECK(count_of(part).active_parameters == 70);

  // The row of ones times u_0 = 0 to 4, v_0 = 0 to 4: relu(u_0 x) v_0.
  const auto y = outputs_of(part, 5, {0}, {});
  const float h = std::max(0.0f, -0.125f * 1 + 0.0f * 2 + 0.125f * 3 + 0.25f * 4);
  for (index_t i = 0; i < 5; ++i) CHECK(y.view().row(0)[as_size(i)] == Approx(0.5f * h * static_cast<float>(i)));
}
