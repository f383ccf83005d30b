// Recognises the chat format of a checkpoint from its Jinja template, by the template's shape: the words that it puts
// around what is said, how it joins them, and its default system message. A template that does what no known format
// does is refused rather than nearly obeyed.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "headgate/tokenizer/chat_format.hpp"

namespace headgate::inline HEADGATE_ABI {

inline constexpr std::size_t max_chat_template_size = std::size_t{1} << 20;  // bytes

class ChatTemplate {
 public:
  explicit ChatTemplate(std::string_view jinja) : jinja_(jinja), plain_(plain(jinja)) {}

  // The name of its format; none if it is none of ours.
  std::optional<std::string_view> format_name() const {
    if (has("<|start|>") && has("<|channel|>") && has("Valid channels: analysis, commentary, final")) return "harmony";
    if (has("<|im_middle|>")) {
      return has("<|im_user|>") && has("<|im_assistant|>") && !thinks() && !has("macro") ? std::optional("moonlight")
                                                                                         : std::nullopt;
    }
    if (has("<|im_start|>")) return chatml_name();
    if (has("[INST]")) return mistral_name();
    if (has("<|start_header_id|>")) return llama_3_name();
    if (has("<|start_of_role|>") && has("<|end_of_role|>")) return granite_name();
    if (has("<｜User｜>") && has("<｜Assistant｜>")) return deepseek_name();
    if (has("'User: ' + message['content'] + '\n\n'") && has("'Assistant: ' + message['content'] + eos_token")) {
      return has("'Assistant:'") ? std::optional("deepseek") : std::nullopt;
    }
    if (has("<|assistant|>")) return role_name();
    return std::nullopt;
  }

  // The format with what the template says of it. bad_file: none of ours, with the list; limit: more than 1 MiB.
  // file: for messages.
  ChatFormat format(const ChatTokens& tokens, const std::string& file = "chat_template",
                    std::chrono::year_month_day today = ChatFormat::now()) const {
    if (jinja_.size() > max_chat_template_size) {
      throw Error(ErrorCode::limit, {file, "chat_template", -1,
                                     "at most " + std::to_string(max_chat_template_size) +
                                         " bytes are allowed, found " + std::to_string(jinja_.size())});
    }
    if (const std::size_t bad = find_invalid_utf8(jinja_); bad != std::string::npos) {
      throw Error(ErrorCode::bad_file, {file, "chat_template", static_cast<std::int64_t>(bad), "not UTF-8"});
    }
    const std::optional<std::string_view> name = format_name();
    if (!name) {
      throw Error(ErrorCode::bad_file,
                  {file, "chat_template", -1, "no format known here has its shape; known are " + ChatFormat::names()});
    }
    ChatSettings settings = ChatFormat::named(*name, tokens, today).settings();
    settings.bos = has("bos_token") ? tokens.bos : "";
    settings.default_system = default_system(*name, today);
    settings.trims = has("message['content'] | trim") || has("message['content']|trim");
    settings.system_in_last_turn = has("loop.last and system_message");
    if (*name == "llama-3.1" && !has("strftime_now")) settings.date = "26 Jul 2024";
    return ChatFormat(*ChatFormat::find(*name), std::move(settings));
  }

 private:
  // With one spelling of quotes, line ends and members.
  static std::string plain(std::string_view jinja) {
    std::string text;
    const std::string_view all = jinja.substr(0, max_chat_template_size);
    for (std::size_t i = 0; i < all.size(); ++i) {
      const std::string_view rest = all.substr(i);
      if (rest.starts_with("\\n")) {
        text += '\n';
        ++i;
      } else if (rest.starts_with("message.content") || rest.starts_with("message.role")) {
        const bool content = rest[8] == 'c';
        text += content ? "message['content']" : "message['role']";
        i += content ? 14 : 11;
      } else {
        text += all[i] == '"' ? '\'' : all[i];
      }
    }
    return text;
  }
  bool has(std::string_view words) const noexcept { return plain_.find(words) != std::string::npos; }
  bool thinks() const noexcept { return has("think") || has("reasoning"); }

  std::optional<std::string_view> chatml_name() const {
    if (!has("<|im_end|>") || !has("<|im_start|>assistant\n") || has("<|im_sep|>") || has("<end_of_utterance>") ||
        has("strftime_now") || has("content.strip()") || has("raise_exception('Conversation") || has("macro")) {
      return std::nullopt;
    }
    if (!thinks()) return "chatml";
    const bool is_qwen3 = has("loop.index0 > ns.last_query_index") && has("'<think>\n\n</think>\n\n'") &&
                          has("reasoning_content.strip('\n')") && !has("{{- '<think>\n' }}") && !has("bos_token");
    return is_qwen3 ? std::optional("qwen3") : std::nullopt;
  }
  std::optional<std::string_view> mistral_name() const {
    if (has("[SYSTEM_PROMPT]") || thinks()) return std::nullopt;
    if (has("<<SYS>>")) {
      const bool answers =
          has("' ' + content.strip() + ' ' + eos_token") || has("' '  + content.strip() + ' ' + eos_token");
      return answers && has("bos_token + '[INST] ' + content.strip() + ' [/INST]'") && has("system_message = false")
                 ? std::optional("llama-2")
                 : std::nullopt;
    }
    if (has("' [INST] ' + system_message + '\n\n' + message['content'] + ' [/INST]'")) return "mistral-v1";
    if (has("'[INST] ' + system_message + '\n\n' + message['content'] + '[/INST]'")) return "mistral-v3";
    if (has("'[INST]' + system_message + '\n\n' + message['content'] + '[/INST]'")) return "mistral-v3-tekken";
    if (has("'[INST] ' + message['content'] + ' [/INST]'") && has("{{ message['content'] + eos_token") &&
        !has("system")) {
      return "mistral";
    }
    return std::nullopt;
  }
  std::optional<std::string_view> llama_3_name() const {
    if (!has("<|end_header_id|>") || !has("<|eot_id|>") || thinks()) return std::nullopt;
    if (has("Cutting Knowledge Date: December 2023")) {
      return has("'Today Date: ' + date_string + '\n\n'") && has("date_string = '26 Jul 2024'")
                 ? std::optional("llama-3.1")
                 : std::nullopt;
    }
    const bool is_llama_3 = has("'<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'") && has("trim");
    return is_llama_3 && !has("tool") && !has("system") && has("add_generation_prompt") ? std::optional("llama-3")
                                                                                        : std::nullopt;
  }
  std::optional<std::string_view> granite_name() const {
    if (!has("<|end_of_text|>\n") || !has("'<|start_of_role|>assistant")) return std::nullopt;
    if (has("<|system|>\n") && has("'<|user|>\n'")) {
      const bool known = has("'<|assistant|>\n'  + message['content'] + '<|end_of_text|>'");
      return known && has("{% else %}<|system|>\n") ? std::optional("granite-vision") : std::nullopt;
    }
    return "granite";
  }
  std::optional<std::string_view> deepseek_name() const {
    if (!has("'<｜User｜>' + message['content']}}") || has("ns.is_last_user")) return std::nullopt;
    if (!has("'<｜Assistant｜>' + ") || !has("'<｜end▁of▁sentence｜>'")) return std::nullopt;
    if (!thinks()) return has("{{'<｜Assistant｜>'}}") ? std::optional("deepseek-v3") : std::nullopt;
    return has("'<｜Assistant｜><think>\n'}}") && !has("enable_thinking") && has("split('</think>')[-1]")
               ? std::optional("deepseek-r1")
               : std::nullopt;
  }
  // Those with <|role|>.
  std::optional<std::string_view> role_name() const {
    if (thinks() || has("tool")) return std::nullopt;
    if (has("<|end|>")) {
      const bool answers_at_once = has("'<|end|>' + '\n' + '<|assistant|>'");
      return !answers_at_once && has("'<|assistant|>\n'") && has("{{ eos_token }}") &&
                     has("message['role'] == 'system'")
                 ? std::optional("phi-3")
                 : std::nullopt;
    }
    if (has("'<|user|>\n' + message['content'] + eos_token")) return "zephyr";
    if (has("'<|user|>\n' + message['content'] + '\n'") && has("message['content'] + eos_token + '\n'") &&
        has("loop.last")) {
      return has("bos_token") ? "olmoe" : "tulu";
    }
    return std::nullopt;
  }

  std::optional<std::string> default_system(std::string_view name, std::chrono::year_month_day today) const {
    if (name == "chatml") return words_between("<|im_start|>system", true, "<|im_end|>");
    if (name == "moonlight") return words_between("<|im_system|>system<|im_middle|>", false, "<|im_end|>");
    if (name == "granite-vision") return words_between("{% else %}<|system|>", true, "\n{% endfor %}");
    if (name != "granite") return std::nullopt;
    if (const auto whole = expression("g4_default_system_message = ", today)) return whole;
    auto words = expression("set system_message = \"", today);
    constexpr std::string_view more = " You are a helpful AI assistant.";
    if (words && has("system_message + '" + std::string(more) + "'")) *words += more;
    return words;
  }
  // What stands, word for word and within one literal, between these marks.
  std::optional<std::string> words_between(std::string_view begin, bool then_new_line, std::string_view end) const {
    for (std::size_t at = jinja_.find(begin); at != std::string::npos; at = jinja_.find(begin, at)) {
      const char quote = at > 0 && (jinja_[at - 1] == '\'' || jinja_[at - 1] == '"') ? jinja_[at - 1] : '{';
      at += begin.size();
      std::string_view rest = std::string_view(jinja_).substr(at);
      if (then_new_line) {
        if (!rest.starts_with('\n') && !rest.starts_with("\\n")) continue;
        rest.remove_prefix(rest.starts_with('\n') ? 1 : 2);
      }
      const auto words = literal(rest, quote, end);
      if (words && !words->empty()) return words;
      at = jinja_.size() - rest.size();  // nothing is read twice, so the time is linear in the template
    }
    return std::nullopt;
  }
  // Reads up to end; nothing where the quote comes first or end nowhere. What was read is taken from rest.
  static std::optional<std::string> literal(std::string_view& rest, char quote, std::string_view end) {
    std::string words;
    for (std::size_t i = 0; i < rest.size(); ++i) {
      if (rest.substr(i).starts_with(end)) {
        rest.remove_prefix(i + end.size());
        return words;
      }
      if (rest[i] == quote) {
        rest.remove_prefix(i);
        return std::nullopt;
      }
      if (rest[i] == '\\' && quote != '{' && i + 1 < rest.size()) {
        ++i;
        words += rest[i] == 'n' ? '\n' : rest[i];
      } else {
        words += rest[i];
      }
    }
    rest = {};
    return std::nullopt;
  }
  // A sum of literals and strftime_now, after these words; the first literal's quote may stand at their end.
  std::optional<std::string> expression(std::string_view begin, std::chrono::year_month_day today) const {
    const std::size_t at = jinja_.find(begin);
    if (at == std::string::npos) return std::nullopt;
    std::string_view rest = std::string_view(jinja_).substr(at + begin.size());
    if (begin.ends_with('"')) rest = std::string_view(jinja_).substr(at + begin.size() - 1);
    std::string words;
    while (true) {
      const bool is_date = rest.starts_with("strftime_now(");
      if (is_date) rest.remove_prefix(13);
      if (rest.empty() || (rest[0] != '\'' && rest[0] != '"')) return std::nullopt;
      const std::string_view quote = rest.substr(0, 1);
      rest.remove_prefix(1);
      const auto part = literal(rest, '\0', quote);
      if (!part) return std::nullopt;
      words += is_date ? date_text(today, *part) : *part;
      if (is_date && rest.starts_with(')')) rest.remove_prefix(1);
      if (!rest.starts_with(" + ")) return words;
      rest.remove_prefix(3);
    }
  }

  std::string jinja_;
  std::string plain_;
};

}  // namespace headgate::inline HEADGATE_ABI
