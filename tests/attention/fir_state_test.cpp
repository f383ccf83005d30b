#include "headgate/attention/fir_state.hpp"

#include "support/catch.hpp"

using namespace headgate;

namespace {

// Appends rows of width 2 that hold their position and its negative.
void append(FirState& state, index_t count) {
  const index_t first = state.position();
  const Rows rows = state.append(count);
  REQUIRE(rows.rows == count);
  REQUIRE(rows.cols == 2);
  for (index_t t = 0; t < count; ++t) {
    rows.row_data(t)[0] = static_cast<float>(first + t + 1);
    rows.row_data(t)[1] = -static_cast<float>(first + t + 1);
  }
}
// What the two rows in front of the next one hold; 0 before position 0. Appends one.
std::vector<float> past(FirState& state) {
  const float* const next = state.append(1).data;
  return {next - 4, next};
}
std::vector<float> past_of(index_t position) {
  const auto value = [](index_t p) { return static_cast<float>(std::max(p, 0)); };
  return {value(position - 1), -value(position - 1), value(position), -value(position)};
}

}  // namespace

TEST_CASE("the rows before a row lie in front of it, however a text is cut, and are zeros before it") {
  for (const index_t spare : {0, 3}) {
    for (const std::vector<index_t>& passes : {std::vector<index_t>{1, 1, 1, 1, 1, 1, 1, 1},
                                               std::vector<index_t>{4, 4, 1, 1, 4}, std::vector<index_t>{3, 4}}) {
      FirState state({40, 4, spare}, 3, 2);
      for (const index_t rows : passes) {
        const index_t position = state.position();
        CHECK(past(state) == past_of(position));
        state.truncate(position);
        append(state, rows);
      }
      const index_t position = state.position();
      CHECK(past(state) == past_of(position));
    }
  }
}

TEST_CASE("a convolution's state goes back to the beginning of its last pass, by its spare rows, or to 0") {
  for (const index_t spare : {0, 1, 5}) {
    for (const index_t last : {1, 4}) {
      FirState state({100, 4, spare}, 3, 2);
      for (index_t i = 0; i < 12; ++i) append(state, 4);
      append(state, last);
      const index_t end = state.position();
      for (const index_t back : {last, spare}) {
        CHECK(state.nearest(end - back) == end - back);
        FirState copy = state.clone();
        copy.truncate(end - back);
        CHECK(copy.position() == end - back);
        CHECK(past(copy) == past_of(end - back));
      }
      CHECK(state.nearest(20) == 0);
      CHECK(state.nearest(0) == 0);
      state.truncate(0);
      CHECK(state.position() == 0);
      CHECK(past(state) == past_of(0));
    }
  }
}

TEST_CASE("a convolution's state goes back to its snapshots, until it has gone back further") {
  FirState state({100, 4, 0}, 3, 2);
  const std::int64_t empty = state.bytes();
  append(state, 1);
  state.snapshot();
  state.snapshot();  // the same
  CHECK(state.bytes() == empty + 16);
  append(state, 4);
  CHECK(state.keeps_present(4, true));
  CHECK_FALSE(state.keeps_present(4, false));
  state.snapshot();
  CHECK(state.keeps_present(4, false));
  for (index_t i = 0; i < 10; ++i) append(state, 4);
  CHECK_FALSE(state.keeps_present(4, false));
  CHECK(state.nearest(30) == 5);
  CHECK(state.nearest(4) == 1);
  CHECK(state.nearest(0) == 0);
  FirState fork = state.clone();
  fork.truncate(5);
  CHECK(past(fork) == past_of(5));
  fork.truncate(1);
  CHECK(past(fork) == past_of(1));
  fork.truncate(1);
  for (index_t i = 0; i < 10; ++i) append(fork, 4);
  CHECK(fork.nearest(30) == 1);
  fork.truncate(0);
  for (index_t i = 0; i < 10; ++i) append(fork, 4);
  CHECK(fork.nearest(30) == 0);
  CHECK(state.nearest(30) == 5);  // the fork's own
}

TEST_CASE("a convolution's state holds no more than a pass and its spare rows, nor than a text has") {
  CHECK(FirState::bytes({1000000, 8, 5}, 3, 7) == 4 * (2 + 5 + 8) * 7);
  CHECK(FirState::bytes({6, 8, 5}, 3, 7) == 4 * (2 + 6) * 7);
  CHECK(FirState::bytes({0, 8, 5}, 1, 7) == 0);
  FirState state({1000000, 8, 5}, 3, 7);
  CHECK(state.bytes() == FirState::bytes({1000000, 8, 5}, 3, 7));
  for (index_t i = 0; i < 100; ++i) state.append(8);
  CHECK(state.bytes() == FirState::bytes({1000000, 8, 5}, 3, 7));
  CHECK(state.context_size() == 1000000);
  CHECK(state.rows_per_pass() == 8);
  CHECK(state.taps() == 3);
  CHECK(state.width() == 7);

  FirState none({4, 4, 0}, 1, 2);  // of one tap remembers nothing
  append(none, 4);
  CHECK(none.nearest(2) == 2);
}
