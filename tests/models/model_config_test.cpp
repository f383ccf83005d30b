#include "headgate/models/model_config.hpp"

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("any of several ids may end a text") {
  ModelConfig config;
  CHECK(!config.is_eos(0));
  config.eos_token_ids = {0, 7};
  CHECK(config.is_eos(7));
  CHECK(config.is_eos(0));
  CHECK(!config.is_eos(1));
}

TEST_CASE("what a config does not say is none") {
  const ModelConfig config;
  for (const index_t size :
       {config.vocab_size, config.hidden_size, config.num_hidden_layers, config.max_position_embeddings}) {
    CHECK(size == 0);
  }
  CHECK(config.bos_token_id == -1);
}
