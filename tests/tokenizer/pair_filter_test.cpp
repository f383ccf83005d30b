#include "headgate/tokenizer/pair_filter.hpp"

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("a pair filter knows every pair that it got, and few others") {
  PairFilter filter;
  CHECK_FALSE(filter.may_have(0, 0));
  for (std::int32_t i = -1; i < 3000; ++i) filter.insert(i, 7 * i + 1);
  int missing = 0, wrong = 0;
  for (std::int32_t i = -1; i < 3000; ++i) {
    missing += !filter.may_have(i, 7 * i + 1);
    wrong += filter.may_have(i, 7 * i + 2);
  }
  CHECK(missing == 0);
  CHECK(wrong < 30);
}
