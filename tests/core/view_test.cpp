#include "headgate/core/view.hpp"

#include <type_traits>

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("a view is the elements of the vector, writable where the vector is") {
  std::vector<int> values = {3, 1, 2};
  const std::span<int> all = view(values);
  CHECK(all.data() == values.data());
  CHECK(all.size() == 3);
  all[1] = 7;
  CHECK(values == std::vector<int>{3, 7, 2});

  const std::vector<int>& constant = values;
  static_assert(std::is_same_v<decltype(view(constant)), std::span<const int>>);
  CHECK(view(constant).data() == values.data());
  CHECK(view(std::vector<float>{}).empty());
}

TEST_CASE("a copy of a span owns its elements") {
  int values[] = {5, 6};
  const std::vector<int> copy = copied(std::span<const int>(values));
  values[0] = 0;
  CHECK(copy == std::vector<int>{5, 6});
  CHECK(copied(std::span<const float>{}).empty());
}
