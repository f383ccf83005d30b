#include "headgate/attention/any_mixer.hpp"

#include "support/catch.hpp"
#include "support/running_sum.hpp"
#include "support/status.hpp"

using namespace headgate;

namespace {

// Keeps the last row alone: a mixer with another state.
struct Last {
  struct State {
    index_t positions = 0;
    index_t context_size() const noexcept { return 100; }
    index_t position() const noexcept { return positions; }
    index_t nearest(index_t p) const noexcept { return p; }
    void truncate(index_t p) noexcept { positions = p; }
    bool keeps_present(index_t, bool) const noexcept { return true; }
    void snapshot() {}
    State clone() const { return *this; }
    std::int64_t bytes() const noexcept { return 0; }
  };
  index_t hidden_size() const noexcept { return 1; }
  std::int64_t weight_bytes() const noexcept { return 0; }
  const Rope* rope() const noexcept { return nullptr; }
  State make_state(const StateSize&) const { return {}; }
  Status forward(const MixerInput& in, std::span<State* const> states, Rows y, Context&) const {
    return check_mixer(in, states, y, 1, 0);
  }
};

// The texts' next rows in one pass, so many of each.
std::vector<float> pass(const AnyMixer& mixer, std::vector<AnyState*> states, const std::vector<index_t>& rows,
                        std::vector<float> x) {
  std::vector<SequenceRows> sequences;
  for (std::size_t s = 0; s < states.size(); ++s) sequences.push_back({rows[s], states[s]->position()});
  const Rows all(x.data(), static_cast<index_t>(x.size()), 1);
  Context ctx;
  throw_if_error(mixer.forward({all, sequences, {}, {}}, states, all, ctx));
  return x;
}

}  // namespace

TEST_CASE("an erased mixer works as the concrete one, on several texts, with states that keep their law") {
  const AnyMixer mixer = RunningSum();
  CHECK(mixer.hidden_size() == 1);
  CHECK(mixer.weight_bytes() == 42);
  CHECK(mixer.rope() == nullptr);
  CHECK(mixer.holds(CacheType::f32));
  CHECK_FALSE(mixer.holds(CacheType::f16));  // which says nothing of itself
  AnyState a = mixer.make_state({8, 4, 0});
  AnyState b = mixer.make_state({8, 4, 0});
  CHECK(pass(mixer, {&a, &b}, {2, 1}, {1, 2, 10}) == std::vector<float>{1, 3, 10});
  a.snapshot();
  CHECK(pass(mixer, {&b, &a}, {1, 2}, {20, 4, 8}) == std::vector<float>{30, 7, 15});
  CHECK(a.position() == 4);
  CHECK(a.nearest(3) == 2);
  AnyState fork = a.clone();
  CHECK(a.bytes() == 3 * 4);
  a.truncate(2);
  CHECK(pass(mixer, {&a, &fork}, {1, 1}, {16, 16}) == std::vector<float>{19, 31});
  CHECK(a.position() == 3);
  CHECK(fork.position() == 5);
  CHECK(a.get_if<RunningSumState>()->sum()[0] == 19.0f);
  CHECK(a.get_if<Last::State>() == nullptr);
}

TEST_CASE("an erased mixer passes errors on and refuses the state of another kind") {
  const AnyMixer mixer = RunningSum();
  AnyState state = mixer.make_state({1, 1, 0});
  AnyState other = AnyMixer(Last()).make_state({1, 1, 0});
  Context ctx;
  float x[] = {1.0f, 2.0f};
  const auto forward = [&](AnyState* of, index_t rows) {
    const SequenceRows sequence{rows, 0};
    const Rows all(x, rows, 1);
    return said(mixer.forward({all, {&sequence, 1}, {}, {}}, {&of, 1}, all, ctx));
  };
  CHECK(forward(&state, 2) == "limit: positions against the size of the context (got 2, allowed 1), token 0");
  CHECK(forward(&other, 1) == "usage: the state was made by another kind of mixer");
  CHECK(forward(nullptr, 1) == "usage: a sequence without a state, token 0");
  CHECK(forward(&state, 1) == "ok");
}
