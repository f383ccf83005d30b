#include "headgate/tokenizer/load_chat_format.hpp"

#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

using namespace headgate;

namespace {

const std::string chatml_json =
    R"("{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n'}}{{ '<|im_start|>assistant\n' }}")";

ErrorCode code_of(const std::string& folder, const std::optional<std::string>& name = std::nullopt) {
  try {
    load_chat_format(folder, name);
  } catch (const Error& error) {
    return error.code();
  }
  return ErrorCode::ok;
}

}  // namespace

TEST_CASE("a folder's template and tokens are read in every spelling of tokenizer_config.json") {
  const ScratchFolder folder;
  const std::string config = folder / "tokenizer_config.json";
  write_all(config,
            R"({"bos_token":{"content":"<b>","lstrip":false},"eos_token":"<e>","chat_template":)" + chatml_json + "}");
  ChatSource source = read_chat_source(folder / "");
  CHECK(source.tokens.bos == "<b>");
  CHECK(source.tokens.eos == "<e>");
  CHECK(load_chat_format(folder / "").name() == "chatml");
  write_all(config,
            R"({"bos_token":null,"chat_template":[{"name":"tool_use","template":"x"},{"name":"default","template":)" +
                chatml_json + "}]}");
  source = read_chat_source(folder / "");
  CHECK(source.tokens.bos.empty());
  CHECK(load_chat_format(folder / "").name() == "chatml");
  CHECK(load_chat_format(folder / "", "mistral").name() == "mistral");
  write_all(folder / "chat_template.jinja", "{{ messages }}");  // stands above
  CHECK(code_of(folder / "") == ErrorCode::bad_file);
  CHECK(load_chat_format(folder / "", "chatml").name() == "chatml");
}

TEST_CASE("a checkpoint without a template needs a name, and one that lies is refused") {
  const ScratchFolder folder;
  CHECK(code_of(folder / "") == ErrorCode::usage);
  CHECK(code_of(folder / "", "none") == ErrorCode::usage);
  CHECK(load_chat_format(folder / "", "chatml").name() == "chatml");
  for (const char* const config :
       {"[]", R"({"chat_template":5})", R"({"bos_token":{"content":1}})", R"({"chat_template":[{}]})"}) {
    CAPTURE(config);
    write_all(folder / "tokenizer_config.json", config);
    CHECK(code_of(folder / "") == ErrorCode::bad_file);
  }
  CHECK(code_of(folder / "absent") == ErrorCode::io);
}
