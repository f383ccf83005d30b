#include "headgate/tokenizer/bpe.hpp"

#include <chrono>
#include <limits>
#include <random>
#include <set>

#include "support/catch.hpp"

using namespace headgate;

namespace {

using Ids = std::vector<std::int32_t>;

Ids encode(const Bpe& bpe, std::string_view piece) {
  Bpe::Scratch scratch;
  Ids ids;
  CHECK(bpe.encode(piece, scratch, ids).empty());
  return ids;
}

// The character that nothing stands for.
std::string unknown(const Bpe& bpe, std::string_view piece) {
  Bpe::Scratch scratch;
  Ids ids;
  const std::string_view found = bpe.encode(piece, scratch, ids);
  CHECK((found.empty() || ids.empty()));
  return std::string(found);
}

struct Toy {
  Vocabulary vocabulary;
  std::vector<Bpe::Merge> merges;

  explicit Toy(std::string_view letters) {
    for (const char c : letters) vocabulary.add(std::string_view(&c, 1), vocabulary.size());
  }
  void merge(std::string_view left, std::string_view right) {
    const std::string result = std::string(left) + std::string(right);
    if (vocabulary.find(result) < 0) vocabulary.add(result, vocabulary.size());
    merges.push_back({vocabulary.find(left), vocabulary.find(right), vocabulary.find(result)});
  }
};

// The definition: merge the pair of lowest rank, the leftmost of equals, until there is none.
Ids encode_slowly(const Toy& toy, std::string_view piece) {
  Ids ids;
  for (const char c : piece) ids.push_back(toy.vocabulary.find(std::string_view(&c, 1)));
  while (true) {
    std::size_t best_rank = toy.merges.size(), best = 0;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      for (std::size_t rank = 0; rank < best_rank; ++rank) {
        if (toy.merges[rank].left == ids[i] && toy.merges[rank].right == ids[i + 1]) best_rank = rank, best = i;
      }
    }
    if (best_rank == toy.merges.size()) return ids;
    ids[best] = toy.merges[best_rank].result;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

}  // namespace

TEST_CASE("merges happen in order of rank, the leftmost first") {
  Toy toy("abc");
  toy.merge("b", "c");
  toy.merge("a", "a");
  toy.merge("a", "bc");
  const Bpe bpe(toy.vocabulary, toy.merges, {});
  CHECK(encode(bpe, "abc") == Ids{toy.vocabulary.find("abc")});
  CHECK(encode(bpe, "aaa") == Ids{toy.vocabulary.find("aa"), 0});
  CHECK(encode(bpe, "aabc") == Ids{toy.vocabulary.find("aa"), toy.vocabulary.find("bc")});
  CHECK(encode(bpe, "c") == Ids{2});
}

TEST_CASE("random merges give what the definition gives") {
  std::mt19937 chance(11);
  int wrong = 0;
  for (int round = 0; round < 200; ++round) {
    Toy toy("abc");
    std::vector<std::string> tokens = {"a", "b", "c"};
    // Every token is made by one merge only: where two merges make the same token, the reference's queue is the
    // definition.
    while (tokens.size() < 20) {
      const std::string left = tokens[chance() % tokens.size()], right = tokens[chance() % tokens.size()];
      if (toy.vocabulary.find(left + right) >= 0) continue;
      toy.merge(left, right);
      tokens.push_back(left + right);
    }
    const Bpe bpe(toy.vocabulary, toy.merges, {});
    for (int i = 0; i < 20; ++i) {
      std::string piece;
      for (std::size_t n = 1 + chance() % 30; n > 0; --n) piece += "abc"[chance() % 3];
      wrong += encode(bpe, piece) != encode_slowly(toy, piece);
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("long pieces, which are merged in windows, give what the definition gives") {
  std::mt19937 chance(12);
  int wrong = 0;
  for (int round = 0; round < 150; ++round) {
    Toy toy("abc");
    std::vector<std::string> tokens = {"a", "b", "c"};
    // Some have tokens that are longer than a window, some make a token in several ways.
    const std::size_t longest = round % 3 == 0 ? 300 : 12;
    const bool several = round % 2 == 0;
    std::set<std::pair<std::string, std::string>> pairs;
    for (int tries = 0; tokens.size() < 24 && tries < 1000; ++tries) {
      const std::string left = tokens[tokens.size() - 1 - chance() % 3], right = tokens[chance() % tokens.size()];
      const bool known = toy.vocabulary.find(left + right) >= 0;
      if (left.size() + right.size() > longest || (known && !several)) continue;
      if (!pairs.emplace(left, right).second) continue;  // which would have the later rank
      toy.merge(left, right);
      if (!known) tokens.push_back(left + right);
    }
    const Bpe bpe(toy.vocabulary, toy.merges, {});
    for (const int letters : {1, 2, 3}) {
      std::string piece;
      const std::size_t size = 60 + chance() % 600;
      while (piece.size() < size) {
        if (chance() % 4 == 0) piece += tokens[chance() % tokens.size()];
        piece += "abc"[chance() % static_cast<unsigned>(letters)];
      }
      wrong += encode(bpe, piece) != encode_slowly(toy, piece);
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("a choice at one end of a long piece may change tokens up to its other end") {
  // Ranks fall from left to right, so that pairs form from the end on: with one letter more they are all others.
  Toy toy("abcdefghijklmnopqrstuvwxyz");
  const std::string letters = "abcdefghijklmnopqrstuvwxyz";
  for (std::size_t i = letters.size() - 1; i > 0; --i) toy.merge(letters.substr(i - 1, 1), letters.substr(i, 1));
  toy.merge("z", "a");
  const Bpe bpe(toy.vocabulary, toy.merges, {});
  std::string text;
  for (int i = 0; i < 40; ++i) text += letters;
  for (std::size_t cut = 0; cut < 60; ++cut) {
    CHECK(encode(bpe, std::string_view(text).substr(cut)) == encode_slowly(toy, std::string_view(text).substr(cut)));
    CHECK(encode(bpe, std::string_view(text).substr(0, text.size() - cut)) ==
          encode_slowly(toy, std::string_view(text).substr(0, text.size() - cut)));
  }
}

TEST_CASE("a piece of a megabyte takes no more than a moment") {
  Toy toy("a");
  for (std::string token = "a"; token.size() < 64; token += token) toy.merge(token, token);
  const Bpe bpe(toy.vocabulary, toy.merges, {});
  const auto start = std::chrono::steady_clock::now();
  CHECK(encode(bpe, std::string(1 << 20, 'a')).size() == (1 << 20) / 64);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));  // 0.1 s; sanitizers take longer
}

TEST_CASE("a piece that is a token needs no merges where they are ignored") {
  Toy toy("ab");
  toy.vocabulary.add("aba", 2);
  CHECK(encode(Bpe(toy.vocabulary, {}, {}), "aba") == Ids{0, 1, 0});
  BpeOptions options;
  options.ignore_merges = true;
  CHECK(encode(Bpe(toy.vocabulary, {}, options), "aba") == Ids{2});
}

TEST_CASE("unknown characters become bytes, one unknown token each, or one for a run") {
  Toy toy("ab");
  toy.vocabulary.add("?", 2);
  toy.vocabulary.add("<0xC3>", 3);
  toy.vocabulary.add("<0xA9>", 4);
  BpeOptions options;
  options.unknown = 2;
  CHECK(encode(Bpe(toy.vocabulary, {}, options), "axyb") == Ids{0, 2, 2, 1});
  options.fuse_unknown = true;
  CHECK(encode(Bpe(toy.vocabulary, {}, options), "axyb") == Ids{0, 2, 1});
  CHECK(encode(Bpe(toy.vocabulary, {}, options), "xy") == Ids{2});
  options.byte_fallback = true;
  CHECK(encode(Bpe(toy.vocabulary, {}, options), "a\xC3\xA9") == Ids{0, 3, 4});
  // Bytes pass an unknown token that waits, as in the reference.
  CHECK(encode(Bpe(toy.vocabulary, {}, options),
               "x\xC3\xA9"
               "b") == Ids{3, 4, 2, 1});
}

TEST_CASE("a character that nothing stands for is named, and nothing is encoded") {
  Toy toy("ab");
  toy.vocabulary.add("<0xC3>", 2);
  CHECK(unknown(Bpe(toy.vocabulary, {}, {}), "axyb") == "x");
  CHECK(unknown(Bpe(toy.vocabulary, {}, {}), "ab") == "");
  BpeOptions options;
  options.fuse_unknown = options.byte_fallback = true;
  CHECK(unknown(Bpe(toy.vocabulary, {}, options), "a\xC3\xA9") == "\xC3\xA9");  // one of its two bytes has a token
}

TEST_CASE("the first character outside the table of single ones is found by its text") {
  Vocabulary vocabulary;
  vocabulary.add("\xC8\x80", 0);  // U+0200
  vocabulary.add("<0x00>", 1);
  vocabulary.add("\xC7\xBF", 2);  // U+01FF
  vocabulary.add("<0xFF>", 3);
  CHECK(encode(Bpe(vocabulary, {}, {}), "\xC8\x80\xC7\xBF") == Ids{0, 2});
  BpeOptions options;
  options.byte_fallback = true;
  CHECK(encode(Bpe(vocabulary, {}, options), std::string(1, '\0')) == Ids{1});
}

TEST_CASE("a byte token is < 0 x, two hexadecimal digits, >") {
  CHECK(byte_of_token("<0x0A>") == 10);
  CHECK(byte_of_token("<0xfF>") == 255);
  for (const char* const other : {"<0x-1>", "<0x+1>", "<0xZZ>", "<0x1>", "<0x100>", "0x10", "<0X10>", ""})
    CHECK_FALSE(byte_of_token(other));
  for (std::size_t byte = 0; byte < 256; ++byte) CHECK(byte_of_token(byte_token(byte)) == byte);
}

TEST_CASE("a tokenizer that nothing is said of has no unknown token and uses its merges") {
  const BpeOptions options;
  CHECK(options.unknown == -1);
  CHECK_FALSE(options.fuse_unknown);
  CHECK_FALSE(options.byte_fallback);
  CHECK_FALSE(options.ignore_merges);
}

TEST_CASE("a pair that occurs again has the later rank and result, and ids go after those that are there") {
  Vocabulary vocabulary;
  for (const char* const token : {"a", "b", "ab", "ba", "x"}) vocabulary.add(token, vocabulary.size());
  const Bpe again(vocabulary, {{0, 1, 2}, {1, 0, 3}, {0, 1, 4}}, {});
  CHECK(encode(again, "aba") == Ids{0, 3});
  CHECK(encode(again, "ab") == Ids{4});
  CHECK(encode(Bpe(vocabulary, {{0, 1, 2}, {1, 0, 3}}, {}), "aba") == Ids{2, 0});
  Bpe::Scratch scratch;
  Ids ids = {9};
  CHECK(again.encode("ab", scratch, ids).empty());
  CHECK(again.encode("bx", scratch, ids).empty());  // with the scratch of the piece before
  CHECK(ids == Ids{9, 4, 1, 4});
}

TEST_CASE("byte tokens are of either case, as long as that and nothing else") {
  CHECK(byte_token(0) == "<0x00>");
  CHECK(byte_token(0x9A) == "<0x9A>");
  CHECK(byte_token(255) == "<0xFF>");
  CHECK(byte_of_token("<0x9a>") == 0x9A);
  CHECK(byte_of_token("<0xAf>") == 0xAF);
  CHECK(byte_of_token("<0x00>") == 0);
  // The characters beside 0, 9, A, F, a and f; another end; one more.
  for (const char* const other :
       {"<0x/0>", "<0x:0>", "<0x@0>", "<0xG0>", "<0x`0>", "<0xg0>", "<0x0g>", "<0x00)", "<0x00>>"})
    CHECK_FALSE(byte_of_token(other));
}

TEST_CASE("runs of unknown characters are one token each time they end") {
  Toy toy("ab");
  toy.vocabulary.add("?", 2);
  BpeOptions options;
  options.unknown = 2;
  CHECK(encode(Bpe(toy.vocabulary, {}, options), "xa\xC3\xA9y") == Ids{2, 0, 2, 2});
  options.fuse_unknown = true;
  CHECK(encode(Bpe(toy.vocabulary, {}, options), "xya\xC3\xA9yb") == Ids{2, 0, 2, 1});
  options.unknown = 0;  // the id 0 is one
  CHECK(encode(Bpe(toy.vocabulary, {}, options), "xb") == Ids{0, 1});
  options.ignore_merges = true;
  CHECK(encode(Bpe(toy.vocabulary, {}, options), "a") == Ids{0});
}
