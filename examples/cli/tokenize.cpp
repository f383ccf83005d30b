// headgate tokenize: the ids a model sees in place of a text.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/ranges.h>

#include "commands.hpp"
#include "headgate/tokenizer/load_tokenizer.hpp"
#include "json_writer.hpp"
#include "model_path.hpp"
#include "output_file.hpp"
#include "prompt.hpp"

namespace {

struct TokenizeOptions {
  std::optional<std::string> model;        // none: the demo model
  std::optional<std::string> prompt;       // one of these two
  std::optional<std::string> prompt_file;  // -: standard input
  bool json = false;
};

void tokenize(const TokenizeOptions& options) {
  const std::string text = read_prompt(options.prompt, options.prompt_file);
  const headgate::Tokenizer tokenizer = headgate::load_tokenizer(model_folder(options.model));
  const std::vector<std::int32_t> ids = encode_prompt(tokenizer, text, options.prompt_file ? "-f" : "-p");
  if (options.json) {
    JsonWriter out;
    out.begin_object().key("tokens").array(ids).end_object();
    OutputFile::standard_output().write(out.take() + '\n');
  } else {
    OutputFile::standard_output().write(fmt::format("{}\n", fmt::join(ids, " ")));
  }
}

}  // namespace

RunCommand tokenize_command(Flags& flags) {
  const auto options = std::make_shared<TokenizeOptions>();
  flags.model(options->model);
  flags.prompt(options->prompt, options->prompt_file);
  flags.on("--json", "print one JSON object: {\"tokens\":[...]}", options->json);
  flags.examples({"tokenize -p \"Once upon a time\""});
  return [options](const std::string&) {
    tokenize(*options);
    return 0;
  };
}
