#include "headgate/kernels/panel16.hpp"

#include "headgate/kernels/any_format.hpp"

#include <cstdint>

#include "kernels/kernel_cases.hpp"
#include "support/catch.hpp"

using namespace headgate;

TEMPLATE_TEST_CASE("packing keeps every value the format can hold", "", F32, Bf16) {
  for (const index_t rows : {0, 1, 15, 16, 17, 40}) {
    for (const index_t cols : {0, 1, 2, 3, 26}) {
      std::vector<float> weights = random_floats(rows * cols, 1);
      for (float& weight : weights) weight = static_cast<float>(bf16(weight));
      const Panel16<TestType> packed(ConstRows(weights.data(), rows, cols));
      CAPTURE(rows, cols);
      CHECK(packed.rows() == rows);
      CHECK(packed.cols() == cols);
      CHECK(packed.bytes() == divide_up(rows, 16) * TestType::panel_bytes(cols));
      bool equal = true;
      for (index_t r = 0; r < rows; ++r) {
        for (index_t c = 0; c < cols; ++c) equal = equal && packed.view()(r, c) == weights[as_size(r * cols + c)];
      }
      CHECK(equal);
    }
  }
}

TEST_CASE("a line holds 16 rows of one k in f32 and of two in bf16") {
  std::vector<float> weights(20 * 3);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i);
  const ConstRows matrix(weights.data(), 20, 3);

  const Panel16<F32> f32(matrix);
  REQUIRE(f32.bytes() == 2 * 3 * 64);
  float value;
  std::memcpy(&value, f32.view().data + 64 * 2 + 4 * 5, 4);  // panel 0, k 2, row 5
  CHECK(value == 17.0f);
  std::memcpy(&value, f32.view().panel(1) + 64 * 1 + 4 * 3, 4);  // panel 1, k 1, row 19
  CHECK(value == 58.0f);
  std::memcpy(&value, f32.view().panel(1) + 64 * 1 + 4 * 4, 4);  // a row beyond the matrix
  CHECK(value == 0.0f);

  const Panel16<Bf16> half(matrix);
  REQUIRE(half.bytes() == 2 * 2 * 64);
  std::uint32_t pair;
  std::memcpy(&pair, half.view().data + 4 * 5, 4);  // row 5, k 0 and 1
  CHECK(pair == (std::uint32_t{bf16(16.0f).bits} << 16 | bf16(15.0f).bits));
  std::memcpy(&pair, half.view().data + 64 + 4 * 5, 4);  // row 5, k 2 and nothing
  CHECK(pair == bf16(17.0f).bits);
}

TEST_CASE("panels start on lines of 64 bytes") {
  const Panel16<Bf16> packed(17, 5);
  CHECK(reinterpret_cast<std::uintptr_t>(packed.view().panel(1)) % 64 == 0);
}

TEST_CASE("no matrix has no rows, no columns and no bytes") {
  const Panel16<F32> none;
  CHECK(none.rows() == 0);
  CHECK(none.cols() == 0);
  CHECK(none.bytes() == 0);
  const PanelView<Bf16> view;
  CHECK(view.data == nullptr);
  CHECK(view.rows == 0);
  CHECK(view.cols == 0);
  CHECK(view.num_panels() == 0);
  CHECK(Panel16<F32>(17, 1).view().num_panels() == 2);
}

TEST_CASE("a row set later leaves the rows beside it") {
  const std::vector<float> weights = random_floats(16 * 3, 7);  // with all their bits
  Panel16<F32> packed(16, 3);
  for (const index_t r : {0, 2, 1, 14, 15, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}) {
    packed.set_row(r, weights.data() + 3 * r);
  }
  bool equal = true;
  for (index_t r = 0; r < 16; ++r) {
    for (index_t c = 0; c < 3; ++c) equal = equal && packed.view()(r, c) == weights[as_size(3 * r + c)];
  }
  CHECK(equal);
}

TEST_CASE("a matrix of a format chosen at run time is packed byte for byte as one of that format") {
  const std::vector<float> weights = random_floats(37 * 11, 8);
  const ConstRows matrix(weights.data(), 37, 11);
  const auto check = [&](auto format) {
    const Panel16<decltype(format)> known(matrix);
    const Panel16<AnyFormat> chosen(matrix, format);
    CHECK(chosen.format() == AnyFormat(format));
    CHECK(chosen.view().format == AnyFormat(format));
    REQUIRE(chosen.bytes() == known.bytes());
    CHECK(std::memcmp(chosen.view().data, known.view().data, as_size(known.bytes())) == 0);
    CHECK(chosen.view().panel(2) - chosen.view().data == known.view().panel(2) - known.view().data);
    CHECK(chosen.view()(36, 10) == known.view()(36, 10));
  };
  check(F32{});
  check(Bf16{});
}

TEMPLATE_TEST_CASE("a row of packed weights is read across its panel", "", F32, Bf16) {
  std::vector<float> weights = random_floats(19 * 5, 9);
  for (float& weight : weights) weight = static_cast<float>(bf16(weight));
  const Panel16<TestType> packed(ConstRows(weights.data(), 19, 5));
  const Panel16<AnyFormat> chosen(ConstRows(weights.data(), 19, 5), TestType{});
  for (const index_t r : {0, 15, 16, 18}) {
    const std::vector<float> expected(weights.begin() + 5 * r, weights.begin() + 5 * (r + 1));
    std::vector<float> row(5);
    packed.view().read_row(r, row.data());
    CHECK(row == expected);
    std::vector<float> other(5);
    chosen.view().read_row(r, other.data());
    CHECK(other == expected);
  }
}

TEST_CASE("a format known at compile time takes no memory in a view") {
  struct Plain {
    const std::byte* data;
    index_t rows;
    index_t cols;
  };
  STATIC_REQUIRE(sizeof(PanelView<Bf16>) == sizeof(Plain));
}

TEST_CASE("a stack of matrices in one buffer has the rows and bytes of each alone, in its own format") {
  constexpr index_t cols = 5;
  const PanelStack<AnyFormat, 3>::Matrix matrices[] = {{17, F32{}}, {1, Bf16{}}, {32, Bf16{}}};
  PanelStack<AnyFormat, 3> stack(cols, matrices);
  std::int64_t bytes = 0;
  for (std::size_t m = 0; m < 3; ++m) {
    for (index_t r = 0; r < matrices[m].rows; ++r) {
      float row[cols];
      for (index_t c = 0; c < cols; ++c) row[c] = static_cast<float>(64 * static_cast<index_t>(m) + r + c);
      stack.set_row(m, r, row);
    }
    bytes += Panel16<AnyFormat>(matrices[m].rows, cols, matrices[m].format).bytes();
  }
  CHECK(stack.bytes() == bytes);
  for (std::size_t m = 0; m < 3; ++m) {
    const PanelView<AnyFormat> view = stack.view(m);
    CHECK(view.rows == matrices[m].rows);
    CHECK(view.format == matrices[m].format);
    for (index_t r = 0; r < view.rows; ++r) {
      for (index_t c = 0; c < cols; ++c) CHECK(view(r, c) == static_cast<float>(64 * static_cast<index_t>(m) + r + c));
    }
  }
}
