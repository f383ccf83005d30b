#include "headgate/models/description.hpp"

#include "models/checkpoints.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("a description lists what the files hold") {
  const ModelDescription model = describe_model(tiny("tied_bf16"));
  CHECK(model.config.model_type == "qwen3_moe");
  CHECK(model.config.num_experts == 7);
  CHECK(model.config.head_dim == 26);
  REQUIRE(model.tensors.size() == 73);
  CHECK(model.tensors.front().name == "model.embed_tokens.weight");
  CHECK(model.tensors.front().dtype == DType::bf16);
  CHECK(model.tensors.front().shape == Shape{149, 40});
  CHECK(model.unused_tensors.empty());
}

TEST_CASE("memory is planned from context and rows of a pass") {
  const ModelDescription model = describe_model(tiny("tied_bf16"));
  const MemoryPlan own = model.memory();
  CHECK(own.weights == model.weights.packed_bytes);
  CHECK(own.kv_cache == 3 * KvCache::bytes(96, 2, 26));  // the context the model was made for
  CHECK(own.largest_tensor == 156 * 40 * 2);
  const MemoryPlan large = model.memory({.context_size = 2147483000, .rows_per_pass = 2048});
  CHECK(large.kv_cache == 3 * KvCache::bytes(2147483000, 2, 26));
  CHECK(large.workspace > own.workspace);
  CHECK(large.total() == large.weights + large.kv_cache + large.workspace + large.largest_tensor);
  CHECK(model.memory({.all_logits = true}).workspace == own.workspace + 2 * 149 * 95 * 4);
}

TEST_CASE("a session takes no more scratch memory than was planned") {
  for (const index_t rows : {1, 32, 96}) {
    const SessionOptions options{.rows_per_pass = rows};
    Session session(load_model(tiny("tied_bf16")), options);
    Context ctx;
    const std::vector<std::int32_t> tokens(96, 5);
    REQUIRE(session.forward(tokens, ctx).ok());
    CHECK(static_cast<std::int64_t>(ctx.workspace.capacity()) <=
          describe_model(tiny("tied_bf16")).memory(options).workspace);
  }
}
