// The components of a tokenizer.json (normalizer, pre-tokenizer, post-processor, decoder) from their JSON objects. They
// are a closed list: an unknown one, or one in a place where it would mean something else, is refused by name.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "headgate/io/json_object.hpp"
#include "headgate/tokenizer/normalizer.hpp"
#include "headgate/tokenizer/pre_tokenizer.hpp"
#include "headgate/tokenizer/token_decoder.hpp"

namespace headgate::inline HEADGATE_ABI {

inline constexpr std::size_t max_component_steps = 64;  // of a sequence

// Ids written before and after every text.
struct Frame {
  std::vector<std::int32_t> before;
  std::vector<std::int32_t> after;
};

// The four components, each from its object.
class TokenizerComponents {
 public:
  static void read(const JsonObject& json, std::vector<Normalizer::Step>& steps) {
    const std::string type = json.get_string("type");
    if (type == "Sequence") return each_part(json, "normalizers", [&](const JsonObject& part) { read(part, steps); });
    if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD") {
      steps.push_back(UnicodeForm{type.back() == 'C', type[2] == 'K'});
    } else if (type == "Lowercase") {
      steps.push_back(Lowercase{});
    } else if (type == "Replace") {
      steps.push_back(replace(json));
    } else if (type == "Prepend") {
      steps.push_back(PrependText{json.get_string("prepend")});
    } else if (type == "Strip") {
      steps.push_back(StripWhiteSpace{json.get_bool("strip_left"), json.get_bool("strip_right")});
    } else {
      refuse_type(json, "Lowercase, NFC, NFD, NFKC, NFKD, Prepend, Replace, Sequence, Strip");
    }
    check_steps(json, steps.size());
  }

  static void read(const JsonObject& json, std::vector<PreTokenizer::Step>& steps) {
    const std::string type = json.get_string("type");
    if (type == "Sequence") return each_part(json, "pretokenizers", [&](const JsonObject& part) { read(part, steps); });
    if (type == "ByteLevel") {
      if (json.get_bool("add_prefix_space", true)) steps.push_back(PrefixPieces{" "});
      if (json.get_bool("use_regex", true)) {
        steps.push_back(split(Pattern::regex(gpt2_pattern, "pre_tokenizer"), SplitPieces::Behavior::isolated));
      }
      steps.push_back(SpellBytes{});
    } else if (type == "Split") {
      const std::string behavior = json.get_string("behavior");
      const std::string_view known[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
      const auto found = std::find(std::begin(known), std::end(known), behavior);
      if (found == std::end(known)) {
        json.fail("behavior", "unknown behavior '" + escaped(behavior) +
                                  "' (known: Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous)");
      }
      SplitPieces step = split(pattern(json), static_cast<SplitPieces::Behavior>(found - std::begin(known)));
      step.invert = json.get_bool("invert", false);
      steps.push_back(std::move(step));
    } else if (type == "Digits") {
      const bool individual = json.get_bool("individual_digits", false);
      steps.push_back(split(Pattern::regex("\\p{N}", "pre_tokenizer"),
                            individual ? SplitPieces::Behavior::isolated : SplitPieces::Behavior::contiguous));
    } else if (type == "Metaspace") {
      const std::string mark = metaspace_mark(json);
      const std::string scheme = metaspace_scheme(json);
      steps.push_back(ReplaceInPieces{{" ", mark}});
      if (scheme != "never") steps.push_back(PrefixPieces{mark, scheme == "first"});
      if (json.get_bool("split", true)) {
        steps.push_back(split(Pattern::literal(mark, "pre_tokenizer"), SplitPieces::Behavior::merged_with_next));
      }
    } else {
      refuse_type(json, "ByteLevel, Digits, Metaspace, Sequence, Split");
    }
    check_steps(json, steps.size());
  }

  // is_token: whether an id has a token.
  template <class IsToken>
  static void read(const JsonObject& json, Frame& frame, IsToken is_token) {
    const std::string type = json.get_string("type");
    if (type == "Sequence") {
      return each_part(json, "processors", [&](const JsonObject& part) { read(part, frame, is_token); });
    }
    if (type == "ByteLevel") return;  // changes offsets only
    if (type != "TemplateProcessing") refuse_type(json, "ByteLevel, Sequence, TemplateProcessing");
    Frame own;
    bool has_text = false;
    if (json.get_list("single").size() > max_component_steps) json.fail("single", "more than 64 pieces");
    for (const Json& piece_json : json.get_list("single")) {
      const JsonObject piece(piece_json, json.file(), "post_processor.single");
      if (piece.has("Sequence")) {
        const JsonObject sequence = piece.get_object("Sequence");
        if (sequence.get_string("id") != "A") sequence.fail("id", "a template for one text has the sequence A only");
        if (std::exchange(has_text, true)) sequence.fail("id", "the sequence A occurs twice in a template");
      } else {
        const std::string name = piece.get_object("SpecialToken").get_string("id");
        const JsonObject defined = json.get_object("special_tokens");
        if (!defined.has(name)) piece.fail("SpecialToken", "token '" + escaped(name) + "' is not in special_tokens");
        const JsonObject token = defined.get_object(name);
        const std::vector<std::int64_t> ids = token.get_integers("ids", 0, max_index);
        if (ids.size() > max_component_steps) token.fail("ids", "more than 64 ids");
        for (const std::int64_t id : ids) {
          if (!is_token(static_cast<std::int32_t>(id))) {
            token.fail("ids",
                       "id " + std::to_string(id) + " of '" + escaped(name) + "' is no token of this vocabulary");
          }
          (has_text ? own.after : own.before).push_back(static_cast<std::int32_t>(id));
        }
      }
    }
    if (!has_text) json.fail("single", "the template has no sequence A");
    if (!frame.before.empty() || !frame.after.empty()) json.fail("type", "a second TemplateProcessing");
    frame = std::move(own);
  }

  // Steps come in the order text, bytes, joined; a later kind ends the earlier.
  static void read(const JsonObject& json, TokenDecoder& decoder, bool& joined) {
    const std::string type = json.get_string("type");
    if (type == "Sequence") {
      return each_part(json, "decoders", [&](const JsonObject& part) { read(part, decoder, joined); });
    }
    const bool on_text = type == "Replace" || type == "Metaspace" || type == "ByteLevel" || type == "ByteFallback";
    if (on_text && (joined || decoder.byte_level || decoder.byte_fallback)) {
      json.fail("type", "decoder '" + type + "' must stand before ByteLevel, ByteFallback and Fuse");
    }
    if (type == "ByteLevel") {
      if (!decoder.replacements.empty()) json.fail("type", "decoder 'ByteLevel' must not follow Replace or Metaspace");
      decoder.byte_level = joined = true;
    } else if (type == "Metaspace") {
      if (!decoder.replacements.empty()) json.fail("type", "decoder 'Metaspace' must stand first");
      const std::string mark = metaspace_mark(json);
      if (metaspace_scheme(json) != "never") decoder.dropped_first = mark;
      decoder.replacements.push_back({mark, " "});
    } else if (type == "Replace") {
      decoder.replacements.push_back(replace(json));
    } else if (type == "ByteFallback") {
      decoder.byte_fallback = true;
    } else if (type == "Fuse") {
      joined = true;
    } else if (type == "Strip") {
      if (!joined || decoder.max_stripped > 0) json.fail("type", "decoder 'Strip' must stand once, after Fuse");
      if (json.get_index("stop", 0, max_stripped) != 0)
        json.fail("stop", "stripping the end of a text is not supported");
      decoder.stripped = one_character(json, "content");
      decoder.max_stripped = json.get_index("start", 0, max_stripped);
    } else {
      refuse_type(json, "ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Sequence, Strip");
    }
    check_steps(json, decoder.replacements.size());
  }

 private:
  static constexpr std::string_view gpt2_pattern =
      R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
  static constexpr index_t max_stripped = 1024;

  template <class Read>
  static void each_part(const JsonObject& json, std::string_view key, Read read_part) {
    for (const Json& part : json.get_list(key)) read_part(JsonObject(part, json.file(), std::string(key)));
  }

  [[noreturn]] static void refuse_type(const JsonObject& json, const std::string& known) {
    json.fail("type", "unknown type '" + escaped(json.get_string("type")) + "' (known: " + known + ")");
  }

  static void check_steps(const JsonObject& json, std::size_t count) {
    if (count > max_component_steps) {
      json.fail("type", "a sequence of more than " + std::to_string(max_component_steps) + " steps");
    }
  }

  static SplitPieces split(Pattern pattern, SplitPieces::Behavior behavior) { return {std::move(pattern), behavior}; }

  static Pattern pattern(const JsonObject& json) {
    const JsonObject object = json.get_object("pattern");
    if (object.has("String")) return Pattern::literal(object.get_string("String"), "pre_tokenizer.pattern.String");
    return Pattern::regex(object.get_string("Regex"), "pre_tokenizer.pattern.Regex");
  }

  static ReplaceText replace(const JsonObject& json) {
    const JsonObject object = json.get_object("pattern");
    if (object.has("Regex")) object.fail("Regex", "Replace with a Regex is not supported, only with a String");
    std::string from = object.get_string("String");
    if (from.empty() || from.size() > max_replace_size) {
      object.fail("String", "a text to replace has 1 to " + std::to_string(max_replace_size) + " bytes, found " +
                                std::to_string(from.size()));
    }
    return {std::move(from), json.get_string("content")};
  }

  static std::string one_character(const JsonObject& json, std::string_view key) {
    std::string text = json.get_string(key);
    if (text.empty() || text.size() != utf8_size(text[0])) {
      json.fail(key, "expected one character, found '" + escaped(text) + "'");
    }
    return text;
  }

  static std::string metaspace_mark(const JsonObject& json) { return one_character(json, "replacement"); }

  // prepend_scheme, or the older add_prefix_space.
  static std::string metaspace_scheme(const JsonObject& json) {
    const bool prefix = json.get_bool("add_prefix_space", true);
    std::string scheme = json.get_string("prepend_scheme", prefix ? "always" : "never");
    if (scheme != "always" && scheme != "first" && scheme != "never") {
      json.fail("prepend_scheme", "unknown scheme '" + escaped(scheme) + "' (known: always, first, never)");
    }
    if (!prefix && scheme != "never") json.fail("prepend_scheme", "contradicts add_prefix_space");
    return scheme;
  }
};

}  // namespace headgate::inline HEADGATE_ABI
