#include "headgate/attention/cache_layout.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "support/catch.hpp"

using namespace headgate;

namespace {

constexpr CacheLayout odd_layout(CacheType type, index_t capacity, index_t chunk_rows) {
  return {type, 3, 26, 20, capacity, chunk_rows};
}

}  // namespace

TEST_CASE("no two places of a cache overlap, all lie within it, and none is wasted but the rest of lines") {
  for (const CacheType type : {CacheType::f32, CacheType::f16, CacheType::q8_0}) {
    for (const auto& sizes : {std::pair{70, 32}, {64, 32}, {31, 32}, {5, 5}, {300, 256}, {0, 256}}) {
      CAPTURE(static_cast<int>(type), sizes.first, sizes.second);
      const CacheLayout layout = odd_layout(type, sizes.first, sizes.second);
      std::vector<std::pair<std::int64_t, std::int64_t>> places;  // first, size
      visit_cache_format(type, [&](auto format) {
        for (index_t head = 0; head < 3; ++head) {
          for (index_t row = 0; row < layout.capacity; ++row) {
            if (row % panel_rows == 0) places.emplace_back(layout.key_panel(head, row), format.panel_bytes(26));
            places.emplace_back(layout.value_row(head, row), format.row_bytes(20));
          }
        }
      });
      std::sort(places.begin(), places.end());
      std::int64_t end = 0;
      for (const auto& [first, size] : places) {
        CHECK(first >= end);
        CHECK(first - end < 64);
        end = first + size;
      }
      CHECK(layout.bytes() >= end);
      CHECK(layout.bytes() - end < 64);
    }
  }
}

TEST_CASE("the first rows of a cache are its first bytes, by whole chunks") {
  const CacheLayout layout = odd_layout(CacheType::f32, 70, 32);
  CHECK(layout.bytes_of_first(0) == 0);
  CHECK(layout.bytes_of_first(1) == layout.chunk_bytes());
  CHECK(layout.bytes_of_first(32) == layout.chunk_bytes());
  CHECK(layout.bytes_of_first(33) == 2 * layout.chunk_bytes());
  CHECK(layout.bytes_of_first(65) == layout.bytes());
  CHECK(layout.bytes_of_first(70) == layout.bytes());
  for (index_t row = 0; row < 70; ++row) {
    for (index_t head = 0; head < 3; ++head) {
      CHECK(layout.key_panel(head, row) < layout.bytes_of_first(row + 1));
      CHECK(layout.value_row(head, row) < layout.bytes_of_first(row + 1));
      CHECK(layout.key_panel(head, row) >= layout.bytes_of_first(row / 32 * 32));
    }
  }
}

TEST_CASE("a cache of the longest text has offsets that fit") {
  const CacheLayout layout{CacheType::f32, 8, 128, 128, max_index - panel_rows};
  CHECK(layout.bytes() > std::int64_t{1} << 43);
  CHECK(layout.bytes_of_first(max_index - panel_rows) == layout.bytes());
  CHECK(layout.value_row(7, max_index - panel_rows - 1) == layout.bytes() - 128 * 4);
}
