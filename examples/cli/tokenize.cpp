#include "tokenize.hpp"

#include <vector>

#include <fmt/ranges.h>

#include "headgate/tokenizer/tokenizer.hpp"
#include "json_writer.hpp"
#include "model_path.hpp"
#include "output_file.hpp"
#include "prompt.hpp"

void tokenize(const TokenizeOptions& options) {
  const std::string text = read_prompt(options.prompt, options.prompt_file);
  const headgate::Tokenizer tokenizer = headgate::Tokenizer::from_file(model_folder(options.model) + "/tokenizer.json");
  const std::vector<std::int32_t> ids = encode_prompt(tokenizer, text, options.prompt_file ? "-f" : "-p");
  if (options.json) {
    JsonWriter out;
    out.begin_object().key("tokens").array(ids).end_object();
    OutputFile::standard_output().write(out.take() + '\n');
  } else {
    OutputFile::standard_output().write(fmt::format("{}\n", fmt::join(ids, " ")));
  }
}
