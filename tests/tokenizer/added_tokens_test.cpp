#include "headgate/tokenizer/added_tokens.hpp"

#include <chrono>
#include <random>

#include "support/catch.hpp"

using namespace headgate;

namespace {

// The definition: from left to right, the longest text that stands here.
std::vector<TextFinder::Match> find_slowly(const std::vector<std::string>& texts, std::string_view text) {
  std::vector<TextFinder::Match> matches;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t best = texts.size();
    for (std::size_t t = 0; t < texts.size(); ++t) {
      if (text.substr(i).starts_with(texts[t]) && (best == texts.size() || texts[t].size() > texts[best].size()))
        best = t;
    }
    if (best == texts.size()) {
      ++i;
    } else {
      matches.push_back({i, i + texts[best].size(), static_cast<std::int32_t>(best)});
      i += texts[best].size();
    }
  }
  return matches;
}

bool same(const std::vector<TextFinder::Match>& a, const std::vector<TextFinder::Match>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.begin == y.begin && x.end == y.end && x.index == y.index;
  });
}

struct Part {
  std::string text;
  std::int32_t id;
  friend bool operator==(const Part&, const Part&) = default;
};

std::vector<Part> split(const std::vector<AddedToken>& tokens, std::string_view text, bool parse_special = true) {
  std::vector<Part> parts;
  for (const auto& part : AddedTokenFinder(tokens, false, Normalizer()).split(text, parse_special)) {
    parts.push_back({std::string(text.substr(part.begin, part.end - part.begin)), part.id});
  }
  return parts;
}

AddedToken token(std::int32_t id, std::string content) {
  AddedToken token{id, std::move(content)};
  token.special = true;
  token.normalized = false;
  return token;
}

}  // namespace

TEST_CASE("random texts are found as the definition finds them") {
  std::mt19937 chance(2);
  const auto word = [&](std::size_t size) {
    std::string text;
    while (text.size() < size) text += "ab"[chance() % 2];
    return text;
  };
  for (int round = 0; round < 500; ++round) {
    std::vector<std::string> texts;
    while (texts.size() < 5) {
      const std::string text = word(1 + chance() % 6);
      if (std::find(texts.begin(), texts.end(), text) == texts.end()) texts.push_back(text);
    }
    const std::string text = word(chance() % 60);
    if (!same(TextFinder(texts).find(text), find_slowly(texts, text))) FAIL("round " << round);
  }
  CHECK(TextFinder().find("abc").empty());
  CHECK(TextFinder({""}).find("abc").empty());
  CHECK(TextFinder({"a"}).find("").empty());
}

TEST_CASE("of equal texts the first is found, and a text of each length up to the longest") {
  CHECK(TextFinder({"a", "a"}).find("a")[0].index == 0);
  CHECK(TextFinder({"b", "ab", "a"}).find("ab")[0].index == 1);
  CHECK(TextFinder({"abc", "bc", "c"}).find("abxbcxc").size() == 2);
  std::string every;
  for (int byte = 0; byte < 256; ++byte) every += static_cast<char>(byte);
  CHECK(TextFinder({every}).find("x" + every)[0].begin == 1);
}

TEST_CASE("texts that overlap in the worst way are found in linear time") {
  const TextFinder finder({"a", std::string(10000, 'a') + "b"});
  const auto start = std::chrono::steady_clock::now();
  CHECK(finder.find(std::string(1 << 20, 'a')).size() == 1 << 20);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));
}

TEST_CASE("a hundred thousand texts are built and found soon") {
  std::vector<std::string> texts;
  for (int i = 0; i < 100000; ++i) texts.push_back("<extra_" + std::to_string(i) + ">");
  const auto start = std::chrono::steady_clock::now();
  const auto found = TextFinder(texts).find("x<extra_99999><extra_7><extra_>");
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
  REQUIRE(found.size() == 2);
  CHECK(found[0].index == 99999);
  CHECK(found[1].index == 7);
}

TEST_CASE("of two tokens of which one begins the other, the longest is taken") {
  CHECK(split({token(1, "<|a|>"), token(2, "<|a|><|b|>")}, "x<|a|><|b|><|a|>") ==
        std::vector<Part>{{"x", -1}, {"<|a|><|b|>", 2}, {"<|a|>", 1}});
}

TEST_CASE("special tokens can be plain text") {
  AddedToken plain = token(2, "  ");
  plain.special = false;
  CHECK(split({token(1, "<s>"), plain}, "<s>  <s>", false) == std::vector<Part>{{"<s>", -1}, {"  ", 2}, {"<s>", -1}});
  CHECK(split({token(1, "<s>")}, "", true).empty());
}

TEST_CASE("a token takes white space along, or stands alone as a word") {
  AddedToken left = token(1, "<l>"), right = token(2, "<r>"), word = token(3, "word");
  left.strip_left = right.strip_right = word.single_word = true;
  CHECK(split({left, right}, "a  <l> b <r>\n c") ==
        std::vector<Part>{{"a", -1}, {"  <l>", 1}, {" b ", -1}, {"<r>\n ", 2}, {"c", -1}});
  CHECK(split({left, right}, "<r>  <l>") == std::vector<Part>{{"<r>  ", 2}, {"<l>", 1}});
  CHECK(split({word}, "word words sword \xC3\xA9word word\xCC\x81 (word)") ==
        std::vector<Part>{{"word", 3}, {" words sword \xC3\xA9word word\xCC\x81 (", -1}, {"word", 3}, {")", -1}});
}

TEST_CASE("a token that is white space and takes white space along is not taken twice") {
  AddedToken space = token(1, " ");
  space.strip_right = true;
  CHECK(split({space}, "a    b") == std::vector<Part>{{"a", -1}, {"    ", 1}, {"b", -1}});
}

TEST_CASE("an added token that nothing is said of is normalized, and none of the rest") {
  const AddedToken plain{7, "a"};
  CHECK(plain.normalized);
  CHECK_FALSE(plain.special);
  CHECK_FALSE(plain.strip_left);
  CHECK_FALSE(plain.strip_right);
  CHECK_FALSE(plain.single_word);
}

TEST_CASE("tokens of normalized text are normalized themselves, and each finder has its own") {
  AddedToken raw = token(1, "RAW"), other{2, "LOW"};
  const Normalizer lower({Lowercase{}});
  const auto ids = [&](bool normalized, std::string_view text) {
    std::vector<std::int32_t> found;
    for (const auto& part : AddedTokenFinder({raw, other}, normalized, lower).split(text, true))
      found.push_back(part.id);
    return found;
  };
  using Ids = std::vector<std::int32_t>;
  CHECK(ids(false, "RAW") == Ids{1});
  CHECK(ids(false, "raw low LOW") == Ids{-1});
  CHECK(ids(true, "low") == Ids{2});
  CHECK(ids(true, "LOW raw RAW") == Ids{-1});
  CHECK(AddedTokenFinder().split("ab", true).size() == 1);
}

TEST_CASE("a single word ends with its text or before what is no word, on either side") {
  AddedToken word = token(3, "word");
  word.single_word = true;
  CHECK(split({word}, "a word") == std::vector<Part>{{"a ", -1}, {"word", 3}});
  CHECK(split({word}, "word a") == std::vector<Part>{{"word", 3}, {" a", -1}});
  CHECK(split({word}, "aword") == std::vector<Part>{{"aword", -1}});
  CHECK(split({word}, "worda") == std::vector<Part>{{"worda", -1}});
  CHECK(split({word}, "wordword") == std::vector<Part>{{"wordword", -1}});
}

TEST_CASE("white space before and after a token is taken to where it ends") {
  AddedToken both = token(1, "<b>"), plain = token(2, "<p>");
  both.strip_left = both.strip_right = true;
  CHECK(split({both, plain}, " \xE3\x80\x80<b>\t <p> ") ==
        std::vector<Part>{{" \xE3\x80\x80<b>\t ", 1}, {"<p>", 2}, {" ", -1}});
  CHECK(split({both, plain}, "<p> <p>  <b>") == std::vector<Part>{{"<p>", 2}, {" ", -1}, {"<p>", 2}, {"  <b>", 1}});
  CHECK(split({both}, "<b><b>") == std::vector<Part>{{"<b>", 1}, {"<b>", 1}});
}
