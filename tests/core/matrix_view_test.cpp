#include "headgate/core/matrix_view.hpp"

#include <limits>
#include <vector>

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("rows of a view are stride elements apart") {
  std::vector<float> values(20);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const Rows dense(values.data(), 4, 5);
  CHECK(dense.row(2)[1] == 11.0f);
  CHECK(dense.row(2).size() == 5);
  const Rows padded(values.data(), 4, 3, 5);
  CHECK(padded.row(3)[2] == 17.0f);
  CHECK(padded.row(3).size() == 3);
  const ConstRows middle = padded.middle_rows(1, 2);
  CHECK(middle.rows == 2);
  CHECK(middle.cols == 3);
  CHECK(middle.row_data(1)[0] == 10.0f);
  const Rows none;
  CHECK(none.rows == 0);
  CHECK(none.data == nullptr);
}

TEST_CASE("rows far into a large matrix are found, where 32 bits would overflow") {
  const ConstRows view(nullptr, 100'000, 100'000);
  CHECK(view.stride * 99'999 == 9'999'900'000);
}

TEST_CASE("counts are signed and rounded up") {
  CHECK(divide_up(0, 16) == 0);
  CHECK(divide_up(16, 16) == 1);
  CHECK(divide_up(17, 16) == 2);
  CHECK(divide_up(std::numeric_limits<index_t>::max(), 2) == 1 << 30);
  CHECK(as_size(7) == std::size_t{7});
}

TEST_CASE("a view of nothing has no stride, and a part of a view keeps the whole's") {
  const Rows none;
  CHECK(none.cols == 0);
  CHECK(none.stride == 0);
  float values[12] = {};
  const Rows view(values, 3, 2, 4);
  CHECK(view.middle_rows(1, 2).stride == 4);
  CHECK(view.middle_rows(3, 0).row_data(0) == values + 12);
  CHECK(ConstRows(view).stride == 4);
  CHECK(ConstRows(view).rows == 3);
  CHECK(divide_up(15, 16) == 1);
  CHECK(divide_up(1, 1) == 1);
}
