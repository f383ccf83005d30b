#include "headgate/layers/layer_schedule.hpp"

#include "support/catch.hpp"
#include "support/status.hpp"

using namespace headgate;

namespace {

LayerSchedule schedule(std::vector<std::uint8_t> runs) { return LayerSchedule::create(std::move(runs)).value(); }

}  // namespace

TEST_CASE("a schedule of layers says how often each runs, and nothing said is once") {
  const LayerSchedule none;
  CHECK(none.layers() == 0);
  CHECK(none.runs(7) == 1);
  CHECK(none.is_plain());
  const LayerSchedule some = schedule({1, 0, 2});
  CHECK(some.layers() == 3);
  CHECK(some.runs(0) == 1);
  CHECK(some.runs(1) == 0);
  CHECK(some.runs(2) == 2);
  CHECK(!some.is_plain());
  CHECK(schedule({1, 1}) == none);
  CHECK(schedule({1, 0, 2}) == some);
  CHECK(!(schedule({1, 0, 1}) == some));
  CHECK(!(none == some));
}

TEST_CASE("a layer that would run three times is refused by its number") {
  const auto made = LayerSchedule::create({1, 2, 3});
  CHECK(refused(made) == "runs of a layer, at most (got 3, allowed 2), layer 2");
}
