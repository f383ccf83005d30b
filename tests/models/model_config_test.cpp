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
