#include "headgate/core/matrix_view.hpp"

#include <limits>
#include <vector>

#include "headgate/core/error.hpp"
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

TEST_CASE("views overlap where an element of one is an element of the other") {
  float memory[64] = {};
  const Rows a(memory, 4, 3, 8);  // columns 0 to 2 of 8
  CHECK(overlap(a, a));
  CHECK(overlap(a, ConstRows(memory + 2, 4, 3, 8)));
  CHECK(overlap(a, ConstRows(memory + 6, 3, 3, 8)));  // its last column is the next row's first
  CHECK_FALSE(overlap(a, ConstRows(memory + 3, 4, 5, 8)));
  CHECK_FALSE(overlap(ConstRows(memory + 3, 4, 5, 8), a));
  CHECK_FALSE(overlap(a, ConstRows(memory + 11, 3, 5, 8)));
  CHECK(overlap(a, ConstRows(memory + 3, 4, 6, 8)));
  CHECK_FALSE(overlap(a, ConstRows(memory + 27, 4, 3, 8)));  // behind its last element
  CHECK(overlap(a, ConstRows(memory + 26, 4, 3, 8)));
  CHECK(overlap(a, ConstRows(memory + 3, 4, 3, 3)));  // another stride: between first and last element
  CHECK(overlap(a, ConstRows(memory + 24, 4, 3, -8)));
  CHECK_FALSE(overlap(a, ConstRows(memory + 59, 4, 3, -8)));
  CHECK(overlap(a, ConstRows(memory + 2, 4, 3, 0)));
  CHECK_FALSE(overlap(a, ConstRows(memory, 0, 3, 8)));
  CHECK_FALSE(overlap(a, ConstRows(memory, 3, 0, 8)));
}

TEST_CASE("a view is sound where it has data and written rows lie apart") {
  float memory[12] = {};
  CHECK(check_view(Rows(memory, 3, 4)).ok());
  CHECK(check_view(Rows(memory, 3, 2, 5)).ok());
  CHECK(check_view(Rows()).ok());
  CHECK(check_view(Rows(nullptr, 0, 4)).ok());
  CHECK(check_view(Rows(nullptr, 4, 0)).ok());
  CHECK(check_view(Rows(memory, 1, 4, 0)).ok());  // one row has no next
  CHECK(check_view(ConstRows(memory, 3, 4, 0)).ok());
  CHECK(check_view(Rows(nullptr, 1, 1)).what == std::string("rows of a matrix without data"));
  CHECK(check_view(Rows(memory, -1, 4)).found == -1);
  CHECK(check_view(Rows(memory, 4, -2)).found == -2);
  CHECK(check_view(Rows(memory, 3, 4, 3)).found == 3);
  CHECK(check_view(Rows(memory, 3, 4, 3)).allowed == 4);
}

TEST_CASE("views of one row or column overlap as others do, and what only touches does not") {
  float memory[64] = {};
  const Rows a(memory, 4, 3, 8);
  CHECK(overlap(ConstRows(memory + 8, 1, 3), a));
  CHECK(overlap(a, ConstRows(memory + 8, 1, 3)));
  CHECK(overlap(ConstRows(memory + 1, 4, 1, 8), a));
  CHECK(overlap(a, ConstRows(memory + 1, 4, 1, 8)));
  CHECK(overlap(ConstRows(memory, 1, 1), ConstRows(memory, 1, 1)));
  CHECK_FALSE(overlap(a, ConstRows(memory + 27, 1, 3)));  // begins where a ends
  CHECK_FALSE(overlap(ConstRows(memory + 27, 1, 3), a));
  CHECK_FALSE(overlap(a, ConstRows(memory, 4, 0, 8)));
  CHECK_FALSE(overlap(ConstRows(memory, 0, 3, 8), a));
  CHECK_FALSE(overlap(ConstRows(memory, 4, 0, 8), a));
  // Its last row lies lowest.
  CHECK(overlap(ConstRows(memory, 1, 3, 3), ConstRows(memory + 24, 4, 3, -8)));
  CHECK(overlap(ConstRows(memory + 24, 4, 3, -8), ConstRows(memory, 1, 3, 3)));
  // One row of the columns beside a's.
  CHECK_FALSE(overlap(a, ConstRows(memory + 11, 1, 5, 8)));
  CHECK_FALSE(overlap(ConstRows(memory + 11, 1, 5, 8), a));
  CHECK(overlap(a, ConstRows(memory + 11, 1, 6, 8)));
  CHECK(overlap(a, ConstRows(memory + 11, 1, 9, 8)));
}

TEST_CASE("input and output must be sound and lie apart") {
  float memory[12] = {};
  const auto said_of = [](ConstRows x, Rows y) { return Error::describe(check_apart(x, y)); };
  CHECK(check_apart(ConstRows(memory, 2, 3), Rows(memory + 6, 2, 3)).ok());
  CHECK(said_of(ConstRows(memory, 2, 3), Rows(memory + 5, 2, 3)) == "output that overlaps its input");
  CHECK(said_of(ConstRows(nullptr, 2, 3), Rows(memory, 2, 3)) == "rows of a matrix without data");
  CHECK(said_of(ConstRows(memory, 2, 3), Rows(nullptr, 2, 3)) == "rows of a matrix without data");
  CHECK(check_apart(ConstRows(memory, 2, 3), Rows(nullptr, 2, 3)).code == ErrorCode::usage);
}

TEST_CASE("a view that is not sound says what it has and what it may have") {
  float memory[12] = {};
  const auto said_of = [](Rows view) { return Error::describe(check_view(view)); };
  CHECK(said_of(Rows(memory, -1, 4)) == "rows of a matrix, at least (got -1, allowed 0)");
  CHECK(said_of(Rows(memory, 4, -2)) == "columns of a matrix, at least (got -2, allowed 0)");
  CHECK(said_of(Rows(memory, 2, 4, 3)) == "stride of a matrix, at least its columns, (got 3, allowed 4)");
  CHECK(said_of(Rows(nullptr, 2, 1)) == "rows of a matrix without data");
  CHECK(said_of(Rows(nullptr, 1, 2)) == "rows of a matrix without data");
}

TEST_CASE("a matrix is filled row by row") {
  float memory[12] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  fill(Rows(memory, 2, 3, 4), 2.0f);
  CHECK(std::vector<float>(memory, memory + 12) == std::vector<float>{2, 2, 2, 1, 2, 2, 2, 1, 1, 1, 1, 1});
}
