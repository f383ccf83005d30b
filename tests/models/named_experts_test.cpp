#include "headgate/models/named_experts.hpp"

#include "models/family_checkpoint.hpp"
#include "models/refused_config.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("routers and experts that config.json names say what they are, and count what they pack") {
  const std::tuple<const char*, const char*, const char*> wanted[] = {
      {"top_p_joined", "softmax, p 0.625, 1 to 4 of 5, weights divided by their sum",
       "2 experts, 7 wide + 1 experts, 13 wide + 2 that skip"},
      {"relu_latent", "positive logits of 12", "12 experts, 20 wide, behind 3 latent spaces of 9"},
      {"promoe", "cosines to prototypes (ProMoE), top 3 of 11", "11 experts, 20 wide"},
      {"compressed", "softmax, top 4 of 5", "5 experts, 13 wide, of a token's the first 2 compute"},
      {"pool", "softmax, top 3 of 15, weights divided by their sum", "15 experts, 13 wide, shared by 3 layers"},
      {"hash", "table of tokens, 1 of 5", "5 experts, 13 wide"},
      {"peer", "product keys (PEER), 2 heads, top 3 of 25 each, weights divided by their sum",
       "25 experts of one neuron"},
      {"phatgoose_lora", "normalised tokens and gates (PHATGOOSE), top 2 of 5, weights divided by their sum",
       "5 low-rank experts of rank 3"},
      {"glider", "normalised tokens, a bias of the text (Glider), top 3 of 11, weights divided by their sum",
       "11 experts, 20 wide"},
      {"mora_rank", "ranks by their activations (MoRA), top 4 of 11", "11 experts of rank one"},
      {"monet_horizontal", "", "Monet, 5 x 5 experts, horizontal, 2 heads, 2 of a side"},
      {"monet_vertical", "", "Monet, 7 x 7 experts, vertical, 3 heads, 3 of a side"},
  };
  for (const auto& [name, router, experts] : wanted) {
    INFO(name);
    FamilyCheckpoint checkpoint("headgate_moe_" + std::string(name) + "_f32");
    const std::string path = checkpoint.write();
    const ModelDescription description = describe_model(path);
    CHECK(description.routing.router == router);
    CHECK(io_test::contains(description.words(description.feed_forwards), experts));
    CHECK(description.unused_tensors.empty());
    CHECK(description.unknown_keys.empty());
    const std::shared_ptr<const Model> model = load_model(path, {.compute = Compute::f32});
    CHECK(description.weights.weight_bytes() == model->weight_bytes());
    CHECK(description.weights.bytes_per_token <= description.weights.weight_bytes());
  }
}

TEST_CASE("the layers of a pool hold its experts once and read them each for itself") {
  FamilyCheckpoint pooled("headgate_moe_pool_f32");
  FamilyCheckpoint plain("headgate_moe_compressed_f32");  // the same shape, but for theta and k = 4 of 2 main ones
  const WeightCount of_pool = describe_model(pooled.write()).weights;
  const WeightCount apart = describe_model(plain.write()).weights;
  CHECK(of_pool.routed_bytes == apart.routed_bytes);
  CHECK(2 * of_pool.chosen_bytes == 3 * apart.chosen_bytes);  // three of a token, and two
}

TEST_CASE("experts that are not understood are refused with their key") {
  const auto refuses = [](const std::string& experts, const std::string& key, const std::string& router = plain) {
    INFO(experts);
    CHECK(io_test::contains(refused(config_text(router, dense, ",\"experts\":" + experts)), key));
  };
  CHECK(is_read(config_text(plain, dense, R"(,"experts":{"type":"glu"})")));
  CHECK(is_read(config_text(plain, dense, R"(,"experts":{"type":"joined","ffn_sizes":[3,8,8,0]})")));
  CHECK(is_read(config_text(plain, dense, R"(,"experts":{"type":"pool","layers":2})")));
  CHECK(is_read(config_text(R"({"type":"top_k_softmax","k":8,"normalize":true})", dense,
                            R"(,"experts":{"type":"pool","layers":2})")));
  CHECK(is_read(config_text(plain, dense, R"(,"experts":{"type":"lora","scale":2})")));
  refuses(R"({"type":"soft"})", "experts.type");
  refuses(R"([])", "experts");
  refuses(R"({"type":"glu","k":2})", "experts.k");
  refuses(R"({"type":"joined","ffn_sizes":[8,8,8]})", "experts.ffn_sizes");
  refuses(R"({"type":"joined","ffn_sizes":[8,0,8,8]})", "experts.ffn_sizes");
  refuses(R"({"type":"joined","ffn_sizes":[8,8,8,7.5]})", "experts.ffn_sizes");
  refuses(R"({"type":"joined","ffn_sizes":[7,7,7,7]})", "experts.ffn_sizes");
  refuses(R"({"type":"pool","layers":3})", "experts.layers");
  refuses(R"({"type":"pool","layers":0})", "experts.layers");
  refuses(R"({"type":"compressed","main_k":5})", "experts.main_k");
  refuses(R"({"type":"latent","latent_size":4})", "experts.group_size");
  refuses(R"({"type":"latent","latent_size":4,"group_size":3})", "experts.group_size");
  refuses(R"({"type":"latent","latent_size":0,"group_size":2})", "experts.latent_size");
  refuses(R"({"type":"single_neuron","activation":"gelu"})", "experts.type");
  refuses(R"({"type":"rank","scale":1})", "experts.type");
  refuses(R"({"type":"lora"})", "experts.scale");
  refuses(R"({"type":"monet","decomposition":"horizontal","heads":1,"topk":1})", "router");
  refuses(R"({"type":"compressed","main_k":1})", "router.zero_experts",
          R"({"type":"longcat","zero_experts":2,"k":2,"scale":1})");
  CHECK(io_test::contains(
      refused(config_text(plain, dense, R"(,"mlp_only_layers":[0],"experts":{"type":"pool","layers":2})")),
      "experts.layers"));
  const std::string monet = R"({"type":"monet","decomposition":"diagonal","heads":1,"topk":1})";
  std::string text = config_text(plain, dense, ",\"experts\":" + monet);
  CHECK(io_test::contains(refused(text), "experts.decomposition"));
}
