#include <memory>

#include "commands.hpp"
#include "generate.hpp"
#include "numbers.hpp"

RunCommand generate_command(Flags& flags) {
  const auto options = std::make_shared<GenerateOptions>();
  GenerateOptions& o = *options;
  flags.model(o.model);
  flags.prompt(o.prompt, o.prompt_file);
  flags.value("--tokens", "IDS", "... or token ids to begin with, and nothing else: 5,17,3",
              [&o](const std::string& text) { o.token_ids = parse_ids("--tokens", text); });
  flags.integer("-n,--max-tokens,--n-predict,--predict", "new tokens; -1, -2: until the context is full (-1)", -2,
                Flags::any_count, o.max_tokens);
  flags.session(o.context, o.threads, o.batch_rows, o.ubatch_rows);
  flags.compute(o.compute);
  flags.lora(o.lora);
  flags.cache_type(o.cache_type);
  o.sampling.declare(flags);
  flags.on("--ignore-eos", "do not stop at the end-of-text token", o.ignore_eos);
  flags.texts("--stop", "TEXT", "stop before this text; may be repeated", o.stop);
  flags.integer("--parallel", "continuations of the prompt, decoded together, each with a seed of its own (1)", 1, 1024,
                o.parallel);
  flags.integer("--logprobs", "list the N best tokens of every step (with --json)", 1, Flags::any_count, o.logprobs);
  flags.text("--trace", "FILE", "write the experts and weights of every layer and position", o.trace);
  flags.on("--json", "print one JSON object in place of text, or with --parallel a list", o.json);
  flags.examples({"generate -p \"Once upon a time\" -n 100", "generate -m DIR -f question.txt --temp 0 --stop \"Q:\"",
                  "generate --tokens 0,3272,742 -n 8 --temp 0 --logprobs 5 --json"});
  return [options](const std::string&) { return generate(*options); };
}
