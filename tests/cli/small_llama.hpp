// A dense llama of one layer as a folder, with weights that mean nothing and the demo model's tokenizer.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "cli/scratch_folder.hpp"
#include "io/gguf_writer.hpp"
#include "io/safetensors_writer.hpp"

namespace cli {

// Width 24 of its network, hidden size 8.
inline std::filesystem::path small_llama(const ScratchFolder& scratch) {
  const std::filesystem::path folder = scratch / "llama";
  std::filesystem::create_directory(folder);
  write_all(folder / "config.json",
            R"({"model_type":"llama","architectures":["LlamaForCausalLM"],"vocab_size":4096,"hidden_size":8,)"
            R"("num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,"intermediate_size":24,)"
            R"("rms_norm_eps":0.00001,"rope_theta":10000.0,"max_position_embeddings":64,"hidden_act":"silu",)"
            R"("eos_token_id":0,"tie_word_embeddings":true})");
  const std::vector<std::pair<std::string, std::vector<int>>> tensors = {
      {"model.embed_tokens.weight", {4096, 8}},           {"model.norm.weight", {8}},
      {"model.layers.0.input_layernorm.weight", {8}},     {"model.layers.0.post_attention_layernorm.weight", {8}},
      {"model.layers.0.self_attn.q_proj.weight", {8, 8}}, {"model.layers.0.self_attn.k_proj.weight", {4, 8}},
      {"model.layers.0.self_attn.v_proj.weight", {4, 8}}, {"model.layers.0.self_attn.o_proj.weight", {8, 8}},
      {"model.layers.0.mlp.gate_proj.weight", {24, 8}},   {"model.layers.0.mlp.up_proj.weight", {24, 8}},
      {"model.layers.0.mlp.down_proj.weight", {8, 24}}};
  std::vector<io_test::WrittenTensor> written;
  std::uint32_t random = 1;
  for (const auto& [name, sizes] : tensors) {
    std::string shape;
    int count = 1;
    for (const int size : sizes) {
      shape += (shape.empty() ? "[" : ",") + std::to_string(size);
      count *= size;
    }
    std::string data;
    for (int i = 0; i < count; ++i) {
      random = random * 1664525u + 1013904223u;
      data += io_test::raw(static_cast<float>(random >> 8) * 0x1p-23f - 1.0f);
    }
    written.push_back({name, "F32", shape + "]", data});
  }
  write_all(folder / "model.safetensors", io_test::safetensors(written));
  for (const char* const name : {"tokenizer.json", "tokenizer_config.json"}) {
    std::filesystem::copy(tales / name, folder / name);
  }
  return folder;
}

}  // namespace cli
