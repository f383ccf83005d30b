#include "headgate/core/workspace.hpp"

#include <cstring>
#include <random>

#include "support/catch.hpp"

using namespace headgate;

namespace {

bool aligned(const void* address) { return reinterpret_cast<std::uintptr_t>(address) % 64 == 0; }

using Pass = std::vector<std::vector<std::int64_t>>;  // sizes of the takes of a mark, and inside it those of the next

// What one pass has taken at most at a time.
std::size_t taken_by(const Pass& pass) {
  std::size_t taken = 0;
  for (const std::vector<std::int64_t>& takes : pass) {
    for (const std::int64_t bytes : takes) taken += (as_size(bytes) + 63) / 64 * 64;
  }
  return taken;
}
// Does a pass, each mark inside the one before and two times over, and checks that bytes stay what was written while
// they are held. Returns the most bytes held on the way.
std::size_t run(Workspace& workspace, const Pass& pass, std::size_t depth = 0) {
  if (depth == pass.size()) return workspace.capacity();
  std::size_t held = 0;
  for (int again = 0; again < 2; ++again) {
    const Workspace::Mark mark(workspace);
    std::vector<std::span<std::uint8_t>> taken;
    for (const std::int64_t bytes : pass[depth]) {
      taken.push_back(workspace.take<std::uint8_t>(bytes));
      REQUIRE(aligned(taken.back().data()));
      if (bytes != 0) taken.back().front() = taken.back().back() = static_cast<std::uint8_t>(taken.size());
    }
    held = std::max(held, run(workspace, pass, depth + 1));
    for (std::size_t i = 0; i < taken.size(); ++i) {
      REQUIRE((taken[i].empty() || (taken[i].front() == i + 1 && taken[i].back() == i + 1)));
    }
  }
  return held;
}

}  // namespace

TEST_CASE("what is taken is aligned, does not overlap and keeps its place while more is taken") {
  Workspace workspace;
  std::vector<std::span<std::uint8_t>> taken;
  for (const std::int64_t size : {1, 64, 65, 0, 100'000, 3, 1'000'000}) {
    taken.push_back(workspace.take<std::uint8_t>(size));
    CHECK(taken.back().size() == as_size(size));
    CHECK(aligned(taken.back().data()));
    if (size != 0) std::memset(taken.back().data(), static_cast<int>(taken.size()), as_size(size));
  }
  for (std::size_t i = 0; i < taken.size(); ++i) {
    bool whole = true;
    for (const std::uint8_t byte : taken[i]) whole = whole && byte == i + 1;
    CHECK(whole);
  }
}

TEST_CASE("a mark gives back what was taken since, and the second pass allocates nothing") {
  Workspace workspace;
  CHECK(workspace.capacity() == 0);
  const auto pass = [&] {
    const Workspace::Mark outer(workspace);
    const float* const first = workspace.take<float>(1000).data();
    {
      const Workspace::Mark inner(workspace);
      workspace.take<double>(100'000);
      workspace.take<double>(200'000);
    }
    const double* const again = workspace.take<double>(10).data();
    CHECK(static_cast<const void*>(again) != first);
    return first;
  };
  pass();
  const std::size_t capacity = workspace.capacity();
  const float* const first = pass();
  CHECK(pass() == first);
  CHECK(workspace.capacity() == capacity);
}

TEST_CASE("passes that grow, shrink or come in any order hold what the largest needs, at most twice") {
  std::mt19937 rng(7);
  const auto pass_of = [](std::int64_t rows) -> Pass {  // as a Mixture-of-Experts layer takes it
    return {{rows * 128, rows * 128}, {rows * 4, rows * 512, 8 * 4}, {rows * 768}};
  };
  std::vector<std::vector<std::int64_t>> orders(3);
  for (std::int64_t rows = 1; rows <= 2700; rows += 27) orders[0].push_back(rows);
  orders[1].assign(orders[0].rbegin(), orders[0].rend());
  orders[2] = orders[0];
  std::shuffle(orders[2].begin(), orders[2].end(), rng);
  for (const std::vector<std::int64_t>& order : orders) {
    Workspace workspace;
    std::size_t largest = 0;
    for (const std::int64_t rows : order) {
      largest = std::max(largest, taken_by(pass_of(rows)));
      CHECK(run(workspace, pass_of(rows)) <= 2 * largest + 65536);
      CHECK(workspace.capacity() <= Workspace::held_for(largest));
    }
    CHECK(Workspace::held_for(largest) <= largest + largest / 4);
    CHECK(workspace.capacity() >= largest);
  }
}

TEST_CASE("random passes hold at most twice what the largest takes, and the same pass again allocates nothing") {
  std::mt19937 rng(11);
  for (int round = 0; round < 60; ++round) {
    Workspace workspace;
    std::size_t largest = 0;
    for (int i = 0; i < 12; ++i) {
      Pass pass(1 + rng() % 4);
      for (std::vector<std::int64_t>& takes : pass) {
        takes.resize(rng() % 5);
        for (std::int64_t& bytes : takes) bytes = static_cast<std::int64_t>(rng() % (1u << (4 + rng() % 16)));
      }
      largest = std::max(largest, taken_by(pass));
      CHECK(run(workspace, pass) <= 2 * largest + 65536);
      const std::size_t capacity = workspace.capacity();
      CHECK(capacity <= Workspace::held_for(largest));
      CHECK(run(workspace, pass) <= std::max(capacity, std::size_t{65536}));
    }
  }
}

TEST_CASE("marks inside a mark may grow without what they held before staying behind") {
  Workspace workspace;
  const Workspace::Mark outer(workspace);
  workspace.take<std::uint8_t>(1000);
  for (std::int64_t bytes = 1 << 16; bytes <= 1 << 22; bytes += 1 << 16) {
    const Workspace::Mark inner(workspace);
    workspace.take<std::uint8_t>(bytes);
    CHECK(workspace.capacity() <= as_size(bytes) + 65536);
  }
}

TEST_CASE("passes that grow step by step seldom get a new block") {
  Workspace workspace;
  std::size_t changes = 0;
  for (std::int64_t rows = 1; rows <= 4096; ++rows) {
    const std::size_t before = workspace.capacity();
    const Workspace::Mark mark(workspace);
    workspace.take<float>(rows * 64);
    changes += workspace.capacity() != before ? 1u : 0u;
  }
  CHECK(changes <= 1 + 4 * 4);  // from 64 KiB to 1 MiB: four doublings of four steps
}

TEST_CASE("a take of more bytes than there can be is refused") {
  Workspace workspace;
  CHECK_THROWS_AS(workspace.take<double>(std::int64_t{1} << 61), std::bad_alloc);
  CHECK_THROWS_AS(workspace.take<double>((std::int64_t{1} << 61) + 1), std::bad_alloc);
  CHECK_THROWS_AS(workspace.take<std::uint8_t>(-1), std::bad_alloc);
  CHECK(workspace.take_rows(3, 5).row(2).size() == 5);
  CHECK(workspace.take_rows<std::uint8_t>(3, 5).stride == 5);
  CHECK(workspace.capacity() == 65536);
}

TEST_CASE("memory reserved for a pass is all that its first run holds") {
  Workspace workspace;
  workspace.reserve(300'000);
  CHECK(workspace.capacity() == Workspace::held_for(300'000));
  const Pass pass{{100'000}, {90'000}, {100'000, 9'000}};
  CHECK(run(workspace, pass) == Workspace::held_for(300'000));
  workspace.reserve(1000);
  CHECK(workspace.capacity() == Workspace::held_for(300'000));
  const Workspace::Mark mark(workspace);
  const std::span<std::uint8_t> taken = workspace.take<std::uint8_t>(100);
  workspace.reserve(1'000'000);  // nothing: somebody holds a part
  CHECK(workspace.capacity() == Workspace::held_for(300'000));
  taken[99] = 1;
}

TEST_CASE("what is held for a pass is its bytes in steps of a quarter of the power of two below") {
  constexpr std::size_t kib = 1024;
  CHECK(Workspace::held_for(0) == 64 * kib);
  CHECK(Workspace::held_for(64 * kib) == 64 * kib);
  CHECK(Workspace::held_for(64 * kib + 1) == 80 * kib);
  CHECK(Workspace::held_for(80 * kib) == 80 * kib);
  CHECK(Workspace::held_for(80 * kib + 64) == 96 * kib);
  CHECK(Workspace::held_for(128 * kib) == 128 * kib);
  CHECK(Workspace::held_for(129 * kib) == 160 * kib);
}

TEST_CASE("reserved memory outlives a pass that takes little, and more takes its place") {
  Workspace workspace;
  workspace.reserve(100'000);
  CHECK(workspace.capacity() == Workspace::held_for(100'000));
  workspace.reserve(300'000);
  CHECK(workspace.capacity() == Workspace::held_for(300'000));
  {
    const Workspace::Mark mark(workspace);
    workspace.take<std::uint8_t>(100);
  }
  CHECK(workspace.capacity() == Workspace::held_for(300'000));
}

TEST_CASE("elements as wide as a line may be taken") {
  struct alignas(64) Line {
    std::uint8_t bytes[64];
  };
  Workspace workspace;
  workspace.take<std::uint8_t>(1);
  const std::span<Line> lines = workspace.take<Line>(2);
  CHECK(aligned(&lines[1]));
}
