#include "headgate/models/weight_count.hpp"

#include "models/checkpoints.hpp"

using namespace headgate;
using namespace models_test;

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
    std::int64_t idle = 0;
    const ModelConfig& c = model.config;
    for (index_t l = 0; l < c.num_hidden_layers; ++l) {
      if (c.is_sparse(l)) idle += (c.num_experts - c.num_experts_per_tok) * 3 * c.moe_intermediate_size * c.hidden_size;
    }
    CHECK(model.weights.active_parameters == elements - idle);
  }
  CHECK(describe_model(tales).weights.parameters == 9334784);  // with the embedding once, because it is tied
}

TEST_CASE("bytes counted from shapes are those of the packed parts") {
  const struct {
    std::string folder;
    bool is_bf16;
  } cases[] = {{tales, true},
               {tiny("tied_bf16"), true},
               {tiny("head_f32"), false},
               {tiny("stacked_f16"), false},
               {tiny("sharded_bf16"), true}};
  for (const auto& [folder, is_bf16] : cases) {
    INFO(folder);
    const WeightCount count = describe_model(folder).weights;
    const std::shared_ptr<const Model> model = load_model(folder);
    const ModelConfig& c = model->config();
    // Embedding, head and norms by hand; the rest as it is in memory.
    const std::int64_t table =
        divide_up(c.vocab_size, 16) * (is_bf16 ? Bf16::panel_bytes(c.hidden_size) : F32::panel_bytes(c.hidden_size));
    std::int64_t packed = c.tie_word_embeddings ? table : 2 * table;
    std::int64_t read = table;
    const std::int64_t norm = std::int64_t{4} * c.hidden_size;
    packed += norm;
    read += norm;
    for (index_t l = 0; l < model->num_layers(); ++l) {
      const DecoderBlock& block = model->block(l);
      packed += 2 * norm + block.attention().weight_bytes();
      read += 2 * norm + block.attention().weight_bytes();
      if (const DecoderBlock::Routed* const moe = block.routed()) {
        const std::int64_t gate = divide_up(c.num_experts, 16) * F32::panel_bytes(c.hidden_size);
        packed += gate + c.num_experts * moe->experts().expert_bytes();
        read += gate + c.num_experts_per_tok * moe->experts().expert_bytes();
        CHECK(count.expert_bytes == moe->experts().expert_bytes());
      } else {
        const GluShape dense{.num_experts = 1, .hidden_size = c.hidden_size, .ffn_size = c.intermediate_size};
        const std::int64_t bytes =
            is_bf16 ? GluLayout<Bf16>{dense}.expert_bytes() : GluLayout<F32>{dense}.expert_bytes();
        packed += bytes;
        read += bytes;
      }
    }
    CHECK(count.packed_bytes == packed);
    CHECK(count.bytes_per_token == read);
    CHECK(model->weight_bytes() == packed);
    CHECK(model->bytes_per_token() == read);
  }
}
