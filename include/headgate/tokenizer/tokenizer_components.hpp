// The components of a tokenizer.json (normalizer, pre-tokenizer, post-processor, decoder) from their JSON objects. They
// are a closed list: an unknown one, or one in a place where it would mean something else, is refused by name. Of those
// that the reference has, these are refused, as none of them goes with BPE in a checkpoint that is known:
//   normalizers      BertNormalizer, Nmt, Precompiled, StripAccents; Replace of an empty String
//   pre-tokenizers   FixedLength, UnicodeScripts
//   post-processors  a template with a second text, or two components that add tokens
//   decoders         BPEDecoder, CTC, WordPiece; Replace with a Regex; Strip but of the start, after Fuse
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "headgate/io/json_object.hpp"
#include "headgate/tokenizer/known_patterns.hpp"
#include "headgate/tokenizer/tokenizer_parts.hpp"

namespace headgate::inline HEADGATE_ABI {

inline constexpr std::size_t max_component_steps = 64;  // of a sequence

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
      replace(json, steps);
    } else if (type == "ByteLevel") {
      steps.push_back(SpellBytesInText{});
    } else if (type == "Prepend") {
      steps.push_back(PrependText{json.get_string("prepend")});
    } else if (type == "Strip") {
      steps.push_back(StripWhiteSpace{json.get_bool("strip_left"), json.get_bool("strip_right")});
    } else {
      refuse_type(json, "ByteLevel, Lowercase, NFC, NFD, NFKC, NFKD, Prepend, Replace, Sequence, Strip");
    }
    check_steps(json, steps.size());
  }

  static void read(const JsonObject& json, std::vector<PreTokenizer::Step>& steps) {
    const std::string type = json.get_string("type");
    if (type == "Sequence") return each_part(json, "pretokenizers", [&](const JsonObject& part) { read(part, steps); });
    if (type == "ByteLevel") {
      if (json.get_bool("add_prefix_space", true)) steps.push_back(PrefixPieces{" "});
      if (json.get_bool("use_regex", true)) {
        steps.push_back(split(Pattern::regex(known_patterns::gpt2, "pre_tokenizer"), SplitPieces::Behavior::isolated));
      }
      steps.push_back(SpellBytes{});
    } else if (type == "Split") {
      SplitPieces step = split(pattern(json), behavior(json, json.get_string("behavior")));
      step.invert = json.get_bool("invert", false);
      steps.push_back(std::move(step));
    } else if (type == "Digits") {
      const bool individual = json.get_bool("individual_digits", false);
      steps.push_back(split(Pattern::regex("[\\p{N}" + ranges_text(newer_numbers) + "]", "pre_tokenizer"),
                            individual ? SplitPieces::Behavior::isolated : SplitPieces::Behavior::contiguous));
    } else if (type == "Metaspace") {
      const std::string mark = metaspace_mark(json);
      const std::string scheme = metaspace_scheme(json);
      steps.push_back(ReplaceInPieces{{" ", mark}});
      if (scheme != "never") steps.push_back(PrefixPieces{mark, scheme == "first"});
      if (json.get_bool("split", true)) {
        steps.push_back(split(Pattern::literal(mark, "pre_tokenizer"), SplitPieces::Behavior::merged_with_next));
      }
    } else if (type == "Whitespace") {
      // \w of Rust: with the two joiners, and without the numbers of Latin-1.
      SplitPieces words =
          split(Pattern::regex("[\\w\\u200C\\u200D]+|[^\\w\\u200C\\u200D\\s]+", "pre_tokenizer"), Behavior::removed);
      words.invert = true;
      steps.push_back(std::move(words));
    } else if (type == "WhitespaceSplit") {
      steps.push_back(split(Pattern::regex("\\s", "pre_tokenizer"), Behavior::removed));
    } else if (type == "Punctuation") {
      steps.push_back(split(punctuation(), behavior(json, json.get_string("behavior", "Isolated"))));
    } else if (type == "BertPreTokenizer") {
      steps.push_back(split(Pattern::regex("\\s", "pre_tokenizer"), Behavior::removed));
      steps.push_back(split(punctuation(), Behavior::isolated));
    } else if (type == "CharDelimiterSplit") {
      steps.push_back(split(Pattern::literal(one_character(json, "delimiter"), "pre_tokenizer"), Behavior::removed));
    } else {
      refuse_type(json,
                  "BertPreTokenizer, ByteLevel, CharDelimiterSplit, Digits, Metaspace, Punctuation, Sequence, Split, "
                  "Whitespace, WhitespaceSplit");
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
    Frame own;
    if (type == "RobertaProcessing" || type == "BertProcessing") {
      own.before.push_back(named_token(json, "cls", is_token));
      own.after.push_back(named_token(json, "sep", is_token));
      return enclose(json, frame, std::move(own));
    }
    if (type != "TemplateProcessing") {
      refuse_type(json, "BertProcessing, ByteLevel, RobertaProcessing, Sequence, TemplateProcessing");
    }
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
    enclose(json, frame, std::move(own));
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
      if (json.get_object("pattern").has("Regex"))
        json.fail("pattern", "a decoder's Replace with a Regex is not supported");
      decoder.replacements.push_back({text_to_replace(json.get_object("pattern")), json.get_string("content")});
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
  using Behavior = SplitPieces::Behavior;
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

  static Behavior behavior(const JsonObject& json, const std::string& name) {
    const std::string_view known[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const auto found = std::find(std::begin(known), std::end(known), name);
    if (found == std::end(known)) {
      json.fail("behavior", "unknown behavior '" + escaped(name) +
                                "' (known: Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous)");
    }
    return static_cast<Behavior>(found - std::begin(known));
  }

  // Of ASCII, symbols too; of the rest, general category P, as old as the reference has it.
  static Pattern punctuation() {
    return Pattern::regex(
        "[!-/:-@\\[-`{-~\\p{P}" + ranges_text(older_punctuation) + "&&[^" + ranges_text(newer_punctuation) + "]]",
        "pre_tokenizer");
  }

  static void replace(const JsonObject& json, std::vector<Normalizer::Step>& steps) {
    const JsonObject object = json.get_object("pattern");
    std::string content = json.get_string("content");
    if (!object.has("String")) {
      steps.push_back(
          ReplaceMatches{Pattern::regex(object.get_string("Regex"), "normalizer.pattern.Regex"), std::move(content)});
    } else {
      steps.push_back(ReplaceText{text_to_replace(object), std::move(content)});
    }
  }

  static std::string text_to_replace(const JsonObject& pattern) {
    std::string from = pattern.get_string("String");
    if (from.empty() || from.size() > max_replace_size) {
      pattern.fail("String", "a text to replace has 1 to " + std::to_string(max_replace_size) + " bytes, found " +
                                 std::to_string(from.size()));
    }
    return from;
  }

  // The id of a pair ["<s>", 0].
  template <class IsToken>
  static std::int32_t named_token(const JsonObject& json, std::string_view key, IsToken is_token) {
    const std::span<const Json> pair = json.get_list(key);
    const auto* const id = pair.size() == 2 ? std::get_if<std::int64_t>(&pair[1].value) : nullptr;
    if (id == nullptr) json.fail(key, "expected a pair of a token and its id");
    if (*id < 0 || *id > max_index || !is_token(static_cast<std::int32_t>(*id))) {
      json.fail(key, "id " + std::to_string(*id) + " is no token of this vocabulary");
    }
    return static_cast<std::int32_t>(*id);
  }

  static void enclose(const JsonObject& json, Frame& frame, Frame own) {
    if (!frame.before.empty() || !frame.after.empty()) json.fail("type", "a second component that adds tokens");
    frame = std::move(own);
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
