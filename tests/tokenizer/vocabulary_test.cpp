#include "headgate/tokenizer/vocabulary.hpp"

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("a vocabulary finds tokens by text and by id, with gaps between ids") {
  Vocabulary vocabulary;
  CHECK(vocabulary.find("a") == -1);
  CHECK(vocabulary.max_id() == -1);
  for (int i = 0; i < 1000; ++i) CHECK(vocabulary.add("t" + std::to_string(i), 3 * i) == Vocabulary::Added::yes);
  CHECK(vocabulary.size() == 1000);
  CHECK(vocabulary.max_id() == 2997);
  CHECK(vocabulary.find("t999") == 2997);
  CHECK(vocabulary.find("t1000") == -1);
  CHECK(vocabulary.text(3) == "t1");
  CHECK_FALSE(vocabulary.text(4));
  CHECK_FALSE(vocabulary.text(-1));
  CHECK_FALSE(vocabulary.text(2998));
}

TEST_CASE("a vocabulary refuses a second id for a text and a second text for an id") {
  Vocabulary vocabulary;
  CHECK(vocabulary.add("a", 1) == Vocabulary::Added::yes);
  CHECK(vocabulary.add("a", 2) == Vocabulary::Added::text_known);
  CHECK(vocabulary.add("b", 1) == Vocabulary::Added::id_known);
  CHECK(vocabulary.add("", 0) == Vocabulary::Added::yes);
  CHECK(vocabulary.find("") == 0);
  CHECK(vocabulary.find("b") == -1);
}
