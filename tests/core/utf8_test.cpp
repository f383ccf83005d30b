#include "headgate/core/utf8.hpp"

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("every character survives encoding and decoding, and surrogates and larger numbers are ill-formed") {
  std::size_t refused = 0;
  for (char32_t c = 0; c < 0x110800; ++c) {
    std::string text;
    append_utf8(text, c);
    if (find_invalid_utf8(text) != std::string::npos) {
      ++refused;
      continue;
    }
    if (code_point_at(text, 0) != c || utf8_size(text[0]) != text.size() || previous_utf8(text, text.size()) != 0) {
      FAIL("U+" << static_cast<unsigned>(c));
    }
  }
  CHECK(refused == 0x800 + 0x800);
}

TEST_CASE("ill-formed UTF-8 is found at its first byte") {
  // A lone continuation, overlong forms, a surrogate, above U+10FFFF, bytes that never occur, Latin-1.
  for (const char* const bad :
       {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xF0\x8F\xBF\xBF", "\xED\xA0\x80", "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80", "\xFF\xFE", "\xE9t\xE9", "\xE2\x82", "\xF0\x9F\x9A"}) {
    const std::string text = std::string("ab\xC3\xA9") + bad;
    CHECK(find_invalid_utf8(text) == 4);
  }
  CHECK(find_invalid_utf8("a\xE2\x82\xAC\xF0\x9F\x9A\x80") == std::string::npos);
  CHECK(find_invalid_utf8("") == std::string::npos);
}

TEST_CASE("a cut character is told from an ill-formed one") {
  using Kind = Utf8Unit::Kind;
  CHECK(first_utf8_unit("\xE2\x82").kind == Kind::cut);
  CHECK(first_utf8_unit("\xF0\x9F\x9A").size == 3);
  CHECK(first_utf8_unit("\xE2\x82x").kind == Kind::invalid);
  CHECK(first_utf8_unit("\xE2\x82x").size == 2);
  CHECK(first_utf8_unit("\xE0\x80\x80").size == 1);
}
