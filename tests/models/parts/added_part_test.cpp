#include "headgate/models/parts/added_part.hpp"

#include "headgate/models/weight_count.hpp"
#include "models/small_file.hpp"
#include "support/catch.hpp"
#include "support/reference_moe.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("low-rank experts beside a projection are counted, and packed as an addition to it") {
  const SmallFile file({counting("gate", {3, 4}), counting("a", {2, 4}), counting("b", {6, 2})});
  const LoraRows rows{WeightRows::find(file.source, "a", {2, 4}), WeightRows::find(file.source, "b", {6, 2})};
  const AddedPart part{
      AttentionProjection::query, WeightRows::find(file.source, "gate", {3, 4}), {{rows, rows, rows}, 0.5f, 2}};
  WeightList weights;
  part.list_weights(weights);
  const WeightCount count = WeightCount::of(weights);
  CHECK(count.parameters == 12 + 3 * 20);
  CHECK(count.active_parameters == 12 + 2 * 20);
  CHECK(part.scratch()({2, 1, 2, 1}) > part.experts.scratch()({2, 1, 2, 1}));

  Context ctx;
  Packer packer(ctx);
  const std::shared_ptr<const AddedProjection> added = part.pack(packer);
  CHECK(added->in_size() == 4);
  CHECK(added->out_size() == 6);
  // All experts are the same and their weights add up to 1: y += 0.5 B A x, A x = (6, 22) for x of ones.
  reference::Matrix x(1, 4), y(1, 6);
  std::fill(x.values.begin(), x.values.end(), 1.0f);
  std::fill(y.values.begin(), y.values.end(), 10.0f);
  throw_if_error(added->add(x.view(), y.view(), ctx));
  for (std::size_t o = 0; o < 6; ++o) {
    const auto row = static_cast<float>(2 * o);
    CHECK(y.values[o] == Approx(10.0f + 0.5f * (row * 6.0f + (row + 1.0f) * 22.0f)));
  }
}
