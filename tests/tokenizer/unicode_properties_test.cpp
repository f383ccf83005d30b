// Against unicode.json, which make_unicode.py beside it makes from Hugging Face's tokenizers: what every code point is
// to patterns, to the components that have tables of their own, and to the normalization forms.
#include "headgate/tokenizer/unicode_properties.hpp"

#include "headgate/io/json.hpp"
#include "headgate/io/json_object.hpp"
#include "headgate/tokenizer/tokenizer_components.hpp"
#include "support/catch.hpp"

using namespace headgate;

namespace {

const Json& vectors() {
  static const Json json = read_json(HEADGATE_SOURCE_DIR "/tests/golden/tokenizer/unicode.json");
  return json;
}

std::vector<std::int64_t> numbers(const JsonObject& json, std::string_view key) {
  return json.get_integers(key, -max_index, max_index);
}

// Of the planes that Unicode fills, and of the edges of the others.
const std::vector<char32_t>& characters() {
  static const std::vector<char32_t> all = [] {
    std::vector<char32_t> list;
    for (char32_t c = 0; c < 0x110000; ++c) {
      const bool used = c < 0x40000 || (c >= 0xE0000 && c < 0xE1000);
      const bool edge = (c & 0xFFFF) < 0x80 || (c & 0xFFFF) >= 0xFF80;
      if ((used || edge) && !(c >= 0xD800 && c < 0xE000)) list.push_back(c);
    }
    return list;
  }();
  return all;
}

// gaps: the bounds of ranges, each less the one before.
std::vector<bool> members_of(const std::vector<std::int64_t>& gaps) {
  std::vector<bool> is_member(0x110000);
  std::int64_t bound = 0;
  for (std::size_t i = 0; i < gaps.size(); ++i) {
    for (const std::int64_t first = bound; bound < first + gaps[i]; ++bound) is_member[as_size(bound)] = i % 2 == 1;
  }
  return is_member;
}

// The first character, in hexadecimal, of which `found` says something else, "": none.
template <class Found>
std::string first_difference(const std::vector<bool>& expected, Found found) {
  for (const char32_t c : characters()) {
    if (found(c) != expected[c]) return code_point_text(c);
  }
  return "";
}

std::vector<bool> found_by(const Pattern& pattern) {
  std::string text;
  for (const char32_t c : characters()) append_utf8(text, c);
  MatchBudget budget = MatchBudget::for_text(text.size());
  PatternSearch search(pattern, budget);
  search.start(text);
  std::vector<bool> found(0x110000);
  while (const auto match = search.next()) {
    for (std::size_t i = match->begin; i < match->end; i += utf8_size(text[i])) found[code_point_at(text, i)] = true;
  }
  return found;
}

JsonObject parsed(const Json& tree) { return JsonObject(tree, "component", ""); }

// The pieces of a text by one pre-tokenizer.
std::vector<std::string> pieces(const PreTokenizer& pre_tokenizer, const std::string& text) {
  MatchBudget budget = MatchBudget::for_text(text.size());
  const PieceList list = pre_tokenizer.split(text, true, budget);
  std::vector<std::string> out;
  for (const auto& piece : list.pieces) out.emplace_back(list.view(piece));
  return out;
}

PreTokenizer pre_tokenizer(const std::string& json) {
  const Json tree = parse_json(json, "component");
  std::vector<PreTokenizer::Step> steps;
  TokenizerComponents::read(parsed(tree), steps);
  return PreTokenizer(std::move(steps));
}

// Of every character after an "a": whether `holds` of the pieces.
template <class Holds>
std::string first_piece_difference(const std::string& json, const std::vector<bool>& expected, Holds holds) {
  const PreTokenizer component = pre_tokenizer(json);
  return first_difference(expected, [&](char32_t c) {
    std::string text = "a";
    append_utf8(text, c);
    return holds(pieces(component, text));
  });
}

std::string fnv1a(const std::string& bytes) {
  std::uint64_t value = 0xCBF29CE484222325;
  for (const char c : bytes) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  std::string text(16, '0');
  for (std::size_t i = 16; i-- > 0; value >>= 4) text[i] = "0123456789abcdef"[value & 15];
  return text;
}

// Hashes of every character of each plane, among marks of many classes.
std::vector<std::string> hashes(const UnicodeForm& form) {
  std::string marks;
  for (const char32_t c :
       U"\u0334\u093c\u094d\u05b0\u0591\u0315\u0300\u0323\u0345\u1dce\u302a\u0f71\u0328\u031b\u035c\u0360") {
    if (c != 0) append_utf8(marks, c);
  }
  std::vector<std::string> planes;
  for (const char32_t plane : {0u, 1u, 2u, 3u, 14u}) {
    std::string out;
    for (char32_t c = plane << 16; c < (plane + 1) << 16; ++c) {
      if (c >= 0xD800 && c < 0xE000) continue;
      std::string text = "a" + marks;
      append_utf8(text, c);
      form.append(text + marks, out);
    }
    planes.push_back(fnv1a(out));
  }
  return planes;
}

}  // namespace

TEST_CASE("a class of a pattern holds the characters that it holds to the reference, of all that there are") {
  const JsonObject all(vectors(), "unicode.json");
  for (const Json& json : all.get_list("classes")) {
    const JsonObject each(json, "unicode.json");
    const std::string pattern = each.get_string("pattern");
    const std::vector<bool> found = found_by(Pattern::regex(pattern, "f"));
    CAPTURE(pattern);
    CHECK(first_difference(members_of(numbers(each, "gaps")), [&](char32_t c) { return found[c]; }) == "");
  }
}

TEST_CASE("words, spaces, punctuation and digits are the reference's, of all characters") {
  const JsonObject all(vectors(), "unicode.json");
  const auto expected = [&](std::string_view key) { return members_of(numbers(all, key)); };
  const auto one = [](const std::vector<std::string>& list) { return list.size() == 1 && list[0].size() > 1; };
  const auto two = [](const std::vector<std::string>& list) { return list.size() == 2; };
  const auto only_a = [](const std::vector<std::string>& list) { return list == std::vector<std::string>{"a"}; };
  CHECK(first_piece_difference(R"({"type":"Whitespace"})", expected("whitespace_words"), one) == "");
  CHECK(first_piece_difference(R"({"type":"Whitespace"})", expected("spaces"), only_a) == "");
  CHECK(first_piece_difference(R"({"type":"WhitespaceSplit"})", expected("spaces"), only_a) == "");
  CHECK(first_piece_difference(R"({"type":"BertPreTokenizer"})", expected("spaces"), only_a) == "");
  CHECK(first_piece_difference(R"({"type":"BertPreTokenizer"})", expected("punctuation"), two) == "");
  CHECK(first_piece_difference(R"({"type":"Punctuation"})", expected("punctuation"), two) == "");
  CHECK(first_piece_difference(R"({"type":"Digits","individual_digits":true})", expected("digits"), two) == "");
  CHECK(first_difference(expected("spaces"), is_white_space) == "");
  CHECK(first_difference(expected("whitespace_words"), is_word_character) == "");
}

TEST_CASE("lower case is the reference's, of all characters") {
  const std::vector<std::int64_t> rows = numbers(JsonObject(vectors(), "unicode.json"), "lower_case");
  std::vector<std::int64_t> add(0x110000);
  for (std::size_t i = 0; i < rows.size(); i += 3) {
    for (std::int64_t c = rows[i]; c <= rows[i + 1]; ++c) add[as_size(c)] = rows[i + 2];
  }
  int wrong = 0;
  for (const char32_t c : characters()) {
    if (c == 0x130) continue;  // becomes two
    std::string text, lower;
    append_utf8(text, c);
    Lowercase{}.append(text, lower);
    wrong += code_point_at(lower, 0) != static_cast<char32_t>(static_cast<std::int64_t>(c) + add[c]);
  }
  CHECK(wrong == 0);
}

TEST_CASE("normalization forms are the reference's, of all characters among marks of many classes") {
  const JsonObject forms = JsonObject(vectors(), "unicode.json").get_object("forms");
  CHECK(hashes({true, false}) == forms.get_strings("NFC"));
  CHECK(hashes({false, false}) == forms.get_strings("NFD"));
  CHECK(hashes({true, true}) == forms.get_strings("NFKC"));
  CHECK(hashes({false, true}) == forms.get_strings("NFKD"));
}

TEST_CASE("a row is found by its first and its last character, and not beside them") {
  constexpr UnicodeRange rows[] = {{5, 5}, {7, 9}};
  for (const char32_t c : {5u, 7u, 8u, 9u}) CHECK(find_row<UnicodeRange>(rows, c) != nullptr);
  for (const char32_t c : {0u, 4u, 6u, 10u}) CHECK(find_row<UnicodeRange>(rows, c) == nullptr);
  CHECK(std::string_view(unicode_change(0x1FA77)->category) == "So");  // new in Unicode 15
  CHECK(std::string_view(unicode_change(0x378)->category) == "Cn");
  CHECK_FALSE(unicode_change('a'));
}
