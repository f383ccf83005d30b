#include "headgate/kernels/simd/int8_tile.hpp"

#include "headgate/kernels/scalar.hpp"
#include "kernels/kernel_cases.hpp"
#include "support/catch.hpp"

using namespace headgate;

namespace {

struct Row {
  float scale;
  float scaled_sum;
  std::int32_t half_sum;
  std::int32_t sum;
  std::int8_t q[32];
};
Row row_of(const std::vector<std::byte>& tile, index_t m, index_t g, index_t r) {
  const std::byte* const group = tile.data() + g * m * Int8Tile::group_bytes;
  Row row{};
  std::memcpy(&row.scale, group + Int8Tile::scale_at(m, r), 4);
  std::memcpy(&row.scaled_sum, group + Int8Tile::scaled_sum_at(m, r), 4);
  std::memcpy(&row.half_sum, group + Int8Tile::half_sum_at(m, r), 4);
  std::memcpy(&row.sum, group + Int8Tile::sum_at(m, r), 4);
  std::memcpy(row.q, group + Int8Tile::values_at(m, r), 32);
  return row;
}
template <class Backend>
std::vector<std::byte> tile_of_rows(const std::vector<Input>& inputs, index_t k) {
  const auto m = static_cast<index_t>(inputs.size());
  const float* rows[Int8Tile::max_rows];
  for (index_t r = 0; r < m; ++r) rows[r] = inputs[as_size(r)].data();
  std::vector<std::byte> tile(as_size(m * Int8Tile::row_size(k)));
  Backend::make_tile(Int8Tile{}, rows, m, k, tile.data());
  return tile;
}
template <class Backend>
Row one_group(const std::vector<float>& x) {
  return row_of(tile_of_rows<Backend>({Input(x, 1)}, static_cast<index_t>(x.size())), 1, 0, 0);
}

}  // namespace

TEMPLATE_TEST_CASE("a tile of whole numbers holds each row rounded, its scales and sums, for any height and length", "",
                   Scalar, HEADGATE_SIMD_BACKENDS) {
  for (const index_t k : lengths()) {
    for (const index_t m : {1, 2, 5, 12}) {
      CAPTURE(k, m);
      std::vector<Input> inputs;
      for (index_t r = 0; r < m; ++r) {
        inputs.emplace_back(random_floats(k, static_cast<unsigned>(100 * r + k)), shifts[(k + r) % 3]);
      }
      const std::vector<std::byte> tile = tile_of_rows<TestType>(inputs, k);
      REQUIRE(tile == tile_of_rows<Scalar>(inputs, k));
      for (index_t g = 0; g < divide_up(k, 32); ++g) {
        for (index_t r = 0; r < m; ++r) {
          const Row row = row_of(tile, m, g, r);
          std::int32_t sum = 0;
          std::int32_t half_sum = 0;
          int largest = 0;
          for (index_t i = 0; i < 32; ++i) {
            const float x = 32 * g + i < k ? inputs[as_size(r)].data()[32 * g + i] : 0.0f;
            sum += row.q[i];
            if (i < 16) half_sum += row.q[i];
            largest = std::max(largest, std::abs(row.q[i]));
            REQUIRE(std::fabs(row.scale * static_cast<float>(row.q[i]) - x) <= row.scale * 0.50001f);
          }
          CHECK(largest == 127);
          CHECK(row.sum == sum);
          CHECK(row.half_sum == half_sum);
          CHECK(row.scaled_sum == row.scale * static_cast<float>(sum));
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("numbers in the middle go to the even one, zeros and tiny ones to 0", "", Scalar,
                   HEADGATE_SIMD_BACKENDS) {
  std::vector<float> x(32);
  x[0] = -127.0f;
  x[1] = 0.5f;
  x[2] = 1.5f;
  x[31] = -2.5f;
  Row row = one_group<TestType>(x);
  CHECK(row.scale == 1.0f);
  CHECK(row.q[0] == -127);
  CHECK(row.q[1] == 0);
  CHECK(row.q[2] == 2);
  CHECK(row.q[31] == -2);
  for (const float tiny : {0.0f, -0.0f, 0x1p-126f, 0x1p-149f}) {
    row = one_group<TestType>(std::vector<float>(32, tiny));
    CHECK(row.scale == 0.0f);
    CHECK(row.sum == 0);
    for (const std::int8_t q : row.q) CHECK(q == 0);
  }
  row = one_group<TestType>(std::vector<float>(32, std::numeric_limits<float>::max()));
  CHECK(row.sum == 32 * 127);
}

TEMPLATE_TEST_CASE("a number that is not finite makes its group's scale none, and no other's", "", Scalar,
                   HEADGATE_SIMD_BACKENDS) {
  for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN()}) {
    for (const std::size_t place : {std::size_t{32}, std::size_t{47}, std::size_t{63}}) {
      std::vector<float> x = random_floats(96, 9);
      x[place] = bad;
      const std::vector<std::byte> tile = tile_of_rows<TestType>({Input(x, 0)}, 96);
      CHECK(std::isfinite(row_of(tile, 1, 0, 0).scale));
      CHECK(std::isnan(row_of(tile, 1, 1, 0).scale));
      CHECK(std::isnan(row_of(tile, 1, 1, 0).scaled_sum));
      CHECK(std::isfinite(row_of(tile, 1, 2, 0).scale));
    }
  }
}
