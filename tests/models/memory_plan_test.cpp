#include "headgate/models/memory_plan.hpp"

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("a plan of memory adds up in 64 bits") {
  constexpr MemoryPlan plan{.weights = std::int64_t{1} << 40,
                            .kv_cache = 20,
                            .workspace = 3,
                            .largest_tensor = 100,
                            .mapped = std::int64_t{1} << 50};
  static_assert(plan.total() == (std::int64_t{1} << 40) + 123);
  CHECK(MemoryPlan{}.total() == 0);
}

TEST_CASE("a plan of nothing is nothing") {
  CHECK(MemoryPlan{}.weights == 0);
  CHECK(MemoryPlan{}.kv_cache == 0);
  CHECK(MemoryPlan{}.workspace == 0);
  CHECK(MemoryPlan{}.largest_tensor == 0);
}
