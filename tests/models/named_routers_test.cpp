#include "headgate/models/named_routers.hpp"

#include "models/family_checkpoint.hpp"
#include "models/refused_config.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("a router that is not understood is refused with its key") {
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
  contains(refused(config_text(R"({"type":"top_p","p":0,"normalize":true})", dense)), "router.p");
  contains(refused(config_text(R"({"type":"top_p","p":0.5,"k_min":3,"k_max":2,"normalize":true})", dense)), "router.p");
  contains(refused(config_text(R"({"type":"top_p","p":0.5})", dense)), "router.normalize");
  contains(refused(config_text(R"({"type":"relu","k":2})", dense)), "router.k");
  contains(refused(config_text(R"({"type":"promoe"})", dense)), "router.k");
  contains(refused(config_text(R"({"type":"phatgoose","k":9})", dense)), "router.k");
  contains(refused(config_text(R"({"type":"hash","k":1,"normalize":true})", dense)), "router.normalize");
  contains(refused(config_text(R"({"type":"peer","k":1,"heads":0,"key_size":2})", dense)), "router.heads");
  contains(refused(config_text(R"({"type":"peer","k":1,"heads":2})", dense)), "router.key_size");
  contains(refused(config_text(R"({"type":"mora","k":1,"temperature":0})", dense)), "router.temperature");
}

TEST_CASE("a table of tokens holds ids of experts") {
  FamilyCheckpoint checkpoint("headgate_moe_hash_f32");
  std::vector<io_test::WrittenTensor> tensors = checkpoint.tensors();
  for (io_test::WrittenTensor& tensor : tensors) {
    if (!tensor.name.ends_with("layers.1.mlp.gate.table")) continue;
    const float wrong = 1.5f;
    std::memcpy(tensor.data.data() + 12, &wrong, sizeof wrong);
  }
  ScratchFolder folder;
  folder.write("config.json", checkpoint.config_text());
  folder.write("model.safetensors", io_test::safetensors(tensors));
  const Error error = io_test::error_of([&] { load_model(folder.path()); });
  CHECK(error.code() == ErrorCode::bad_file);
  CHECK(io_test::contains(error.what(), "layers.1.mlp.gate.table"));
  CHECK(io_test::contains(error.what(), "1.5"));
}
