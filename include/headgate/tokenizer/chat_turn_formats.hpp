// Chat formats of questions and answers in turn, in which roles have no headers of one shape: Mistral, Llama 2,
// DeepSeek, harmony. Each is a function from a conversation to its text, as those of chat_formats.hpp are.
#pragma once

#include <string_view>

#include "headgate/tokenizer/chat_formats.hpp"

namespace headgate::inline HEADGATE_ABI {

namespace chat {

// What tells Mistral's formats from each other: the texts around the parts of a turn.
struct MistralTurn {
  std::string_view before;      // [INST]
  std::string_view after;       // [INST]
  std::string_view before_end;  // [/INST]
  std::string_view before_answer;
  bool trims_answer = false;
};
inline Segments mistral_turns(Messages messages, const ChatSettings& settings, const MistralTurn& turn,
                              bool system_allowed) {
  require_turns(messages, system_allowed);
  const std::size_t first = begins_with_system(messages) ? 1 : 0;
  ChatText out;
  out.control(settings.bos);
  for (std::size_t i = first; i < messages.size(); ++i) {
    const std::string& content = messages[i].content;
    if (messages[i].role == "user") {
      out.text(turn.before).control("[INST]").text(turn.after);
      if (first == 1 && (settings.system_in_last_turn ? i + 1 == messages.size() : i == first)) {
        out.content(messages[0].content, 0).text("\n\n");
      }
      out.content(content, i).text(turn.before_end).control("[/INST]");
    } else {
      out.text(turn.before_answer).content(turn.trims_answer ? trimmed(content) : std::string_view(content), i);
      out.control(settings.eos);
    }
  }
  return out.take();
}

// The first templates of Mistral-7B-Instruct and Mixtral: no system message.
inline Segments mistral(Messages messages, const ChatSettings& settings) {
  return mistral_turns(messages, settings, {"", " ", " ", "", false}, false);
}
// mistral-common's v1, v3 and v3-tekken: the system message stands in front of a question.
inline Segments mistral_v1(Messages messages, const ChatSettings& settings) {
  return mistral_turns(messages, settings, {" ", " ", " ", " ", false}, true);
}
inline Segments mistral_v3(Messages messages, const ChatSettings& settings) {
  return mistral_turns(messages, settings, {"", " ", "", " ", true}, true);
}
inline Segments mistral_v3_tekken(Messages messages, const ChatSettings& settings) {
  return mistral_turns(messages, settings, {"", "", "", "", false}, true);
}

// <s>[INST] <<SYS>>\n...\n<</SYS>>\n\n... [/INST] ... </s>: Llama 2. What is said loses the white space around it.
inline Segments llama_2(Messages messages, const ChatSettings& settings) {
  require_turns(messages, true);
  const std::size_t first = begins_with_system(messages) ? 1 : 0;
  ChatText out;
  for (std::size_t i = first; i < messages.size(); ++i) {
    if (messages[i].role == "user") {
      out.control(settings.bos).control("[INST]").text(" ");
      std::string_view content = trimmed(messages[i].content);
      if (first == 1 && i == first) {
        // What is cut is the whole, so that white space after the system message stays, unless nothing follows it.
        const std::string& asked = messages[i].content;
        content = content.empty() ? content : std::string_view(asked).substr(0, asked.find(content) + content.size());
        out.text("<<SYS>>\n").content(messages[0].content, 0);
        out.text(content.empty() ? "\n<</SYS>>" : "\n<</SYS>>\n\n");
      }
      out.content(content, i).text(" ").control("[/INST]");
    } else {
      out.text(" ").content(trimmed(messages[i].content), i).text(" ").control(settings.eos);
    }
  }
  return out.take();
}

// User: ...\n\nAssistant: ...: DeepSeek-MoE and V2.
inline Segments deepseek(Messages messages, const ChatSettings& settings) {
  require_roles(messages);
  ChatText out;
  out.control(settings.bos);
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const auto& [role, content] = messages[i];
    if (role == "assistant") {
      out.text("Assistant: ").content(content, i).control(settings.eos);
    } else {
      out.text(role == "user" ? "User: " : "").content(content, i).text("\n\n");
    }
  }
  if (settings.add_generation_prompt) out.text("Assistant:");
  return out.take();
}

// <|User|>...<|Assistant|>... with bars of full width: DeepSeek-V3, and R1, which begins to think.
inline Segments deepseek_turns(Messages messages, const ChatSettings& settings, bool thinks) {
  require_roles(messages, /*system_first=*/true);
  ChatText out;
  out.control(settings.bos);
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const auto& [role, content] = messages[i];
    if (role == "system") out.content(content, i);
    if (role == "user") out.control("<｜User｜>").content(content, i);
    if (role == "assistant") {
      out.control("<｜Assistant｜>");
      out.content(thinks ? after_thinking(content) : std::string_view(content), i).control("<｜end▁of▁sentence｜>");
    }
  }
  if (settings.add_generation_prompt) {
    out.control("<｜Assistant｜>");
    if (thinks) out.control("<think>").text("\n");
  }
  return out.take();
}
inline Segments deepseek_v3(Messages messages, const ChatSettings& settings) {
  return deepseek_turns(messages, settings, false);
}
inline Segments deepseek_r1(Messages messages, const ChatSettings& settings) {
  return deepseek_turns(messages, settings, true);
}

// <|start|>role<|channel|>...<|message|>...<|end|>: gpt-oss. A system message is the developer's; answers are those of
// the channel "final".
inline Segments harmony(Messages messages, const ChatSettings& settings) {
  require_roles(messages, /*system_first=*/true);
  const auto begin = [](ChatText& out, std::string_view role) { out.control("<|start|>").text(role); };
  ChatText out;
  begin(out, "system");
  out.control("<|message|>");
  out.text("You are ChatGPT, a large language model trained by OpenAI.\nKnowledge cutoff: 2024-06\nCurrent date: ");
  out.text(settings.date).text("\n\nReasoning: medium\n\n");
  out.text("# Valid channels: analysis, commentary, final. Channel must be included for every message.");
  out.control("<|end|>");
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const auto& [role, content] = messages[i];
    if (role == "system" && content.empty()) continue;
    begin(out, role == "system" ? "developer" : role);
    if (role == "assistant") {
      for (const std::string_view mark : {"<|channel|>analysis<|message|>", "<|channel|>final<|message|>"}) {
        if (content.find(mark) != std::string::npos) refuse(i, "an answer with " + std::string(mark) + " in it");
      }
      out.control("<|channel|>").text("final");
    }
    out.control("<|message|>").text(role == "system" ? "# Instructions\n\n" : "").content(content, i);
    out.text(role == "system" ? "\n\n" : "");
    const bool ends = role == "assistant" && i + 1 == messages.size() && !settings.add_generation_prompt;
    out.control(ends ? "<|return|>" : "<|end|>");
  }
  if (settings.add_generation_prompt) begin(out, "assistant");
  return out.take();
}

}  // namespace chat

}  // namespace headgate::inline HEADGATE_ABI
