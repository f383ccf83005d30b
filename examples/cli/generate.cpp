#include "generate.hpp"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>

#include "headgate/core/context.hpp"
#include "headgate/core/thread_pool.hpp"
#include "headgate/models/session.hpp"
#include "headgate/sampling/log_softmax.hpp"
#include "headgate/sampling/sampler.hpp"
#include "headgate/tokenizer/load_tokenizer.hpp"
#include "interrupt.hpp"
#include "json_writer.hpp"
#include "loading.hpp"
#include "machine.hpp"
#include "model_path.hpp"
#include "note.hpp"
#include "numbers.hpp"
#include "output_file.hpp"
#include "prompt.hpp"
#include "session_plan.hpp"
#include "statistics.hpp"
#include "stop_strings.hpp"
#include "trace_file.hpp"

namespace {

using headgate::Error;
using headgate::ErrorCode;
using headgate::index_t;

// One chosen token, with what the raw logits said.
struct Step {
  std::int32_t token;
  double logprob = 0.0;
  std::vector<headgate::TokenLogprob> top = {};
};

// One text that goes on from the prompt.
struct Continuation {
  std::uint64_t seed = 0;
  std::vector<Step> steps = {};
  std::string text = {};
  const char* finish_reason = "length";
};

// What a run brings forth.
struct Outcome {
  std::vector<std::int32_t> prompt;
  std::vector<Continuation> continuations;
  Statistics statistics;
};

[[noreturn]] void throw_limit(std::string what) { throw Error(ErrorCode::limit, {"", "", -1, std::move(what)}); }

void check(const GenerateOptions& options) {
  if (options.token_ids && (options.prompt || options.prompt_file)) {
    throw_usage("-p, -f and --tokens", "only one of them may be given");
  }
  if (options.parallel > 1 && options.trace) throw_usage("--trace", "is of one text, not of --parallel");
  for (const std::string& stop : options.stop) {
    if (stop.empty()) throw_usage("--stop", "an empty string would stop before the first token");
    require_utf8(stop, "--stop");
  }
  if (options.logprobs > 0 && !options.json) throw_usage("--logprobs", "is printed with --json only");
  if (options.max_tokens > headgate::max_index) {
    throw_limit(fmt::format("number of new tokens (got {}, allowed {})", options.max_tokens, headgate::max_index));
  }
}

// None where tokens go in and an object comes out and the folder has no tokenizer.json: its "text" is empty then.
std::optional<headgate::Tokenizer> load_tokenizer(const GenerateOptions& options, const std::string& file) {
  if (options.token_ids && options.json && options.stop.empty() &&
      std::filesystem::symlink_status(file).type() == std::filesystem::file_type::not_found) {
    note("headgate: warning: no tokenizer.json, so \"text\" is empty\n");
    return std::nullopt;
  }
  return headgate::load_tokenizer(file);
}

std::vector<std::int32_t> prompt_ids(const GenerateOptions& options, const std::string& text,
                                     const std::optional<headgate::Tokenizer>& tokenizer, const std::string& file,
                                     index_t vocab_size) {
  if (!options.token_ids) {
    std::vector<std::int32_t> ids = encode_prompt(*tokenizer, text, options.prompt_file ? "-f" : "-p");
    require_embedded(ids, vocab_size, *tokenizer, file);
    return ids;
  }
  for (const std::int32_t id : *options.token_ids) {
    if (id >= vocab_size) throw_usage("--tokens", fmt::format("got {}, allowed is 0 to {}", id, vocab_size - 1));
  }
  return *options.token_ids;
}

// A continuation being written. Text goes to standard output as it comes where it is the only one and no object is
// wanted.
class Writer {
 public:
  Writer(const GenerateOptions& options, const std::optional<headgate::Tokenizer>& tokenizer,
         std::span<const std::int32_t> prompt, headgate::Session& session, headgate::Sampler sampler,
         Continuation& continuation)
      : options_(options),
        session_(session),
        sampler_(std::move(sampler)),
        continuation_(continuation),
        stop_(options.stop),
        shows_(!options.json && options.parallel == 1) {
    if (tokenizer) decoder_.emplace(*tokenizer).skip(prompt);
    const index_t room = session.context_size() - session.position();
    most_ = headgate::as_size(options.max_tokens < 0 ? room : std::min<std::int64_t>(room, options.max_tokens));
    is_done_ = most_ == 0;
  }

  bool is_done() const { return is_done_; }
  // Chooses the next token from the session's logits, and whether it is the last.
  headgate::Status choose() {
    Step step{};
    if (headgate::Status status = sampler_.sample(session_.logits(), step.token); !status.ok()) return status;
    sampler_.accept(step.token);
    if (options_.logprobs > 0) {
      const headgate::LogSoftmax logprobs(session_.logits());
      step.logprob = logprobs[step.token];
      step.top = logprobs.top(static_cast<index_t>(std::min<std::int64_t>(options_.logprobs, headgate::max_index)));
    }
    continuation_.steps.push_back(step);
    const bool ended = !options_.ignore_eos && session_.model().config().is_eos(step.token);
    if (!ended && decoder_) show(stop_.append(decoder_->push(step.token)));
    if (ended || stop_.found()) continuation_.finish_reason = "stop";
    is_done_ = ended || stop_.found() || continuation_.steps.size() == most_;
    return headgate::Status::success();
  }
  headgate::SessionTurn turn() { return {&session_, {&continuation_.steps.back().token, 1}}; }
  void finish() {
    if (!stop_.found() && decoder_) show(stop_.append(decoder_->finish()));
    show(stop_.finish());
  }

 private:
  void show(const std::string& text) {
    continuation_.text += text;
    if (shows_) OutputFile::standard_output().write(text);
  }

  const GenerateOptions& options_;
  headgate::Session& session_;
  headgate::Sampler sampler_;
  Continuation& continuation_;
  std::optional<headgate::StreamDecoder> decoder_ = {};
  StopStrings stop_;
  bool shows_;
  std::size_t most_ = 0;  // tokens
  bool is_done_ = false;
};

// Sessions that an interrupt stops together.
struct Together {
  std::vector<headgate::Session>& sessions;
  void cancel() noexcept {
    for (headgate::Session& session : sessions) session.cancel();
  }
};

// Writes on from outcome.prompt, all continuations in one pass a token, until each has a reason to stop. sessions: the
// first is empty; the others go on from its prompt. Returns interrupted or numeric when a pass says so; what was
// written before stands.
headgate::Status write_on(const GenerateOptions& options, const std::optional<headgate::Tokenizer>& tokenizer,
                          const headgate::SamplerOptions& sampling, std::vector<headgate::Session>& sessions,
                          Outcome& outcome, headgate::Context& ctx) {
  Statistics& statistics = outcome.statistics;
  Stopwatch watch;
  headgate::Status status = sessions.front().forward(outcome.prompt, ctx);
  statistics.prefill_tokens = sessions.front().position();
  statistics.prefill_s = watch.lap();

  while (status.ok() && sessions.size() < outcome.continuations.size()) {
    sessions.push_back(sessions.front().fork());
    sessions.back().on_route = sessions.front().on_route;
  }
  Together together{sessions};
  const Interrupt interrupt(together);  // until here there was no text to keep
  std::vector<Writer> writers;
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    Continuation& continuation = outcome.continuations[i];
    continuation.seed = sampling.seed + i;
    headgate::SamplerOptions own = sampling;
    own.seed = continuation.seed;
    headgate::Sampler sampler(own);
    for (const std::int32_t id : outcome.prompt) sampler.accept(id);
    writers.emplace_back(options, tokenizer, outcome.prompt, sessions[i], std::move(sampler), continuation);
  }
  std::vector<headgate::SessionTurn> turns;
  for (bool more = true; status.ok() && more;) {
    turns.clear();
    for (Writer& writer : writers) {
      if (status.ok() && !writer.is_done()) status = writer.choose();
      if (!writer.is_done()) turns.push_back(writer.turn());
    }
    more = !turns.empty();
    if (!status.ok() || !more) break;
    status = headgate::Session::forward_together(turns, ctx);
    if (status.ok()) statistics.decode_tokens += static_cast<std::int64_t>(turns.size());
  }
  for (Writer& writer : writers) writer.finish();
  statistics.decode_s = watch.lap();
  return status;
}

void write_json(const GenerateOptions& options, const Outcome& outcome, const Continuation& text, JsonWriter& out) {
  out.begin_object().key("prompt_tokens").array(outcome.prompt);
  out.key("tokens").begin_array();
  for (const Step& step : text.steps) out.value(step.token);
  out.end_array().key("text").value(text.text).key("finish_reason").value(text.finish_reason);
  if (options.parallel > 1) out.key("seed").value(text.seed);
  if (options.logprobs > 0) {
    out.key("logprobs").begin_array();
    for (const Step& step : text.steps) {
      out.begin_object().key("token").value(step.token).key("logprob").value(step.logprob).key("top").begin_array();
      for (const headgate::TokenLogprob& best : step.top) {
        out.begin_array().value(best.token).value(best.logprob).end_array();
      }
      out.end_array().end_object();
    }
    out.end_array();
  }
  out.key("stats");
  outcome.statistics.write(out);
  out.end_object();
}

// An object, or with --parallel a list of them.
std::string json_text(const GenerateOptions& options, const Outcome& outcome) {
  JsonWriter out;
  if (options.parallel > 1) out.begin_array();
  for (const Continuation& text : outcome.continuations) write_json(options, outcome, text, out);
  if (options.parallel > 1) out.end_array();
  return out.take() + '\n';
}

}  // namespace

int generate(const GenerateOptions& options) {
  check(options);
  const std::string text = options.token_ids ? std::string() : read_prompt(options.prompt, options.prompt_file);
  const std::string folder = model_folder(options.model);
  const std::string tokenizer_file = headgate::tokenizer_file(folder);
  std::unique_ptr<TraceFile> trace;
  if (options.trace) trace = std::make_unique<TraceFile>(*options.trace, folder);

  Outcome outcome;
  Stopwatch watch;
  const headgate::ModelDescription description = headgate::describe_model(folder);
  for (const headgate::SkippedPart& part : description.skipped) {
    if (part.is_damaged) note("headgate: warning: skipped: " + headgate::escaped(part.why, 1000) + "\n");
  }
  const std::optional<headgate::Tokenizer> tokenizer = load_tokenizer(options, tokenizer_file);
  outcome.prompt = prompt_ids(options, text, tokenizer, tokenizer_file, description.config.vocab_size);
  const headgate::SessionOptions session_options =
      plan_session({options.context, options.batch_rows, options.ubatch_rows, options.threads, options.parallel},
                   description, outcome.statistics.memory);
  if (static_cast<std::int64_t>(outcome.prompt.size()) > session_options.context_size) {
    throw_limit(fmt::format("tokens of the prompt against positions of the context (got {}, allowed {})",
                            outcome.prompt.size(), session_options.context_size));
  }

  headgate::ThreadPool threads(thread_count(options.threads));
  const std::shared_ptr<const headgate::Model> model = load_shown(folder, threads);
  std::vector<headgate::Session> sessions;
  sessions.reserve(headgate::as_size(options.parallel));
  sessions.emplace_back(model, session_options);
  outcome.continuations.resize(headgate::as_size(options.parallel));
  const std::uint64_t seed = options.sampling.seed ? *options.sampling.seed : std::random_device{}();
  const headgate::SamplerOptions sampling = options.sampling.options(seed, session_options.context_size);
  Statistics& statistics = outcome.statistics;
  statistics.load_s = watch.lap();
  statistics.bytes_per_token = model->bytes_per_token();
  statistics.weight_bytes = model->weight_bytes();
  statistics.threads = threads.size();
  statistics.kernels = kernels_name();
  statistics.seed = seed;

  sessions.front().on_route = [&](index_t layer, index_t first_position, const headgate::RoutingPlan& plan) {
    statistics.routed_rows += plan.tokens();
    statistics.routed_entries += plan.entries();
    if (trace) trace->write(layer, first_position, plan);
  };
  headgate::Context ctx(threads);
  const headgate::Status status = write_on(options, tokenizer, sampling, sessions, outcome, ctx);
  const bool interrupted = status.code == ErrorCode::interrupted;
  if (!interrupted) headgate::throw_if_error(status);
  if (trace) trace->finish();
  for (Continuation& written : outcome.continuations) {
    if (interrupted && std::string_view(written.finish_reason) != "stop") written.finish_reason = "interrupted";
  }
  if (options.json) {
    OutputFile::standard_output().write(json_text(options, outcome));
  } else if (options.parallel > 1) {
    std::string all;
    for (const Continuation& written : outcome.continuations) all += written.text + '\n';
    OutputFile::standard_output().write(all);
  } else if (::isatty(STDOUT_FILENO) != 0) {
    OutputFile::standard_output().write("\n");  // what follows on a terminal begins a line of its own
  } else {
    note("\n");
  }
  note(statistics.text());
  return interrupted ? Interrupt::exit_code() : 0;
}
