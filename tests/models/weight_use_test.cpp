#include "headgate/models/weight_use.hpp"

#include "models/small_file.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("a matrix is held in whole panels of its format, a vector in floats") {
  const SmallFile file({counting("a", {5, 7}, "BF16"), counting("b", {17, 3}), counting("v", {9}, "BF16")});
  const WeightRows a = WeightRows::find(file.source, "a", {5, 7});
  const WeightRows b = WeightRows::find(file.source, "b", {17, 3});
  CHECK(WeightUse::matrix(a).packed_bytes == AnyFormat(Bf16{}).panel_bytes(7));
  CHECK(WeightUse::matrix(a, F32{}).packed_bytes == AnyFormat(F32{}).panel_bytes(7));
  CHECK(WeightUse::matrix(b).packed_bytes == 2 * AnyFormat(F32{}).panel_bytes(3));
  const WeightUse vector = WeightUse::vector(WeightRows::find(file.source, "v", {9}));
  CHECK(vector.packed_bytes == 36);
  CHECK(vector.is_active);
  CHECK(vector.is_read);
  CHECK(vector.expert == -1);
}
