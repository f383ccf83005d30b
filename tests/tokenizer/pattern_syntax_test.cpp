#include "headgate/tokenizer/pattern_syntax.hpp"

#include "support/catch.hpp"
#include "tokenizer/refusal.hpp"

using namespace headgate;

namespace {

// An installed library that says what Unicode 16 says.
struct SameUnicode {
  std::vector<char32_t> all;
  bool is_script(std::string_view name) const { return name == "Han" || name == "Greek"; }
  const std::vector<char32_t>& points() const { return all; }
  std::vector<bool> members(const std::string&) const { return {}; }
};

// One that takes U+0378, which is unassigned, for a symbol, and knows neither U+10D50, a letter of Garay, nor U+1FA77.
struct OtherUnicode {
  std::vector<char32_t> all = {0x378, 0x10D50, 0x1FA77};
  bool is_script(std::string_view) const { return false; }
  const std::vector<char32_t>& points() const { return all; }
  std::vector<bool> members(const std::string& text) const {
    const bool is_unassigned = text == "\\p{Cn}", is_symbol = text == "\\p{S}";
    return {is_symbol, is_unassigned, is_unassigned};
  }
};

template <class Unicode = SameUnicode>
std::string translated(std::string_view pattern) {
  const Unicode unicode;
  return PatternTranslator(pattern, "field", unicode).translate();
}

}  // namespace

TEST_CASE("constructs that the two engines read alike pass unchanged") {
  for (const char* const pattern :
       {"", "abc", "a|b*+?", "\\p{L}?+\\p{L}++", "(?i:'s|'t)(?:a)(?=b)(?!c)(?>d)(?<=e)(?<!f)(g)", "^a.$\\A\\z\\Z",
        "a{1,3}b{2}c{2,}d{1,2}?\xC3\xA9"}) {
    CHECK(translated(pattern) == pattern);
  }
}

TEST_CASE("constructs that the two engines read differently are translated") {
  const std::string space = "[\\p{White_Space}]", no_space = "[^\\p{White_Space}]",
                    word = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
  const std::string outside = "[" + word + "\\x{b2}-\\x{b3}\\x{b9}\\x{bc}-\\x{be}]";
  CHECK(translated("\\s+\\S") == space + "+" + no_space);
  CHECK(translated("[^\\s\\w]") == "[^\\p{White_Space}" + word + "]");
  CHECK(translated("\\w") == outside);
  CHECK(translated("\\b") == "(?:(?<=" + outside + ")(?!" + outside + ")|(?<!" + outside + ")(?=" + outside + "))");
  CHECK(translated("\\B") == "(?:(?<=" + outside + ")(?=" + outside + ")|(?<!" + outside + ")(?!" + outside + "))");
  CHECK(translated("\\v\\x41\\u00e9\\-") == "\\x{b}\\x{41}\\x{e9}\\x{2d}");
  CHECK(translated("\\p{Han}\\p{^Han}\\P{^Han}") == "[\\p{sc:Han}][^\\p{sc:Han}][\\p{sc:Han}]");
  CHECK(translated("a(?i)b|c") == "a(?i:b|c)");
  CHECK(translated("(a(?i)b|c)d(?-i)e") == "(a(?i:b|c))d(?-i:e)");
  CHECK(translated("(?i)\\p{Lu}") == "(?i:(?-i:\\p{Lu}))");
  CHECK(translated("\\p{Punct}[[:punct:]]") == "[\\p{P}][\\p{S}\\p{P}]");
  CHECK(translated("(?m:.)(?mi-:a)") == "(?s:.)(?si-:a)");
  CHECK(translated("a{,2}b{x}}]") == "a{0,2}b\\{x\\}\\}\\]");
}

TEST_CASE("classes hold ranges, classes, their opposites and intersections") {
  CHECK(translated("[a-c\\n-]") == "[\\x{61}-\\x{63}\\x{a}\\x{2d}]");
  CHECK(translated("[]a]") == "[\\x{5d}\\x{61}]");
  CHECK(translated("[a-c-e]") == "[\\x{61}-\\x{63}\\x{2d}\\x{65}]");
  CHECK(translated("[a[^b]]") == "(?:[\\x{61}]|[^\\x{62}])");
  CHECK(translated("[^a\\S]") == "(?:(?!(?:[\\x{61}]|[^\\p{White_Space}]))\\p{Any})");
  CHECK(translated("[a-c&&[^b]&&\\d]") == "(?:(?=[^\\x{62}])(?=[\\p{Nd}])[\\x{61}-\\x{63}])");
  CHECK(translated("[[:alnum:][:^punct:]]") == "(?:[\\p{Nd}\\p{Alphabetic}]|[^\\p{S}\\p{P}])");
}

TEST_CASE("classes are corrected by what the installed library says otherwise than Unicode 16") {
  CHECK(translated<OtherUnicode>("\\p{S}") == "(?:(?![\\x{378}])[\\p{S}\\x{1fa77}])");
  CHECK(translated<OtherUnicode>("[^\\p{S}a]") == "(?:[\\x{378}]|[^\\p{S}\\x{61}\\x{1fa77}])");
  CHECK(translated<OtherUnicode>("[\\p{S}\\x{378}]") == "[\\p{S}\\x{378}\\x{1fa77}]");
  CHECK(translated<OtherUnicode>("[\\p{L}]") == "[\\p{L}\\x{10d50}]");
  CHECK(translated<OtherUnicode>("\\p{Garay}") == "[\\x{10d50}]");
  CHECK(translated<OtherUnicode>("\\s") == "[\\p{White_Space}]");
}

TEST_CASE("constructs that mean something else, or are dangerous, are refused with their place") {
  for (const char* const pattern : {"(a)\\1",
                                    "\\X",
                                    "\\K",
                                    "\\G",
                                    "\\Qa\\E",
                                    "\\k<n>",
                                    "\\pL",
                                    "\\p{Nonsense}",
                                    "\\p{L",
                                    "\\",
                                    "[[:a:]]",
                                    "[a&&]",
                                    "[&&a]",
                                    "[a-\\d]",
                                    "[\\d-a]",
                                    "[b-a]",
                                    "[a",
                                    "[\\b]",
                                    "[\\R]",
                                    "(?R)",
                                    "(?<n>a)",
                                    "(?C)",
                                    "(?1)",
                                    "(?x)",
                                    "(?#c)",
                                    "(*UTF)",
                                    "(*LIMIT_MATCH=1)a",
                                    "a{1,2}+",
                                    "a{2}?",
                                    "a{,2}?",
                                    "\\xe9",
                                    "\\x{41",
                                    "\\x{D800}",
                                    "\\x{110000}",
                                    "\\u41",
                                    "(?i:ss)",
                                    "(?i)S\\x73",
                                    "(?i:fi)",
                                    "(?i:st)",
                                    "(?i:\xC3\xA9)",
                                    "(?i:[\xC3\xA0-\xC3\xA9])",
                                    "(?i:[\\p{Lu}])",
                                    "(?i:\\u00e9)",
                                    "(?i:[a-\\x{e9}])"}) {
    const Refusal refusal = refusal_of([&] { translated(pattern); });
    CAPTURE(pattern, refusal.text);
    CHECK(refusal.code == ErrorCode::bad_file);
    CHECK(refusal.says("not supported"));
    CHECK(refusal.says("at its byte "));
  }
  std::string many;
  while (many.size() < 4000) many += "\\p{L}";
  CHECK(refusal_of([&] { translated(many); }).code == ErrorCode::limit);
  CHECK(refusal_of([&] { translated(std::string(30, '[')); }).says("too deep"));
}
