#include "headgate/tokenizer/pre_tokenizer.hpp"

#include "support/catch.hpp"
#include "tokenizer/refusal.hpp"

using namespace headgate;

namespace {

using Behavior = SplitPieces::Behavior;
using Texts = std::vector<std::string>;

Texts pieces(std::vector<PreTokenizer::Step> steps, const std::string& text, bool starts_input = true) {
  MatchBudget budget = MatchBudget::for_text(text.size());
  const PieceList list = PreTokenizer(std::move(steps)).split(text, starts_input, budget);
  Texts texts;
  for (const PieceList::Piece& piece : list.pieces) texts.emplace_back(list.view(piece));
  return texts;
}

template <class... Each>
std::vector<PreTokenizer::Step> steps(Each... each) {
  std::vector<PreTokenizer::Step> list;
  (list.push_back(std::move(each)), ...);
  return list;
}

Texts split(const std::string& pattern, Behavior behavior, bool invert, const std::string& text) {
  return pieces(steps(SplitPieces{Pattern::regex(pattern, "f"), behavior, invert}), text);
}

}  // namespace

TEST_CASE("a split keeps, removes or merges what it matches") {
  const std::string text = "the-final--countdown";
  CHECK(split("-", Behavior::removed, false, text) == Texts{"the", "final", "countdown"});
  CHECK(split("-", Behavior::isolated, false, text) == Texts{"the", "-", "final", "-", "-", "countdown"});
  CHECK(split("-", Behavior::merged_with_previous, false, text) == Texts{"the-", "final-", "-", "countdown"});
  CHECK(split("-", Behavior::merged_with_next, false, text) == Texts{"the", "-final", "-", "-countdown"});
  CHECK(split("-", Behavior::contiguous, false, text) == Texts{"the", "-", "final", "--", "countdown"});
  CHECK(split("-", Behavior::removed, true, text) == Texts{"-", "-", "-"});
  CHECK(split("-", Behavior::merged_with_next, false, "a-") == Texts{"a", "-"});
  CHECK(split("-", Behavior::merged_with_previous, false, "-a") == Texts{"-", "a"});
  CHECK(split("", Behavior::isolated, false, "abc") == Texts{"a", "b", "c"});
  CHECK(split("b", Behavior::isolated, false, "") == Texts{});
  CHECK(split("b", Behavior::removed, false, "bb") == Texts{});
}

TEST_CASE("steps see the pieces of the steps before them") {
  SplitPieces digits{Pattern::regex("\\p{N}", "f"), Behavior::isolated};
  CHECK(pieces(steps(std::move(digits), PrefixPieces{" "}, SpellBytes{}), "a1 b") == Texts{"\xC4\xA0"
                                                                                           "a",
                                                                                           "\xC4\xA0"
                                                                                           "1",
                                                                                           "\xC4\xA0"
                                                                                           "b"});
}

TEST_CASE("a prefix for the first piece is only written where the user's text begins") {
  const std::string mark = "\xE2\x96\x81";
  CHECK(pieces(steps(PrefixPieces{mark, true}), "ab") == Texts{mark + "ab"});
  CHECK(pieces(steps(PrefixPieces{mark, true}), "ab", /*starts_input=*/false) == Texts{"ab"});
  CHECK(pieces(steps(PrefixPieces{mark, true}), mark + "a") == Texts{mark + "a"});
  CHECK(pieces(steps(PrefixPieces{mark}), "") == Texts{});
  SplitPieces dashes{Pattern::literal("-", "f"), Behavior::removed};
  CHECK(pieces(steps(std::move(dashes), PrefixPieces{mark, true}), "-a-b") == Texts{"a", "b"});
}

TEST_CASE("byte spelling that doubles again and again is a limit error") {
  const Refusal refusal = refusal_of([] {
    std::vector<PreTokenizer::Step> doublings;
    while (doublings.size() < 40) doublings.push_back(SpellBytes{});
    pieces(std::move(doublings), "\xC3\xA9");
  });
  CHECK(refusal.code == ErrorCode::limit);
  CHECK(refusal.says("pre_tokenizer: the text grows"));
}

TEST_CASE("pieces may fill 8 times the text and a page, to the byte") {
  const auto grown = [](std::size_t size) {
    return refusal_of([&] { pieces(steps(ReplaceInPieces{{"a", std::string(size, 'b')}}), "a"); });
  };
  CHECK(grown(8 + 4096).code == ErrorCode::ok);
  CHECK(grown(8 + 4097).text == "pre_tokenizer: the text grows to more than 8 times its size or 256 MiB");
}

TEST_CASE("a prefix for the first piece is not for the others, and a piece that begins with it has it") {
  const auto dashes = [](Behavior behavior) { return SplitPieces{Pattern::literal("-", "f"), behavior}; };
  CHECK(pieces(steps(dashes(Behavior::isolated), PrefixPieces{"_", true}), "a-b") == Texts{"_a", "-", "b"});
  CHECK(pieces(steps(dashes(Behavior::isolated), PrefixPieces{"_"}), "a-_b") == Texts{"_a", "_-", "_b"});
  CHECK(pieces(steps(dashes(Behavior::removed), PrefixPieces{"_", true}), "a-b") == Texts{"_a", "b"});
  CHECK(pieces(steps(dashes(Behavior::removed), PrefixPieces{"_", true}), "-") == Texts{});
  CHECK(pieces(steps(dashes(Behavior::isolated), dashes(Behavior::removed), PrefixPieces{"_", true}), "-a") ==
        Texts{"a"});
  CHECK(pieces(steps(ReplaceInPieces{{"a", "bc"}}, dashes(Behavior::merged_with_next)), "a-a") == Texts{"bc", "-bc"});
}

TEST_CASE("matches of nothing only cut, whatever the behavior") {
  CHECK(split("(?=b)", Behavior::merged_with_previous, false, "abab") == Texts{"a", "ba", "b"});
  CHECK(split("(?=b)", Behavior::merged_with_next, false, "abab") == Texts{"a", "ba", "b"});
  CHECK(split("(?=b)", Behavior::removed, false, "abab") == Texts{"a", "ba", "b"});
  CHECK(split("(?=b)", Behavior::contiguous, false, "ab") == Texts{"a", "b"});
  CHECK(split("", Behavior::contiguous, false, "abc") == Texts{"a", "b", "c"});
  CHECK(split("-", Behavior::merged_with_previous, true, "a-b") == Texts{"a", "-b"});
  CHECK(split("-", Behavior::merged_with_next, true, "a-b") == Texts{"a-", "b"});
}

TEST_CASE("byte spelling is known of a list of steps that has it anywhere") {
  CHECK(PreTokenizer(steps(PrefixPieces{"_"}, SpellBytes{})).spells_bytes());
  CHECK_FALSE(PreTokenizer(steps(PrefixPieces{"_"})).spells_bytes());
  CHECK_FALSE(PreTokenizer().spells_bytes());
}
