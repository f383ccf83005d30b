#include "headgate/models/parts/experts_part.hpp"

#include "models/small_file.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("a bank counts the experts that a token chooses as active, and an unrouted one as no expert") {
  const SmallFile file({counting("up", {3, 5}), counting("down", {5, 3}), counting("bias", {3}), counting("out", {5})});
  const auto find = [&](const char* name, const Shape& shape) { return WeightRows::find(file.source, name, shape); };
  const ExpertRows expert{.gate = std::nullopt,
                          .up = find("up", {3, 5}),
                          .down = find("down", {5, 3}),
                          .up_bias = find("bias", {3}),
                          .down_bias = find("out", {5})};
  ExpertsPart part{{expert, expert, expert}};
  part.experts_per_token = 2;
  const GluShape shape = part.shape();
  CHECK(shape.num_experts == 3);
  CHECK(shape.hidden_size == 5);
  CHECK(shape.ffn_size == 3);
  CHECK(!shape.gated);
  CHECK(shape.has_bias);
  WeightList weights;
  part.list_weights(weights);
  REQUIRE(weights.size() == 3 * 4);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    CHECK(weights[i].expert == static_cast<index_t>(i / 4));
    CHECK(weights[i].is_active == (i < 8));
    CHECK(weights[i].is_read == weights[i].is_active);
  }
  part.is_routed = false;
  weights.clear();
  part.list_weights(weights);
  CHECK(weights[0].expert == -1);
  Context ctx;
  CHECK(part.pack(Packer(ctx)).num_experts() == 3);
  // More chosen than there are take no more memory.
  const PassSize pass{7, 1, 7, 2};
  part.experts_per_token = 3;
  const std::int64_t all = part.scratch()(pass);
  part.experts_per_token = 9;
  CHECK(part.scratch()(pass) == all);
}
