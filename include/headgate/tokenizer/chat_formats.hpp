// Chat formats with a header for each turn, each a function from a conversation to its text. Sources are the templates
// that checkpoints carry (tokenizer_config.json, chat_template.jinja, tokenizer.chat_template of GGUF);
// tests/golden/chat/make.py names them and renders them. A conversation that a template refuses is a usage error here,
// too.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "headgate/tokenizer/chat_text.hpp"

namespace headgate::inline HEADGATE_ABI {

namespace chat {

using Messages = std::span<const ChatMessage>;
using Segments = std::vector<ChatSegment>;

[[noreturn]] inline void refuse(std::size_t message, std::string what) {
  throw Error(ErrorCode::usage, {"", "messages", -1, "message " + std::to_string(message) + ": " + std::move(what)});
}
inline bool begins_with_system(Messages messages) noexcept {
  return !messages.empty() && messages.front().role == "system";
}
// The first may be of the system, where the format has a place for it; then user and assistant in turn.
inline void require_turns(Messages messages, bool system_allowed) {
  const std::size_t first = begins_with_system(messages) ? 1 : 0;
  if (first == 1 && !system_allowed) refuse(0, "the format has no place for a system message");
  for (std::size_t i = first; i < messages.size(); ++i) {
    const std::string_view expected = (i - first) % 2 == 0 ? "user" : "assistant";
    if (messages[i].role != expected) {
      refuse(i, "expected role " + std::string(expected) + ", found " + escaped(messages[i].role, 40));
    }
  }
}
inline void require_roles(Messages messages, bool system_first = false) {
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    if (role != "system" && role != "user" && role != "assistant") {
      refuse(i, "expected role system, user or assistant, found " + escaped(role, 40));
    }
    if (system_first && role == "system" && i > 0) refuse(i, "the format takes a system message as the first only");
  }
}
inline std::string_view said(const std::string& content, const ChatSettings& settings) noexcept {
  return settings.trims ? trimmed(content) : std::string_view(content);
}
// The conversation with the default system message, if it has none.
inline std::vector<ChatMessage> with_system(Messages messages, const ChatSettings& settings) {
  std::vector<ChatMessage> all(messages.begin(), messages.end());
  if (settings.default_system && !all.empty() && !begins_with_system(all)) {
    all.insert(all.begin(), {"system", *settings.default_system});
  }
  return all;
}

// <|im_start|>role\n...<|im_end|>\n: Qwen 1.5 to 2.5, SmolLM2, LFM2 and many more.
inline Segments chatml(Messages messages, const ChatSettings& settings) {
  require_roles(messages);
  const std::vector<ChatMessage> all = with_system(messages, settings);
  const std::size_t added = all.size() - messages.size();
  ChatText out;
  out.control(settings.bos);
  for (std::size_t i = 0; i < all.size(); ++i) {
    out.control("<|im_start|>").text(all[i].role + "\n").content(said(all[i].content, settings), i - added);
    out.control("<|im_end|>").text("\n");
  }
  if (settings.add_generation_prompt) out.control("<|im_start|>").text("assistant\n");
  return out.take();
}

// The part of an answer after </think>.
inline std::string_view after_thinking(std::string_view answer) noexcept {
  const std::size_t end = answer.rfind("</think>");
  return end == std::string_view::npos ? answer : answer.substr(end + 8);
}
inline std::string_view without(std::string_view text, char c, bool left, bool right) noexcept {
  while (left && !text.empty() && text.front() == c) text.remove_prefix(1);
  while (right && !text.empty() && text.back() == c) text.remove_suffix(1);
  return text;
}

// ChatML whose earlier answers have lost their thoughts: Qwen3. An answer after the last question shows them.
inline Segments qwen3(Messages messages, const ChatSettings& settings) {
  require_roles(messages);
  const auto is_question = [](const ChatMessage& m) {
    return m.role == "user" && !(m.content.starts_with("<tool_response>") && m.content.ends_with("</tool_response>"));
  };
  std::size_t last_question = messages.empty() ? 0 : messages.size() - 1;
  for (std::size_t i = messages.size(); i-- > 0;) {
    if (!is_question(messages[i])) continue;
    last_question = i;
    break;
  }
  ChatText out;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    out.control("<|im_start|>").text(messages[i].role + "\n");
    std::string_view content = messages[i].content;
    if (messages[i].role == "assistant") {
      std::string_view thoughts;
      if (const std::size_t end = content.find("</think>"); end != std::string_view::npos) {
        thoughts = without(content.substr(0, end), '\n', false, true);
        if (const std::size_t begin = thoughts.rfind("<think>"); begin != std::string_view::npos) {
          thoughts = thoughts.substr(begin + 7);
        }
        thoughts = without(thoughts, '\n', true, true);
        content = without(after_thinking(content), '\n', true, false);
      }
      if (i > last_question && (i + 1 == messages.size() || !thoughts.empty())) {
        out.control("<think>").text("\n").content(thoughts, i).text("\n").control("</think>").text("\n\n");
        content = without(content, '\n', true, false);
      }
    }
    out.content(content, i).control("<|im_end|>").text("\n");
  }
  if (settings.add_generation_prompt) out.control("<|im_start|>").text("assistant\n");
  return out.take();
}

// <|start_header_id|>role<|end_header_id|>\n\n...<|eot_id|>: Llama 3. Contents lose the white space around them.
inline void llama_3_turn(ChatText& out, std::string_view role) {
  out.control("<|start_header_id|>").text(role).control("<|end_header_id|>").text("\n\n");
}
inline Segments llama_3(Messages messages, const ChatSettings& settings) {
  require_roles(messages);
  ChatText out;
  out.control(settings.bos);
  for (std::size_t i = 0; i < messages.size(); ++i) {
    llama_3_turn(out, messages[i].role);
    out.content(trimmed(messages[i].content), i).control("<|eot_id|>");
  }
  if (settings.add_generation_prompt) llama_3_turn(out, "assistant");
  return out.take();
}
// Llama 3.1 to 3.3: always a system message, which begins with dates.
inline Segments llama_3_1(Messages messages, const ChatSettings& settings) {
  require_roles(messages);
  ChatText out;
  out.control(settings.bos);
  llama_3_turn(out, "system");
  out.text("Cutting Knowledge Date: December 2023\nToday Date: " + settings.date + "\n\n");
  const std::size_t first = begins_with_system(messages) ? 1 : 0;
  if (first == 1) out.content(trimmed(messages[0].content), 0);
  out.control("<|eot_id|>");
  for (std::size_t i = first; i < messages.size(); ++i) {
    llama_3_turn(out, messages[i].role);
    out.content(trimmed(messages[i].content), i).control("<|eot_id|>");
  }
  if (settings.add_generation_prompt) llama_3_turn(out, "assistant");
  return out.take();
}

// <|role|>\n...<|end|>\n: Phi-3.5 and PhiMoE. An empty system message is left out, and eos ends a finished text.
inline Segments phi_3(Messages messages, const ChatSettings& settings) {
  require_roles(messages);
  ChatText out;
  out.control(settings.bos);
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const auto& [role, content] = messages[i];
    if (role == "system" && content.empty()) continue;
    out.control("<|" + role + "|>").text("\n").content(content, i).control("<|end|>").text("\n");
  }
  if (settings.add_generation_prompt) {
    out.control("<|assistant|>").text("\n");
  } else {
    out.control(settings.eos);
  }
  return out.take();
}

// <|role|>\n...</s>\n: Zephyr, TinyLlama.
inline Segments zephyr(Messages messages, const ChatSettings& settings) {
  require_roles(messages);
  ChatText out;
  out.control(settings.bos);
  for (std::size_t i = 0; i < messages.size(); ++i) {
    out.control("<|" + messages[i].role + "|>").text("\n").content(messages[i].content, i);
    out.control(settings.eos).text("\n");
  }
  if (settings.add_generation_prompt) out.control("<|assistant|>").text("\n");
  return out.take();
}

// <|role|>\n...\n, and eos after answers: Tulu, and OLMoE with a bos in front.
inline Segments tulu(Messages messages, const ChatSettings& settings) {
  require_roles(messages);
  ChatText out;
  out.control(settings.bos);
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const auto& [role, content] = messages[i];
    out.control("<|" + role + "|>").text("\n").content(content, i);
    if (role == "assistant") out.control(settings.eos);
    if (role != "assistant" || i + 1 < messages.size()) out.text("\n");
  }
  if (settings.add_generation_prompt && !messages.empty()) out.control("<|assistant|>").text("\n");
  return out.take();
}

// <|start_of_role|>role<|end_of_role|>...<|end_of_text|>\n: Granite 3 and 4.
inline Segments granite(Messages messages, const ChatSettings& settings) {
  require_roles(messages);
  const std::vector<ChatMessage> all = with_system(messages, settings);
  const std::size_t added = all.size() - messages.size();
  ChatText out;
  for (std::size_t i = 0; i < all.size(); ++i) {
    out.control("<|start_of_role|>").text(all[i].role).control("<|end_of_role|>");
    out.content(all[i].content, i - added).control("<|end_of_text|>").text("\n");
  }
  if (settings.add_generation_prompt && !all.empty()) {
    out.control("<|start_of_role|>").text("assistant").control("<|end_of_role|>");
  }
  return out.take();
}
// <|role|>\n...\n with <|end_of_text|> right after answers: Granite Vision 3.
inline Segments granite_vision(Messages messages, const ChatSettings& settings) {
  require_roles(messages);
  const std::vector<ChatMessage> all = with_system(messages, settings);
  const std::size_t added = all.size() - messages.size();
  ChatText out;
  for (std::size_t i = 0; i < all.size(); ++i) {
    out.control("<|" + all[i].role + "|>").text("\n").content(all[i].content, i - added);
    if (all[i].role == "assistant") {
      out.control("<|end_of_text|>");
    } else {
      out.text("\n");
    }
  }
  if (settings.add_generation_prompt && !all.empty()) out.control("<|assistant|>").text("\n");
  return out.take();
}

// <|im_user|>user<|im_middle|>...<|im_end|>: Moonlight, Kimi.
inline Segments moonlight(Messages messages, const ChatSettings& settings) {
  require_roles(messages);
  const std::vector<ChatMessage> all = with_system(messages, settings);
  const std::size_t added = all.size() - messages.size();
  ChatText out;
  for (std::size_t i = 0; i < all.size(); ++i) {
    out.control("<|im_" + all[i].role + "|>").text(all[i].role).control("<|im_middle|>");
    out.content(all[i].content, i - added).control("<|im_end|>");
  }
  if (settings.add_generation_prompt) out.control("<|im_assistant|>").text("assistant").control("<|im_middle|>");
  return out.take();
}

}  // namespace chat

}  // namespace headgate::inline HEADGATE_ABI
