#include "headgate/models/parts/router_part.hpp"

#include "headgate/routing/topk_softmax.hpp"
#include "models/small_file.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("a router is made of the gate and the biases of its part, the gate held in floats") {
  const SmallFile file({counting("gate", {5, 3}, "BF16"), counting("logits", {5}), counting("keys", {5})});
  RouterPart part{.summary = {5, 2, "top 2"}, .make = nullptr};
  std::size_t biases[2] = {};
  float last = 0.0f;
  part.make = [&](const GateWeights& weights, Packer&) -> AnyRouter {
    biases[0] = weights.gate_bias.size();
    biases[1] = weights.selection_bias.size();
    last = weights.gate.row(4)[2];
    return mixtral_router(weights, 2).value();
  };
  part.gate = WeightRows::find(file.source, "gate", {5, 3});
  Context ctx;
  Packer packer(ctx);
  CHECK(part.pack(packer).num_experts() == 5);
  CHECK(biases[0] == 0);
  CHECK(last == 14.0f);
  part.gate_bias = WeightRows::find(file.source, "logits", {5});
  part.selection_bias = WeightRows::find(file.source, "keys", {5});
  CHECK(part.pack(packer).hidden_size() == 3);
  CHECK(biases[0] == 5);
  CHECK(biases[1] == 5);
  WeightList weights;
  part.list_weights(weights);
  REQUIRE(weights.size() == 3);
  CHECK(weights[0].packed_bytes == AnyFormat(F32{}).panel_bytes(3));
  // Scratch grows with the rows, and with what the router takes of its own.
  const PassSize pass{9, 1, 9, 2};
  const std::int64_t plain = part.scratch()(pass);
  part.floats_per_row = 10;
  CHECK(part.scratch()(pass) == plain + 90);
}
