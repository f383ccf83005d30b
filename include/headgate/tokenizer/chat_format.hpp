// ChatFormat: how a checkpoint writes a conversation. One of the named functions of chat_formats.hpp and
// chat_turn_formats.hpp, with what its template leaves open; by name, or recognised from the template that the
// checkpoint carries (chat_template.hpp). No template is ever run.
//
//   const ChatFormat format = ChatFormat::named("chatml", {});
//   encode_chat(tokenizer, format.segments({{"user", "Hello"}})) -> tokens -> Session::forward ...
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "headgate/tokenizer/chat_formats.hpp"
#include "headgate/tokenizer/chat_turn_formats.hpp"

namespace headgate::inline HEADGATE_ABI {

// Texts of the checkpoint's own tokens; empty where it has none.
struct ChatTokens {
  std::string bos = {};
  std::string eos = {};
};

class ChatFormat {
 public:
  struct Known {
    std::string_view name;
    std::vector<ChatSegment> (*segments)(std::span<const ChatMessage>, const ChatSettings&);
    std::string_view end_of_turn;  // the control token after an answer; empty: eos
    bool has_bos = false;          // where no template says otherwise
    std::string_view date = {};    // as strftime writes it; empty: none
    std::string_view default_system = {};
  };
  static std::span<const Known> known() noexcept {
    static constexpr Known all[] = {
        {"chatml", chat::chatml, "<|im_end|>"},
        {"qwen3", chat::qwen3, "<|im_end|>"},
        {"mistral", chat::mistral, "", true},
        {"mistral-v1", chat::mistral_v1, "", true},
        {"mistral-v3", chat::mistral_v3, "", true},
        {"mistral-v3-tekken", chat::mistral_v3_tekken, "", true},
        {"llama-2", chat::llama_2, "", true},
        {"llama-3", chat::llama_3, "<|eot_id|>", true},
        {"llama-3.1", chat::llama_3_1, "<|eot_id|>", true, "%d %b %Y"},
        {"phi-3", chat::phi_3, "<|end|>"},
        {"zephyr", chat::zephyr, ""},
        {"granite", chat::granite, "<|end_of_text|>"},
        {"granite-vision", chat::granite_vision, "<|end_of_text|>"},
        {"olmoe", chat::tulu, "", true},
        {"tulu", chat::tulu, ""},
        {"deepseek", chat::deepseek, "", true},
        {"deepseek-v3", chat::deepseek_v3, "<｜end▁of▁sentence｜>", true},
        {"deepseek-r1", chat::deepseek_r1, "<｜end▁of▁sentence｜>", true},
        {"harmony", chat::harmony, "<|return|>", false, "%Y-%m-%d"},
        {"moonlight", chat::moonlight, "<|im_end|>", false, "", "You are a helpful assistant provided by Moonshot-AI."},
    };
    return all;
  }
  // For messages: "chatml, qwen3, ...".
  static std::string names() {
    std::string text;
    for (const Known& format : known()) {
      if (!text.empty()) text += ", ";
      text += format.name;
    }
    return text;
  }
  static const Known* find(std::string_view name) noexcept {
    const auto all = known();
    const auto found = std::find_if(all.begin(), all.end(), [&](const Known& format) { return format.name == name; });
    return found == all.end() ? nullptr : &*found;
  }

  // As the family's checkpoints do by default. today: for formats that tell the model the date. usage: an unknown name,
  // with the list of all.
  static ChatFormat named(std::string_view name, const ChatTokens& tokens, std::chrono::year_month_day today = now()) {
    const Known* const format = find(name);
    if (format == nullptr) {
      throw Error(ErrorCode::usage,
                  {"", "chat format", -1, "expected one of " + names() + "; found " + escaped(name, 80)});
    }
    ChatSettings settings{.bos = format->has_bos ? tokens.bos : "", .eos = tokens.eos};
    if (!format->date.empty()) settings.date = date_text(today, format->date);
    if (!format->default_system.empty()) settings.default_system = format->default_system;
    return ChatFormat(*format, std::move(settings));
  }
  ChatFormat(const Known& format, ChatSettings settings) : format_(&format), settings_(std::move(settings)) {}

  std::string_view name() const noexcept { return format_->name; }
  const ChatSettings& settings() const noexcept { return settings_; }

  // The text of the conversation; with add_generation_prompt up to where the next answer begins. usage: a conversation
  // that the format has no place for (a role, an order of roles), or what is not UTF-8, with the message.
  std::vector<ChatSegment> segments(std::span<const ChatMessage> messages, bool add_generation_prompt = true) const {
    ChatSettings settings = settings_;
    settings.add_generation_prompt = add_generation_prompt;
    for (std::size_t i = 0; i < messages.size(); ++i) {
      if (find_invalid_utf8(messages[i].content) != std::string::npos) chat::refuse(i, "not UTF-8");
    }
    return format_->segments(messages, settings);
  }
  std::vector<ChatSegment> segments(std::initializer_list<ChatMessage> messages) const {
    return segments(std::span(messages.begin(), messages.size()));
  }
  // The token that ends an answer, beside those that config.json names.
  std::string_view end_of_turn() const noexcept {
    return format_->end_of_turn.empty() ? std::string_view(settings_.eos) : format_->end_of_turn;
  }
  // What a model wrote, its control tokens spelled out, as the content of a message: of harmony what is said on the
  // channel "final", of others all of it.
  std::string_view answer(std::string_view written) const noexcept {
    if (format_->name != "harmony") return written;
    constexpr std::string_view mark = "<|message|>";
    const std::size_t begin = written.rfind(mark);
    return begin == std::string_view::npos ? written : written.substr(begin + mark.size());
  }

  // Today, in UTC.
  static std::chrono::year_month_day now() {
    return std::chrono::floor<std::chrono::days>(std::chrono::system_clock::now());
  }

 private:
  const Known* format_;
  ChatSettings settings_;
};

}  // namespace headgate::inline HEADGATE_ABI
