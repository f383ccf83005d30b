#include "headgate/tokenizer/tokenizer_parts.hpp"

#include "headgate/tokenizer/tokenizer.hpp"
#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("a tokenizer is made of parts by hand") {
  Vocabulary vocabulary;
  vocabulary.add("a", 0);
  TokenizerParts parts{{{.id = 1, .content = "<x>"}}, Normalizer(), PreTokenizer(),
                       Bpe(vocabulary, {}, {}),       {{1}, {0}},   {}};
  const Tokenizer tokenizer(std::move(parts));
  CHECK(tokenizer.encode("aa<x>") == std::vector<std::int32_t>{1, 0, 0, 1, 0});
}
