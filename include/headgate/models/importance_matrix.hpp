// ImportanceMatrix: how much each column of each matrix matters, from a file of llama.cpp's (llama-imatrix
// --output-format gguf): for a matrix NAME of its names tensors NAME.in_sum2, sums of squared activations (matrices of
// the stack, columns), and NAME.counts, how many were summed (matrices, 1). Names of Hugging Face are found by those
// that GGUF files have for them; gate and up of a network meet the same activations, and so does their stack.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "headgate/io/tensor_source.hpp"

namespace headgate::inline HEADGATE_ABI {

// Where GGUF files have a matrix: "blk.0.ffn_down_exps.weight", and which of a stack; -1: all of it.
struct GgufPlace {
  std::string name;
  std::int64_t part = -1;
};

class ImportanceMatrix {
 public:
  // Throws Error (io, bad_file).
  static ImportanceMatrix open(const std::string& path) {
    ImportanceMatrix found(TensorSource::open(path));
    const GgufMetadata* const metadata = found.source_.metadata();
    const bool is_one =
        metadata != nullptr && metadata->has("general.type") && metadata->get_string("general.type") == "imatrix";
    if (!is_one) throw Error(ErrorCode::bad_file, {path, "general.type", -1, "is no importance matrix in a GGUF file"});
    return found;
  }

  // Of each column of matrix `part` (0 where there is one) of this name; empty: nothing is known of them, or nothing
  // was counted. Throws bad_file where it is of another width, no number or negative.
  std::vector<float> columns(const std::string& gguf_name, std::int64_t part, index_t cols) const {
    const Tensor* const sums = source_.find(gguf_name + ".in_sum2");
    const Tensor* const counts = source_.find(gguf_name + ".counts");
    if (sums == nullptr || counts == nullptr) return {};
    const std::int64_t matrices = sums->num_rows();
    if (sums->dtype != DType::f32 || sums->row_size() != cols) {
      source_.fail(*sums, "expected rows of " + std::to_string(cols) + " F32, found " + sums->shape.describe());
    }
    if (counts->dtype != DType::f32 || counts->shape.elements() != matrices || part >= matrices) {
      source_.fail(*counts, "expected one F32 for each matrix");
    }
    float count = 0.0f;
    source_.read(*counts, part, {&count, 1});
    if (!(count > 0.0f)) return {};
    std::vector<float> values(as_size(cols));
    source_.read(*sums, part * cols, values);
    float largest = 0.0f;
    for (float& value : values) {
      value /= count;
      if (!(value >= 0.0f && value <= largest_importance))
        source_.fail(*sums, "a mean square is negative or no number");
      largest = std::max(largest, value);
    }
    return largest > 0.0f ? values : std::vector<float>();
  }

  // What GGUF files call a tensor of Hugging Face; none: there is no usual name for it.
  static std::optional<GgufPlace> place_of(std::string_view name) {
    if (name == "model.embed_tokens.weight") return GgufPlace{"token_embd.weight"};
    if (name == "lm_head.weight") return GgufPlace{"output.weight"};
    constexpr std::string_view layers = "model.layers.";
    if (!name.starts_with(layers)) return std::nullopt;
    name.remove_prefix(layers.size());
    const std::size_t dot = name.find('.');
    if (dot == name.npos) return std::nullopt;
    const std::string block = "blk." + std::string(name.substr(0, dot)) + ".";
    name.remove_prefix(dot + 1);
    if (name.ends_with(".weight")) name.remove_suffix(7);
    for (const auto& [own, theirs] : outside_experts) {
      if (name == own) return GgufPlace{block + std::string(theirs) + ".weight"};
    }
    for (const std::string_view prefix :
         {"mlp.experts.", "block_sparse_moe.experts.", "feed_forward.experts.", "block_sparse_moe."}) {
      if (!name.starts_with(prefix)) continue;
      std::string_view rest = name.substr(prefix.size());
      std::int64_t part = -1;
      if (const std::size_t end = rest.find('.'); end != rest.npos) {
        part = 0;
        for (const char c : rest.substr(0, end)) {
          if (c < '0' || c > '9' || part > max_index / 10) return std::nullopt;
          part = 10 * part + (c - '0');
        }
        rest.remove_prefix(end + 1);
      }
      for (const auto& [own, theirs] : of_experts) {
        if (rest == own) return GgufPlace{block + "ffn_" + std::string(theirs) + "_exps.weight", part};
      }
    }
    return std::nullopt;
  }

 private:
  using Names = std::pair<std::string_view, std::string_view>;
  static constexpr float largest_importance = 1e30f;
  static constexpr Names outside_experts[] = {{"self_attn.q_proj", "attn_q"},
                                              {"self_attn.k_proj", "attn_k"},
                                              {"self_attn.v_proj", "attn_v"},
                                              {"self_attn.o_proj", "attn_output"},
                                              {"self_attn.q_a_proj", "attn_q_a"},
                                              {"self_attn.q_b_proj", "attn_q_b"},
                                              {"self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"},
                                              {"conv.in_proj", "shortconv.in_proj"},
                                              {"conv.out_proj", "shortconv.out_proj"},
                                              {"self_attn.out_proj", "attn_output"},
                                              {"mlp.gate_proj", "ffn_gate"},
                                              {"mlp.up_proj", "ffn_up"},
                                              {"mlp.down_proj", "ffn_down"},
                                              {"feed_forward.w1", "ffn_gate"},
                                              {"feed_forward.w3", "ffn_up"},
                                              {"feed_forward.w2", "ffn_down"},
                                              {"mlp.shared_expert.gate_proj", "ffn_gate_shexp"},
                                              {"mlp.shared_expert.up_proj", "ffn_up_shexp"},
                                              {"mlp.shared_expert.down_proj", "ffn_down_shexp"},
                                              {"mlp.shared_experts.gate_proj", "ffn_gate_shexp"},
                                              {"mlp.shared_experts.up_proj", "ffn_up_shexp"},
                                              {"mlp.shared_experts.down_proj", "ffn_down_shexp"},
                                              {"shared_mlp.input_linear", "ffn_gate_shexp"},
                                              {"shared_mlp.output_linear", "ffn_down_shexp"}};
  static constexpr Names of_experts[] = {
      {"gate_proj", "gate"}, {"up_proj", "up"},        {"down_proj", "down"},    {"w1", "gate"},           {"w3", "up"},
      {"w2", "down"},        {"gate_up_proj", "gate"}, {"input_linear", "gate"}, {"output_linear", "down"}};

  explicit ImportanceMatrix(TensorSource source) : source_(std::move(source)) {}

  TensorSource source_;
};

}  // namespace headgate::inline HEADGATE_ABI
