#include "headgate/tokenizer/merge_queue.hpp"

#include <random>
#include <set>

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("pairs leave a queue by rank and from left to right, those that come late among the others") {
  std::mt19937 chance(3);
  int wrong = 0;
  MergeQueue queue;
  for (int round = 0; round < 3; ++round) {
    std::set<std::pair<std::int32_t, std::int32_t>> waiting;
    const auto push = [&] {
      const auto rank = static_cast<std::int32_t>(chance() % 40), position = static_cast<std::int32_t>(chance() % 1000);
      if (waiting.emplace(rank, position).second) queue.push({rank, position});
    };
    for (int i = 0; i < 500; ++i) push();
    for (int left = 3000; const auto pair = queue.pop();) {
      wrong += waiting.empty() || *waiting.begin() != std::pair(pair->rank, pair->position);
      waiting.erase({pair->rank, pair->position});
      for (auto n = chance() % 3; n > 0 && left > 0; --n, --left) push();
    }
    wrong += !waiting.empty();
  }
  CHECK(wrong == 0);
  queue.push({2147483647, 2147483647});
  queue.push({2147483647, 0});
  CHECK(queue.pop()->position == 0);
  CHECK(queue.pop()->rank == 2147483647);
  CHECK_FALSE(queue.pop());
}
