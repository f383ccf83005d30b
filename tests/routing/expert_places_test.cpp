#include "headgate/routing/expert_places.hpp"

#include <vector>

#include "support/catch.hpp"
#include "support/random.hpp"

using namespace headgate;

TEST_CASE("places of experts are found whatever their ids, and the slots are left as they were") {
  CHECK(ExpertPlaces::slots_for(0) == 1);
  CHECK(ExpertPlaces::slots_for(1) == 2);
  CHECK(ExpertPlaces::slots_for(128) == 256);
  CHECK(ExpertPlaces::slots_for(129) == 512);
  // Dense ids, ids of product keys that share low or high bits, and what a plan will refuse.
  const auto id_of = [](int kind, std::int32_t i) {
    if (kind == 0) return i;
    if (kind == 1) return i << 10;
    if (kind == 2) return (7 << 20) + i;
    return kind == 3 ? -1 - i : i * 2654435 + 5;
  };
  for (int kind = 0; kind < 5; ++kind) {
    for (const index_t entries : {1, 2, 5, 33, 128}) {
      std::vector<index_t> slots(as_size(ExpertPlaces::slots_for(entries)) + 3);
      {
        ExpertPlaces places(slots, entries);
        std::vector<ExpertId> row;
        for (const std::int32_t i : random_order(entries, 3)) {
          const ExpertId e = id_of(kind, i);
          CHECK(places.find_or_enter(row, e) == -1);
          row.push_back(e);
        }
        for (index_t i = 0; i < entries; ++i) CHECK(places.find_or_enter(row, row[as_size(i)]) == i);
      }
      CHECK(slots == std::vector<index_t>(slots.size(), 0));
    }
  }
}
