#include "headgate/tokenizer/merge_list.hpp"

#include "support/catch.hpp"
#include "tokenizer/refusal.hpp"

using namespace headgate;

TEST_CASE("merges are resolved once the vocabulary is known, and a missing token is named with its merge") {
  Vocabulary vocabulary;
  for (const char* const token : {"a", "b", "ab", "a b"}) vocabulary.add(token, vocabulary.size());
  MergeList merges;
  merges.start(10);
  merges.add_part("a");
  merges.add_part("b");
  CHECK(merges.parts() == 2);
  merges.start(20);
  merges.add_part("a");
  merges.add_part(" b");
  vocabulary.add(" b", 4);
  const auto resolved = merges.resolve(vocabulary, "file");
  REQUIRE(resolved.size() == 2);
  CHECK((resolved[0].left == 0 && resolved[0].right == 1 && resolved[0].result == 2));
  CHECK((resolved[1].left == 0 && resolved[1].right == 4 && resolved[1].result == 3));
  merges.start(30);
  merges.add_part("b");
  merges.add_part("a");
  const Refusal refusal = refusal_of([&] { merges.resolve(vocabulary, "file"); });
  CHECK(refusal.code == ErrorCode::bad_file);
  CHECK(refusal.text == "file: model.merges at byte 30: merge 2: its result 'ba' is not in the vocabulary");
}
