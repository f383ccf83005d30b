// PreTokenizer: cuts text into the pieces that BPE never merges across. Hugging Face's pre-tokenizers (ByteLevel,
// Split, Digits, Metaspace, Sequence) are all lists of four steps.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "headgate/tokenizer/byte_level.hpp"
#include "headgate/tokenizer/pattern.hpp"
#include "headgate/tokenizer/text_steps.hpp"

namespace headgate::inline HEADGATE_ABI {

// A text and the pieces it is cut into, in order, none empty. Positions fit 32 bits (room_for).
struct PieceList {
  struct Piece {
    std::int32_t begin, end;  // bytes
  };
  std::string text;
  std::vector<Piece> pieces;
  bool starts_input;  // the first piece begins where the user's text begins

  std::string_view view(Piece piece) const noexcept {
    return std::string_view(text).substr(static_cast<std::size_t>(piece.begin),
                                         static_cast<std::size_t>(piece.end - piece.begin));
  }

  // Every piece p becomes what append(p, is_first, out) appends.
  template <class Append>
  void rewrite(Append append) {
    std::string out;
    out.reserve(text.size());
    for (Piece& piece : pieces) {
      const std::size_t begin = out.size();
      append(view(piece), &piece == pieces.data(), out);
      piece = {static_cast<std::int32_t>(begin), static_cast<std::int32_t>(out.size())};
    }
    text = std::move(out);
  }
};

struct SplitPieces {
  enum class Behavior : std::uint8_t { removed, isolated, merged_with_previous, merged_with_next, contiguous };
  Pattern pattern;
  Behavior behavior;
  bool invert = false;  // what lies between the matches counts as matches

  void operator()(PieceList& list, MatchBudget& budget) const {
    PatternSearch search(pattern, budget);
    std::vector<PieceList::Piece> out;
    std::vector<Run> runs;
    for (const PieceList::Piece& piece : list.pieces) {
      runs.clear();
      find_runs(search, list.view(piece), runs);
      const std::size_t first = out.size();
      cut(runs, out);
      for (std::size_t i = first; i < out.size(); ++i) out[i] = {out[i].begin + piece.begin, out[i].end + piece.begin};
    }
    list.starts_input = list.starts_input && !out.empty() && out[0].begin == list.pieces[0].begin;
    list.pieces = std::move(out);
  }

 private:
  struct Run {
    std::int32_t begin, end;
    bool is_match;
  };

  void find_runs(PatternSearch& search, std::string_view text, std::vector<Run>& runs) const {
    std::size_t end = 0;
    const auto add = [&](std::size_t to, bool is_match) {
      runs.push_back({static_cast<std::int32_t>(end), static_cast<std::int32_t>(to), is_match != invert});
      end = to;
    };
    search.start(text);
    while (const auto match = search.next()) {
      if (match->begin > end) add(match->begin, false);
      add(match->end, true);
    }
    if (end < text.size()) add(text.size(), false);
  }

  // Merged with previous: a match that does not follow a match joins the run before. Merged with next, in mirror image:
  // a match that no match follows joins the run after it. Empty matches only cut.
  void cut(const std::vector<Run>& runs, std::vector<PieceList::Piece>& out) const {
    const std::size_t first = out.size();
    for (std::size_t i = 0; i < runs.size(); ++i) {
      const Run& run = runs[i];
      if (behavior == Behavior::removed && run.is_match) continue;
      bool joins = false;
      if (i > 0 && behavior == Behavior::contiguous) joins = run.is_match == runs[i - 1].is_match;
      if (i > 0 && behavior == Behavior::merged_with_previous) joins = run.is_match && !runs[i - 1].is_match;
      if (i > 0 && behavior == Behavior::merged_with_next) joins = !run.is_match && runs[i - 1].is_match;
      if (joins && out.size() > first) {
        out.back().end = run.end;
      } else {
        out.push_back({run.begin, run.end});
      }
    }
    const auto is_empty = [](const PieceList::Piece& piece) { return piece.begin == piece.end; };
    out.erase(std::remove_if(out.begin() + static_cast<std::ptrdiff_t>(first), out.end(), is_empty), out.end());
  }
};

// Writes a prefix before every piece, or before the one that begins the user's text, unless it is there.
struct PrefixPieces {
  std::string prefix;
  bool first_only = false;

  void operator()(PieceList& list, MatchBudget&) const {
    list.rewrite([&](std::string_view piece, bool is_first, std::string& out) {
      if ((!first_only || (is_first && list.starts_input)) && !piece.starts_with(prefix)) out += prefix;
      out += piece;
    });
  }
};

struct ReplaceInPieces {
  ReplaceText replace;

  void operator()(PieceList& list, MatchBudget&) const {
    list.rewrite([&](std::string_view piece, bool, std::string& out) { replace.append(piece, out); });
  }
};

// Writes bytes as characters of the byte alphabet.
struct SpellBytes {
  void operator()(PieceList& list, MatchBudget&) const {
    list.rewrite([](std::string_view piece, bool, std::string& out) { append_byte_characters(piece, out); });
  }
};

class PreTokenizer {
 public:
  using Step = std::variant<SplitPieces, PrefixPieces, ReplaceInPieces, SpellBytes>;

  explicit PreTokenizer(std::vector<Step> steps = {}) : steps_(std::move(steps)) {}

  // text: well-formed UTF-8.
  PieceList split(std::string text, bool starts_input, MatchBudget& budget) const {
    PieceList list{std::move(text), {}, starts_input};
    if (!list.text.empty()) list.pieces.push_back({0, static_cast<std::int32_t>(list.text.size())});
    const std::size_t room = room_for(list.text.size(), 8);
    for (const Step& step : steps_) {
      std::visit([&](const auto& apply) { apply(list, budget); }, step);
      if (list.text.size() > room) {
        throw Error(ErrorCode::limit,
                    {"", "pre_tokenizer", -1, "the text grows to more than 8 times its size or 256 MiB"});
      }
    }
    return list;
  }

  // Whether every piece is spelt in the byte alphabet.
  bool spells_bytes() const noexcept {
    for (const Step& step : steps_) {
      if (std::holds_alternative<SpellBytes>(step)) return true;
    }
    return false;
  }

 private:
  std::vector<Step> steps_;
};

}  // namespace headgate::inline HEADGATE_ABI
