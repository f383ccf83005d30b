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

TEST_CASE("a refusal of a pattern says what it found and at which byte") {
  struct Case {
    std::string_view pattern, what;
    int byte;
  };
  const std::string_view folds = "a character outside ASCII where case is ignored",
                         one_too = "letters that are one character too where case is ignored",
                         no_group = "a group that is none of (?: (?= (?! (?> (?<= (?<! (?i (?m (?-i (?-m",
                         no_digits = "an escape without its digits", no_character = "a number that is no character";
  const Case cases[] = {{"(a)\\1", "the escape \\1", 3},
                        {"\\X", "the escape \\X", 0},
                        {"ab\\", "the escape \\", 2},
                        {"\\0", "the escape \\0", 0},
                        {"\\9", "the escape \\9", 0},
                        {"[\\A]", "the escape \\A", 1},
                        {"[\\Z]", "the escape \\Z", 1},
                        {"[\\z]", "the escape \\z", 1},
                        {"\\pL", "\\p without {name}", 0},
                        {"a\\p{L", "\\p without {name}", 1},
                        {"\\p{Nonsense}", "the property \\p{Nonsense}", 0},
                        {"\\P{^Nonsense}", "the property \\p{Nonsense}", 0},
                        {"[[:a:]]", "the class [:a:]", 1},
                        {"[[:^graph:]]", "the class [:graph:]", 1},
                        {"[[:a]", "[: without :]", 1},
                        {"[a&&]", "an empty part of a class", 5},
                        {"[&&a]", "an empty part of a class", 3},
                        {"b[a", "a class without its ]", 1},
                        {"[a-", "a class without its ]", 0},
                        {"[]", "a class without its ]", 0},
                        {"[a-\\d]", "the escape \\d", 3},
                        {"[a-[b]]", "a range that ends in a class", 3},
                        {"[a-&&b]", "a range that ends in a class", 3},
                        {"[\\d-a]", "a range that begins with a class", 3},
                        {"[\\D-a]", "a range that begins with a class", 3},
                        {"[[:alpha:]-a]", "a range that begins with a class", 10},
                        {"[b-a]", "a range from a larger to a smaller character", 4},
                        {"[\\b]", "the escape \\b in a class", 1},
                        {"[\\R]", "the escape \\R in a class", 1},
                        {"[\\X]", "the escape \\X in a class", 1},
                        {"a(?R)", no_group, 1},
                        {"(?i", no_group, 0},
                        {"(?--i)", no_group, 0},
                        {"(?)", no_group, 0},
                        {"(*UTF)", "a verb (*...)", 0},
                        {"a{1,2}+", "a possessive {n,m}+", 1},
                        {"a{2}?", "a lazy {n}? or {,n}?", 1},
                        {"a{,2}?", "a lazy {n}? or {,n}?", 1},
                        {"\\xe9", "a byte outside ASCII", 0},
                        {"\\x80", "a byte outside ASCII", 0},
                        {"\\x{41", "\\x{ without }", 0},
                        {"\\x{000000041}", "\\x{ without }", 0},
                        {"\\x{}", no_digits, 0},
                        {"\\x", no_digits, 0},
                        {"\\u004", no_digits, 0},
                        {"\\x{D800}", no_character, 0},
                        {"\\x{dfff}", no_character, 0},
                        {"\\x{110000}", no_character, 0},
                        {"(?i:ss)", one_too, 5},
                        {"(?i:sT)", one_too, 5},
                        {"(?i:ff)", one_too, 5},
                        {"(?i:fi)", one_too, 5},
                        {"(?i:FL)", one_too, 5},
                        {"(?i)S\\x73", one_too, 5},
                        {"(?i:\xC3\xA9)", folds, 4},
                        {"(?i:\\u00e9)", folds, 4},
                        {"(?i:\\x{80})", folds, 4},
                        {"(?i:[\xC3\xA0])", folds, 7},
                        {"(?i:[a-\\x{80}])", folds, 13},
                        {"(?i)(?-i:a)\xC3\xA9", folds, 11},
                        {"(?i:[\\p{Lu}])", "the property \\p{Lu} in a class where case is ignored", 5},
                        {"(?i:[[:upper:]])", "the class [:upper:] in a class where case is ignored", 5}};
  for (const Case& c : cases) {
    CAPTURE(c.pattern);
    const Refusal refusal = refusal_of([&] { translated(c.pattern); });
    CHECK(refusal.code == ErrorCode::bad_file);
    const std::string says = " has " + std::string(c.what) + " at its byte " + std::to_string(c.byte) + ",";
    CHECK((refusal.says(says) ? says : refusal.text) == says);
  }
}

TEST_CASE("what stands beside a refused construct passes") {
  for (const char* const pattern : {"a{0,9}", "a{2,}?", "(?i:sa)", "(?i:fs)", "(?i:ts)", "(?i:fr)", "(?i:s)s",
                                    "(?i:s.s)", "(?i:f.i)", "(?i:s)\xC3\xA9"}) {
    CHECK(translated(pattern) == pattern);
  }
  CHECK(translated("\\Ba\\Rb\\Ac").ends_with("a(?>\\r\\n|[\\n-\\r\\x{85}\\x{2028}\\x{2029}])b\\Ac"));
  CHECK(translated("\\A[a]\\z[b]") == "\\A[\\x{61}]\\z[\\x{62}]");
  CHECK(translated("(?i)a(?m)b") == "(?i:a(?s:b))");
  CHECK(translated("(?i)(?-i:\xC3\xA9)s") == "(?i:(?-i:\xC3\xA9)s)");
  CHECK(translated("(?i-m:a)") == "(?i-s:a)");
  CHECK(translated("a{}b{,}") == "a\\{\\}b\\{,\\}");
  CHECK(translated("\\x7f\\x{D7ff}\\x{E000}\\x{10fFfF}\\x{00000041}\\x9\\u0aF0") ==
        "\\x{7f}\\x{d7ff}\\x{e000}\\x{10ffff}\\x{41}\\x{9}\\x{af0}");
  CHECK(translated("\\t\\n\\v\\f\\r\\a\\e") == "\\x{9}\\x{a}\\x{b}\\x{c}\\x{d}\\x{7}\\x{1b}");
  CHECK(translated("\\@\\[\\`\\{\\/\\:\\\xC3\xA9") == "\\x{40}\\x{5b}\\x{60}\\x{7b}\\x{2f}\\x{3a}\\x{e9}");
  CHECK(translated("\\R") == "(?>\\r\\n|[\\n-\\r\\x{85}\\x{2028}\\x{2029}])");
  CHECK(translated("(?i:\\x7f[a-\\x7f])") == "(?i:\\x{7f}[\\x{61}-\\x{7f}])");
}

TEST_CASE("properties and named classes are written as PCRE2 knows them") {
  CHECK(translated("\\h\\H") ==
        "[\\x{30}-\\x{39}\\x{41}-\\x{46}\\x{61}-\\x{66}][^\\x{30}-\\x{39}\\x{41}-\\x{46}\\x{61}-\\x{66}]");
  CHECK(translated("\\d\\D\\p{nd}\\P{Nd}") == "[\\p{Nd}][^\\p{Nd}][\\p{Nd}][^\\p{Nd}]");
  CHECK(translated("\\p{LC}") == "[\\p{Lu}\\p{Ll}\\p{Lt}]");
  CHECK(translated("\\p{Alnum}\\p{alpha}\\p{Alphabetic}") ==
        "[\\p{Nd}\\p{Alphabetic}][\\p{Alphabetic}]\\p{Alphabetic}");
  CHECK(translated("\\p{Upper}\\p{Lowercase}") == "[\\p{Uppercase}]\\p{Lowercase}");
  CHECK(translated("\\p{lower}\\p{uppercase}") == "[\\p{Lowercase}][\\p{Uppercase}]");
  CHECK(translated("\\p{Digit}\\p{Space}\\p{Any}\\p{White_Space}") ==
        "[\\p{Nd}][\\p{White_Space}]\\p{Any}\\p{White_Space}");
  const std::string word = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}]";
  CHECK(translated("[[:word:]][\\w][\\W]") == word + word + "[^" + word.substr(1));
  CHECK(translated("[[:xdigit:]]") == "[\\x{30}-\\x{39}\\x{41}-\\x{46}\\x{61}-\\x{66}]");
  CHECK(translated("[[:ascii:]][[:cntrl:]][[:blank:]]") == "[\\x{0}-\\x{7f}][\\p{Cc}][\\x{9}\\p{Zs}]");
  CHECK(translated("[[:alpha:]][[:digit:]][[:lower:]][[:space:]][[:upper:]]") ==
        "[\\p{Alphabetic}][\\p{Nd}][\\p{Lowercase}][\\p{White_Space}][\\p{Uppercase}]");
  CHECK(translated("[[:^digit:]]") == "[^\\p{Nd}]");
}

TEST_CASE("where case is ignored, letters and marks take the other cases along, and some properties stay") {
  CHECK(translated("(?i:[\\p{L}\\p{N}])") == "(?i:[\\x{345}\\p{L}\\p{N}])");
  CHECK(translated("(?i:[\\p{M}])") == "(?i:[\\x{399}\\x{3b9}\\x{1fbe}\\p{M}])");
  const std::string rest = "\\p{P}\\p{S}\\p{Z}\\p{C}\\p{Nd}\\p{Lo}";
  CHECK(translated("(?i:[" + rest + "\\p{Han}])") == "(?i:[" + rest + "\\p{sc:Han}])");
  CHECK(translated("[\\p{L}\\p{M}]") == "[\\p{L}\\p{M}]");
}

TEST_CASE("classes of one part, of two, of none but classes") {
  CHECK(translated("[^]a][&a][a-a]") == "[^\\x{5d}\\x{61}][\\x{26}\\x{61}][\\x{61}]");
  CHECK(translated("[a&&b]") == "(?:(?=[\\x{62}])[\\x{61}])");
  CHECK(translated("[^a&&b]") == "(?:(?!(?:(?=[\\x{62}])[\\x{61}]))\\p{Any})");
  CHECK(translated("[[a]][[a][b]]") == "[\\x{61}](?:[\\x{61}]|[\\x{62}])");
  CHECK(translated("[a[b][c]]") == "(?:[\\x{61}]|[\\x{62}]|[\\x{63}])");
  CHECK(translated("[[]a]]") == "[\\x{5d}\\x{61}]");
  CHECK(translated("[\\D][\\P{^L}]") == "[^\\p{Nd}][\\p{L}]");
  CHECK(translated("[\\d-][[:alpha:]-]") == "[\\p{Nd}\\x{2d}][\\p{Alphabetic}\\x{2d}]");
}

TEST_CASE("patterns go as deep and hold as many properties as their limits say") {
  const auto repeated = [](std::string_view text, int times) {
    std::string out;
    for (int i = 0; i < times; ++i) out += text;
    return out;
  };
  const auto nested = [&](int depth) { return repeated("[a", depth) + repeated("]", depth); };
  CHECK_FALSE(translated(nested(20)).empty());
  CHECK(refusal_of([&] { translated(nested(21)); }).says("classes within classes, too deep at its byte 40,"));
  CHECK_FALSE(translated(repeated("[a]", 30) + repeated("[a[^b]]", 30)).empty());
  CHECK_FALSE(translated(std::string(9999, '(')).empty());
  CHECK(refusal_of([&] {
          translated(std::string(10000, '('));
        }).says("groups within groups, too deep at its byte 9999,"));
  CHECK_FALSE(translated(repeated("()", 10001)).empty());
  CHECK(translated(repeated("\\p{L}", 500)) == repeated("\\p{L}", 500));
  CHECK(
      refusal_of([&] { translated(repeated("\\p{L}", 501)); }).says("field: a pattern with more than 500 properties"));
  CHECK(translated(repeated("[a]", 600)) == repeated("[\\x{61}]", 600));
}

TEST_CASE("corrections are counted in ranges") {
  const OtherUnicode unicode;
  const auto corrections = [&](std::string_view pattern) {
    PatternTranslator translator(pattern, "field", unicode);
    translator.translate();
    return translator.corrections();
  };
  CHECK(corrections("\\p{S}") == 2);
  CHECK(corrections("\\p{L}") == 1);
  CHECK(corrections("\\p{L}\\p{S}") == 3);
  CHECK(corrections("\\s[a]") == 0);
}
