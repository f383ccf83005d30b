// Every router and attention of the format against its trained checkpoint, which is not part of the repository.
#include "headgate/models/headgate_moe.hpp"

#include "models/family_checkpoint.hpp"
#include "models/random_checkpoint.hpp"
#include "models/reference_run.hpp"
#include "models/refused_config.hpp"
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

TEST_CASE("gates of tokens are of dense layers, and say what they are") {
  const auto gate = [](const std::string& object, const std::string& more = "") {
    return config_text(plain, dense, ",\"mlp_only_layers\":[1],\"token_gate\":" + object + more);
  };
  CHECK(is_read(gate(R"({"type":"causal","layers":[1],"threshold":0.5,"predictor":true})")));
  CHECK(is_read(gate(R"({"type":"causal","layers":[],"threshold":0.5,"predictor":true})")));
  const std::pair<const char*, const char*> bad[] = {
      {R"({"type":"top_k","layers":[1],"threshold":0,"predictor":true})", "token_gate.type"},
      {R"({"type":"causal","layers":[0],"threshold":0,"predictor":true})", "token_gate.layers"},
      {R"({"type":"causal","layers":[2],"threshold":0,"predictor":true})", "token_gate.layers"},
      {R"({"type":"causal","layers":[1],"predictor":true})", "token_gate.threshold"},
      {R"({"type":"causal","layers":[1],"threshold":0})", "token_gate.predictor"},
      {R"({"type":"causal","layers":[1],"threshold":0,"predictor":true,"k":2})", "token_gate.k"},
  };
  for (const auto& [object, key] : bad) {
    INFO(object);
    CHECK(io_test::contains(refused(gate(object)), key));
  }
  CHECK(io_test::contains(refused(gate(R"({"type":"causal","layers":[1],"threshold":0,"predictor":true})",
                                       R"(,"residual":{"type":"ladder"})")),
                          "token_gate.type"));

  FamilyCheckpoint checkpoint("headgate_moe_token_predictor_f32");
  const ModelDescription description = describe_model(checkpoint.write());
  CHECK(description.words(description.mixers) ==
        "2 x 3 heads of 14, 1 KV heads, tokens whose predictor is above a threshold alone; 1 x 3 heads of 14, 1 KV "
        "heads");
  CHECK(description.unused_tensors.empty());
}

TEST_CASE("what contradicts the router, or is no object, is refused with its key") {
  const auto contains = [](const std::string& text, const std::string& part) {
    INFO(text);
    CHECK(text.find(part) != std::string::npos);
  };
  contains(refused(config_text("[]", dense)), "router");
  contains(refused(config_text(plain, dense, R"(,"num_experts_per_tok":3)")), "num_experts_per_tok");
  contains(refused(config_text(plain, dense, R"(,"norm_topk_prob":false)")), "norm_topk_prob");
}
