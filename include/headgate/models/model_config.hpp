// ModelConfig: what config.json says of a decoder, under the checkpoint's own names. Plain numbers, checked by the
// family that read them (qwen3_moe.hpp).
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "headgate/attention/rope.hpp"

namespace headgate::inline HEADGATE_ABI {

// What headgate_moe names; the other families know one of each.
enum class RouterKind : std::uint8_t { top_k_softmax, null_expert, gru, bias_balanced };
enum class AttentionKind : std::uint8_t { dense, bilevel };

struct ModelConfig {
  std::string model_type;

  index_t vocab_size = 0;
  index_t hidden_size = 0;
  index_t num_hidden_layers = 0;
  index_t max_position_embeddings = 0;  // positions the model was made for
  float rms_norm_eps = 0.0f;
  bool tie_word_embeddings = false;  // the output head is the embedding table

  index_t num_attention_heads = 0;
  index_t num_key_value_heads = 0;
  index_t head_dim = 0;
  bool attention_bias = false;  // of q, k, v and o
  RopeSettings rope;

  index_t intermediate_size = 0;      // of dense layers
  index_t moe_intermediate_size = 0;  // of one expert
  index_t num_experts = 0;
  index_t num_experts_per_tok = 0;
  bool norm_topk_prob = false;
  index_t decoder_sparse_step = 1;
  std::vector<index_t> mlp_only_layers;

  RouterKind router = RouterKind::top_k_softmax;
  index_t null_experts = 0;       // of null_expert
  index_t router_state_size = 0;  // of gru
  AttentionKind attention = AttentionKind::dense;
  index_t region_size = 0;     // of bilevel: positions of a region
  index_t routed_regions = 0;  // of bilevel: earlier regions that a position attends to

  std::int32_t bos_token_id = -1;           // -1: none
  std::vector<std::int32_t> eos_token_ids;  // of config.json and generation_config.json, ascending

  // Whether the layer has experts; else it is dense.
  bool is_sparse(index_t layer) const {
    return num_experts > 0 && (layer + 1) % decoder_sparse_step == 0 &&
           std::find(mlp_only_layers.begin(), mlp_only_layers.end(), layer) == mlp_only_layers.end();
  }
  bool is_eos(std::int32_t token) const {
    return std::find(eos_token_ids.begin(), eos_token_ids.end(), token) != eos_token_ids.end();
  }
};

}  // namespace headgate::inline HEADGATE_ABI
