// headgate chat: a conversation, question by question, on a terminal or through a pipe.
#include <atomic>
#include <ctime>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>

#include "commands.hpp"
#include "conversation.hpp"
#include "headgate/core/context.hpp"
#include "headgate/core/thread_pool.hpp"
#include "headgate/sampling/sampler.hpp"
#include "headgate/tokenizer/load_chat_format.hpp"
#include "headgate/tokenizer/load_tokenizer.hpp"
#include "interrupt.hpp"
#include "json_writer.hpp"
#include "line_reader.hpp"
#include "loading.hpp"
#include "machine.hpp"
#include "model_path.hpp"
#include "note.hpp"
#include "numbers.hpp"
#include "output_file.hpp"
#include "prompt.hpp"
#include "sampling_flags.hpp"
#include "session_plan.hpp"

namespace {

using headgate::Error;
using headgate::ErrorCode;
using headgate::index_t;

struct ChatOptions {
  std::optional<std::string> model;
  std::optional<std::string> format;  // none: the checkpoint's template says it
  std::optional<std::string> system;
  std::int64_t max_tokens = -1;  // of an answer; -1, -2: until the context is full
  std::int64_t context = 0;
  std::int64_t threads = -1;
  std::int64_t batch_rows = 2048;
  std::int64_t ubatch_rows = 512;
  SamplingFlags sampling;
  bool json = false;
};

std::chrono::year_month_day today() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  return {std::chrono::year(local.tm_year + 1900), std::chrono::month(static_cast<unsigned>(local.tm_mon + 1)),
          std::chrono::day(static_cast<unsigned>(local.tm_mday))};
}

// What a signal stops: the answer in progress.
struct Answering {
  headgate::Session& session;
  std::atomic<bool> is_stopped = false;
  void cancel() noexcept {
    is_stopped = true;
    session.cancel();
  }
};

constexpr const char* help_text =
    "/reset         begin anew\n"
    "/regen         answer the last question again\n"
    "/system TEXT   begin anew with this system message; without a text: with the format's own\n"
    "/stats         what the last answer took\n"
    "/exit          end (also Ctrl-D)\n"
    "//TEXT         a question that begins with a slash\n"
    "Ctrl-C stops an answer; at the prompt it ends the program.\n";

class Chat {
 public:
  Chat(const ChatOptions& options, const headgate::Tokenizer& tokenizer, headgate::ChatFormat format,
       headgate::Session session, headgate::ThreadPool& threads, Statistics statistics)
      : options_(options),
        tokenizer_(tokenizer),
        conversation_(tokenizer, std::move(format)),
        session_(std::move(session)),
        ctx_(threads),
        statistics_(std::move(statistics)),
        end_of_turn_(tokenizer.id_of(conversation_.format().end_of_turn())),
        is_terminal_(::isatty(STDIN_FILENO) != 0) {
    session_.on_route = [this](index_t, index_t, const headgate::RoutingPlan& plan) {
      statistics_.routed_rows += plan.tokens();
      statistics_.routed_entries += plan.entries();
    };
    conversation_.reset(options.system.value_or(""));
    system_ = options.system.value_or("");
    if (!system_.empty()) require_system();
  }

  // Reads lines until the input ends. Returns the exit code.
  int run() {
    if (is_terminal_) note("/help says what can be typed besides questions.\n");
    while (true) {
      if (is_terminal_) note("> ");
      try {
        const std::optional<std::string> line = lines_.next();
        if (!line || *line == "/exit") break;
        if (!line->empty() && !obey(*line)) return Interrupt::exit_code();
      } catch (const Error& error) {
        // A person may try again; what is read by nobody must not go on as if nothing had been.
        if (!is_terminal_ || (error.code() != ErrorCode::usage && error.code() != ErrorCode::limit &&
                              error.code() != ErrorCode::bad_file)) {
          throw;
        }
        note("headgate: error: " + headgate::escaped(error.what(), 2000) + "\n");
      }
    }
    if (is_terminal_) note("\n");
    if (statistics_.prefill_tokens > 0) note(statistics_.text());
    return 0;
  }

 private:
  void require_system() const {
    const headgate::ChatMessage messages[] = {{"system", system_}, {"user", "a"}};
    conversation_.format().segments(messages);
  }
  // False: a signal that ends the program came.
  bool obey(const std::string& line) {
    const bool is_command = line.starts_with('/') && !line.starts_with("//");
    const std::string word = line.substr(0, line.find(' '));
    if (!is_command) {
      conversation_.ask(line.starts_with("//") ? line.substr(1) : line);
      return answer();
    }
    if (word == "/regen") {
      if (!conversation_.take_back("assistant")) throw_usage("/regen", "there is no answer yet");
      return answer();
    }
    if (word == "/reset") {
      conversation_.reset(system_);
    } else if (word == "/system") {
      std::string text = line.size() > word.size() ? line.substr(word.size() + 1) : "";
      std::swap(system_, text);
      try {
        require_system_or_none();
      } catch (const Error&) {
        std::swap(system_, text);
        throw;
      }
      conversation_.reset(system_);
    } else if (word == "/stats") {
      note(statistics_.text() +
           fmt::format("context  {} of {} positions\n", session_.position(), session_.context_size()));
    } else if (word == "/help") {
      note(help_text);
    } else {
      throw_usage(word, "is not understood; /help lists what is, and //TEXT asks a question that begins with a slash");
    }
    return true;
  }
  void require_system_or_none() const {
    if (!system_.empty()) require_system();
  }

  bool answer() {
    std::vector<std::int32_t> ids;
    try {
      ids = conversation_.tokens();
      require_embedded(ids, session_.model().vocab_size(), tokenizer_, "the tokenizer");
      if (static_cast<std::int64_t>(ids.size()) >= session_.context_size()) {
        throw Error(
            ErrorCode::limit,
            {"", "", -1,
             fmt::format("the conversation has {} tokens and the context {} positions, which leaves none for an "
                         "answer; /reset begins anew, -c N makes room",
                         ids.size(), session_.context_size())});
      }
    } catch (const Error&) {
      conversation_.take_back("user");
      throw;
    }
    statistics_.seed = options_.sampling.seed ? *options_.sampling.seed : std::random_device{}();
    headgate::Sampler sampler(options_.sampling.options(statistics_.seed, session_.context_size()));
    for (const std::int32_t id : ids) sampler.accept(id);

    Interrupt::install();  // a signal before had its one use
    Answering answering{session_};
    std::optional<Interrupt> interrupt(std::in_place, answering);
    Stopwatch watch;
    index_t computed = 0;
    headgate::Status status = conversation_.read(ids, session_, ctx_, computed);
    if (status.code == ErrorCode::interrupted && !answering.is_stopped) {  // the signal was for the answer before
      status = conversation_.read(ids, session_, ctx_, computed);
    }
    statistics_.prefill_tokens = computed;
    statistics_.prefill_s = watch.lap();
    if (status.code == ErrorCode::interrupted) {
      conversation_.take_back("user");
      note("\nheadgate: stopped before the answer began; the question is taken back\n");
      return must_go_on();
    }
    headgate::throw_if_error(status);

    const char* finish_reason = "length";
    std::vector<std::int32_t> chosen;
    std::string text;
    headgate::StreamDecoder decoder(tokenizer_);
    const auto show = [&](const std::string& piece) {
      text += piece;
      if (!options_.json && !piece.empty()) OutputFile::standard_output().write(piece);
    };
    statistics_.decode_tokens = 0;
    const std::int64_t most = options_.max_tokens < 0 ? headgate::max_index : options_.max_tokens;
    while (true) {
      std::int32_t token = 0;
      headgate::throw_if_error(sampler.sample(session_.logits(), token));
      if (session_.model().config().is_eos(token) || token == end_of_turn_) {
        finish_reason = "stop";
        break;
      }
      sampler.accept(token);
      chosen.push_back(token);
      show(decoder.push(token));
      if (static_cast<std::int64_t>(chosen.size()) >= most || session_.position() == session_.context_size()) break;
      status = session_.forward({&token, 1}, ctx_);
      if (status.code == ErrorCode::interrupted) {
        finish_reason = "interrupted";
        break;
      }
      headgate::throw_if_error(status);
      conversation_.hold(token);
      ++statistics_.decode_tokens;
    }
    show(decoder.finish());
    statistics_.decode_s = watch.lap();
    interrupt.reset();
    const bool is_full = finish_reason == std::string_view("length") && session_.position() == session_.context_size();
    if (options_.json) {
      write_json(ids.size(), chosen, text, finish_reason);
    } else {
      OutputFile::standard_output().write("\n");
    }
    if (is_full) {
      note(fmt::format("headgate: the context of {} positions is full; /reset begins anew, -c N makes room\n",
                       session_.context_size()));
    }
    conversation_.answer(std::move(chosen));
    return !answering.is_stopped || must_go_on();
  }
  // SIGTERM ends the program once the answer has stopped; Ctrl-C does not.
  bool must_go_on() const {
    if (Interrupt::exit_code() == 128 + SIGTERM) return false;
    Interrupt::install();
    return true;
  }

  void write_json(std::size_t prompt_tokens, const std::vector<std::int32_t>& chosen, const std::string& text,
                  const char* finish_reason) const {
    JsonWriter out;
    out.begin_object().key("text").value(text).key("tokens").array(chosen);
    out.key("finish_reason").value(finish_reason).key("prompt_tokens").value(prompt_tokens);
    out.key("stats");
    statistics_.write(out);
    out.end_object();
    OutputFile::standard_output().write(out.take() + '\n');
  }

  const ChatOptions& options_;
  const headgate::Tokenizer& tokenizer_;
  Conversation conversation_;
  headgate::Session session_;
  headgate::Context ctx_;
  Statistics statistics_;  // of the last answer
  std::optional<std::int32_t> end_of_turn_;
  bool is_terminal_;
  std::string system_;
  LineReader lines_;
};

int chat(const ChatOptions& options) {
  if (options.max_tokens == 0) throw_usage("-n", "got '0', allowed is -1, -2 or an integer from 1");
  if (options.max_tokens > headgate::max_index) {
    throw Error(ErrorCode::limit,
                {"", "", -1,
                 fmt::format("number of new tokens (got {}, allowed {})", options.max_tokens, headgate::max_index)});
  }
  if (options.system) require_utf8(*options.system, "--system");
  if (options.format && headgate::ChatFormat::find(*options.format) == nullptr) {
    throw_usage("--chat-format", fmt::format("got '{}', known are {}", headgate::escaped(*options.format, 80),
                                             headgate::ChatFormat::names()));
  }
  const std::string folder = model_folder(options.model);
  Statistics statistics;
  Stopwatch watch;
  const headgate::ModelDescription description = headgate::describe_model(folder);
  for (const headgate::SkippedPart& part : description.skipped) {
    if (part.is_damaged) note("headgate: warning: skipped: " + headgate::escaped(part.why, 1000) + "\n");
  }
  headgate::ChatFormat format = [&] {
    try {
      return headgate::load_chat_format(folder, options.format, today());
    } catch (const Error& error) {
      if (error.code() != ErrorCode::usage) throw;
      throw_usage("--chat-format", std::string(error.what()));
    }
  }();
  const headgate::Tokenizer tokenizer = headgate::load_tokenizer(folder);
  const headgate::SessionOptions session_options = plan_session(
      {options.context, options.batch_rows, options.ubatch_rows, options.threads}, description, statistics.memory);
  headgate::ThreadPool threads(thread_count(options.threads));
  const std::shared_ptr<const headgate::Model> model = load_shown(folder, threads);
  statistics.load_s = watch.lap();
  statistics.bytes_per_token = model->bytes_per_token();
  statistics.weight_bytes = model->weight_bytes();
  statistics.threads = threads.size();
  statistics.kernels = kernels_name();
  note(fmt::format("chat format {}, context of {} positions\n", format.name(), session_options.context_size));
  return Chat(options, tokenizer, std::move(format), headgate::Session(model, session_options), threads, statistics)
      .run();
}

}  // namespace

RunCommand chat_command(Flags& flags) {
  const auto options = std::make_shared<ChatOptions>();
  ChatOptions& o = *options;
  flags.model(o.model);
  flags.text("--system", "TEXT", "the system message of each conversation", o.system);
  flags.text("--chat-format", "NAME", "in place of what the model's template says (a wrong one lists all)", o.format);
  flags.integer("-n,--max-tokens,--n-predict,--predict", "tokens of an answer; -1, -2: until the context is full (-1)",
                -2, Flags::any_count, o.max_tokens);
  flags.session(o.context, o.threads, o.batch_rows, o.ubatch_rows);
  o.sampling.declare(flags);
  flags.on("--json", "print one JSON object for each answer in place of text", o.json);
  flags.examples(
      {"chat -m DIR", "chat -m DIR --system \"Answer in one sentence.\" --temp 0", "chat --chat-format zephyr -n 40"});
  return [options](const std::string&) { return chat(*options); };
}
