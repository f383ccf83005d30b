#include "headgate/models/scoped_hook.hpp"

#include <functional>
#include <stdexcept>
#include <vector>

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("a scoped hook is called within its block and what was there before after it, whichever way it ends") {
  std::vector<int> calls;
  std::function<void(int)> place = [&](int i) { calls.push_back(i); };
  {
    const ScopedHook outer(place, [&](int i) { calls.push_back(10 * i); });
    place(1);
    {
      const ScopedHook inner(place, nullptr);
      CHECK_FALSE(place);
    }
    place(2);
  }
  place(3);
  CHECK(calls == std::vector<int>{10, 20, 3});
  try {
    const ScopedHook hook(place, [](int) { throw std::runtime_error("enough"); });
    place(4);
  } catch (const std::runtime_error&) {
  }
  place(5);
  CHECK(calls == std::vector<int>{10, 20, 3, 5});
}
