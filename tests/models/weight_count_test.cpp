#include "headgate/models/weight_count.hpp"

#include "models/checkpoints.hpp"

using namespace headgate;
using namespace models_test;

namespace {

// Sizes that a config.json says.
struct Sizes {
  explicit Sizes(const std::string& folder) {
    const Json json = read_json(folder + "/config.json");
    const JsonObject config(json, "config.json");
    const auto size = [&](const char* key) { return config.get_index(key, 0, 1 << 20, 0); };
    hidden = size("hidden_size");
    experts = size("num_experts") + size("num_local_experts");
    k = size("num_experts_per_tok");
    expert_width = size("moe_intermediate_size");
    dense_width = size("intermediate_size");
    is_tied = config.get_bool("tie_word_embeddings", false);
  }
  index_t hidden, experts, k, expert_width, dense_width;
  bool is_tied;
};

}  // namespace

TEST_CASE("parameters are the elements of all tensors, active ones those a token meets") {
  for (const std::string name : tiny_names) {
    INFO(name);
    const ModelDescription model = describe_model(tiny(name));
    std::int64_t elements = 0;
    std::int64_t largest = 0;
    for (const TensorSummary& tensor : model.tensors) {
      std::int64_t count = 1;
      for (const std::int64_t size : tensor.shape.sizes()) count *= size;
      elements += count;
      largest = std::max(largest, count * info(tensor.dtype).size);
    }
    CHECK(model.weights.parameters == elements);
    CHECK(model.weights.largest_tensor == largest);
    const Sizes c(tiny(name));
    const std::int64_t idle = model.routed_layers * (c.experts - c.k) * 3 * c.expert_width * c.hidden;
    CHECK(model.routed_layers == 2);
    CHECK(model.weights.active_parameters == elements - idle);
    const std::int64_t table = std::int64_t{model.config.vocab_size} * c.hidden;
    const auto f32 = static_cast<std::size_t>(Compute::f32);
    CHECK(model.weights.multiply_adds[f32] == elements - idle - (c.is_tied ? table : 2 * table));
    CHECK(model.weights.head_multiply_adds[f32] == table);
    CHECK(model.weights.multiply_adds[static_cast<std::size_t>(Compute::int8)] == 0);
  }
  CHECK(describe_model(tales).weights.parameters == 9334784);  // with the embedding once, because it is tied
}

TEST_CASE("bytes counted from shapes are those of the packed parts") {
  const struct {
    std::string folder;
    AnyFormat format;
  } cases[] = {{tales, Bf16{}},
               {tiny("tied_bf16"), Bf16{}},
               {tiny("head_f32"), F32{}},
               {tiny("stacked_f16"), F16{}},
               {tiny("sharded_bf16"), Bf16{}}};
  for (const auto& [folder, format] : cases) {
    INFO(folder);
    const WeightCount count = describe_model(folder).weights;
    const std::shared_ptr<const Model> model = load_model(folder);
    const Sizes c(folder);
    // Embedding, head and norms by hand; the rest as it is in memory.
    const std::int64_t table = divide_up(model->vocab_size(), 16) * format.panel_bytes(c.hidden);
    std::int64_t packed = c.is_tied ? table : 2 * table;
    std::int64_t read = table;
    const std::int64_t norm = std::int64_t{4} * c.hidden;
    packed += norm;
    read += norm;
    for (index_t l = 0; l < model->num_layers(); ++l) {
      const DecoderBlock& block = model->block(l);
      packed += 2 * norm + block.mixers().front()->weight_bytes();
      read += 2 * norm + block.mixers().front()->weight_bytes();
      if (const DecoderBlock::Routed* const moe = block.routed()) {
        const std::int64_t gate = divide_up(c.experts, 16) * F32::panel_bytes(c.hidden);
        packed += gate + c.experts * moe->experts().expert_bytes();
        read += gate + c.k * moe->experts().expert_bytes();
        CHECK(count.expert_bytes == moe->experts().expert_bytes());
      } else {
        const GluShape dense{.num_experts = 1, .hidden_size = c.hidden, .ffn_size = c.dense_width};
        const std::int64_t bytes = GluLayout<AnyFormat>{dense, {format, format, format}}.expert_bytes();
        packed += bytes;
        read += bytes;
      }
    }
    CHECK(count.weight_bytes() == packed);
    CHECK(count.bytes_per_token == read);
    CHECK(count.head_bytes == table);
    CHECK(count.routed_bytes * c.k == count.chosen_bytes * c.experts);
    CHECK(count.routed_bytes > 0);
    CHECK(model->weight_bytes() == packed);
    CHECK(model->bytes_per_token() == read);
  }
}
