// Every router and attention of the format against its trained checkpoint, which is not part of the repository.
#include "headgate/models/headgate_moe.hpp"

#include "models/random_checkpoint.hpp"
#include "models/reference_run.hpp"
#include "support/shared_data.hpp"

using namespace headgate;
using namespace models_test;

namespace {

struct Trained {
  const char* name;
  const char* router;
  const char* attention;  // what its words end in
};
constexpr Trained checkpoints[] = {
    {"tales-null", "null experts", "KV heads"},
    {"tales-gru", "recurrent", "KV heads"},
    {"tales-balanced", "sigmoid + bias", "KV heads"},
    {"tales-bilevel", "softmax", "regions of 32"},
};

// config.json of a small model, with these two objects.
std::string config_text(const std::string& router, const std::string& attention, const std::string& more = "") {
  return R"({"model_type":"headgate_moe","vocab_size":64,"hidden_size":16,"num_hidden_layers":2,"num_experts":4,
    "moe_intermediate_size":8,"intermediate_size":8,"num_attention_heads":2,"num_key_value_heads":1,"head_dim":8,
    "rms_norm_eps":0.125,"rope_theta":10000.0,"max_position_embeddings":64,"hidden_act":"silu","eos_token_id":0)" +
         more + ",\"router\":" + router + ",\"attention\":" + attention + "}";
}

// What such a text is refused for; its own word is good where that is the first tensor, which is not there.
std::string refused(const std::string& text) {
  const Json json = parse_json(text, "config.json");
  const Error error =
      io_test::error_of([&] { HeadgateMoe::blueprint(JsonObject(json, "config.json"), TensorSource()); });
  CHECK(error.code() == ErrorCode::bad_file);
  return error.what();
}
bool is_read(const std::string& text) { return io_test::contains(refused(text), "model.embed_tokens.weight"); }

const std::string plain = R"({"type":"top_k_softmax","k":2,"normalize":true})";
const std::string dense = R"({"type":"dense"})";

}  // namespace

TEST_CASE("trained checkpoints of every router and attention write and route as the reference does") {
  for (const Trained& checkpoint : checkpoints) {
    const auto folder = shared_data(std::string("models/") + checkpoint.name);
    if (!folder) continue;
    INFO(checkpoint.name);
    const std::shared_ptr<const Model> model = load_model(folder->string());
    const Json json = parse_json(read_all((*folder / "expected.json").string()), "expected.json");
    const JsonObject expected(json, "expected.json");
    check_continuations(model, expected);
    check_routes(model, expected);

    // What was counted from the headers is what was packed.
    const ModelDescription description = describe_model(folder->string());
    CHECK(description.routing.router.starts_with(checkpoint.router));
    CHECK(description.words(description.mixers).ends_with(checkpoint.attention));
    CHECK(description.weights.weight_bytes() == model->weight_bytes());
    CHECK(description.unused_tensors.empty());
    CHECK(description.unknown_keys.empty());
  }
}

TEST_CASE("the router and the attention are read from config.json by name") {
  const auto words = [](const RandomCheckpoint& checkpoint) {
    const ModelDescription model = describe_model(checkpoint.path());
    CHECK(model.config.model_type == "headgate_moe");
    CHECK(model.routing.num_experts == 4);
    CHECK(model.routed_layers == 2);
    return model.routing.router + "; " + model.words(model.mixers);
  };
  const std::string heads = "2 heads of 8, 1 KV heads";
  CHECK(words(RandomCheckpoint(top_k_router)) == "softmax, top 2 of 4, weights divided by their sum; " + heads);
  CHECK(words(RandomCheckpoint(R"({"type":"null_expert","null_experts":3,"k":6,"normalize":false})", dense, 7)) ==
        "null experts, top 6 of 4 + 3 null; " + heads);
  CHECK(words(RandomCheckpoint(R"({"type":"gru","k":2,"state_size":12,"normalize":true})", dense, 4, 12)) ==
        "recurrent (12), top 2 of 4, weights divided by their sum; " + heads);
  CHECK(words(RandomCheckpoint(R"({"type":"hard_top_k","k":2,"weight":0.5})")) ==
        "logits, top 2 of 4, weight 0.5; " + heads);
  CHECK(words(RandomCheckpoint(R"({"type":"hard_top_k","k":4,"weight":1})", R"({"type":"dense","qk_norm":false})")) ==
        "logits, top 4 of 4, weight 1; " + heads);
  CHECK(words(RandomCheckpoint(balanced_router)) ==
        "sigmoid + bias, top 2 of 4, weights divided by their sum; " + heads);
  CHECK(words(RandomCheckpoint(top_k_router, R"({"type":"bilevel","region_size":7,"regions":3})")) ==
        "softmax, top 2 of 4, weights divided by their sum; " + heads + ", bi-level: 3 regions of 7");
  CHECK(is_read(config_text(R"({"type":"longcat","zero_experts":2,"k":6,"scale":1.5})", dense)));
  CHECK(is_read(config_text(R"({"type":"dynmoe"})", dense)));
  CHECK(is_read(config_text(R"({"type":"cosine","k":2,"proj_size":3})", dense)));
  CHECK(is_read(config_text(plain, dense)));
  CHECK(is_read(config_text(plain, dense, R"(,"num_experts_per_tok":2,"norm_topk_prob":true)")));
}

TEST_CASE("a residual is a ladder where config.json says so, and plain without a word") {
  CHECK(is_read(config_text(plain, dense, R"(,"residual":{"type":"plain"})")));
  CHECK(is_read(config_text(plain, dense, R"(,"residual":{"type":"ladder"})")));
  for (const char* bad : {R"({"type":"parallel"})", R"({})", R"("ladder")", R"({"type":"ladder","first":2})"}) {
    INFO(bad);
    CHECK(io_test::contains(refused(config_text(plain, dense, std::string(R"(,"residual":)") + bad)), "residual"));
  }
}

TEST_CASE("a router or attention that is not understood is refused with its key") {
  const auto contains = [](const std::string& text, const std::string& part) {
    INFO(text);
    CHECK(text.find(part) != std::string::npos);
  };
  contains(refused(config_text(R"({"type":"soft","k":2,"normalize":true})", dense)), "router.type");
  contains(refused(config_text(R"({"k":2,"normalize":true})", dense)), "router.type");
  contains(refused(config_text(R"({"type":"top_k_softmax","k":5,"normalize":true})", dense)), "router.k");
  contains(refused(config_text(R"({"type":"top_k_softmax","k":0,"normalize":true})", dense)), "router.k");
  contains(refused(config_text(R"({"type":"top_k_softmax","k":2})", dense)), "router.normalize");
  contains(refused(config_text(R"({"type":"top_k_softmax","k":2,"normalize":1})", dense)), "router.normalize");
  contains(refused(config_text(R"({"type":"top_k_softmax","k":2,"normalize":true,"temperature":2})", dense)),
           "router.temperature");
  contains(refused(config_text(R"({"type":"null_expert","k":2,"normalize":true})", dense)), "router.null_experts");
  contains(refused(config_text(R"({"type":"null_expert","null_experts":-1,"k":2,"normalize":true})", dense)),
           "router.null_experts");
  contains(refused(config_text(R"({"type":"gru","k":2,"normalize":true})", dense)), "router.state_size");
  contains(refused(config_text(R"({"type":"bias_balanced","k":2,"score":"softmax","normalize":true})", dense)),
           "router.score");
  contains(refused(config_text(R"({"type":"longcat","zero_experts":2,"k":7,"scale":1.5})", dense)), "router.k");
  contains(refused(config_text(R"({"type":"longcat","zero_experts":2,"k":2})", dense)), "router.scale");
  contains(refused(config_text(R"({"type":"longcat","k":2,"scale":1.5})", dense)), "router.zero_experts");
  contains(refused(config_text(R"({"type":"longcat","zero_experts":2,"k":2,"scale":1,"normalize":true})", dense)),
           "router.normalize");
  contains(refused(config_text(R"({"type":"dynmoe","k":2})", dense)), "router.k");
  contains(refused(config_text(R"({"type":"cosine","k":2})", dense)), "router.proj_size");
  contains(refused(config_text(R"({"type":"cosine","proj_size":3})", dense)), "router.k");
  contains(refused(config_text(R"({"type":"hard_top_k","k":2})", dense)), "router.weight");
  contains(refused(config_text(R"({"type":"hard_top_k","k":2,"weight":1,"normalize":true})", dense)),
           "router.normalize");
  contains(refused(config_text(plain, R"({"type":"dense","qk_norm":1})")), "attention.qk_norm");
  contains(refused(config_text(plain, R"({"type":"bilevel","region_size":8,"regions":2,"qk_norm":false})")),
           "attention.qk_norm");
  contains(refused(config_text("[]", dense)), "router");
  contains(refused(config_text(plain, R"({"type":"sparse"})")), "attention.type");
  contains(refused(config_text(plain, R"({"type":"bilevel","regions":2})")), "attention.region_size");
  contains(refused(config_text(plain, R"({"type":"bilevel","region_size":0,"regions":2})")), "attention.region_size");
  contains(refused(config_text(plain, R"({"type":"bilevel","region_size":8,"regions":0})")), "attention.regions");
  contains(refused(config_text(plain, R"({"type":"dense","region_size":8})")), "attention.region_size");
  contains(refused(config_text(plain, dense, R"(,"num_experts_per_tok":3)")), "num_experts_per_tok");
  contains(refused(config_text(plain, dense, R"(,"norm_topk_prob":false)")), "norm_topk_prob");
}
