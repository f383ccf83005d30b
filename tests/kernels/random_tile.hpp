// Tiles of whole numbers, as the definition makes them, and the numbers that they stand for.
#pragma once

#include <vector>

#include "headgate/kernels/scalar.hpp"
#include "kernels/kernel_cases.hpp"
#include "support/catch.hpp"

namespace headgate {

inline std::vector<std::byte> random_int8_tile(index_t m, index_t k, unsigned seed) {
  const std::vector<float> values = random_floats(m * k, seed);
  const float* rows[Int8Tile::max_rows];
  for (index_t r = 0; r < m; ++r) rows[r] = values.data() + r * k;
  std::vector<std::byte> tile(as_size(m * Int8Tile::row_size(k)));
  Scalar::make_tile(Int8Tile{}, rows, m, k, tile.data());
  return tile;
}
// The number that row r of a tile stands for at column i.
inline double int8_value_at(const std::vector<std::byte>& tile, index_t m, index_t r, index_t i) {
  const std::byte* const group = tile.data() + i / 32 * m * Int8Tile::group_bytes;
  float scale;
  std::memcpy(&scale, group + Int8Tile::scale_at(m, r), 4);
  return static_cast<double>(scale) * static_cast<std::int8_t>(group[Int8Tile::values_at(m, r) + i % 32]);
}

// The product of panels and a random tile has the bits of the definition's, and nothing else is written.
template <class Backend, class Format>
void check_product(Format format, const std::vector<std::byte>& panels, index_t num_panels, index_t k, index_t m,
                   index_t shift) {
  CAPTURE(format.name(), num_panels, k, m);
  const index_t count = num_panels * panel_rows;
  const std::vector<std::byte> tile = random_int8_tile(m, k, 2);
  Output found(m * count, shift);
  Backend::multiply(format, panels.data(), k, num_panels, tile.data(), m, found.data(), count);
  CHECK(found.guards_intact());
  std::vector<float> expected(as_size(m * count));
  Scalar::multiply(format, panels.data(), k, num_panels, tile.data(), m, expected.data(), count);
  CHECK(same_bits(found.values(), expected));
}

}  // namespace headgate
