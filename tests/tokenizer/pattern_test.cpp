#include "headgate/tokenizer/pattern.hpp"

#include <chrono>
#include <vector>

#include "support/catch.hpp"
#include "tokenizer/refusal.hpp"

using namespace headgate;

namespace {

static_assert(!std::is_constructible_v<PatternSearch, Pattern, MatchBudget&>);  // of a temporary
static_assert(std::is_constructible_v<PatternSearch, Pattern&, MatchBudget&>);

std::vector<std::string> matches(const Pattern& pattern, const std::string& text) {
  MatchBudget budget = MatchBudget::for_text(text.size());
  PatternSearch search(pattern, budget);
  search.start(text);
  std::vector<std::string> found;
  while (const auto match = search.next()) found.push_back(text.substr(match->begin, match->end - match->begin));
  return found;
}

std::vector<std::string> matches(const std::string& pattern, const std::string& text) {
  return matches(Pattern::regex(pattern, "field"), text);
}

using Texts = std::vector<std::string>;
const std::string gpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace

TEST_CASE("a pattern finds Unicode letters, numbers and white space") {
  CHECK(matches(gpt2, "I'll go  \xC3\xA8 12\xC2\xBD!?\n") ==
        Texts{"I", "'ll", " go", " ", " \xC3\xA8", " 12\xC2\xBD", "!?", "\n"});
  // White_Space holds U+0085 and U+3000, but neither U+180E nor U+001C.
  CHECK(matches("\\s", "\xC2\x85\xE3\x80\x80\xE1\xA0\x8E\x1C") == Texts{"\xC2\x85", "\xE3\x80\x80"});
  CHECK(matches("(?i:'s)", "'S'\xC5\xBF") == Texts{"'S", "'\xC5\xBF"});
}

TEST_CASE("lines, not texts, begin at ^ and end at $") { CHECK(matches("^a$", "a\nb\na") == Texts{"a", "a"}); }

TEST_CASE("empty matches count, except right after a match") {
  CHECK(matches("x*", "axb") == Texts{"", "x", ""});
  CHECK(matches("", "\xC3\xA9z") == Texts{"", "", ""});
  CHECK(matches("(?=b)", "abab") == Texts{"", ""});
}

TEST_CASE("a literal pattern has no special characters") {
  CHECK(matches(Pattern::literal("a.(", "field"), "aXa.(a.(") == Texts{"a.(", "a.("});
  CHECK(matches(Pattern::literal("", "field"), "\xC3\xA9z") == Texts{"", "", ""});
}

TEST_CASE("matches longer than the first window are found whole") {
  for (const std::size_t size : {63u, 64u, 65u, 255u, 256u, 257u, 5000u}) {
    CHECK(matches("a+b", std::string(size, 'a') + "b") == Texts{std::string(size, 'a') + "b"});
    CHECK(matches("a+b", std::string(size, 'a') + "c").empty());
    std::string text;
    for (std::size_t i = 0; i < size; ++i) text += "\xE4\xB8\xAD";
    CHECK(matches(gpt2, text + "!") == Texts{text, "!"});
  }
}

TEST_CASE("a window that ends in the last character of a text ends with the text") {
  CHECK(matches("a+b|\xC3\xA9", std::string(63, 'a') + "\xC3\xA9") == Texts{"\xC3\xA9"});
  CHECK(matches("a+\xF0\x9F\x9A\x80", std::string(62, 'a') + "\xF0\x9F\x9A\x80").size() == 1);
}

TEST_CASE("a pattern that does not compile is refused at once") {
  const auto refused = [](const std::string& pattern) { return refusal_of([&] { Pattern::regex(pattern, "field"); }); };
  for (const char* const pattern : {"(a", "a{2,1}", "*", "a{1000000000}", "(a{65535}){65535}", "(?<=a*)b"}) {
    CAPTURE(pattern);
    CHECK(refused(pattern).code == ErrorCode::bad_file);
    CHECK(refused(pattern).says("does not compile"));
  }
  for (const char* const pattern : {"[a", "\\p{Nonsense}"}) CHECK(refused(pattern).says("not supported"));
  CHECK(refused(std::string(5000, '(') + std::string(5000, ')')).code == ErrorCode::bad_file);
  CHECK(refused(std::string(1 << 20, 'a')).code == ErrorCode::limit);
  CHECK(refused(std::string(1 << 20, 'a')).text.size() < 4096);
}

TEST_CASE("a pattern that backtracks or looks ahead without end is a limit error, soon") {
  const auto start = std::chrono::steady_clock::now();
  const std::string letters(1 << 20, 'a');
  std::string alternatives = "a*+0";
  for (int i = 1; i < 1000; ++i) alternatives += "|a*+" + std::to_string(i);
  for (const std::string& pattern :
       {std::string("(a+)+b"), std::string("(?:a|aa)+$b"), std::string("(a*)*b"), std::string("a++1"),
        std::string("(?=a*+)"), std::string("((a{100}){100}){50}b"), alternatives}) {
    CAPTURE(pattern.substr(0, 40));
    const Refusal refusal = refusal_of([&] { matches(pattern, letters); });
    CHECK(refusal.code == ErrorCode::limit);
    CHECK(refusal.says("field: the pattern takes too "));
  }
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(60));
}

TEST_CASE("a megabyte of one character is one match, not a limit") {
  const std::string qwen2 =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  for (const char c : {'a', ' ', '\n', '_', '('}) {
    CHECK(matches(gpt2, std::string(1 << 20, c)).size() == 1);
    CHECK(matches(qwen2, std::string(1 << 20, c)).size() == 1);
  }
  CHECK(matches(gpt2, std::string(1 << 20, ' ') + "x").size() == 2);
  CHECK(matches(qwen2, std::string(1 << 20, '1')).size() == 1 << 20);
}

TEST_CASE("a match is found wherever it begins, also where its first character alone would not match") {
  // With each of them, a character before which nothing may be skipped.
  CHECK(matches("(?<=a)b", "b ab") == Texts{"b"});
  CHECK(matches("\\bb", "ab b") == Texts{"b"});
  CHECK(matches("\\Bb", "b ab") == Texts{"b"});
  CHECK(matches("a|^b", "bab\nb") == Texts{"b", "a", "b"});
  CHECK(matches("(?:^|x)b", "ab\nb") == Texts{"b"});
  CHECK(matches("[^a]b", "ab bb") == Texts{" b"});
  CHECK(matches("(?:a?)b", "cb ab b") == Texts{"b", "ab", "b"});
  CHECK(matches("(?=b)", "ab") == Texts{""});
  CHECK(matches("(?!a)", "ab") == Texts{"", ""});
  CHECK(matches("a$", "ba\na a") == Texts{"a", "a"});
  CHECK(matches("(?i)K", "ak\xE2\x84\xAA") == Texts{"k", "\xE2\x84\xAA"});
  CHECK(matches("\\x00|\\x7f", std::string("a\0\x7f", 3)) == Texts{std::string(1, '\0'), "\x7f"});
}

TEST_CASE("a pattern that backtracks without end on one character is made in a moment") {
  const auto start = std::chrono::steady_clock::now();
  CHECK(matches("(?:a?){30}(?:a?){30}(?:(?:a*)*)*b", "cb") == Texts{"b"});
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
}
