// The ten conversations of tests/golden/chat, and what published templates make of them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "headgate/io/json.hpp"
#include "headgate/io/json_object.hpp"
#include "headgate/tokenizer/chat_format.hpp"
#include "support/catch.hpp"

inline constexpr std::chrono::year_month_day golden_day{std::chrono::year(2026), std::chrono::month(11),
                                                        std::chrono::day(26)};

struct Conversation {
  std::vector<headgate::ChatMessage> messages;
  bool answer;  // the model is to answer
};

struct PublishedTemplate {
  std::string name, format, bos, eos;
  std::vector<std::optional<std::string>> rendered;  // of each conversation; none: refused

  bool begins_with_bos() const {
    return !bos.empty() && rendered[0]->starts_with(bos) && format != "harmony" && name != "SmolLM2-135M-Instruct";
  }
  // What stands in the first conversation, which has no system message, before what its user says.
  std::optional<std::string> default_system() const {
    for (const auto& [begin, end] :
         {std::pair{"<|im_start|>system\n", "<|im_end|>"}, std::pair{"<|im_system|>system<|im_middle|>", "<|im_end|>"},
          std::pair{"<|start_of_role|>system<|end_of_role|>", "<|end_of_text|>"},
          std::pair{"<|system|>\n", "\n<|user|>"}}) {
      if (!rendered[0]->starts_with(begin)) continue;
      const std::string rest = rendered[0]->substr(std::string_view(begin).size());
      return rest.substr(0, rest.find(end));
    }
    return std::nullopt;
  }
};

inline const headgate::Json& golden_chat() {
  static const headgate::Json json = headgate::read_json(HEADGATE_SOURCE_DIR "/tests/golden/chat/expected.json");
  return json;
}
inline const std::vector<Conversation>& conversations() {
  static const std::vector<Conversation> all = [] {
    std::vector<Conversation> list;
    const headgate::JsonObject golden(golden_chat(), "expected.json");
    for (const headgate::Json& json : golden.get_list("conversations")) {
      const headgate::JsonObject object(json, "expected.json");
      Conversation conversation{{}, std::get<bool>(object.value("answer")->value)};
      for (const headgate::Json& member : object.get_list("messages")) {
        const headgate::JsonObject message(member, "expected.json");
        conversation.messages.push_back({message.get_string("role"), message.get_string("content")});
      }
      list.push_back(std::move(conversation));
    }
    return list;
  }();
  return all;
}
inline const std::vector<PublishedTemplate>& published_templates() {
  static const std::vector<PublishedTemplate> all = [] {
    std::vector<PublishedTemplate> list;
    const headgate::JsonObject golden(golden_chat(), "expected.json");
    for (const headgate::Json& json : golden.get_list("published")) {
      const headgate::JsonObject object(json, "expected.json");
      PublishedTemplate published{object.get_string("name"),
                                  object.get_string("format"),
                                  object.get_string("bos"),
                                  object.get_string("eos"),
                                  {}};
      for (const headgate::Json& text : object.get_list("rendered")) {
        if (text.is_null()) {
          published.rendered.emplace_back();
        } else {
          published.rendered.emplace_back(std::get<std::string>(text.value));
        }
      }
      list.push_back(std::move(published));
    }
    return list;
  }();
  return all;
}

inline std::optional<std::string> written(const headgate::ChatFormat& format, const Conversation& conversation) {
  try {
    return headgate::chat_text(format.segments(conversation.messages, conversation.answer));
  } catch (const headgate::Error& error) {
    CHECK(error.code() == headgate::ErrorCode::usage);
    return std::nullopt;
  }
}
inline void check_conversations(const PublishedTemplate& published, const headgate::ChatFormat& format) {
  REQUIRE(published.rendered.size() == 10);
  for (std::size_t i = 0; i < 10; ++i) {
    CAPTURE(i);
    CHECK(written(format, conversations()[i]) == published.rendered[i]);
  }
}
