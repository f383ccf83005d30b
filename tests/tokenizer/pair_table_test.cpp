#include "headgate/tokenizer/pair_table.hpp"

#include <map>
#include <random>

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("a pair table agrees with a map, and a later value replaces an earlier") {
  std::mt19937 chance(3);
  PairTable<int> table;
  CHECK(table.find(0, 0) == nullptr);
  std::map<std::pair<int, int>, int> expected;
  for (int i = 0; i < 20000; ++i) {
    const auto first = static_cast<std::int32_t>(chance() % 150), second = static_cast<std::int32_t>(chance() % 150);
    table.insert(first, second, i);
    expected[{first, second}] = i;
  }
  int wrong = 0;
  for (std::int32_t a = 0; a < 150; ++a) {
    for (std::int32_t b = 0; b < 150; ++b) {
      const auto found = expected.find({a, b});
      const int* const value = table.find(a, b);
      wrong += (value == nullptr) != (found == expected.end()) || (value != nullptr && *value != found->second);
    }
  }
  CHECK(wrong == 0);
  CHECK(table.find(2147483647, 2147483647) == nullptr);
}
