// Checkpoints of any size that cost nothing to make: a mixtral whose weights are all zero, for they are holes of their
// file. And what memory a process takes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "io/gguf_writer.hpp"
#include "io/safetensors_writer.hpp"
#include "support/catch.hpp"
#include "support/sanitized.hpp"
#include "support/scratch_folder.hpp"

namespace robustness {

using io_test::gguf_value;

constexpr std::int64_t mib = std::int64_t{1} << 20;

struct Sizes {
  std::uint64_t layers = 3;
  std::uint64_t hidden = 64;
  std::uint64_t inner = 96;
  std::uint64_t experts = 3;
  std::uint64_t vocabulary = 48;
  static constexpr std::uint64_t heads = 2;
  std::uint64_t head_dim() const { return hidden / heads; }
};

// name, sizes outermost first.
struct Weight {
  std::string name;
  std::vector<std::uint64_t> shape;
  std::uint64_t elements() const {
    std::uint64_t product = 1;
    for (const std::uint64_t size : shape) product *= size;
    return product;
  }
};

inline std::string write_holes(const std::string& path, const std::string& header, std::uint64_t size) {
  write_all(path, header);
  std::filesystem::resize_file(path, size);
  return path;
}

// Of a GGUF file: blocks of so many elements in so many bytes.
struct MatrixType {
  std::uint32_t ggml = 8;  // Q8_0
  std::uint64_t elements = 32;
  std::uint64_t bytes = 34;
};

// The reader puts rows of queries and keys in another order, so it copies those.
inline std::string gguf_of_holes(const std::string& path, const Sizes& s, const MatrixType& type = {}) {
  io_test::GgufWriter writer;
  const auto u32 = [](std::uint64_t value) { return gguf_value(static_cast<std::uint32_t>(value)); };
  writer.key("general.architecture", gguf_value("llama")).key("llama.block_count", u32(s.layers));
  writer.key("llama.context_length", u32(64)).key("llama.embedding_length", u32(s.hidden));
  writer.key("llama.feed_forward_length", u32(s.inner)).key("llama.attention.head_count", u32(s.heads));
  writer.key("llama.attention.head_count_kv", u32(1)).key("llama.vocab_size", u32(s.vocabulary));
  writer.key("llama.attention.layer_norm_rms_epsilon", gguf_value(1e-5f));
  writer.key("llama.rope.freq_base", gguf_value(1e4f)).key("llama.rope.dimension_count", u32(s.head_dim()));
  writer.key("llama.expert_count", u32(s.experts)).key("llama.expert_used_count", u32(2));
  std::uint64_t size = 0;
  const auto add = [&](const std::string& name, const std::vector<std::uint64_t>& shape) {
    const Weight weight{name, shape};
    const bool is_matrix = shape.size() > 1 && name.find("gate_inp") == name.npos;
    std::string info = io_test::gguf_string(name) + io_test::raw(static_cast<std::uint32_t>(shape.size()));
    for (std::size_t i = shape.size(); i-- > 0;) info += io_test::raw(shape[i]);
    writer.raw_tensor(info + io_test::raw(std::uint32_t{is_matrix ? type.ggml : 0u}) + io_test::raw(size), "");
    size += is_matrix ? weight.elements() / type.elements * type.bytes : weight.elements() * 4;
    size = (size + 31) / 32 * 32;
  };
  add("token_embd.weight", {s.vocabulary, s.hidden});
  add("output_norm.weight", {s.hidden});
  for (std::uint64_t l = 0; l < s.layers; ++l) {
    const std::string layer = "blk." + std::to_string(l) + ".";
    add(layer + "attn_norm.weight", {s.hidden});
    add(layer + "attn_q.weight", {s.hidden, s.hidden});
    add(layer + "attn_k.weight", {s.head_dim(), s.hidden});
    add(layer + "attn_v.weight", {s.head_dim(), s.hidden});
    add(layer + "attn_output.weight", {s.hidden, s.hidden});
    add(layer + "ffn_norm.weight", {s.hidden});
    add(layer + "ffn_gate_inp.weight", {s.experts, s.hidden});
    add(layer + "ffn_gate_exps.weight", {s.experts, s.inner, s.hidden});
    add(layer + "ffn_up_exps.weight", {s.experts, s.inner, s.hidden});
    add(layer + "ffn_down_exps.weight", {s.experts, s.hidden, s.inner});
  }
  add("output.weight", {s.vocabulary, s.hidden});
  const std::string header = writer.file();
  return write_holes(path, header, header.size() + size);
}

inline std::string safetensors_of_holes(const ScratchFolder& folder, const Sizes& s) {
  const auto text = [](std::uint64_t value) { return std::to_string(value); };
  folder.write("config.json", R"({"model_type":"mixtral","hidden_act":"silu","max_position_embeddings":64,
    "rms_norm_eps":1e-5,"rope_theta":1e4,"tie_word_embeddings":false,"num_experts_per_tok":2,"hidden_size":)" +
                                  text(s.hidden) + ",\"intermediate_size\":" + text(s.inner) +
                                  ",\"num_hidden_layers\":" + text(s.layers) +
                                  ",\"num_attention_heads\":" + text(s.heads) +
                                  ",\"num_key_value_heads\":1,\"num_local_experts\":" + text(s.experts) +
                                  ",\"vocab_size\":" + text(s.vocabulary) + "}");
  std::string header = "{";
  std::uint64_t size = 0;
  const auto add = [&](const std::string& name, const std::vector<std::uint64_t>& shape) {
    std::string sizes;
    for (const std::uint64_t one : shape) sizes += (sizes.empty() ? "" : ",") + text(one);
    const std::uint64_t end = size + 2 * Weight{name, shape}.elements();
    header += (header.size() > 1 ? ",\"" : "\"") + name + ".weight\":{\"dtype\":\"BF16\",\"shape\":[" + sizes +
              "],\"data_offsets\":[" + text(size) + "," + text(end) + "]}";
    size = end;
  };
  add("model.embed_tokens", {s.vocabulary, s.hidden});
  add("model.norm", {s.hidden});
  add("lm_head", {s.vocabulary, s.hidden});
  for (std::uint64_t l = 0; l < s.layers; ++l) {
    const std::string layer = "model.layers." + text(l) + ".";
    add(layer + "input_layernorm", {s.hidden});
    add(layer + "post_attention_layernorm", {s.hidden});
    for (const char* const name : {"q_proj", "o_proj"}) add(layer + "self_attn." + name, {s.hidden, s.hidden});
    for (const char* const name : {"k_proj", "v_proj"}) add(layer + "self_attn." + name, {s.head_dim(), s.hidden});
    add(layer + "block_sparse_moe.gate", {s.experts, s.hidden});
    for (std::uint64_t e = 0; e < s.experts; ++e) {
      const std::string expert = layer + "block_sparse_moe.experts." + text(e) + ".";
      add(expert + "w1", {s.inner, s.hidden});
      add(expert + "w2", {s.hidden, s.inner});
      add(expert + "w3", {s.inner, s.hidden});
    }
  }
  header = io_test::safetensors(header + "}", "");
  write_holes((folder / "model.safetensors").string(), header, header.size() + size);
  return folder.path();
}

#if defined(__linux__)
// Highest memory of this process since begin(), and what it held then.
class Peak {
 public:
  // False where the system does not say.
  bool begin() {
    std::ofstream reset("/proc/self/clear_refs");
    reset << "5" << std::flush;
    before_ = value("VmRSS:");
    if (reset && before_ > 0) return true;
    WARN("skipped: /proc/self does not tell peaks of memory");
    return false;
  }
  std::int64_t grown() const { return value("VmHWM:") - before_; }

 private:
  static std::int64_t value(const std::string& name) {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with(name)) return 1024 * std::int64_t{std::stol(line.substr(name.size()))};
    }
    return 0;
  }
  std::int64_t before_ = 0;
};
#endif

}  // namespace robustness
