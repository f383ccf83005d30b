#include "headgate/tokenizer/merge_queue.hpp"

#include <random>
#include <set>

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE(
    "pairs leave a queue by rank and from left to right, those that come late among the others, in short and long "
    "pieces") {
  std::mt19937 chance(3);
  int wrong = 0;
  MergeQueue queue;
  for (const std::size_t symbols :
       {std::size_t{5}, std::size_t{2048}, std::size_t{2049}, std::size_t{100000}, std::size_t{1}}) {
    std::set<std::pair<std::int32_t, std::int32_t>> waiting;
    queue.start(symbols);
    const auto push = [&] {
      const auto rank = static_cast<std::int32_t>(chance() % 40), position = static_cast<std::int32_t>(chance() % 1000);
      if (waiting.emplace(rank, position).second) queue.push({rank, position, rank + position});
    };
    for (int i = 0; i < 500; ++i) push();
    for (int left = 3000; const auto pair = queue.pop();) {
      wrong += waiting.empty() || *waiting.begin() != std::pair(pair->rank, pair->position);
      wrong += pair->result != pair->rank + pair->position;
      waiting.erase({pair->rank, pair->position});
      for (auto n = chance() % 3; n > 0 && left > 0; --n, --left) push();
    }
    wrong += !waiting.empty();
  }
  CHECK(wrong == 0);
}
