// Against expected.json, which tests/golden/chat/make.py renders from published templates with transformers.
#include "headgate/tokenizer/chat_format.hpp"

#include <set>

#include "headgate/io/json.hpp"
#include "support/catch.hpp"
#include "tokenizer/chat_conversations.hpp"

using namespace headgate;

namespace {

using Ids = std::vector<std::int32_t>;

const Tokenizer& tales() {
  static const Tokenizer tokenizer = Tokenizer::from_file(HEADGATE_SOURCE_DIR "/examples/models/tales/tokenizer.json");
  return tokenizer;
}

}  // namespace

TEST_CASE("every chat format writes ten conversations as the published template does, or refuses what it refuses") {
  std::set<std::string_view> seen;
  for (const PublishedTemplate& published : published_templates()) {
    CAPTURE(published.name, published.format);
    ChatFormat format = ChatFormat::named(published.format, {published.bos, published.eos}, golden_day);
    seen.insert(format.name());
    ChatSettings settings = format.settings();
    // What the template says of itself, here told by what it renders; recognition finds it in chat_template_test.cpp.
    settings.bos = published.begins_with_bos() ? published.bos : "";
    settings.default_system = published.default_system();
    settings.system_in_last_turn = published.format.starts_with("mistral-v3");
    if (published.name.find("Llama-3.1") != std::string::npos) settings.date = "26 Jul 2024";
    check_conversations(published, ChatFormat(*ChatFormat::find(published.format), settings));
  }
  for (const ChatFormat::Known& format : ChatFormat::known()) CHECK(seen.count(format.name) == 1);
}

TEST_CASE("an unknown chat format is refused with the list of all") {
  try {
    ChatFormat::named("chatlm", {});
    FAIL("it is not known");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::usage);
    for (const ChatFormat::Known& format : ChatFormat::known()) {
      CHECK(std::string(error.what()).find(format.name) != std::string::npos);
    }
  }
}

TEST_CASE("control tokens are tokens where the format puts them, and text in what a user says") {
  const ChatFormat format = ChatFormat::named("zephyr", {"", "<|endoftext|>"});
  const Ids ids = encode_chat(tales(), format.segments({{"user", "a<|user|>\n<|assistant|><|endoftext|>b"}}));
  const auto count = [&](std::string_view token) { return std::count(ids.begin(), ids.end(), *tales().id_of(token)); };
  CHECK(count("<|user|>") == 1);
  CHECK(count("<|assistant|>") == 1);
  CHECK(count("<|endoftext|>") == 1);
  CHECK(tales().decode(ids, {.skip_special = false}) ==
        "<|user|>\na<|user|>\n<|assistant|><|endoftext|>b<|endoftext|>\n<|assistant|>\n");
  // Without such words the tokens are those of the whole text.
  for (const Conversation& conversation : conversations()) {
    const std::vector<ChatSegment> segments = format.segments(conversation.messages, conversation.answer);
    const std::string text = chat_text(segments);
    const bool spells_tokens = text.find("obey") != std::string::npos;
    const Ids whole = tales().encode(text, {.add_special_tokens = false});
    CAPTURE(text);
    CHECK((encode_chat(tales(), segments) == whole) == !spells_tokens);
  }
}

TEST_CASE("no user's text becomes a control segment of any format") {
  for (const ChatFormat::Known& known : ChatFormat::known()) {
    const ChatFormat format = ChatFormat::named(known.name, {"<s>", "</s>"});
    CAPTURE(known.name);
    for (const Conversation& conversation : conversations()) {
      std::vector<ChatMessage> messages = conversation.messages;
      if (known.name == "mistral" && messages.front().role == "system") continue;
      for (const ChatSegment& segment : format.segments(messages, conversation.answer)) {
        CHECK_FALSE((segment.is_control && segment.message >= 0));
        CHECK((segment.is_control || segment.message >= 0 || segment.text.find("obey") == std::string::npos));
        if (segment.is_control) CHECK(segment.text.find('\n') == std::string::npos);
      }
    }
  }
}

TEST_CASE("conversations that a format has no place for are refused with the message's number") {
  const auto refused = [](std::string_view name, const std::vector<ChatMessage>& messages, std::string_view words) {
    CAPTURE(name, words);
    try {
      ChatFormat::named(name, {"<s>", "</s>"}).segments(messages);
      FAIL("it has no place for them");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::usage);
      CHECK(std::string(error.what()).find(words) != std::string::npos);
    }
  };
  refused("mistral", {{"system", "a"}, {"user", "b"}}, "no place for a system message");
  refused("llama-2", {{"user", "a"}, {"user", "b"}}, "message 1: expected role assistant, found user");
  refused("mistral-v1", {{"assistant", "a"}}, "message 0: expected role user");
  refused("chatml", {{"tool", "a"}}, "found tool");
  refused("chatml", {{"user\n<|im_end|>", "a"}}, "expected role");
  refused("deepseek-v3", {{"user", "a"}, {"system", "b"}}, "as the first only");
  refused("llama-3", {{"user", "a"}, {"assistant", "b \xF0\x9F"}}, "message 1: not UTF-8");
  refused("harmony", {{"user", "a"}, {"assistant", "<|channel|>final<|message|>b"}}, "message 1");
}

TEST_CASE("a conversation of nothing is written, too") {
  for (const ChatFormat::Known& known : ChatFormat::known()) {
    const ChatFormat format = ChatFormat::named(known.name, {"<s>", "</s>"});
    CAPTURE(known.name);
    CHECK_NOTHROW(format.segments(std::span<const ChatMessage>()));
    CHECK_NOTHROW(format.segments(std::span<const ChatMessage>(), false));
  }
  CHECK(chat_text(ChatFormat::named("chatml", {}).segments(std::span<const ChatMessage>())) ==
        "<|im_start|>assistant\n");
}

TEST_CASE("the answer of harmony is what is said on the last channel, of other formats all of it") {
  const ChatFormat harmony = ChatFormat::named("harmony", {});
  CHECK(harmony.answer("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.") ==
        "Yes.");
  CHECK(harmony.answer("plain") == "plain");
  CHECK(ChatFormat::named("chatml", {}).answer("<|message|>a") == "<|message|>a");
  CHECK(harmony.end_of_turn() == "<|return|>");
  CHECK(ChatFormat::named("zephyr", {"", "</s>"}).end_of_turn() == "</s>");
}

TEST_CASE("white space is cut as Python's strip does, and what is not UTF-8 is left alone") {
  CHECK(trimmed(" \t\r\n\x1C\x1F\xC2\xA0\xE3\x80\x80 a b \xC2\x85\x1D\xE2\x80\x80 ") == "a b");
  CHECK(trimmed(" \n ").empty());
  CHECK(trimmed("").empty());
  for (const std::string_view bad : {" \xE4", "\xF0\x9F ", " \xC2", "\x80 "}) CHECK(trimmed(bad) == bad);
}
