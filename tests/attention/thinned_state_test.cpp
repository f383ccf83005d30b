#include "headgate/attention/thinned_state.hpp"

#include "headgate/attention/kv_cache.hpp"
#include "support/catch.hpp"
#include "support/running_sum.hpp"

using namespace headgate;

namespace {

// Positions 1, 2, 5, 6 of eight are kept.
template <class Own>
ThinnedState thinned(Own own, bool (*append)(AnyState&)) {
  ThinnedState state(AnyState(std::move(own)), 20);
  for (index_t t = 0; t < 8; ++t) {
    if (t == 1 || t == 2 || t == 5 || t == 6) {
      state.keep(t);
      append(state.own());
    }
    state.append(1);
  }
  return state;
}
ThinnedState of_cache(index_t window, index_t spare) {
  return thinned(KvCache({20, 4, spare}, 1, 8, window), [](AnyState& own) {
    KvCache& cache = *own.get_if<KvCache>();
    const float values[8] = {};
    cache.reserve(1);
    cache.store(cache.position(), 0, values, values);
    cache.append(1);
    return true;
  });
}

}  // namespace

TEST_CASE("a thinned state has the positions of its text, and its mixer's those that were kept") {
  ThinnedState state = of_cache(0, 0);
  CHECK(state.position() == 8);
  CHECK(state.own().position() == 4);
  CHECK(std::ranges::equal(state.kept(), std::vector<index_t>{1, 2, 5, 6}));
  CHECK(state.bytes() == state.own().bytes() + 80);
  for (index_t m = 0; m <= 8; ++m) CHECK(state.nearest(m) == m);
  ThinnedState copy = state.clone();
  state.truncate(5);
  CHECK(state.position() == 5);
  CHECK(state.own().position() == 2);
  state.truncate(2);
  CHECK(std::ranges::equal(state.kept(), std::vector<index_t>{1}));
  state.truncate(0);
  CHECK(state.own().position() == 0);
  CHECK(copy.position() == 8);
  CHECK(copy.own().position() == 4);
  CHECK(std::ranges::equal(copy.kept(), std::vector<index_t>{1, 2, 5, 6}));
}

TEST_CASE("where the mixer cannot go back the nearest position is before the next one that it would have to see") {
  ThinnedState state = thinned(RunningSumState({20, 4, 0}, 1), [](AnyState& own) {
    own.get_if<RunningSumState>()->append();
    if (own.position() == 2) own.snapshot();
    return true;
  });
  CHECK(state.nearest(8) == 8);
  CHECK(state.nearest(7) == 7);  // 7 was not kept
  CHECK(state.nearest(6) == 5);  // two were kept before 5
  CHECK(state.nearest(5) == 5);
  CHECK(state.nearest(3) == 3);
  CHECK(state.nearest(2) == 1);
  CHECK(state.nearest(1) == 1);
  state.truncate(4);
  CHECK(state.own().position() == 2);
  CHECK(!state.keeps_present(1, false) == !state.own().keeps_present(1, false));
}

TEST_CASE("a thinned state forgets what its mixer has seen of a pass that failed") {
  ThinnedState state = of_cache(0, 0);
  KvCache& cache = *state.own().get_if<KvCache>();
  cache.append(3);  // a pass that came to nothing
  CHECK(state.nearest(8) == 8);
  state.truncate(8);
  CHECK(cache.position() == 4);
}
