#include "headgate/attention/mixer.hpp"

#include <limits>
#include <vector>

#include "support/catch.hpp"
#include "support/running_sum.hpp"
#include "support/status.hpp"

using namespace headgate;

static_assert(Mixer<RunningSum>);

namespace {

// A state of 2 positions, and one of none, of a context of 5.
struct Case {
  std::vector<float> data = std::vector<float>(64);
  RunningSumState first{{5, 5, 0}, 4};
  RunningSumState second{{5, 5, 0}, 4};
  std::vector<RunningSumState*> states{&first, &second};
  std::vector<SequenceRows> sequences{{1, 2}, {2, 0}};
  ConstRows hidden{data.data(), 3, 4};
  ConstRows cosines{data.data(), 3, 2};
  ConstRows sines{data.data(), 3, 2};
  Rows y{data.data() + 32, 3, 4};
  index_t half = 2;

  Case() {
    first.append();
    first.append();
  }
  std::string outcome() {
    return said(check_mixer(MixerInput{hidden, sequences, cosines, sines}, std::span<RunningSumState* const>(states), y,
                            4, half));
  }
};
std::string outcome(void (*change)(Case&)) {
  Case c;
  change(c);
  return c.outcome();
}

}  // namespace

TEST_CASE("each part of a mixer's input is named with what it has and what fits") {
  CHECK(outcome([](Case&) {}) == "ok");
  CHECK(outcome([](Case& c) { c.hidden.cols = 5; }) == "usage: width of x against hidden_size (got 5, allowed 4)");
  CHECK(outcome([](Case& c) { c.y.rows = 2; }) == "usage: rows of y against rows of x (got 2, allowed 3)");
  CHECK(outcome([](Case& c) { c.y = Rows(c.y.data, 3, 5); }) ==
        "usage: width of y against hidden_size (got 5, allowed 4)");
  CHECK(outcome([](Case& c) { c.cosines.rows = 2; }) == "usage: rows of cosines against rows of x (got 2, allowed 3)");
  CHECK(outcome([](Case& c) { c.sines.rows = 2; }) == "usage: rows of sines against rows of x (got 2, allowed 3)");
  CHECK(outcome([](Case& c) { c.cosines.cols = 1; }) ==
        "usage: cosines of a row against half of the rotary width (got 1, allowed 2)");
  CHECK(outcome([](Case& c) { c.sines.cols = 1; }) ==
        "usage: sines of a row against half of the rotary width (got 1, allowed 2)");
  CHECK(outcome([](Case& c) {
          c.cosines = c.sines = {};
          c.half = 0;
        }) == "ok");
  for (ConstRows Case::* matrix : {&Case::hidden, &Case::cosines, &Case::sines}) {
    Case c;
    (c.*matrix).data = nullptr;
    CHECK(c.outcome() == "usage: rows of a matrix without data");
  }
  CHECK(outcome([](Case& c) { c.y.data = nullptr; }) == "usage: rows of a matrix without data");
}

TEST_CASE("the sequences of a pass and their states must fit each other and the rows") {
  CHECK(outcome([](Case& c) { c.states.pop_back(); }) == "usage: states against sequences (got 1, allowed 2)");
  CHECK(outcome([](Case& c) { c.states[1] = nullptr; }) == "usage: a sequence without a state, token 1");
  CHECK(outcome([](Case& c) {
          c.states[1] = c.states[0];
          c.sequences[1].first_position = 2;
        }) == "usage: a state of two sequences of a pass, token 1");
  CHECK(outcome([](Case& c) { c.sequences[1].rows = -1; }) ==
        "usage: rows of a sequence, at least (got -1, allowed 0), token 1");
  CHECK(outcome([](Case& c) { c.sequences[0].first_position = 1; }) ==
        "usage: first position against positions of the state (got 1, allowed 2), token 0");
  CHECK(outcome([](Case& c) { c.sequences[1].first_position = -1; }) ==
        "usage: first position against positions of the state (got -1, allowed 0), token 1");
  CHECK(outcome([](Case& c) { c.sequences[0].rows = 4; }) ==
        "limit: positions against the size of the context (got 6, allowed 5), token 0");
  CHECK(outcome([](Case& c) { c.sequences[0].rows = std::numeric_limits<index_t>::max(); }) ==
        "limit: positions against the size of the context (got 2147483649, allowed 5), token 0");
  CHECK(outcome([](Case& c) { c.sequences[1].rows = 1; }) ==
        "usage: rows of all sequences against rows of x (got 2, allowed 3)");
  CHECK(outcome([](Case& c) { c.sequences[1].rows = 3; }) ==
        "usage: rows of all sequences against rows of x (got 4, allowed 3)");
  CHECK(outcome([](Case& c) {  // no text at all
          c.states.clear();
          c.sequences.clear();
          c.hidden = c.cosines = c.sines = {nullptr, 0, 4};
          c.cosines.cols = c.sines.cols = 2;
          c.y = {nullptr, 0, 4};
        }) == "ok");
}

TEST_CASE("a state that takes no more than so many rows in a pass says so") {
  struct Narrow : RunningSumState {
    using RunningSumState::RunningSumState;
    index_t rows_per_pass() const noexcept { return 2; }
  };
  std::vector<float> data(12);
  Narrow state({5, 2, 0}, 4);
  Narrow* const states[] = {&state};
  const auto outcome = [&](index_t rows) {
    const SequenceRows sequence{rows, 0};
    const MixerInput in{{data.data(), rows, 4}, {&sequence, 1}, {}, {}};
    return said(check_mixer(in, std::span<Narrow* const>(states), {data.data(), rows, 4}, 4, 0));
  };
  CHECK(outcome(2) == "ok");
  CHECK(outcome(3) == "usage: rows of a sequence, at most (got 3, allowed 2), token 0");
}
