#include "headgate/core/workspace.hpp"

#include <cstring>

#include "support/catch.hpp"

using namespace headgate;

namespace {

bool aligned(const void* address) { return reinterpret_cast<std::uintptr_t>(address) % 64 == 0; }

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
  const float* const first = pass();
  const std::size_t capacity = workspace.capacity();
  CHECK(pass() == first);
  CHECK(workspace.capacity() == capacity);
}
