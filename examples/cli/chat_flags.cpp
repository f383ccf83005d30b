#include <memory>

#include "chat.hpp"
#include "commands.hpp"

RunCommand chat_command(Flags& flags) {
  const auto options = std::make_shared<ChatOptions>();
  ChatOptions& o = *options;
  flags.model(o.model);
  flags.text("--system", "TEXT", "the system message of each conversation", o.system);
  flags.text("--chat-format", "NAME", "in place of what the model's template says (a wrong one lists all)", o.format);
  flags.integer("-n,--max-tokens,--n-predict,--predict", "tokens of an answer; -1, -2: until the context is full (-1)",
                -2, Flags::any_count, o.max_tokens);
  flags.session(o.context, o.threads, o.batch_rows, o.ubatch_rows);
  flags.compute(o.compute);
  flags.lora(o.lora);
  flags.cache_type(o.cache_type);
  o.sampling.declare(flags);
  flags.on("--json", "print one JSON object for each answer in place of text", o.json);
  flags.examples(
      {"chat -m DIR", "chat -m DIR --system \"Answer in one sentence.\" --temp 0", "chat --chat-format zephyr -n 40"});
  return [options](const std::string&) { return chat(*options); };
}
