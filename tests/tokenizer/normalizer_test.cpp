#include "headgate/tokenizer/normalizer.hpp"

#include <chrono>
#include <cstdlib>
#include <random>

#include "support/catch.hpp"
#include "tokenizer/refusal.hpp"

using namespace headgate;

namespace {

std::string normalized(std::vector<Normalizer::Step> steps, std::string_view text) {
  return Normalizer(std::move(steps)).apply(text);
}

constexpr UnicodeForm nfc{true, false}, nfd{false, false}, nfkc{true, true}, nfkd{false, true};

// utf8proc's own normalization, for texts without long runs of marks.
std::string by_utf8proc(std::string_view text, int options) {
  utf8proc_uint8_t* out = nullptr;
  const auto size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &out, static_cast<utf8proc_option_t>(options | UTF8PROC_STABLE));
  REQUIRE(size >= 0);
  std::string copy(reinterpret_cast<const char*>(out), static_cast<std::size_t>(size));
  std::free(out);
  return copy;
}

}  // namespace

TEST_CASE("normalization forms compose and decompose, and reorder marks") {
  CHECK(normalized({nfc}, "e\xCC\x81!") == "\xC3\xA9!");
  CHECK(normalized({nfd}, "\xC3\xA9") == "e\xCC\x81");
  CHECK(normalized({nfc}, "\xE1\x84\x80\xE1\x85\xA1") == "\xEA\xB0\x80");  // Hangul
  CHECK(normalized({nfkc}, "\xEF\xAC\x81\xE2\x85\xA7") == "fiVIII");
  CHECK(normalized({nfkd}, "\xC2\xBD") ==
        "1\xE2\x81\x84"
        "2");
  CHECK(normalized({nfc}, "a\xCC\x95\xCC\x80") == "\xC3\xA0\xCC\x95");  // grave passes the comma above right
  CHECK(normalized({nfc}, "plain") == "plain");
  CHECK(normalized({nfc}, "") == "");
}

TEST_CASE("U+11A7, just below the trailing consonants of Hangul, stays where it is") {
  const std::string first = "\xE1\x84\x80\xE1\x85\xA1", syllable = "\xEA\xB0\x80", below = "\xE1\x86\xA7",
                    last = "\xE1\x86\xA8";
  CHECK(normalized({nfc}, first + below) == syllable + below);
  CHECK(normalized({nfkc}, syllable + below + last) == syllable + below + last);
  CHECK(normalized({nfc}, first + last) == "\xEA\xB0\x81");
}

TEST_CASE("normalization of random text agrees with utf8proc's own, of characters that Unicode 9 has") {
  std::mt19937 chance(5);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (int i = 0; i < 12; ++i) {
      const auto from = [&](std::uint32_t first, std::uint32_t count) {
        while (true) {
          const auto c = static_cast<char32_t>(first + chance() % count);
          if (!is_newer_character(c) && find_row<UnicodeRange>(inert_characters, c) == nullptr) return c;
        }
      };
      switch (chance() % 4) {
        case 0:
          append_utf8(text, from('a', 26));
          break;
        case 1:
          append_utf8(text, from(0x300, 0x70));
          break;
        case 2:
          append_utf8(text, from(1, 0x3000));
          break;
        default:
          append_utf8(text, from(0xF900, 0x700));
          break;
      }
    }
    if (normalized({nfc}, text) != by_utf8proc(text, UTF8PROC_COMPOSE)) FAIL("NFC, round " << round);
    if (normalized({nfd}, text) != by_utf8proc(text, UTF8PROC_DECOMPOSE)) FAIL("NFD, round " << round);
    if (normalized({nfkc}, text) != by_utf8proc(text, UTF8PROC_COMPOSE | UTF8PROC_COMPAT))
      FAIL("NFKC, round " << round);
  }
}

TEST_CASE("a long run of combining marks takes linear time") {
  std::string marks = "a";
  for (int i = 0; i < 200000; ++i) marks += i % 2 == 0 ? "\xCC\x95" : "\xCC\xA1";  // classes 232 and 202, to be sorted
  const auto start = std::chrono::steady_clock::now();
  const std::string sorted = normalized({nfd}, marks);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));
  CHECK(sorted.size() == marks.size());
  CHECK(sorted.substr(0, 5) == "a\xCC\xA1\xCC\xA1");
  CHECK(sorted.substr(sorted.size() - 2) == "\xCC\x95");
}

TEST_CASE("the small steps lower, replace, prepend and strip") {
  CHECK(normalized({Lowercase{}}, "\xC3\x89\xC4\xB0X") == "\xC3\xA9i\xCC\x87x");
  CHECK(normalized({ReplaceText{"a", "bb"}, PrependText{">"}}, "aca") == ">bbcbb");
  CHECK(normalized({PrependText{">"}}, "") == "");
  CHECK(normalized({StripWhiteSpace{true, false}}, " a ") == "a ");
  CHECK(normalized({StripWhiteSpace{false, true}}, " a ") == " a");
  CHECK(normalized({StripWhiteSpace{true, true}}, " \n") == "");
}

TEST_CASE("matches of a pattern are replaced, empty ones too, and an empty text has none") {
  const auto replaced = [](const std::string& pattern, std::string_view text) {
    std::vector<Normalizer::Step> steps;
    steps.push_back(ReplaceMatches{Pattern::regex(pattern, "f"), "-$1-"});
    return normalized(std::move(steps), text);
  };
  CHECK(replaced("a+", "baab") == "b-$1-b");
  CHECK(replaced("x*", "x\ny") == "-$1-\n-$1-y-$1-");
  CHECK(replaced("$", "x\ny") == "x-$1-\ny-$1-");
  CHECK(replaced("x*", "") == "");
  CHECK(refusal_of([&] { replaced("(a+)+b", std::string(1 << 16, 'a')); }).code == ErrorCode::limit);
}

TEST_CASE("bytes are spelt in the byte alphabet") {
  std::vector<Normalizer::Step> steps;
  steps.push_back(SpellBytesInText{});
  CHECK(Normalizer(steps).spells_bytes());
  CHECK_FALSE(Normalizer().spells_bytes());
  CHECK(normalized(std::move(steps), "\xC3\xA9 a") ==
        "\xC3\x83\xC2\xA9\xC4\xA0"
        "a");
}

TEST_CASE("forty doublings are a limit error") {
  const Refusal refusal =
      refusal_of([] { normalized(std::vector<Normalizer::Step>(40, ReplaceText{"a", "aa"}), "aaa"); });
  CHECK(refusal.code == ErrorCode::limit);
  CHECK(refusal.says("normalizer"));
  CHECK(refusal.says("16 times"));
}

TEST_CASE("the parts of one text share its room") {
  const Normalizer normalizer({ReplaceText{"a", std::string(200, 'b')}});
  std::size_t left = Normalizer::room(10);
  MatchBudget budget = MatchBudget::for_text(10);
  CHECK(normalizer.apply("aaaaaaaaaa", left, budget).size() == 2000);
  CHECK(normalizer.apply("aaaaaaaaaa", left, budget).size() == 2000);
  CHECK(refusal_of([&] { normalizer.apply("aaaaaaaaaa", left, budget); }).code == ErrorCode::limit);
}

TEST_CASE("word characters are letters, marks, digits, connectors and what joins them") {
  for (const char32_t c : U"aZ\u00E9\u0301\u0663_\u203F\u2160\u24B6\u200D\u4E2D")
    CHECK((c == 0 || is_word_character(c)));
  for (const char32_t c : {U' ', U'-', U'\u00BD', U'\u2028', U'\u20AC'}) CHECK_FALSE(is_word_character(c));
}

TEST_CASE("a normalized text may fill 16 times its size and a page, to the byte") {
  const auto grown = [](std::size_t size) {
    return refusal_of([&] { normalized({ReplaceText{"a", std::string(size, 'b')}}, "a"); });
  };
  CHECK(grown(16 + 4096).code == ErrorCode::ok);
  CHECK(grown(16 + 4097).text == "normalizer: the text grows to more than 16 times its size or 256 MiB");
  CHECK(grown(16 + 4097).code == ErrorCode::limit);
  const Normalizer normalizer({ReplaceText{"a", "bbb"}});
  std::size_t left = 7;
  MatchBudget budget = MatchBudget::for_text(2);
  CHECK(normalizer.apply("aa", left, budget) == "bbbbbb");
  CHECK(left == 1);
  CHECK(refusal_of([&] { normalizer.apply("a", left, budget); }).code == ErrorCode::limit);
  CHECK(normalizer.apply("x", left, budget) == "x");
  CHECK(left == 0);
}

TEST_CASE("each general category is a word character or none, at both ends of what is listed apart") {
  for (const char32_t c : {U'A',          U'a',          U'\u01C5',     U'\u02B0',     U'\u4E2D',     U'\u0301',
                           U'\u0903',     U'\u20DD',     U'\u0663',     U'\u2160',     U'\u203F',     U'\u24B6',
                           U'\u24E9',     U'\U0001F130', U'\U0001F149', U'\U0001F150', U'\U0001F169', U'\U0001F170',
                           U'\U0001F189', U'\u200C',     U'\u200D',     U'\U00010D40', U'\U00010D4A', U'\U00010D69'}) {
    CAPTURE(static_cast<std::uint32_t>(c));
    CHECK(is_word_character(c));
  }
  for (const char32_t c :
       {U'\u24B5', U'\u24EA', U'\U0001F12F', U'\U0001F14A', U'\U0001F14F', U'\U0001F16A', U'\U0001F16F', U'\U0001F18A',
        U'\u200B', U'\u200E', U'\u00AD', U'^', U'+', U'$', U'(', U'\u00B2', U'\U0001FA77'}) {
    CAPTURE(static_cast<std::uint32_t>(c));
    CHECK_FALSE(is_word_character(c));
  }
}

TEST_CASE("stretches between ASCII and newer characters are normalized each, and what lies between stays") {
  CHECK(normalized({nfc}, "xe\xCC\x81y e\xCC\x81") == "x\xC3\xA9y \xC3\xA9");
  CHECK(normalized({nfc}, "\xCC\x81x") == "\xCC\x81x");
  CHECK(normalized({nfc}, "\xC3\xA9\xCC\xA1!") == "\xC3\xA9\xCC\xA1!");
  const std::string newer = "\xF0\x9F\xA9\xB7";  // U+1FA77, of Unicode 15
  CHECK(normalized({nfc}, "e\xCC\x81" + newer + "e\xCC\x81" + newer) == "\xC3\xA9" + newer + "\xC3\xA9" + newer);
  CHECK(normalized({nfc}, "e" + newer + "\xCC\x81") == "e" + newer + "\xCC\x81");
  CHECK(normalized({nfd}, "\xC3\xA9" + newer + "\xC3\xA9") == "e\xCC\x81" + newer + "e\xCC\x81");
  CHECK(normalized({nfkc}, "\xCB\xBF\xEF\xAC\x81") ==
        "\xCB\xBF"
        "fi");  // U+02FF
  CHECK(normalized({nfc}, "\xEF\xAC\x81") == "\xEF\xAC\x81");
  // The longest decomposition, of U+FDFA.
  CHECK(normalized({nfkd}, "\xEF\xB7\xBA").size() == 33);
  CHECK(normalized({Lowercase{}}, newer + "\xC4\xAF\xC4\xAE") == newer + "\xC4\xAF\xC4\xAF");
}
