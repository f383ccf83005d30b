#include "headgate/kernels/simd/attention.hpp"

#include "kernels/kernel_cases.hpp"
#include "support/catch.hpp"

using namespace headgate;

namespace {

template <class Use>
void each_format(Use&& use) {
  for (const CacheType type : {CacheType::f32, CacheType::f16, CacheType::q8_0}) {
    INFO(name_of(type));
    visit_cache_format(type, use);
  }
}

}  // namespace

TEMPLATE_TEST_CASE("scores of queries and keys have the bits of their definition", "", HEADGATE_SIMD_BACKENDS) {
  each_format([]<class Format>(Format format) {
    for (const index_t channels : {1, 14, 24, 32, 33, 64, 100}) {
      for (const index_t panels : {0, 1, 2, 3, 5, 9}) {
        const std::vector<float> keys = random_floats(16 * panels * channels, 1);
        std::vector<std::byte> packed(as_size(panels * Format::panel_bytes(channels)));
        for (index_t p = 0; p < 16 * panels; ++p) {
          format.store_key(keys.data() + p * channels, channels, p % 16,
                           packed.data() + p / 16 * Format::panel_bytes(channels));
        }
        for (index_t m = 1; m <= F32Tile::max_rows; ++m) {
          const Input tile(random_floats(channels * m, 2), m % 3);
          const index_t stride = 16 * panels + m % 2 * 16;
          Output expected(stride * m, 0);
          Output found(stride * m, shifts[m % 3]);
          Scalar::score(format, packed.data(), channels, panels, tile.data(), m, expected.data(), stride);
          TestType::score(format, packed.data(), channels, panels, tile.data(), m, found.data(), stride);
          CAPTURE(channels, panels, m);
          CHECK(found.guards_intact());
          CHECK(same_bits(found.values(), expected.values()));
        }
      }
    }
  });
}

TEMPLATE_TEST_CASE("sums of weighed values have the bits of their definition", "", HEADGATE_SIMD_BACKENDS) {
  each_format([]<class Format>(Format format) {
    for (const index_t channels : {1, 14, 16, 24, 64, 80, 112, 128, 250}) {
      for (const index_t count : {0, 1, 2, 17}) {
        const std::vector<float> values = random_floats(count * channels, 3);
        std::vector<std::byte> rows(as_size(count * Format::row_bytes(channels)));
        for (index_t j = 0; j < count; ++j) {
          format.store_value(values.data() + j * channels, channels, rows.data() + j * Format::row_bytes(channels));
        }
        for (index_t m = 1; m <= F32Tile::max_rows; ++m) {
          const index_t stride = count + 5;
          const Input weights(random_floats(stride * m, 4), m % 3);
          const std::vector<float> before = random_floats(divide_up(channels, 16) * 16 * m, 5);
          Output expected(before, 0);
          Output found(before, shifts[m % 3]);
          Scalar::weigh(format, rows.data(), channels, count, weights.data(), stride, m, expected.data());
          TestType::weigh(format, rows.data(), channels, count, weights.data(), stride, m, found.data());
          CAPTURE(channels, count, m);
          CHECK(found.guards_intact());
          CHECK(same_bits(found.values(), expected.values()));
        }
      }
    }
  });
}
