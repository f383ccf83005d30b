#include "headgate/kernels/simd/tile.hpp"

#include "headgate/kernels/scalar.hpp"
#include "kernels/kernel_cases.hpp"
#include "support/catch.hpp"

using namespace headgate;

TEMPLATE_TEST_CASE("a tile holds the rows' numbers side by side, for any height and length", "", Scalar,
                   HEADGATE_SIMD_BACKENDS) {
  for (const index_t k : lengths()) {
    for (index_t m = 1; m <= F32Tile::max_rows; ++m) {
      std::vector<Input> inputs;
      const float* rows[F32Tile::max_rows];
      for (index_t r = 0; r < m; ++r) {
        inputs.emplace_back(random_floats(k, static_cast<unsigned>(r)), shifts[(k + r) % 3]);
      }
      for (index_t r = 0; r < m; ++r) rows[r] = inputs[as_size(r)].data();
      Output tile(k * m, shifts[m % 3]);
      TestType::make_tile(F32Tile{}, rows, m, k, tile.data());
      bool right = tile.guards_intact();
      for (index_t i = 0; i < k; ++i) {
        for (index_t r = 0; r < m; ++r) right = right && tile[i * m + r] == rows[r][i];
      }
      CAPTURE(k, m);
      CHECK(right);
    }
  }
}

TEMPLATE_TEST_CASE("a tile of pairs holds the rows' numbers rounded to bfloat16, and zero beyond them", "", Scalar,
                   HEADGATE_SIMD_BACKENDS) {
  for (const index_t k : lengths()) {
    for (index_t m = 1; m <= Bf16Tile::max_rows; ++m) {
      std::vector<Input> inputs;
      const float* rows[Bf16Tile::max_rows];
      for (index_t r = 0; r < m; ++r) {
        std::vector<float> values = random_floats(k, static_cast<unsigned>(r));
        if (k > 8) values[as_size(k - 2)] = std::numeric_limits<float>::quiet_NaN();
        if (k > 8) values[as_size(k / 2)] = 1.0f + 0x1p-8f;  // half way: to even
        inputs.emplace_back(values, shifts[(k + r) % 3]);
      }
      for (index_t r = 0; r < m; ++r) rows[r] = inputs[as_size(r)].data();
      std::vector<std::uint32_t> tile(as_size(m * Bf16Tile::row_size(k)));  // ends where its allocation ends
      TestType::make_tile(Bf16Tile{}, rows, m, k, tile.data());
      bool right = true;
      for (index_t i = 0; i < k + k % 2; ++i) {
        for (index_t r = 0; r < m; ++r) {
          const std::uint32_t word = tile[as_size(i / 2 * m + r)];
          const std::uint16_t expected = i < k ? bf16(rows[r][i]).bits : std::uint16_t{0};
          right = right && (i % 2 == 0 ? word & 0xffffu : word >> 16) == expected;
        }
      }
      CAPTURE(k, m);
      CHECK(right);
    }
  }
}
