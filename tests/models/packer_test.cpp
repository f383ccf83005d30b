#include "headgate/models/packer.hpp"

#include <numeric>

#include "headgate/routing/topk_softmax.hpp"
#include "models/small_file.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("a packer reads every row once and packs it in the format that keeps its values") {
  const SmallFile file({counting("a", {5, 7}, "BF16"), counting("bias", {5})});
  const WeightRows a = WeightRows::find(file.source, "a", {5, 7});
  const WeightRows bias = WeightRows::find(file.source, "bias", {5});
  Context ctx;
  const Packer packer(ctx);
  std::vector<float> counted(35);
  std::iota(counted.begin(), counted.end(), 0.0f);
  CHECK(packer.floats(a) == counted);
  CHECK(packer.floats(std::optional<WeightRows>()).empty());
  std::vector<int> seen(5);
  packer.each_row(a, [&](index_t r, const float* row) {
    ++seen[as_size(r)];
    CHECK(row[6] == static_cast<float>(7 * r + 6));
  });
  CHECK(seen == std::vector<int>(5, 1));

  const Matrix matrix = packer.linear(a, bias);
  const std::vector<float> ones(7, 1.0f);
  std::vector<float> y(5);
  CHECK(matrix.forward(ConstRows(ones.data(), 1, 7), Rows(y.data(), 1, 5), ctx).ok());
  CHECK(y == std::vector<float>{21, 71, 121, 171, 221});  // the row's sum and its bias
}

TEST_CASE("a packer's router of the caller takes the place of a layer's own, and the layer is told") {
  Context ctx;
  const std::vector<float> gate(5 * 3, 0.0f);
  const GateWeights weights{.gate = ConstRows(gate.data(), 5, 3)};
  const AnyRouter own = olmoe_router(weights, 2).value();
  CHECK(Packer(ctx).replaced(weights, own).traits().k_max == 2);
  index_t told = -1;
  Packer packer(ctx, [&](index_t layer, const GateWeights&, AnyRouter) -> AnyRouter {
    told = layer;
    return olmoe_router(weights, 3).value();
  });
  packer.begin_layer(7);
  CHECK(packer.replaced(weights, own).traits().k_max == 3);
  CHECK(told == 7);
}
