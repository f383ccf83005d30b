#include "headgate/models/decoder_builder.hpp"

#include "models/checkpoints.hpp"

using namespace headgate;
using namespace models_test;

namespace {

// The demo model, its routers made by the test.
template <class MakeRouter>
Model build(MakeRouter&& make_router) {
  const Json json = read_json(tales + "/config.json");
  const ModelConfig config = Qwen3Moe::read_config(JsonObject(json, "config.json"));
  const TensorSource source = TensorSource::open(tales);
  const DecoderTensors tensors = Qwen3Moe::find_tensors(config, source);
  Context ctx;
  return DecoderBuilder(config, tensors, source, ctx).build(make_router);
}

}  // namespace

TEST_CASE("a family gives the routers, from the stored gate of each layer") {
  std::vector<index_t> layers;
  const TensorSource source = TensorSource::open(tales);
  const Model model = build([&](index_t layer, ConstRows gate) -> AnyRouter {
    layers.push_back(layer);
    const Tensor* const stored = source.find("model.layers." + std::to_string(layer) + ".mlp.gate.weight");
    REQUIRE(stored != nullptr);
    std::vector<float> row(as_size(gate.cols));
    for (index_t e = 0; e < gate.rows; ++e) {
      read_row(*stored, e, row);
      CHECK(std::equal(row.begin(), row.end(), gate.row_data(e)));
    }
    return switch_router({.gate = gate}).value();  // one expert a token in place of two
  });
  CHECK(layers == std::vector<index_t>{0, 1, 2, 3, 4, 5});
  for (index_t l = 0; l < model.num_layers(); ++l) CHECK(model.block(l).routed()->router().traits().k_max == 1);
}

TEST_CASE("an error of a router reaches the caller of build") {
  CHECK_THROWS_AS(
      build([](index_t, ConstRows gate) -> AnyRouter { return mixtral_router({.gate = gate}, gate.rows + 1).value(); }),
      Error);
}
