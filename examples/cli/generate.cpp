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
#include "trace_file.hpp"
#include "writer.hpp"

namespace {

using headgate::ErrorCode;
using headgate::index_t;

// What a run brings forth.
struct Outcome {
  std::vector<std::int32_t> prompt;
  std::vector<Writer> texts;
  std::vector<std::uint64_t> seeds;  // of each
  bool is_interrupted = false;
  Statistics statistics;
};

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

// Sessions that an interrupt stops together.
struct Together {
  std::vector<headgate::Session>& sessions;
  void cancel() noexcept {
    for (headgate::Session& session : sessions) session.cancel();
  }
};

// Writes on from outcome.prompt until each text has a reason to stop. sessions: one that is empty; the others go on
// from its prompt. Returns interrupted or numeric when a pass says so; what was written before stands.
headgate::Status write_on(const GenerateOptions& options, const std::optional<headgate::Tokenizer>& tokenizer,
                          const headgate::SamplerOptions& sampling, std::vector<headgate::Session>& sessions,
                          Outcome& outcome, headgate::Context& ctx) {
  Statistics& statistics = outcome.statistics;
  Stopwatch watch;
  headgate::Status status = sessions.front().forward(outcome.prompt, ctx);
  statistics.prefill_tokens = sessions.front().position();
  statistics.prefill_s = watch.lap();

  while (status.ok() && sessions.size() < headgate::as_size(options.parallel)) {
    sessions.push_back(sessions.front().fork());
    sessions.back().on_route = sessions.front().on_route;
  }
  Together together{sessions};
  const Interrupt interrupt(together);  // until here there was no text to keep
  const WriterOptions writing = {
      .max_tokens = options.max_tokens,
      .ignores_eos = options.ignore_eos,
      .stop_strings = options.stop,
      .prompt = outcome.prompt,
      .logprobs = static_cast<index_t>(std::min<std::int64_t>(options.logprobs, headgate::max_index)),
      .is_shown = !options.json && options.parallel == 1};
  for (headgate::Session& session : sessions) {
    headgate::SamplerOptions own = sampling;
    own.seed += outcome.seeds.size();
    outcome.seeds.push_back(own.seed);
    headgate::Sampler sampler(own);
    for (const std::int32_t id : outcome.prompt) sampler.accept(id);
    outcome.texts.emplace_back(writing, tokenizer ? &*tokenizer : nullptr, session, std::move(sampler));
  }
  if (status.ok()) status = write_all(outcome.texts, ctx, statistics.decode_tokens);
  statistics.decode_s = watch.lap();
  return status;
}

void write_json(const GenerateOptions& options, const Outcome& outcome, std::size_t n, JsonWriter& out) {
  const Writer& text = outcome.texts[n];
  out.begin_object().key("prompt_tokens").array(outcome.prompt);
  out.key("tokens").begin_array();
  for (const Step& step : text.steps()) out.value(step.token);
  out.end_array().key("text").value(text.text());
  out.key("finish_reason").value(text.has_stopped() ? "stop" : outcome.is_interrupted ? "interrupted" : "length");
  if (options.parallel > 1) out.key("seed").value(outcome.seeds[n]);
  if (options.logprobs > 0) {
    out.key("logprobs").begin_array();
    for (const Step& step : text.steps()) {
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
  for (std::size_t n = 0; n < outcome.texts.size(); ++n) write_json(options, outcome, n, out);
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
  const headgate::ModelDescription description = describe_shown(folder, options.compute, options.lora);
  const std::optional<headgate::Tokenizer> tokenizer = load_tokenizer(options, tokenizer_file);
  outcome.prompt = prompt_ids(options, text, tokenizer, tokenizer_file, description.config.vocab_size);
  const headgate::SessionOptions session_options = plan_session(
      {options.context, options.batch_rows, options.ubatch_rows, options.threads, options.parallel, options.cache_type},
      description, outcome.statistics.memory);
  if (static_cast<std::int64_t>(outcome.prompt.size()) > session_options.context_size) {
    throw_limit(fmt::format("tokens of the prompt against positions of the context (got {}, allowed {})",
                            outcome.prompt.size(), session_options.context_size));
  }

  headgate::ThreadPool threads(thread_count(options.threads));
  const std::shared_ptr<const headgate::Model> model = load_shown(folder, threads, options.compute, options.lora);
  std::vector<headgate::Session> sessions;
  sessions.reserve(headgate::as_size(options.parallel));
  sessions.emplace_back(model, session_options);
  const std::uint64_t seed = options.sampling.seed ? *options.sampling.seed : std::random_device{}();
  const headgate::SamplerOptions sampling = options.sampling.options(seed, session_options.context_size);
  Statistics& statistics = outcome.statistics;
  statistics.loaded(*model, description.weights.compute, threads.size(), watch.lap());
  statistics.seed = seed;

  sessions.front().on_route = [&](index_t layer, index_t first_position, const headgate::RoutingPlan& plan) {
    statistics.routed(plan);
    if (trace) trace->write(layer, first_position, plan);
  };
  headgate::Context ctx(threads);
  const headgate::Status status = write_on(options, tokenizer, sampling, sessions, outcome, ctx);
  outcome.is_interrupted = status.code == ErrorCode::interrupted;
  if (!outcome.is_interrupted) headgate::throw_if_error(status);
  if (trace) trace->finish();
  if (options.json) {
    OutputFile::standard_output().write(json_text(options, outcome));
  } else if (options.parallel > 1) {
    std::string all;
    for (const Writer& written : outcome.texts) all += written.text() + '\n';
    OutputFile::standard_output().write(all);
  } else if (::isatty(STDOUT_FILENO) != 0) {
    OutputFile::standard_output().write("\n");  // what follows on a terminal begins a line of its own
  } else {
    note("\n");
  }
  note(statistics.text());
  return outcome.is_interrupted ? Interrupt::exit_code() : 0;
}
