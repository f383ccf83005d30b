#include "chat.hpp"

#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>

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
#include "session_plan.hpp"
#include "writer.hpp"

namespace {

using headgate::Error;
using headgate::ErrorCode;
using headgate::index_t;

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
    session_.on_route = [this](index_t, index_t, const headgate::RoutingPlan& plan) { statistics_.routed(plan); };
    begin_anew(options.system.value_or(""));
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
  // usage: the format has no place for a system message.
  void begin_anew(const std::string& system) {
    const headgate::ChatMessage messages[] = {{"system", system}, {"user", "a"}};
    if (!system.empty()) conversation_.format().segments(messages);
    system_ = system;
    conversation_.reset(system_);
  }
  // False: a signal that ends the program came.
  bool obey(const std::string& line) {
    const std::string word = line.substr(0, line.find(' '));
    if (!line.starts_with('/') || line.starts_with("//")) {
      conversation_.ask(line.starts_with("//") ? line.substr(1) : line);
      return answer();
    }
    if (word == "/regen") {
      if (!conversation_.take_back("assistant")) throw_usage("/regen", "there is no answer yet");
      return answer();
    }
    if (word == "/reset") {
      begin_anew(system_);
    } else if (word == "/system") {
      begin_anew(line.size() > word.size() ? line.substr(word.size() + 1) : "");
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
  // What the model reads. Where that is not possible the question is taken back.
  std::vector<std::int32_t> tokens() {
    try {
      std::vector<std::int32_t> ids = conversation_.tokens();
      require_embedded(ids, session_.model().vocab_size(), tokenizer_, "the tokenizer");
      if (static_cast<std::int64_t>(ids.size()) < session_.context_size()) return ids;
      throw Error(ErrorCode::limit, {"", "", -1,
                                     fmt::format("the conversation has {} tokens and the context {} positions, which "
                                                 "leaves none for an answer; /reset begins anew, -c N makes room",
                                                 ids.size(), session_.context_size())});
    } catch (const Error&) {
      conversation_.take_back("user");
      throw;
    }
  }

  // False: a signal that ends the program came.
  bool answer() {
    const std::vector<std::int32_t> ids = tokens();
    statistics_.seed = options_.sampling.seed ? *options_.sampling.seed : std::random_device{}();
    headgate::Sampler sampler(options_.sampling.options(statistics_.seed, session_.context_size()));
    for (const std::int32_t id : ids) sampler.accept(id);

    Interrupt::install();  // a signal before had its one use
    std::optional<Interrupt> interrupt(std::in_place, session_);
    Stopwatch watch;
    headgate::Status status = conversation_.read(ids, session_, ctx_, statistics_.prefill_tokens);
    if (status.code == ErrorCode::interrupted && !Interrupt::came()) {  // the signal was for the answer before
      status = conversation_.read(ids, session_, ctx_, statistics_.prefill_tokens);
    }
    statistics_.prefill_s = watch.lap();
    if (status.code == ErrorCode::interrupted) {
      conversation_.take_back("user");
      note("\nheadgate: stopped before the answer began; the question is taken back\n");
      return goes_on();
    }
    headgate::throw_if_error(status);

    Writer writer({.max_tokens = options_.max_tokens,
                   .end_of_turn = end_of_turn_,
                   .has_control = conversation_.format().name() == "harmony",  // they name the channels
                   .is_shown = !options_.json},
                  &tokenizer_, session_, std::move(sampler));
    status = write_all({&writer, 1}, ctx_, statistics_.decode_tokens);
    statistics_.decode_s = watch.lap();
    interrupt.reset();
    const bool is_interrupted = status.code == ErrorCode::interrupted;
    if (!is_interrupted) headgate::throw_if_error(status);
    std::vector<std::int32_t> chosen;
    for (const Step& step : writer.steps()) chosen.push_back(step.token);
    conversation_.hold(std::span(chosen).first(headgate::as_size(statistics_.decode_tokens)));
    const bool is_full =
        !writer.has_stopped() && ids.size() + chosen.size() == headgate::as_size(session_.context_size());
    if (writer.has_stopped()) chosen.pop_back();
    if (options_.json) {
      const char* const reason = writer.has_stopped() ? "stop" : is_interrupted ? "interrupted" : "length";
      write_json(ids.size(), chosen, writer.text(), reason);
    } else {
      OutputFile::standard_output().write("\n");
    }
    if (is_full) {
      note(fmt::format("headgate: the context of {} positions is full; /reset begins anew, -c N makes room\n",
                       session_.context_size()));
    }
    conversation_.answer(std::move(chosen));
    return goes_on();
  }
  // SIGTERM ends the program once the answer has stopped; Ctrl-C does not.
  static bool goes_on() {
    if (Interrupt::exit_code() == 128 + SIGTERM) return false;
    Interrupt::install();
    return true;
  }

  void write_json(std::size_t prompt_tokens, const std::vector<std::int32_t>& chosen, const std::string& text,
                  const char* finish_reason) const {
    JsonWriter out;
    out.begin_object().key("text").value(text).key("tokens").array(chosen);
    out.key("finish_reason").value(finish_reason).key("prompt_tokens").value(prompt_tokens).key("stats");
    statistics_.write(out);
    OutputFile::standard_output().write(out.end_object().take() + '\n');
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

}  // namespace

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
  const headgate::ModelDescription description = describe_shown(folder, options.compute, options.lora);
  headgate::ChatFormat format = [&] {
    try {
      return headgate::load_chat_format(folder, options.format, today());
    } catch (const Error& error) {
      if (error.code() != ErrorCode::usage) throw;
      throw_usage("--chat-format", std::string(error.what()));
    }
  }();
  const headgate::Tokenizer tokenizer = headgate::load_tokenizer(folder);
  const headgate::SessionOptions session_options =
      plan_session({options.context, options.batch_rows, options.ubatch_rows, options.threads, 1, options.cache_type},
                   description, statistics.memory);
  headgate::ThreadPool threads(thread_count(options.threads));
  const std::shared_ptr<const headgate::Model> model = load_shown(folder, threads, options.compute, options.lora);
  statistics.loaded(*model, description.weights.compute, threads.size(), watch.lap());
  note(fmt::format("chat format {}, context of {} positions\n", format.name(), session_options.context_size));
  return Chat(options, tokenizer, std::move(format), headgate::Session(model, session_options), threads, statistics)
      .run();
}
