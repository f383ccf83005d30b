// Writer: a text in progress. Tokens are chosen one by one from a session's logits until one of them, a stop string or
// the end of the room ends it, and the text is shown as it comes. write_all() moves any number of them on together.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "headgate/models/session.hpp"
#include "headgate/sampling/log_softmax.hpp"
#include "headgate/sampling/sampler.hpp"
#include "headgate/tokenizer/tokenizer.hpp"
#include "output_file.hpp"
#include "stop_strings.hpp"

struct WriterOptions {
  std::int64_t max_tokens = -1;                  // negative: until the context is full
  bool ignores_eos = false;                      // of the model
  std::optional<std::int32_t> end_of_turn = {};  // a token that ends the text, too
  std::vector<std::string> stop_strings = {};    // that end it and are no part of it; none is empty
  std::span<const std::int32_t> prompt = {};     // the text goes on from these and their text: outlives the writer
  headgate::index_t logprobs = 0;                // best tokens kept for every step
  bool has_control = false;                      // the text spells control tokens out
  bool is_shown = true;                          // on standard output
};

// One chosen token, with what the raw logits said where that is wanted.
struct Step {
  std::int32_t token;
  double logprob = 0.0;
  std::vector<headgate::TokenLogprob> top = {};
};

class Writer {
 public:
  // Goes on from where the session is. Without a tokenizer there are tokens and no text. They outlive it.
  Writer(const WriterOptions& options, const headgate::Tokenizer* tokenizer, headgate::Session& session,
         headgate::Sampler sampler)
      : options_(options), session_(session), sampler_(std::move(sampler)), stop_(options.stop_strings) {
    if (tokenizer != nullptr) {
      decoder_.emplace(*tokenizer, headgate::DecodeOptions{.skip_special = !options.has_control}).skip(options.prompt);
    }
    const std::int64_t room = session.context_size() - session.position();
    most_ = headgate::as_size(options.max_tokens < 0 ? room : std::min(room, options.max_tokens));
    is_done_ = most_ == 0;
  }

  const std::vector<Step>& steps() const noexcept { return steps_; }  // with the token that ended the text
  const std::string& text() const noexcept { return text_; }
  bool is_done() const noexcept { return is_done_; }
  bool has_stopped() const noexcept { return has_stopped_; }  // at a token or a string, and not for want of room

  // Chooses the next token from the session's logits, and whether it is the last.
  headgate::Status choose() {
    Step step{};
    if (headgate::Status status = sampler_.sample(session_.logits(), step.token); !status.ok()) return status;
    sampler_.accept(step.token);
    if (options_.logprobs > 0) {
      const headgate::LogSoftmax logprobs(session_.logits());
      step.logprob = logprobs[step.token];
      step.top = logprobs.top(options_.logprobs);
    }
    const bool ends =
        step.token == options_.end_of_turn || (!options_.ignores_eos && session_.model().config().is_eos(step.token));
    if (!ends && decoder_) show(stop_.append(decoder_->push(step.token)));
    has_stopped_ = ends || stop_.found();
    steps_.push_back(std::move(step));
    is_done_ = has_stopped_ || steps_.size() == most_;
    return headgate::Status::success();
  }
  headgate::SessionTurn turn() { return {&session_, {&steps_.back().token, 1}}; }
  // No more tokens come: what was held back is text.
  void finish() {
    if (!stop_.found() && decoder_) show(stop_.append(decoder_->finish()));
    show(stop_.finish());
  }

 private:
  void show(const std::string& text) {
    text_ += text;
    if (options_.is_shown && !text.empty()) OutputFile::standard_output().write(text);
  }

  WriterOptions options_;
  headgate::Session& session_;
  headgate::Sampler sampler_;
  std::optional<headgate::StreamDecoder> decoder_ = {};
  StopStrings stop_;
  std::vector<Step> steps_;
  std::string text_;
  std::size_t most_ = 0;  // tokens
  bool is_done_ = false;
  bool has_stopped_ = false;
};

// Until all are done, in one pass a token. passed: tokens that went through the model. Status as
// Session::forward_together; what was written before an error stands.
inline headgate::Status write_all(std::span<Writer> writers, headgate::Context& ctx, std::int64_t& passed) {
  std::vector<headgate::SessionTurn> turns;
  headgate::Status status = headgate::Status::success();
  passed = 0;
  while (status.ok()) {
    turns.clear();
    for (Writer& writer : writers) {
      if (!writer.is_done()) status = writer.choose();
      if (!status.ok()) break;
      if (!writer.is_done()) turns.push_back(writer.turn());
    }
    if (!status.ok() || turns.empty()) break;
    status = headgate::Session::forward_together(turns, ctx);
    if (status.ok()) passed += static_cast<std::int64_t>(turns.size());
  }
  for (Writer& writer : writers) writer.finish();
  return status;
}
