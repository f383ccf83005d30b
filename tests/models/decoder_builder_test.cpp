#include "headgate/models/decoder_builder.hpp"

#include <fstream>
#include <sstream>

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

namespace {

// KiB of the file that lie in this process's memory.
std::int64_t resident_kib(const std::string& name) {
  std::ifstream maps("/proc/self/smaps");
  std::int64_t total = 0;
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    if (line.find('-') < line.find(' ')) inside = line.ends_with(name);
    if (!inside || !line.starts_with("Rss:")) continue;
    std::istringstream words(line.substr(4));
    std::int64_t kib = 0;
    words >> kib;
    total += kib;
  }
  return total;
}

}  // namespace

TEST_CASE("a built model gives the pages of its file back tensor by tensor") {
  const Json json = read_json(tales + "/config.json");
  const ModelConfig config = Qwen3Moe::read_config(JsonObject(json, "config.json"));
  const TensorSource source = TensorSource::open(tales);
  const DecoderTensors tensors = Qwen3Moe::find_tensors(config, source);
  Context ctx;
  std::int64_t most = 0;
  const Model model = DecoderBuilder(config, tensors, source, ctx).build([&](index_t, ConstRows gate) -> AnyRouter {
    most = std::max(most, resident_kib("/tales/model.safetensors"));
    return mixtral_router({.gate = gate}, 2).value();
  });
  CHECK(model.weight_bytes() > 0);
  // Of 18,270 KiB. A fault maps 16 pages around it, those of a released neighbour, too.
  CHECK(most < 12 * 1024);
  CHECK(resident_kib("/tales/model.safetensors") < 12 * 1024);
}
