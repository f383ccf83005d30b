#if __has_include(<Eigen/Core>)
#include "headgate/interop/eigen.hpp"

#include <vector>

#include "headgate/routing/topk_softmax.hpp"
#include "support/catch.hpp"

using namespace headgate;

namespace {

using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

template <class T, class M>
void check_same(MatrixView<T> view, const M& matrix) {
  REQUIRE(view.rows == matrix.rows());
  REQUIRE(view.cols == matrix.cols());
  for (index_t r = 0; r < view.rows; ++r) {
    for (index_t c = 0; c < view.cols; ++c) CHECK(&view.row(r)[as_size(c)] == &matrix.coeffRef(r, c));
  }
}

}  // namespace

TEST_CASE("rows of an Eigen matrix are its own memory, written through where it may be") {
  RowMajor matrix(3, 5);
  const RowMajor& constant = matrix;
  STATIC_REQUIRE(std::is_same_v<decltype(rows_of(matrix)), Rows>);
  STATIC_REQUIRE(std::is_same_v<decltype(rows_of(constant)), ConstRows>);
  check_same(rows_of(matrix), matrix);
  check_same(rows_of(constant), matrix);
  rows_of(matrix).row(2)[4] = 7.0f;
  CHECK(matrix(2, 4) == 7.0f);
  Eigen::Matrix<float, 2, 3, Eigen::RowMajor> fixed;
  check_same(rows_of(fixed), fixed);
  Eigen::Matrix<float, 1, Eigen::Dynamic, Eigen::RowMajor> one(1, 4);
  check_same(rows_of(one), one);
  const RowMajor empty(0, 5);
  CHECK(rows_of(empty).rows == 0);
  CHECK(rows_of(empty).cols == 5);
}

TEST_CASE("rows of a Map, a Ref and a block of an Eigen matrix keep its outer stride") {
  std::vector<float> memory(40);
  Eigen::Map<RowMajor, 0, Eigen::OuterStride<>> map(memory.data() + 1, 4, 7, Eigen::OuterStride<>(9));
  STATIC_REQUIRE(std::is_same_v<decltype(rows_of(map)), Rows>);
  CHECK(rows_of(map).stride == 9);
  check_same(rows_of(map), map);
  Eigen::Map<const RowMajor> read_only(memory.data(), 5, 8);
  STATIC_REQUIRE(std::is_same_v<decltype(rows_of(read_only)), ConstRows>);
  CHECK(rows_of(read_only).row_data(3) == memory.data() + 24);
  CHECK(rows_of(read_only).stride == 8);

  RowMajor matrix(6, 8);
  Eigen::Ref<RowMajor> reference = matrix;
  STATIC_REQUIRE(std::is_same_v<decltype(rows_of(reference)), Rows>);
  check_same(rows_of(reference), matrix);
  const Eigen::Ref<const RowMajor> view = matrix;
  STATIC_REQUIRE(std::is_same_v<decltype(rows_of(view)), ConstRows>);
  CHECK(rows_of(view).data == matrix.data());
  auto corner = matrix.block(1, 2, 3, 4);
  CHECK(rows_of(corner).data == &matrix(1, 2));
  CHECK(rows_of(corner).rows == 3);
  CHECK(rows_of(corner).cols == 4);
  CHECK(rows_of(corner).stride == 8);
}

TEST_CASE("a router routes Eigen matrices as it routes their numbers") {
  RowMajor gate(4, 2);
  gate << 1, 0, 0, 1, -1, 0, 0, -1;
  RowMajor hidden(3, 2);
  hidden << 3, 1, -1, 2, 0, -5;
  const auto router = mixtral_router({.gate = rows_of(gate)}, 2).value();
  NoState state;
  RoutingPlan plan;
  Context ctx;
  throw_if_error(router.route({.hidden = rows_of(hidden)}, state, plan, ctx));
  CHECK(std::vector<ExpertId>(plan.experts().begin(), plan.experts().end()) == std::vector<ExpertId>{0, 1, 1, 2, 3, 0});
}

TEST_CASE("an Eigen matrix of more rows than an index counts is refused") {
  const float value = 0.0f;
  Eigen::Map<const RowMajor, 0, Eigen::OuterStride<>> tall(&value, Eigen::Index{1} << 32, 1, Eigen::OuterStride<>(0));
  CHECK_THROWS_AS(rows_of(tall), Error);
}
#endif
