// Perplexity, in llama.cpp's manner, so that numbers can be put beside those of others: a text is cut into chunks of
// the context, the first token of each is replaced by the model's first token where the tokenizer puts one, and the
// tokens of the second half are counted, for which the model has seen half a context at least. Of a chunk of n tokens
// these are tokens n/2 + 1 to n - 1; what is left of the text after the last whole chunk is not read.
//   loss = mean of -ln p(token | chunk so far), perplexity = e^loss, standard error = e^loss * sd(loss) / sqrt(count -
//   1)
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "headgate/analysis/window_logits.hpp"
#include "headgate/sampling/log_softmax.hpp"

namespace headgate::inline HEADGATE_ABI {

// A mean and its standard error, which is not a number of fewer than two values.
struct Mean {
  double value = 0.0;
  double error = std::numeric_limits<double>::quiet_NaN();

  static Mean of(std::span<const double> values) {
    const auto count = static_cast<double>(values.size());
    Mean mean;
    for (const double v : values) mean.value += v;
    mean.value /= count;
    double squares = 0.0;
    for (const double v : values) squares += (v - mean.value) * (v - mean.value);
    if (values.size() > 1) mean.error = std::sqrt(squares / count / (count - 1.0));
    return mean;
  }
  // Of e^value, to first order.
  Mean exp() const { return {std::exp(value), std::exp(value) * error}; }
};

// The chunks of a text.
class TextChunks {
 public:
  static constexpr index_t smallest_context = 3;  // of which one token is counted

  // tokens: of the text, with what the tokenizer puts in front; bos: that token, or -1. most: chunks; -1: all. Throws
  // Error: usage for a context below 3 or 0 chunks; bad_file where the text has less than two chunks.
  TextChunks(std::vector<std::int32_t> tokens, index_t context, std::int32_t bos, std::int64_t most = -1)
      : tokens_(std::move(tokens)), context_(context) {
    if (context < smallest_context) {
      throw Error(ErrorCode::usage, {"", "context", -1, "a chunk has 3 tokens at least, of which one is counted"});
    }
    if (most == 0) throw Error(ErrorCode::usage, {"", "chunks", -1, "no chunk to read"});
    if (tokens_.size() < 2 * as_size(context)) {
      throw Error(ErrorCode::bad_file,
                  {"", "", -1,
                   "the text is too short (has " + std::to_string(tokens_.size()) + " tokens, two contexts are " +
                       std::to_string(2 * std::int64_t{context}) + ")"});
    }
    const std::size_t whole = tokens_.size() / as_size(context);
    count_ = most < 0 ? whole : std::min(whole, static_cast<std::size_t>(most));
    tokens_.resize(count_ * as_size(context));
    if (bos < 0) return;
    for (std::size_t c = 0; c < count_; ++c) tokens_[c * as_size(context)] = bos;
  }

  // Whole chunks as they were before, one at least.
  static TextChunks whole(std::vector<std::int32_t> tokens, index_t context) {
    TextChunks text;
    text.context_ = context;
    text.count_ = tokens.size() / as_size(context);
    text.tokens_ = std::move(tokens);
    return text;
  }

  index_t context() const noexcept { return context_; }
  std::size_t size() const noexcept { return count_; }
  std::span<const std::int32_t> tokens() const noexcept { return tokens_; }  // of all chunks
  std::span<const std::int32_t> operator[](std::size_t chunk) const noexcept {
    return std::span(tokens_).subspan(chunk * as_size(context_), as_size(context_));
  }
  // The position in a chunk whose logits are the first that count, and how many do.
  std::size_t first() const noexcept { return as_size(context_ / 2); }
  std::size_t counted() const noexcept { return as_size(context_) - 1 - first(); }

 private:
  TextChunks() = default;

  std::vector<std::int32_t> tokens_;
  index_t context_ = 0;
  std::size_t count_ = 0;
};

// What is called after each chunk, with the losses so far.
using OnChunk = std::function<void(std::size_t chunks_done, std::span<const double> losses)>;

// Calls score(n, logits, token) for each counted token, n from 0 through all chunks, which returns its loss; on the
// context's threads, those of a chunk before those of the next. The losses do not depend on threads or passes.
// session: of a context that holds a chunk, and keeps all logits. Throws what Session::forward says.
template <class Score>
std::vector<double> score_chunks(Session& session, const TextChunks& text, Context& ctx, Score score,
                                 const OnChunk& on_chunk = {}) {
  std::vector<double> losses;
  for (std::size_t c = 0; c < text.size(); ++c) {
    const std::size_t before = losses.size();
    losses.resize(before + text.counted());
    const std::span<const std::int32_t> chunk = text[c];
    // Nothing is predicted from the last token.
    each_logits(session, chunk.first(chunk.size() - 1), text.first(), ctx,
                [&](std::size_t i, std::span<const float> logits) {
                  const std::size_t n = before + i - text.first();
                  losses[n] = score(n, logits, chunk[i + 1]);
                });
    if (on_chunk) on_chunk(c + 1, losses);
  }
  return losses;
}

// -ln p of every counted token; Mean::of(losses).exp() is the perplexity.
inline std::vector<double> token_losses(Session& session, const TextChunks& text, Context& ctx,
                                        const OnChunk& on_chunk = {}) {
  const auto loss = [](std::size_t, std::span<const float> logits, std::int32_t token) {
    return -LogSoftmax(logits)[token];
  };
  return score_chunks(session, text, ctx, loss, on_chunk);
}

}  // namespace headgate::inline HEADGATE_ABI
