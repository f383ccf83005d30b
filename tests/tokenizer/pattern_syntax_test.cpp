#include "headgate/tokenizer/pattern_syntax.hpp"

#include "support/catch.hpp"
#include "tokenizer/refusal.hpp"

using namespace headgate;

namespace {

std::string translated(std::string_view pattern) {
  return PatternTranslator(pattern, "field", [](std::string_view name) { return name == "Han"; }).translate();
}

}  // namespace

TEST_CASE("constructs that the two engines read alike pass unchanged") {
  for (const char* const pattern :
       {"", "abc", "a|b*+?", "[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++", "(?i:'s|'t)(?:a)(?=b)(?!c)(?>d)(?<=e)(?<!f)(g)",
        "\\.\\[\\]\\-", "\\x{4e00}\\x41", "\\p{^Lu}\\P{N}", "[!-/:-~]{1,3}", "(?i)a(?-i)b"}) {
    CHECK(translated(pattern) == pattern);
  }
}

TEST_CASE("constructs that the two engines read differently are translated") {
  CHECK(translated("\\s+[^\\s\\S]\\S") == "\\p{White_Space}+[^\\p{White_Space}\\P{White_Space}]\\P{White_Space}");
  CHECK(translated("\\w[\\w]") == "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}][\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}]");
  CHECK(translated("\\v\\p{Han}\\p{^Han}") == "\\x0b\\p{sc:Han}\\p{^sc:Han}");
}

TEST_CASE("constructs that mean something else, or are dangerous, are refused with their place") {
  for (const char* const pattern :
       {"(a)\\1",  "\\b",    "\\W",  "\\h",    "\\R",    "\\X",         "\\K",    "\\G",    "\\Qa\\E",
        "\\u0041", "\\k<n>", "\\pL", "\\",     "[a[b]]", "[[:alpha:]]", "[a&&b]", "[]a]",   "(?<n>a)",
        "(?R)",    "(?1)",   "(?C)", "(?m:a)", "(?s)",   "(?x)",        "(?#c)",  "(*UTF)", "(*LIMIT_MATCH=1)a",
        "a{1,2}+"}) {
    const Refusal refusal = refusal_of([&] { translated(pattern); });
    CAPTURE(pattern, refusal.text);
    CHECK(refusal.code == ErrorCode::bad_file);
    CHECK(refusal.says("not supported"));
    CHECK(refusal.says("at its byte "));
  }
}
