#include "headgate/models/phimoe.hpp"

#include "models/changed_config.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("what phimoe does not compute is refused by name") {
  const ChangedConfig config("phimoe_window_bf16");
  for (const char* const value : {"1", "3", "0", "\"2\""}) {
    CHECK(config.refused("num_experts_per_tok", value) == "num_experts_per_tok");
  }
  CHECK(config.refused("num_experts_per_tok", "").empty());  // SparseMixer always takes two
  CHECK(config.refused("router_jitter_noise", "-0.1") == "router_jitter_noise");
  CHECK(config.refused("router_jitter_noise", "0").empty());
  CHECK(config.refused("input_jitter_noise", "0.5").empty());  // of training
  CHECK(config.refused("sliding_window", "0") == "sliding_window");
  CHECK(config.refused("sliding_window", "null").empty());
  CHECK(config.refused("hidden_act", "\"gelu\"") == "hidden_act");
  CHECK(config.refused("architectures", R"(["PhiMoEForCausalLM"])").empty());  // as files of the hub spell it
  CHECK(config.refused("architectures", R"(["MixtralForCausalLM"])") == "architectures");
  CHECK(config.refused("lm_head_bias", "\"no\"") == "lm_head_bias");
}
