// Pattern: a compiled regular expression (PCRE2, JIT where there is one) that is safe on hostile patterns and texts:
// what a search may cost is bounded, and more is a limit error.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "headgate/core/error.hpp"
#include "headgate/core/utf8.hpp"
#include "headgate/tokenizer/pattern_code.hpp"
#include "headgate/tokenizer/pattern_syntax.hpp"

namespace headgate::inline HEADGATE_ABI {

inline constexpr std::size_t max_pattern_size = 32 * 1024;  // bytes

class Pattern {
 public:
  // field: for errors, as "pre_tokenizer.pattern".
  static Pattern regex(std::string_view pattern, const std::string& field) {
    check_size(pattern, field);
    const InstalledUnicode installed;
    PatternTranslator translator(pattern, field, installed);
    const std::string translated = translator.translate();
    // ^ and $ mean lines, as they do in Oniguruma.
    return Pattern(translated, pattern, PCRE2_UCP | PCRE2_MULTILINE, field, translator.corrections());
  }

  // Matches the text itself; an empty one between all characters, as in the reference.
  static Pattern literal(std::string_view text, const std::string& field) {
    check_size(text, field);
    return Pattern(std::string(text), text, text.empty() ? 0 : PCRE2_LITERAL, field, 0);
  }

 private:
  friend class PatternSearch;

  Pattern(const std::string& translated, std::string_view original, std::uint32_t options, const std::string& field,
          std::size_t corrections)
      : field_(field) {
    std::string why;
    code_ = compile_pattern(translated, PCRE2_ANCHORED | options, &why);
    if (code_ == nullptr) {
      throw Error(ErrorCode::bad_file, {"", field, -1, "pattern '" + escaped(original) + "' does not compile: " + why});
    }
    std::size_t compiled_size = 0;
    pcre2_pattern_info_8(code_.get(), PCRE2_INFO_SIZE, &compiled_size);
    // What the corrections take, 9 bytes each, is looked at for rare characters only.
    weight_ = 1 + static_cast<std::int64_t>((compiled_size - std::min(compiled_size, 9 * corrections)) / 256);
    // Without a JIT compiler for this machine the interpreter runs, with the same limits.
    jit_ = pcre2_jit_compile_8(code_.get(), PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD) == 0;
    find_first_bytes(original);
  }

  // An ASCII character of which no text that begins with it can match need not be tried. What looks back could match
  // elsewhere in a text; PCRE2 does not count ^ as such.
  void find_first_bytes(std::string_view original) {
    may_begin_.fill(true);
    std::uint32_t looks_back = 1;
    pcre2_pattern_info_8(code_.get(), PCRE2_INFO_MAXLOOKBEHIND, &looks_back);
    const auto is_line_start = [&](const char& c) { return c == '^' && (&c == original.data() || *(&c - 1) != '['); };
    for (const char& c : original) looks_back += is_line_start(c) ? 1u : 0u;
    const std::unique_ptr<pcre2_match_data_8, PatternCodeDelete> data(pcre2_match_data_create_8(1, nullptr));
    const std::unique_ptr<pcre2_match_context_8, PatternCodeDelete> context(pcre2_match_context_create_8(nullptr));
    if (looks_back > 0 || data == nullptr || context == nullptr) return;
    pcre2_set_match_limit_8(context.get(), 1000);
    for (unsigned char c = 0; c < 0x80; ++c) {
      may_begin_[c] = pcre2_match_8(code_.get(), &c, 1, 0, PCRE2_PARTIAL_HARD | PCRE2_NO_UTF_CHECK, data.get(),
                                    context.get()) != PCRE2_ERROR_NOMATCH;
    }
  }

  static void check_size(std::string_view pattern, const std::string& field) {
    if (pattern.size() > max_pattern_size) {
      throw Error(ErrorCode::limit, {"", field, -1,
                                     "a pattern of " + std::to_string(pattern.size()) + " bytes, at most " +
                                         std::to_string(max_pattern_size) + " are allowed"});
    }
  }

  std::string field_;
  PatternCode code_;
  bool jit_ = false;
  std::array<bool, 256> may_begin_;  // a match, by its first byte
  std::int64_t weight_ = 1;
};

// What one call of encode may still spend on matches that look far ahead or backtrack much: bytes and steps, times the
// size of the pattern in units of 256 bytes of compiled code (the patterns of known tokenizers have 1 to 4).
struct MatchBudget {
  std::int64_t effort;

  // A match of n bytes that are looked at once costs less than 6 n, times the size of its pattern.
  static MatchBudget for_text(std::size_t size) { return {128'000'000 + 32 * static_cast<std::int64_t>(size)}; }
};

// Finds the matches of a pattern in a text, from left to right, none overlapping. Holds the match data, so every call
// of encode makes its own; the pattern is only read.
class PatternSearch {
 public:
  struct Match {
    std::size_t begin, end;
  };

  // Both outlive the search.
  PatternSearch(const Pattern& pattern, MatchBudget& budget)
      : pattern_(pattern),
        budget_(budget),
        data_(pcre2_match_data_create_8(1, nullptr)),
        context_(pcre2_match_context_create_8(nullptr)) {
    if (data_ == nullptr || context_ == nullptr) {
      throw Error(ErrorCode::limit, {"", pattern.field_, -1, "out of memory while matching a pattern"});
    }
    pcre2_set_depth_limit_8(context_.get(), 1'000'000);
    pcre2_set_heap_limit_8(context_.get(), 64 * 1024);  // KiB
  }
  PatternSearch(const Pattern&&, MatchBudget&) = delete;

  // text: well-formed UTF-8, alive until the last match is found.
  void start(std::string_view text) noexcept {
    text_ = text;
    position_ = 0;
    last_end_ = std::string_view::npos;
  }

  // Empty matches count, except right after the match before.
  std::optional<Match> next() {
    while (const auto match = search()) {
      if (match->begin == match->end && last_end_ == match->end) {
        step();
        continue;
      }
      position_ = match->end;
      last_end_ = match->end;
      return match;
    }
    return std::nullopt;
  }

 private:
  enum class Outcome : std::uint8_t { match, no_match, more_effort };
  static constexpr std::size_t first_effort = 64;
  static constexpr std::int64_t max_free_weight = 8;

  // Every position is tried on its own, first with a window of a few bytes and a few steps: linear in the text, and
  // free unless the pattern is huge. A position that needs more is tried again with four times as much, paid from the
  // budget. (PCRE2's own limit is per position, and counts neither positions nor what a possessive repeat runs over.)
  std::optional<Match> search() {
    while (position_ <= text_.size()) {
      if (position_ < text_.size() && !pattern_.may_begin_[static_cast<unsigned char>(text_[position_])]) {
        ++position_;  // past an ASCII character
        continue;
      }
      std::size_t effort = first_effort;
      if (pattern_.weight_ > max_free_weight) pay(effort);
      Outcome outcome = attempt(effort);
      while (outcome == Outcome::more_effort) {
        effort *= 4;
        pay(effort);
        outcome = attempt(effort);
      }
      if (outcome == Outcome::match) return Match{position_, pcre2_get_ovector_pointer_8(data_.get())[1]};
      step();
    }
    return std::nullopt;
  }

  void step() noexcept { position_ += position_ < text_.size() ? utf8_size(text_[position_]) : 1; }

  void pay(std::size_t effort) {
    budget_.effort -= static_cast<std::int64_t>(effort) * pattern_.weight_;
    if (budget_.effort < 0) fail("takes too long");
  }

  Outcome attempt(std::size_t effort) {
    const bool whole = text_.size() - position_ <= effort;
    std::size_t end = whole ? text_.size() : position_ + effort;
    while (!whole && end < text_.size() && (static_cast<unsigned char>(text_[end]) & 0xC0) == 0x80) ++end;
    const std::uint32_t partial = whole ? 0 : PCRE2_PARTIAL_HARD;
    pcre2_set_match_limit_8(context_.get(), static_cast<std::uint32_t>(effort));
    const auto* const subject = reinterpret_cast<PCRE2_SPTR8>(text_.data());
    int result = PCRE2_ERROR_JIT_STACKLIMIT;
    if (pattern_.jit_) {
      result = pcre2_jit_match_8(pattern_.code_.get(), subject, end, position_, partial, data_.get(), context_.get());
    }
    // The JIT's stack is 32 KiB of this thread's; the interpreter takes memory from the heap instead.
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) {
      result = pcre2_match_8(pattern_.code_.get(), subject, end, position_, partial | PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                             data_.get(), context_.get());
    }
    if (result >= 0) return Outcome::match;
    switch (result) {
      case PCRE2_ERROR_NOMATCH:
        return Outcome::no_match;
      case PCRE2_ERROR_PARTIAL:
      case PCRE2_ERROR_MATCHLIMIT:
        return Outcome::more_effort;
      case PCRE2_ERROR_HEAPLIMIT:
      case PCRE2_ERROR_DEPTHLIMIT:
      case PCRE2_ERROR_NOMEMORY:
        fail("takes too much memory");
      default:
        fail("cannot be matched (PCRE2 error " + std::to_string(result) + ")");
    }
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::limit, {"", pattern_.field_, -1,
                                   "the pattern " + what + " at byte " + std::to_string(position_) + " of a text"});
  }

  const Pattern& pattern_;
  MatchBudget& budget_;
  std::string_view text_;
  std::unique_ptr<pcre2_match_data_8, PatternCodeDelete> data_;
  std::unique_ptr<pcre2_match_context_8, PatternCodeDelete> context_;
  std::size_t position_ = 0;
  std::size_t last_end_ = std::string_view::npos;
};

}  // namespace headgate::inline HEADGATE_ABI
