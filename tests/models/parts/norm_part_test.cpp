#include "headgate/models/parts/norm_part.hpp"

#include "models/small_file.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("a norm is packed as the kind that its part says") {
  const SmallFile file({counting("w", {3}), counting("b", {3})});
  const WeightRows weight = WeightRows::find(file.source, "w", {3});
  const NormPart rms{weight, 0.0f};
  const NormPart layer{weight, 0.0f, NormPart::Kind::layer, WeightRows::find(file.source, "b", {3})};
  Context ctx;
  const Packer packer(ctx);
  const float x[] = {1, 1, 4};
  float y[3];
  const auto last = [&](const NormPart& part) {
    CHECK(part.width() == 3);
    CHECK(part.pack(packer).forward(ConstRows(x, 1, 3), Rows(y, 1, 3), ctx).ok());
    return y[2];
  };
  CHECK(last(rms) == Catch::Approx(8 / std::sqrt(6.0)));            // w 2, mean of squares 6
  CHECK(last(layer) == Catch::Approx(2 * 2 / std::sqrt(2.0) + 2));  // mean 2, variance 2, b 2
  WeightList weights;
  rms.list_weights(weights);
  CHECK(weights.size() == 1);
  layer.list_weights(weights);
  CHECK(weights.size() == 3);
  CHECK(weights[2].packed_bytes == 12);
}
