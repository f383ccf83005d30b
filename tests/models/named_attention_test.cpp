#include "headgate/models/named_attention.hpp"

#include "models/family_checkpoint.hpp"
#include "models/refused_config.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("low-rank experts stand beside the projections that config.json names") {
  const auto with = [](const std::string& lora) {
    return config_text(plain, R"({"type":"dense","lora":)" + lora + "}");
  };
  CHECK(is_read(with(R"({"projections":["q_proj","o_proj"],"num_experts":3,"rank":2,"k":2,"scale":1.5})")));
  CHECK(is_read(with(R"({"projections":[],"num_experts":3,"rank":2,"k":2,"scale":1.5})")));
  const std::pair<const char*, const char*> bad[] = {
      {R"({"projections":["gate_proj"],"num_experts":3,"rank":2,"k":2,"scale":1})", "attention.lora.projections"},
      {R"({"projections":["q_proj","q_proj"],"num_experts":3,"rank":2,"k":2,"scale":1})", "attention.lora.projections"},
      {R"({"projections":["q_proj"],"num_experts":3,"rank":0,"k":2,"scale":1})", "attention.lora.rank"},
      {R"({"projections":["q_proj"],"num_experts":3,"rank":2,"k":4,"scale":1})", "attention.lora.k"},
      {R"({"projections":["q_proj"],"num_experts":3,"rank":2,"k":2})", "attention.lora.scale"},
      {R"({"projections":["q_proj"],"num_experts":3,"rank":2,"k":2,"scale":1,"bias":0})", "attention.lora.bias"},
  };
  for (const auto& [lora, key] : bad) {
    INFO(lora);
    CHECK(io_test::contains(refused(with(lora)), key));
  }
  FamilyCheckpoint checkpoint("headgate_moe_attention_lora_f32");
  const std::string path = checkpoint.write();
  const ModelDescription description = describe_model(path);
  CHECK(description.words(description.mixers) ==
        "6 heads of 24, 2 KV heads, 5 low-rank experts of rank 3 beside 4 projections");
  CHECK(description.unused_tensors.empty());
  CHECK(description.weights.weight_bytes() == load_model(path, {.compute = Compute::f32})->weight_bytes());
}

TEST_CASE("an attention that is not understood is refused with its key") {
  const auto contains = [](const std::string& text, const std::string& part) {
    INFO(text);
    CHECK(text.find(part) != std::string::npos);
  };
  contains(refused(config_text(plain, R"({"type":"dense","qk_norm":1})")), "attention.qk_norm");
  contains(refused(config_text(plain, R"({"type":"bilevel","region_size":8,"regions":2,"qk_norm":false})")),
           "attention.qk_norm");
  contains(refused(config_text(plain, R"({"type":"sparse"})")), "attention.type");
  contains(refused(config_text(plain, R"({"type":"bilevel","regions":2})")), "attention.region_size");
  contains(refused(config_text(plain, R"({"type":"bilevel","region_size":0,"regions":2})")), "attention.region_size");
  contains(refused(config_text(plain, R"({"type":"bilevel","region_size":8,"regions":0})")), "attention.regions");
  contains(refused(config_text(plain, R"({"type":"dense","region_size":8})")), "attention.region_size");
}
