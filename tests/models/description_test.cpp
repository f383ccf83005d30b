#include "headgate/models/description.hpp"

#include "headgate/core/thread_pool.hpp"
#include "models/family_checkpoint.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("a description lists what the files hold") {
  const ModelDescription model = describe_model(tiny("tied_bf16"));
  CHECK(model.config.model_type == "qwen3_moe");
  CHECK(model.routing.num_experts == 7);
  CHECK(model.routing.experts_per_token == 3);
  CHECK(model.routed_layers == 2);
  CHECK(model.words(model.mixers) == "6 heads of 26, 2 KV heads");
  CHECK(model.words(model.feed_forwards) ==
        "2 x 7 experts, 20 wide; router: softmax, top 3 of 7, weights divided by their sum; 1 x dense, 36 wide");
  REQUIRE(model.tensors.size() == 73);
  CHECK(model.tensors.front().name == "model.embed_tokens.weight");
  CHECK(model.tensors.front().dtype == DType::bf16);
  CHECK(model.tensors.front().shape == Shape{149, 40});
  CHECK(model.unused_tensors.empty());
}

TEST_CASE("what a row reads of a text grows with the text") {
  const ModelDescription model = describe_model(tiny("tied_bf16"));  // three layers of 6 heads of 26, 2 KV heads
  CHECK(model.text_multiply_adds(0) == 0);
  CHECK(model.text_multiply_adds(37) == 3 * 37 * 2 * 6 * 26);
  const MemoryPlan plan = model.memory({.context_size = 37, .rows_per_pass = 1, .spare_positions = 0});
  CHECK(model.text_bytes_read(37) == plan.kv_cache);
  CHECK(model.text_bytes_read(64) > model.text_bytes_read(37));
}

TEST_CASE("memory is planned from context and rows of a pass") {
  const ModelDescription model = describe_model(tiny("tied_bf16"));
  const MemoryPlan own = model.memory();
  CHECK(own.weights == model.weights.packed_bytes);
  CHECK(own.mapped == model.weights.mapped_bytes);
  CHECK(own.kv_cache == 3 * KvCache::bytes({96, 96, 16}, 2, 26));  // the context the model was made for
  CHECK(own.largest_tensor == 156 * 40 * 2);
  const MemoryPlan large = model.memory({.context_size = 2147483000, .rows_per_pass = 2048});
  CHECK(large.kv_cache == 3 * KvCache::bytes({2147483000, 2048, 16}, 2, 26));
  CHECK(large.workspace > own.workspace);
  CHECK(large.total() == large.weights + large.kv_cache + large.workspace + large.largest_tensor);
  CHECK(model.memory({.all_logits = true}).workspace == own.workspace + 2 * 149 * 95 * 4);
}

TEST_CASE("prompts of any order of lengths hold no more scratch memory than was planned, and not much less") {
  for (const std::string& folder : {tiny("tied_bf16"), tiny("head_f32"), tales}) {
    const ModelDescription description = describe_model(folder);
    const std::shared_ptr<const Model> model = load_model(folder);
    const index_t positions = std::min(description.config.max_position_embeddings, 128);
    for (const index_t threads : {1, 3}) {
      for (const index_t rows : {1, 32, 512}) {
        const SessionOptions options{.context_size = positions, .rows_per_pass = rows};
        const std::int64_t logits = 2 * std::int64_t{sizeof(float)} * model->vocab_size();
        const std::int64_t planned = description.memory(options, threads).workspace - logits;
        ThreadPool pool(threads);
        Context ctx(pool);
        std::int64_t held = 0;
        Session session(model, options);
        session.on_route = [&](index_t, index_t, const RoutingPlan&) {
          held = std::max(held, static_cast<std::int64_t>(ctx.workspace.capacity()));
        };
        std::vector<index_t> lengths{1, positions / 2, 3, positions};
        for (const index_t length : lengths) {
          throw_if_error(session.truncate(0));
          REQUIRE(session.forward(std::vector<std::int32_t>(as_size(length), 5), ctx).ok());
        }
        INFO(folder << ", " << threads << " threads, " << rows << " rows");
        CHECK(held <= planned);
        CHECK(static_cast<std::int64_t>(ctx.workspace.capacity()) <= planned);
        CHECK(planned <= 2 * held);
      }
    }
  }
}

TEST_CASE("every family's sessions hold no more memory than was planned, one alone and several together") {
  for (const std::string& name : family_checkpoints()) {
    DYNAMIC_SECTION(name) {
      FamilyCheckpoint checkpoint(name);
      const std::string folder = checkpoint.write();
      const ModelDescription description = describe_model(folder);
      const std::shared_ptr<const Model> model = load_model(folder);
      const auto check = [&](index_t threads, index_t rows, index_t texts, bool all_logits) {
        INFO(threads << " threads, passes of " << rows << ", " << texts << " texts, all logits " << all_logits);
        const SessionOptions options{.context_size = 120, .rows_per_pass = rows, .all_logits = all_logits};
        const MemoryPlan plan = description.memory(options, threads, texts);
        const std::int64_t logits = 2 * std::int64_t{sizeof(float)} * model->vocab_size() * (all_logits ? 120 : 1);
        const std::int64_t planned = plan.workspace - texts * logits;
        ThreadPool pool(threads);
        Context ctx(pool);
        std::vector<Session> sessions;
        for (index_t s = 0; s < texts; ++s) sessions.emplace_back(model, options);
        std::int64_t held = 0;
        sessions.front().on_route = [&](index_t, index_t, const RoutingPlan&) {
          held = std::max(held, static_cast<std::int64_t>(ctx.workspace.capacity()));
        };
        for (const index_t length : {1, 50, 3, 66}) {  // up to the end of the context
          const std::vector<std::int32_t> tokens(as_size(length), 5);
          std::vector<SessionTurn> turns;
          for (Session& session : sessions) turns.push_back({&session, tokens});
          throw_if_error(Session::forward_together(turns, ctx));
          held = std::max(held, static_cast<std::int64_t>(ctx.workspace.capacity()));
        }
        CHECK(held <= planned);

        std::int64_t states = 0;
        const Model::State state = model->make_state({120, std::min(rows, 120), options.spare_positions});
        for (const AnyState& mixer : state.mixers) states += mixer.bytes();
        CHECK(states > 0);
        CHECK(texts * states == plan.kv_cache);
      };
      for (const index_t threads : {1, 3}) {
        for (const index_t rows : {1, 7, 512}) {
          check(threads, rows, 1, false);
          check(threads, rows, 5, false);
        }
      }
      check(2, 512, 3, true);
      check(2, 16, 1, true);
    }
  }
}
