#include "generate.hpp"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>

#include "headgate/core/context.hpp"
#include "headgate/core/thread_pool.hpp"
#include "headgate/models/load.hpp"
#include "headgate/models/session.hpp"
#include "headgate/sampling/log_softmax.hpp"
#include "headgate/sampling/sampler.hpp"
#include "headgate/tokenizer/tokenizer.hpp"
#include "interrupt.hpp"
#include "json_writer.hpp"
#include "machine.hpp"
#include "model_path.hpp"
#include "note.hpp"
#include "numbers.hpp"
#include "output_file.hpp"
#include "prompt.hpp"
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

// What a run brings forth.
struct Outcome {
  std::vector<std::int32_t> prompt;
  std::vector<Step> steps;
  std::string text;
  const char* finish_reason = "length";
  Statistics statistics;
};

[[noreturn]] void throw_limit(std::string what) { throw Error(ErrorCode::limit, {"", "", -1, std::move(what)}); }

void check(const GenerateOptions& options) {
  if (options.token_ids && (options.prompt || options.prompt_file)) {
    throw_usage("-p, -f and --tokens", "only one of them may be given");
  }
  for (const std::string& stop : options.stop) {
    if (stop.empty()) throw_usage("--stop", "an empty string would stop before the first token");
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
  return headgate::Tokenizer::from_file(file);
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

// Says what the run will take, before it is taken, and refuses what this machine does not have.
headgate::SessionOptions plan_memory(const GenerateOptions& options, const headgate::ModelDescription& model,
                                     MemoryUse& use) {
  const std::int64_t made_for = model.config.max_position_embeddings;
  const std::int64_t context = options.context > 0 ? options.context : made_for;
  headgate::SessionOptions session;
  session.context_size = headgate::panel_rows;  // a cache is made of whole panels
  const double kv_bytes =
      static_cast<double>(model.memory(session).kv_cache) / headgate::panel_rows * static_cast<double>(context);
  const double machine = static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGE_SIZE));
  if (context > headgate::max_index || kv_bytes > machine) {
    throw_limit(fmt::format("a context of {} positions takes {} of KV cache, more than the {} of memory", context,
                            size_text(kv_bytes), size_text(machine)));
  }
  if (context > made_for) {
    note(fmt::format("headgate: warning: the model was made for {} positions, not {}\n", made_for, context));
  }
  session.context_size = static_cast<index_t>(context);
  session.rows_per_pass =
      static_cast<index_t>(std::min({options.ubatch_rows, options.batch_rows, context, std::int64_t{1} << 16}));
  const headgate::MemoryPlan plan = model.memory(session, thread_count(options.threads));
  constexpr std::int64_t rest = std::int64_t{64} << 20;  // program, tokenizer and scratch memory of a usual pass
  use = {.weights = plan.weights,
         .kv_cache = plan.kv_cache,
         .largest_tensor = plan.largest_tensor,
         .other = rest + std::max<std::int64_t>(plan.workspace - rest / 2, 0)};
  note(use.text());
  if (static_cast<double>(use.total()) > machine) {
    throw_limit(
        fmt::format("memory to run the model (got {}, allowed {})", size_text(use.total()), size_text(machine)));
  }
  return session;
}

// Writes on from outcome.prompt until there is a reason to stop. Returns interrupted or numeric when a pass of the
// model says so; what was written before stands. Text goes to standard output as it comes, unless an object is wanted.
struct Writer {
  const GenerateOptions& options;
  const std::optional<headgate::Tokenizer>& tokenizer;
  headgate::Session& session;
  headgate::Sampler& sampler;
  headgate::Context& ctx;

  headgate::Status write_on(Outcome& outcome) const;
};

headgate::Status Writer::write_on(Outcome& outcome) const {
  OutputFile output = OutputFile::standard_output();
  const auto show = [&](const std::string& text) {
    outcome.text += text;
    if (!options.json) output.write(text);
  };
  Statistics& statistics = outcome.statistics;
  std::optional<headgate::StreamDecoder> decoder;
  if (tokenizer) decoder.emplace(*tokenizer);
  StopStrings stop(options.stop);
  const index_t room = session.context_size() - static_cast<index_t>(outcome.prompt.size());
  const std::size_t most =
      headgate::as_size(options.max_tokens < 0 ? room : std::min<std::int64_t>(room, options.max_tokens));

  Stopwatch watch;
  headgate::Status status = session.forward(outcome.prompt, ctx);
  statistics.prefill_tokens = session.position();
  statistics.prefill_s = watch.lap();
  const Interrupt interrupt(session);  // until here there was no text to keep
  while (status.ok() && outcome.steps.size() < most) {
    Step step{};
    if (status = sampler.sample(session.logits(), step.token); !status.ok()) break;
    sampler.accept(step.token);
    if (options.logprobs > 0) {
      const headgate::LogSoftmax logprobs(session.logits());
      step.logprob = logprobs[step.token];
      step.top = logprobs.top(static_cast<index_t>(std::min<std::int64_t>(options.logprobs, headgate::max_index)));
    }
    outcome.steps.push_back(step);
    const bool ended = !options.ignore_eos && session.model().config().is_eos(step.token);
    if (!ended && decoder) show(stop.append(decoder->push(step.token)));
    if (ended || stop.found()) {
      outcome.finish_reason = "stop";
      break;
    }
    if (outcome.steps.size() == most) break;
    status = session.forward({&step.token, 1}, ctx);
    statistics.decode_tokens += status.ok() ? 1 : 0;
  }
  if (!stop.found() && decoder) show(stop.append(decoder->finish()));
  show(stop.finish());
  statistics.decode_s = watch.lap();
  return status;
}

std::string json_text(const GenerateOptions& options, const Outcome& outcome) {
  JsonWriter out;
  out.begin_object().key("prompt_tokens").array(outcome.prompt);
  out.key("tokens").begin_array();
  for (const Step& step : outcome.steps) out.value(step.token);
  out.end_array().key("text").value(outcome.text).key("finish_reason").value(outcome.finish_reason);
  if (options.logprobs > 0) {
    out.key("logprobs").begin_array();
    for (const Step& step : outcome.steps) {
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
  return out.end_object().take() + '\n';
}

}  // namespace

int generate(const GenerateOptions& options) {
  check(options);
  const std::string text = options.token_ids ? std::string() : read_prompt(options.prompt, options.prompt_file);
  const std::string folder = model_folder(options.model);
  const std::string tokenizer_file = folder + "/tokenizer.json";
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
  const headgate::SessionOptions session_options = plan_memory(options, description, outcome.statistics.memory);
  if (static_cast<std::int64_t>(outcome.prompt.size()) > session_options.context_size) {
    throw_limit(fmt::format("tokens of the prompt against positions of the context (got {}, allowed {})",
                            outcome.prompt.size(), session_options.context_size));
  }

  headgate::ThreadPool threads(thread_count(options.threads));
  const std::shared_ptr<const headgate::Model> model = headgate::load_model(folder, {.executor = threads});
  headgate::Session session(model, session_options);
  const std::uint64_t seed = options.seed ? *options.seed : std::random_device{}();
  const auto count = [](std::int64_t asked) {
    return static_cast<index_t>(std::min(asked, std::int64_t{headgate::max_index}));
  };
  headgate::Sampler sampler(
      {.temperature = options.temperature,
       .top_k = count(options.top_k),
       .top_p = options.top_p,
       .min_p = options.min_p,
       .repeat_penalty = options.repeat_penalty,
       .repeat_last_n = options.repeat_last_n < 0 ? session.context_size() : count(options.repeat_last_n),
       .seed = seed});
  for (const std::int32_t id : outcome.prompt) sampler.accept(id);
  Statistics& statistics = outcome.statistics;
  statistics.load_s = watch.lap();
  statistics.bytes_per_token = model->bytes_per_token();
  statistics.weight_bytes = model->weight_bytes();
  statistics.threads = threads.size();
  statistics.kernels = kernels_name();
  statistics.seed = seed;

  if (trace) trace->start();
  session.on_route = [&](index_t layer, index_t first_position, const headgate::RoutingPlan& plan) {
    statistics.routed_rows += plan.tokens();
    statistics.routed_entries += plan.entries();
    if (trace) trace->write(layer, first_position, plan);
  };
  headgate::Context ctx(threads);
  const headgate::Status status = Writer{options, tokenizer, session, sampler, ctx}.write_on(outcome);
  if (trace) trace->finish();
  const bool interrupted = status.code == ErrorCode::interrupted;
  if (!interrupted) headgate::throw_if_error(status);
  if (interrupted) outcome.finish_reason = "interrupted";
  if (options.json) {
    OutputFile::standard_output().write(json_text(options, outcome));
  } else if (::isatty(STDOUT_FILENO) != 0) {
    OutputFile::standard_output().write("\n");  // what follows on a terminal begins a line of its own
  } else {
    note("\n");
  }
  note(statistics.text());
  return interrupted ? Interrupt::exit_code() : 0;
}
