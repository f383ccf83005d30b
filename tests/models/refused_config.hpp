// What config.json of a small headgate_moe model is refused for, without its tensors.
#pragma once

#include "headgate/models/headgate_moe.hpp"
#include "io/refusal.hpp"

namespace models_test {

// config.json of a small model, with these two objects.
inline std::string config_text(const std::string& router, const std::string& attention, const std::string& more = "") {
  return R"({"model_type":"headgate_moe","vocab_size":64,"hidden_size":16,"num_hidden_layers":2,"num_experts":4,
    "moe_intermediate_size":8,"intermediate_size":8,"num_attention_heads":2,"num_key_value_heads":1,"head_dim":8,
    "rms_norm_eps":0.125,"rope_theta":10000.0,"max_position_embeddings":64,"hidden_act":"silu","eos_token_id":0)" +
         more + ",\"router\":" + router + ",\"attention\":" + attention + "}";
}

// What such a text is refused for; its own word is good where that is the first tensor, which is not there.
inline std::string refused(const std::string& text) {
  const headgate::Json json = headgate::parse_json(text, "config.json");
  const headgate::Error error = io_test::error_of(
      [&] { headgate::HeadgateMoe::blueprint(headgate::JsonObject(json, "config.json"), headgate::TensorSource()); });
  CHECK(error.code() == headgate::ErrorCode::bad_file);
  return error.what();
}
inline bool is_read(const std::string& text) { return io_test::contains(refused(text), "model.embed_tokens.weight"); }

inline const std::string plain = R"({"type":"top_k_softmax","k":2,"normalize":true})";
inline const std::string dense = R"({"type":"dense"})";

}  // namespace models_test
