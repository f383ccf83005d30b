// A text as perplexity reads it, chunk by chunk, and the distributions that a model gives for it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "flags.hpp"
#include "headgate/analysis/kl_base.hpp"
#include "headgate/tokenizer/load_tokenizer.hpp"
#include "prompt.hpp"

// -c and --chunks: tokens of a chunk, 0 for as many as the model can, and how many of them, -1 for all.
inline void declare_chunks(Flags& flags, const char* size_help, std::int64_t& size, const char* count_help,
                           std::int64_t& count) {
  flags.value("-c,--ctx-size", "N", size_help, [&size](const std::string& text) {
    size = parse_integer("-c", text, 0, INT32_MAX / 2);
    if (size == 1 || size == 2) throw_usage("-c", "got '" + text + "', allowed is 0 or from 3");
  });
  flags.value("--chunks", "N", count_help, [&count](const std::string& text) {
    count = parse_integer("--chunks", text, -1, Flags::any_count);
    if (count == 0) throw_usage("--chunks", "got '0', allowed is -1 or from 1");
  });
}

// most: chunks; -1: all. file: where the text is from, for messages.
inline headgate::TextChunks read_chunks(const std::string& text, const std::optional<std::string>& file,
                                        const std::string& folder, const headgate::ModelConfig& config,
                                        headgate::index_t context, std::int64_t most) {
  const headgate::Tokenizer tokenizer = headgate::load_tokenizer(folder);
  std::vector<std::int32_t> tokens =
      tokenizer.encode(text, {.add_special_tokens = false, .parse_special = false});  // as llama.cpp reads a text
  const std::vector<std::int32_t> frame = tokenizer.encode("");
  const bool begins = !frame.empty() && frame.front() == config.bos_token_id;
  if (begins) tokens.insert(tokens.begin(), config.bos_token_id);
  require_embedded(tokens, config.vocab_size, tokenizer, folder);
  try {
    return headgate::TextChunks(std::move(tokens), context, begins ? config.bos_token_id : -1, most);
  } catch (const headgate::Error& error) {
    throw headgate::Error(error.code(), {file.value_or(""), file ? "" : "-p", -1,
                                         error.detail().what + "; give a longer one, or a smaller -c"});
  }
}

// Writes what KlBase reads; the losses of the counted tokens.
template <class Write>
std::vector<double> save_distributions(headgate::Session& session, const headgate::TextChunks& text,
                                       headgate::Context& ctx, Write&& write, const headgate::OnChunk& on_chunk) {
  using headgate::KlBase;
  const headgate::index_t vocab_size = session.model().vocab_size();
  const std::size_t row = KlBase::row_bytes(static_cast<std::uint64_t>(vocab_size));
  write(std::string_view(KlBase::header(text, vocab_size)));
  std::string rows(text.counted() * row, '\0');
  return headgate::score_chunks(
      session, text, ctx,
      [&](std::size_t n, std::span<const float> logits, std::int32_t token) {
        return KlBase::put_row(n, logits, token, std::span(rows).subspan(n % text.counted() * row, row));
      },
      [&](std::size_t done, std::span<const double> so_far) {
        write(std::string_view(rows));
        on_chunk(done, so_far);
      });
}
