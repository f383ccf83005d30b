// Templates of the shapes that published ones have, written for these tests; the published ones themselves where
// HEADGATE_CHAT_TEMPLATES names a folder of them (tests/golden/chat/make.py).
#include "headgate/tokenizer/chat_template.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "support/catch.hpp"
#include "tokenizer/chat_conversations.hpp"

using namespace headgate;

namespace {

ChatFormat recognised(std::string_view jinja) {
  return ChatTemplate(jinja).format({"<s>", "</s>"}, "chat_template.jinja", golden_day);
}
void check_refused(std::string_view jinja) {
  CAPTURE(std::string(jinja));
  try {
    recognised(jinja);
    FAIL("no known shape");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(std::string(error.what()).find("chat_template.jinja") != std::string::npos);
    CHECK(std::string(error.what()).find("chatml, qwen3, mistral") != std::string::npos);
  }
}

const std::string chatml =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
    "'\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
const std::string llama_3 =
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + "
    "message['content'] | trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{% endif %}";

}  // namespace

TEST_CASE("a ChatML template says whether it begins with a token, trims, and has a system message of its own") {
  const ChatFormat plain = recognised(chatml);
  CHECK(plain.name() == "chatml");
  CHECK(plain.settings().bos.empty());
  CHECK_FALSE(plain.settings().trims);
  CHECK_FALSE(plain.settings().default_system);
  CHECK(recognised("{{ bos_token }}" + chatml).settings().bos == "<s>");

  const std::string absent = "{% if messages[0]['role'] != 'system' %}";
  for (const std::string literal : {"{{ '<|im_start|>system\\nYou don\\'t lie.\\nNever.<|im_end|>\\n' }}",
                                    "{{ '<|im_start|>system\nYou don\\'t lie.\nNever.<|im_end|>\n' }}",
                                    "{{ \"<|im_start|>system\\nYou don't lie.\\nNever.<|im_end|>\\n\" }}"}) {
    CAPTURE(literal);
    CHECK(recognised(absent + literal + "{% endif %}" + chatml).settings().default_system == "You don't lie.\nNever.");
  }
  // The conversation's own words are no default.
  CHECK_FALSE(recognised("{{ '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}" + chatml)
                  .settings()
                  .default_system);
}

TEST_CASE("quotes, line ends and members of a template may be spelled in either way") {
  std::string other = chatml;
  for (char& c : other) c = c == '\'' ? '"' : c;
  CHECK(recognised(other).name() == "chatml");
  CHECK(recognised("{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{{ "
                   "'<|im_start|>assistant\n' }}")
            .name() == "chatml");
}

TEST_CASE("dates of a template are those of today, or its own") {
  const std::string begin = llama_3 +
                            "{% set date_string = \"26 Jul 2024\" %}{{ \"Cutting Knowledge Date: December 2023\" }}{{ "
                            "\"Today Date: \" + date_string + \"\\n\\n\" }}";
  CHECK(recognised(begin).settings().date == "26 Jul 2024");
  CHECK(recognised(begin + "{{ strftime_now('%d %b %Y') }}").settings().date == "26 Nov 2026");
  CHECK(recognised("{%- set system_message = \"Cutoff.\nToday's Date: \" + strftime_now('%B %d, %Y') + \".\nYou are "
                   "G.\" %}{{ '<|start_of_role|>' + role + '<|end_of_role|>' + m + '<|end_of_text|>\n' }}{{ "
                   "'<|start_of_role|>assistant<|end_of_role|>' }}")
            .settings()
            .default_system == "Cutoff.\nToday's Date: November 26, 2026.\nYou are G.");
}

TEST_CASE("mistral's templates differ in spaces and in where the system message goes") {
  const auto turn = [](const std::string& begin, const std::string& end, const std::string& where) {
    return "{{ bos_token }}{% if " + where + " and system_message %}{{ '" + begin +
           "' + system_message + '\n\n' + message['content'] + '" + end + "' }}";
  };
  CHECK(recognised(turn(" [INST] ", " [/INST]", "loop.first")).name() == "mistral-v1");
  CHECK(recognised(turn("[INST] ", "[/INST]", "loop.last")).name() == "mistral-v3");
  CHECK(recognised(turn("[INST]", "[/INST]", "loop.last")).name() == "mistral-v3-tekken");
  CHECK(recognised(turn("[INST]", "[/INST]", "loop.last")).settings().system_in_last_turn);
  CHECK_FALSE(recognised(turn("[INST] ", "[/INST]", "loop.first")).settings().system_in_last_turn);
  CHECK(
      recognised("{{ bos_token }}{{ '[INST] ' + message['content'] + ' [/INST]' }}{{ message['content'] + eos_token}}")
          .name() == "mistral");
}

TEST_CASE("templates of no known shape are refused with the list of formats") {
  for (const std::string_view jinja :
       {"", "{{ messages }}", "<|im_start|>", "{{ '### Instruction:' }}", "[INST]", "<|start_header_id|>",
        "{{ '[SYSTEM_PROMPT]' }}[INST]", "<start_of_turn>", "<|im_start|>assistant\n<|im_sep|><|im_end|>"}) {
    check_refused(jinja);
  }
  check_refused(chatml + "{{ content.split('</think>')[-1] }}");  // changes what was said, and not as Qwen3 does
  check_refused(chatml + "{{ strftime_now('%Y') }}");
  check_refused(std::string(1000, '\0'));
  try {
    recognised(std::string(max_chat_template_size + 1, '{'));
    FAIL("too large");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::limit);
  }
}

TEST_CASE("a template that is not UTF-8 is refused with the place") {
  try {
    recognised(chatml + "{{ content | trim }}{{ '<|im_start|>system\\n\xE4<|im_end|>' }}");
    FAIL("it is not UTF-8");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(error.detail().offset == static_cast<std::int64_t>(chatml.size()) + 44);
  }
}

TEST_CASE("a hostile template of 1 MiB is read in linear time") {
  for (const std::string piece :
       {"<|im_start|>system\\n", "<|im_system|>system<|im_middle|>", "'<|im_start|>system\n"}) {
    for (const std::string end : {"", "{", "'"}) {
      std::string jinja = chatml + "<|im_user|><|im_assistant|>";
      while (jinja.size() + piece.size() < max_chat_template_size) jinja += piece;
      const auto start = std::chrono::steady_clock::now();
      try {
        recognised(jinja + end);
      } catch (const Error& error) {
        CHECK(error.code() == ErrorCode::bad_file);
      }
      CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(2));
    }
  }
}

TEST_CASE("a template cut or changed anywhere is recognised or refused, never anything else") {
  std::mt19937 random(7);
  for (const std::string& good : {chatml, llama_3}) {
    for (std::size_t i = 0; i < good.size(); ++i) {
      std::string bad = good.substr(0, i);
      for (int change = 0; change < 2; ++change) {
        try {
          recognised(bad);
        } catch (const Error& error) {
          CHECK(error.code() == ErrorCode::bad_file);
        }
        bad = good;
        bad[i] = static_cast<char>(random());
      }
    }
  }
}

TEST_CASE("published templates are recognised, and all others refused or written as the reference does") {
  const char* const folder = std::getenv("HEADGATE_CHAT_TEMPLATES");
  if (folder == nullptr) {
    WARN("skipped: HEADGATE_CHAT_TEMPLATES names no folder of templates");
    return;
  }
  for (const PublishedTemplate& published : published_templates()) {
    CAPTURE(published.name);
    std::ifstream file(std::filesystem::path(folder) / (published.name + ".jinja"), std::ios::binary);
    REQUIRE(file);
    const std::string jinja{std::istreambuf_iterator<char>(file), {}};
    const ChatFormat format = ChatTemplate(jinja).format({published.bos, published.eos}, published.name, golden_day);
    CHECK(format.name() == published.format);
    check_conversations(published, format);
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".rendered") continue;  // make.py writes one beside each other template
    std::ifstream file(std::filesystem::path(entry.path()).replace_extension(".jinja"), std::ios::binary);
    const std::string jinja{std::istreambuf_iterator<char>(file), {}};
    PublishedTemplate published{entry.path().stem().string(), "", "<s>", "</s>", {}};
    CAPTURE(published.name);
    const Json json = read_json(entry.path().string());
    for (const Json& text : std::get<Json::Array>(json.value)) {
      published.rendered.emplace_back();
      if (!text.is_null()) published.rendered.back() = std::get<std::string>(text.value);
    }
    if (!ChatTemplate(jinja).format_name()) continue;
    check_conversations(published, ChatTemplate(jinja).format({"<s>", "</s>"}, published.name, golden_day));
  }
}
