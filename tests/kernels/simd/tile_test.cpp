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
