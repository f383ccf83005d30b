// The chat template of a checkpoint, wherever its files keep it, and the texts of its own tokens: chat_template.jinja
// or tokenizer_config.json of a folder, the metadata of a GGUF file.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "headgate/io/json.hpp"
#include "headgate/io/json_object.hpp"
#include "headgate/io/tensor_source.hpp"
#include "headgate/tokenizer/chat_template.hpp"

namespace headgate::inline HEADGATE_ABI {

struct ChatSource {
  std::string file;                    // that has the template
  std::optional<std::string> jinja{};  // none: the checkpoint has no template
  ChatTokens tokens{};
};

namespace detail {

// "<s>", or {"content": "<s>", ...}.
inline std::string token_content(const JsonObject& config, std::string_view key) {
  const Json* const json = config.value(key);
  if (json == nullptr || json->is_null()) return "";
  if (const auto* const text = std::get_if<std::string>(&json->value)) return *text;
  return JsonObject(*json, config.file(), std::string(key)).get_string("content");
}
// A text, or a list of {"name": ..., "template": ...} of which "default" counts.
inline std::optional<std::string> default_template(const JsonObject& config) {
  const Json* const json = config.value("chat_template");
  if (json == nullptr || json->is_null()) return std::nullopt;
  if (!std::holds_alternative<Json::Array>(json->value)) return config.get_string("chat_template");
  for (const Json& entry : config.get_list("chat_template")) {
    const JsonObject named(entry, config.file(), "chat_template");
    if (named.get_string("name") == "default") return named.get_string("template");
  }
  return std::nullopt;
}

inline std::string gguf_token(const GgufMetadata& metadata, std::string_view id_key) {
  if (!metadata.has(id_key) || !metadata.has("tokenizer.ggml.tokens")) return "";
  const std::vector<std::string_view> tokens = metadata.get_strings("tokenizer.ggml.tokens");
  if (tokens.empty()) return "";
  return std::string(tokens[as_size(metadata.get_integer(id_key, 0, static_cast<std::int64_t>(tokens.size()) - 1))]);
}

}  // namespace detail

// model: a folder or a GGUF file. Throws Error (io, bad_file, limit).
inline ChatSource read_chat_source(const std::string& model) {
  const Descriptor place = Descriptor::open(model);
  if (place.is_folder()) {
    const bool has_own = place.contains("tokenizer_config.json") || place.contains("chat_template.jinja");
    if (!has_own && place.contains("tokenizer.gguf")) return read_chat_source(model + "/tokenizer.gguf");
    ChatSource source{model + "/tokenizer_config.json"};
    if (place.contains("tokenizer_config.json")) {
      const Json json = read_json(source.file, max_tokenizer_file_size);
      const JsonObject config(json, source.file);
      source.tokens = {detail::token_content(config, "bos_token"), detail::token_content(config, "eos_token")};
      source.jinja = detail::default_template(config);
    }
    if (place.contains("chat_template.jinja")) {
      source.file = model + "/chat_template.jinja";
      source.jinja = read_small_file(source.file, max_chat_template_size);
    }
    return source;
  }
  ChatSource source{model};
  const TensorSource file = TensorSource::open(model);
  if (const GgufMetadata* const metadata = file.metadata()) {
    source.tokens = {detail::gguf_token(*metadata, "tokenizer.ggml.bos_token_id"),
                     detail::gguf_token(*metadata, "tokenizer.ggml.eos_token_id")};
    if (metadata->has("tokenizer.chat_template")) source.jinja = metadata->get_string("tokenizer.chat_template");
  }
  return source;
}

// name: of a format, in place of the template's; where both are one format, what the template says of it counts.
// usage: no name and no template, or an unknown name. bad_file: a template of no known shape. All list what is known.
inline ChatFormat load_chat_format(const std::string& model, const std::optional<std::string>& name = std::nullopt,
                                   std::chrono::year_month_day today = ChatFormat::now()) {
  const ChatSource source = read_chat_source(model);
  const ChatTemplate found(source.jinja.value_or(""));
  if (name && found.format_name() != *name) return ChatFormat::named(*name, source.tokens, today);
  if (!source.jinja) {
    throw Error(ErrorCode::usage,
                {"", "chat format", -1,
                 "the checkpoint has no chat template that would say it; known are " + ChatFormat::names()});
  }
  return found.format(source.tokens, source.file, today);
}

}  // namespace headgate::inline HEADGATE_ABI
