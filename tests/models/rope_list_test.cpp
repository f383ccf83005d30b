#include "headgate/models/rope_list.hpp"

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("rotary positions that are alike are one entry of the list, whoever asks") {
  const Rope a = Rope::create(1e4, 14).value();
  const Rope same = Rope::create(1e4, 14).value();
  const Rope wider = Rope::create(1e4, 24).value();
  RopeList list;
  CHECK(list.add(nullptr) == RopeList::none);
  CHECK(list.floats_per_row() == 0);
  CHECK(list.add(&a) == 0);
  CHECK(list.add(&wider) == 1);
  CHECK(list.add(&same) == 0);
  REQUIRE(list.all().size() == 2);
  CHECK(list.all()[1] == &wider);
  CHECK(list.floats_per_row() == 14 + 24);
}
