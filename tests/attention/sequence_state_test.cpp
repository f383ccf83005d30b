#include "headgate/attention/sequence_state.hpp"

#include "support/catch.hpp"
#include "support/running_sum.hpp"

using namespace headgate;

static_assert(SequenceState<RunningSumState>);

TEST_CASE("a recurrent state answers how far back it can go, and goes there") {
  RunningSumState state({10, 4, 0}, 1);
  const auto append = [&](float x) {
    state.sum()[0] += x;
    state.append();
  };
  append(1.0f);
  append(2.0f);
  state.snapshot();
  append(4.0f);
  append(8.0f);
  CHECK(state.nearest(4) == 4);
  CHECK(state.nearest(3) == 2);  // no, but to 2
  CHECK(state.nearest(2) == 2);
  CHECK(state.nearest(1) == 0);
  RunningSumState fork = state.clone();
  state.truncate(state.nearest(3));
  CHECK(state.position() == 2);
  CHECK(state.sum()[0] == 3.0f);
  append(16.0f);
  CHECK(state.sum()[0] == 19.0f);
  state.truncate(0);
  CHECK(state.sum()[0] == 0.0f);
  append(5.0f);
  append(5.0f);
  append(5.0f);
  CHECK(state.nearest(2) == 0);  // the snapshot at 2 was of another text
  CHECK(fork.position() == 4);
  CHECK(fork.sum()[0] == 15.0f);
  CHECK(fork.nearest(3) == 2);
  CHECK(fork.bytes() == 3 * 4);
}
