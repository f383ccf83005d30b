// A small headgate_moe checkpoint of random weights, with any of its routers and attentions.
#pragma once

#include <string>
#include <vector>

#include "io/safetensors_writer.hpp"
#include "support/random.hpp"
#include "support/scratch_folder.hpp"

namespace models_test {

class RandomCheckpoint {
 public:
  static constexpr int layers = 2;
  static constexpr int experts = 4;
  static constexpr int hidden = 16;
  static constexpr int vocabulary = 64;

  // router, attention: as config.json names them. logits, state: rows and columns of a router's gate. A recurrent
  // router is one with a state.
  explicit RandomCheckpoint(const std::string& router, const std::string& attention = R"({"type":"dense"})",
                            int logits = experts, int state = 0)
      : RandomCheckpoint(router, attention, logits, state, {}) {}
  // Without the tensors whose name contains this.
  RandomCheckpoint(const std::string& router, const std::string& attention, int logits, int state,
                   const std::string& left_out)
      : left_out_(left_out) {
    scratch_.write("config.json", R"({"model_type":"headgate_moe","vocab_size":64,"hidden_size":16,
      "num_hidden_layers":2,"num_experts":4,"moe_intermediate_size":8,"num_attention_heads":2,"num_key_value_heads":1,
      "head_dim":8,"rms_norm_eps":1e-6,"rope_theta":10000.0,"max_position_embeddings":64,"hidden_act":"silu",
      "eos_token_id":0,"tie_word_embeddings":true,"router":)" +
                                      router + ",\"attention\":" + attention + "}");
    add("model.embed_tokens.weight", vocabulary, hidden);
    add("model.norm.weight", hidden);
    for (int l = 0; l < layers; ++l) add_layer("model.layers." + std::to_string(l) + ".", router, logits, state);
    if (state > 0) {
      for (const char* name : {"weight_ih", "weight_hh"})
        add(std::string("model.router_gru.") + name, 3 * state, state);
      for (const char* name : {"bias_ih", "bias_hh"}) add(std::string("model.router_gru.") + name, 3 * state);
    }
    scratch_.write("model.safetensors", io_test::safetensors(tensors_));
  }

  std::string path() const { return scratch_.path(); }

 private:
  void add_layer(const std::string& prefix, const std::string& router, int logits, int state) {
    for (const char* name : {"input_layernorm.weight", "post_attention_layernorm.weight"}) add(prefix + name, hidden);
    for (const char* name : {"q_proj", "o_proj"}) add(prefix + "self_attn." + name + ".weight", hidden, hidden);
    for (const char* name : {"k_proj", "v_proj"}) add(prefix + "self_attn." + name + ".weight", 8, hidden);
    for (const char* name : {"q_norm", "k_norm"}) add(prefix + "self_attn." + name + ".weight", 8);
    add(prefix + "mlp.gate.weight", logits, state > 0 ? state : hidden);
    if (state > 0) add(prefix + "mlp.gate.proj.weight", state, hidden);
    if (router.find("bias_balanced") != router.npos) add(prefix + "mlp.gate.e_score_correction_bias", experts);
    for (int e = 0; e < experts; ++e) {
      const std::string expert = prefix + "mlp.experts." + std::to_string(e) + ".";
      for (const char* name : {"gate_proj", "up_proj"}) add(expert + name + ".weight", 8, hidden);
      add(expert + "down_proj.weight", hidden, 8);
    }
  }
  void add(const std::string& name, int rows, int cols = 0) {
    if (!left_out_.empty() && name.find(left_out_) != name.npos) return;
    const auto count = static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols > 0 ? cols : 1);
    const std::vector<float> values = random_floats(count, 1.0f, static_cast<unsigned>(tensors_.size()));
    const std::string shape = std::to_string(rows) + (cols > 0 ? "," + std::to_string(cols) : "");
    tensors_.push_back({name, "F32", "[" + shape + "]",
                        std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float))});
  }

  std::string left_out_;
  std::vector<io_test::WrittenTensor> tensors_;
  ScratchFolder scratch_;
};

inline const std::string top_k_router = R"({"type":"top_k_softmax","k":2,"normalize":true})";
inline const std::string null_router = R"({"type":"null_expert","null_experts":3,"k":4,"normalize":true})";
inline const std::string gru_router = R"({"type":"gru","k":2,"state_size":16,"normalize":true})";
inline const std::string balanced_router = R"({"type":"bias_balanced","k":2,"score":"sigmoid","normalize":true})";

}  // namespace models_test
