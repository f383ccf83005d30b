#include "headgate/models/model_config.hpp"

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("a layer is sparse every decoder_sparse_step layers, unless mlp_only_layers names it") {
  ModelConfig config;
  config.num_experts = 4;
  CHECK(config.is_sparse(0));
  config.mlp_only_layers = {0, 3};
  CHECK(!config.is_sparse(0));
  CHECK(config.is_sparse(1));
  config.decoder_sparse_step = 2;
  CHECK(config.is_sparse(1));
  CHECK(!config.is_sparse(2));
  CHECK(!config.is_sparse(3));
  CHECK(config.is_sparse(5));
  config.num_experts = 0;
  CHECK(!config.is_sparse(1));
}

TEST_CASE("any of several ids may end a text") {
  ModelConfig config;
  CHECK(!config.is_eos(0));
  config.eos_token_ids = {0, 7};
  CHECK(config.is_eos(7));
  CHECK(config.is_eos(0));
  CHECK(!config.is_eos(1));
}

TEST_CASE("what a config does not say is none, and every layer has experts or none") {
  const ModelConfig config;
  for (const index_t size :
       {config.vocab_size, config.hidden_size, config.num_hidden_layers, config.max_position_embeddings,
        config.num_attention_heads, config.num_key_value_heads, config.head_dim, config.intermediate_size,
        config.moe_intermediate_size, config.num_experts, config.num_experts_per_tok, config.null_experts,
        config.router_state_size, config.region_size, config.routed_regions}) {
    CHECK(size == 0);
  }
  CHECK(config.rms_norm_eps == 0.0f);
  CHECK(config.rope == RopeSettings{});
  CHECK_FALSE(config.tie_word_embeddings);
  CHECK_FALSE(config.attention_bias);
  CHECK_FALSE(config.norm_topk_prob);
  CHECK(config.decoder_sparse_step == 1);
  CHECK(config.router == RouterKind::top_k_softmax);
  CHECK(config.attention == AttentionKind::dense);
  CHECK(config.bos_token_id == -1);
  CHECK_FALSE(config.is_sparse(0));
}

TEST_CASE("one expert makes a layer sparse, and the last layer of a step is the sparse one") {
  ModelConfig config;
  config.num_experts = 1;
  config.decoder_sparse_step = 3;
  CHECK_FALSE(config.is_sparse(0));
  CHECK_FALSE(config.is_sparse(1));
  CHECK(config.is_sparse(2));
  CHECK(config.is_sparse(5));
}
