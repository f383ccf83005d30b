#include "headgate/models/parts/moe_part.hpp"

#include "headgate/routing/topk_softmax.hpp"
#include "models/small_file.hpp"

using namespace headgate;
using namespace models_test;

namespace {

ExpertsPart bank(const SmallFile& file, std::size_t experts) {
  return {std::vector<ExpertRows>(experts, {.gate = WeightRows::find(file.source, "gate", {3, 5}),
                                            .up = WeightRows::find(file.source, "gate", {3, 5}),
                                            .down = WeightRows::find(file.source, "down", {5, 3})})};
}
MoePart moe(const SmallFile& file, std::size_t experts) {
  RouterPart router{
      .summary = {4, 2, "some router"},
      .gate = WeightRows::find(file.source, "router", {4, 5}),
      .make = [](const GateWeights& gate, Packer&) -> AnyRouter { return mixtral_router(gate, 2).value(); }};
  return {std::move(router), bank(file, experts)};
}
SmallFile small_moe() {
  return SmallFile(
      {counting("router", {4, 5}), counting("gate", {3, 5}), counting("down", {5, 3}), counting("shared", {1, 5})});
}

}  // namespace

TEST_CASE("a routed part says its router, bank and shared expert, and packs them into one layer") {
  const SmallFile file = small_moe();
  MoePart part = moe(file, 4);
  CHECK(part.words() == "4 experts, 3 wide; router: some router");
  CHECK(part.routing().num_experts == 4);
  CHECK(part.linear_gate()->rows() == 4);
  WeightList weights;
  part.list_weights(weights);
  CHECK(weights.size() == 1 + 4 * 3);
  part.shared = DensePart{bank(file, 1), WeightRows::find(file.source, "shared", {1, 5})};
  CHECK(part.words() == "4 experts, 3 wide; router: some router; shared expert, gated, 3 wide");
  CHECK(part.shared->words() == "dense, 3 wide");
  weights.clear();
  part.list_weights(weights);
  CHECK(weights.size() == 1 + 4 * 3 + 3 + 1);
  CHECK(part.scratch()({3, 1, 3, 1}) >= part.experts.scratch()({3, 1, 3, 1}));
  Context ctx;
  Packer packer(ctx);
  CHECK(part.pack(packer).router().num_experts() == 4);
}

TEST_CASE("a router and a bank that do not fit are refused with their layer") {
  const SmallFile file = small_moe();
  const MoePart part = moe(file, 3);
  Context ctx;
  Packer packer(ctx);
  packer.begin_layer(6);
  const Error error = io_test::error_of([&] { part.pack(packer); });
  CHECK(io_test::contains(error.what(), "layer 6"));
}
