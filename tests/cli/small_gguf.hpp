// A Mixtral of one layer as a GGUF file, with weights that mean nothing: for what a folder does not show.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "io/gguf_writer.hpp"

namespace cli {

// Sizes innermost first, as in the file.
using GgufTensors = std::vector<std::pair<std::string, std::vector<std::uint64_t>>>;

inline GgufTensors small_tensors(std::uint32_t vocab_size) {
  return {{"token_embd.weight", {8, vocab_size}},
          {"output_norm.weight", {8}},
          {"output.weight", {8, vocab_size}},
          {"blk.0.attn_norm.weight", {8}},
          {"blk.0.attn_q.weight", {8, 8}},
          {"blk.0.attn_k.weight", {8, 4}},
          {"blk.0.attn_v.weight", {8, 4}},
          {"blk.0.attn_output.weight", {8, 8}},
          {"blk.0.ffn_norm.weight", {8}},
          {"blk.0.ffn_gate_inp.weight", {8, 5}},
          {"blk.0.ffn_gate_exps.weight", {8, 24, 5}},
          {"blk.0.ffn_up_exps.weight", {8, 24, 5}},
          {"blk.0.ffn_down_exps.weight", {24, 8, 5}}};
}

// Keys and tensors; the caller may add more.
inline io_test::GgufWriter small_gguf(const GgufTensors& tensors, std::uint32_t vocab_size, std::uint32_t context) {
  using io_test::gguf_value;
  io_test::GgufWriter writer;
  writer.key("general.architecture", gguf_value("llama")).key("llama.block_count", gguf_value(1u));
  writer.key("llama.context_length", gguf_value(context)).key("llama.embedding_length", gguf_value(8u));
  writer.key("llama.feed_forward_length", gguf_value(24u)).key("llama.attention.head_count", gguf_value(2u));
  writer.key("llama.attention.head_count_kv", gguf_value(1u)).key("llama.vocab_size", gguf_value(vocab_size));
  writer.key("llama.attention.layer_norm_rms_epsilon", gguf_value(1e-5f));
  writer.key("llama.rope.freq_base", gguf_value(1e4f)).key("llama.rope.dimension_count", gguf_value(4u));
  writer.key("llama.expert_count", gguf_value(5u)).key("llama.expert_used_count", gguf_value(2u));
  std::uint32_t random = 1;
  for (const auto& [name, sizes] : tensors) {
    std::uint64_t count = 1;
    for (const std::uint64_t size : sizes) count *= size;
    std::string data;
    for (std::uint64_t i = 0; i < count; ++i) {
      random = random * 1664525u + 1013904223u;
      data += io_test::raw(static_cast<float>(random >> 8) * 0x1p-23f - 1.0f);
    }
    writer.tensor(name, sizes, 0, data);
  }
  return writer;
}

// A SentencePiece vocabulary: bytes, the space, and these control tokens. Returns its size.
inline std::uint32_t add_vocabulary(io_test::GgufWriter& writer, const std::vector<std::string>& control) {
  constexpr std::int32_t unknown = 2, is_control = 3, byte = 6, normal = 1;
  std::string tokens, types, scores;
  std::uint32_t size = 0;
  const auto add = [&](const std::string& text, std::int32_t type) {
    tokens += io_test::gguf_string(text);
    types += io_test::raw(type);
    scores += io_test::raw(-static_cast<float>(size++));
  };
  add("<unk>", unknown);
  add("<s>", is_control);
  add("</s>", is_control);
  for (unsigned b = 0; b < 256; ++b) {
    constexpr const char* digits = "0123456789ABCDEF";
    add(std::string("<0x") + digits[b / 16] + digits[b % 16] + ">", byte);
  }
  add("\xE2\x96\x81", normal);
  for (const std::string& text : control) add(text, is_control);
  writer.key("tokenizer.ggml.model", io_test::gguf_value("llama"));
  writer.key("tokenizer.ggml.tokens", io_test::gguf_array(8, size, tokens));
  writer.key("tokenizer.ggml.scores", io_test::gguf_array(6, size, scores));
  writer.key("tokenizer.ggml.token_type", io_test::gguf_array(5, size, types));
  writer.key("tokenizer.ggml.bos_token_id", io_test::gguf_value(1u));
  writer.key("tokenizer.ggml.eos_token_id", io_test::gguf_value(2u));
  return size;
}

}  // namespace cli
