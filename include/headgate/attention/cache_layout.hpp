// Where the keys and values of a text lie in a layer's cache: chunk by chunk of positions, in a chunk the keys of each
// head in panels of 16 positions, then the values of each head as rows (kernels/cache_format.hpp). So memory is reached
// in the order of the text, and what lies behind it is never touched.
#pragma once

#include <algorithm>

#include "headgate/kernels/cache_format.hpp"
#include "headgate/kernels/panel16.hpp"

namespace headgate::inline HEADGATE_ABI {

inline constexpr index_t chunk_positions = 256;  // whole panels

struct CacheLayout {
  CacheType type = CacheType::f32;
  index_t heads = 1;
  index_t key_channels = 0;
  index_t value_channels = 0;
  index_t capacity = 0;                  // rows, that is positions from the first that is held
  index_t chunk_rows = chunk_positions;  // > 0; rows of one chunk lie together

  constexpr std::int64_t bytes() const noexcept {
    return capacity / chunk_rows * chunk_bytes() + chunk_bytes(capacity % chunk_rows);
  }
  constexpr std::int64_t chunk_bytes() const noexcept { return chunk_bytes(chunk_rows); }
  // Of so many rows and those beside the last of them.
  constexpr std::int64_t bytes_of_first(index_t rows) const noexcept {
    return std::min(divide_up(rows, chunk_rows) * chunk_bytes(), bytes());
  }

  // Offsets of the panel of keys that a row belongs to, and of its values. The next of a head follow, within a chunk.
  constexpr std::int64_t key_panel(index_t head, index_t row) const noexcept {
    return visit_cache_format(type, [&](auto format) {
      return row / chunk_rows * chunk_bytes() + head * keys_bytes(rows_beside(row)) +
             row % chunk_rows / panel_rows * format.panel_bytes(key_channels);
    });
  }
  constexpr std::int64_t value_row(index_t head, index_t row) const noexcept {
    return visit_cache_format(type, [&](auto format) {
      const index_t beside = rows_beside(row);
      return row / chunk_rows * chunk_bytes() + heads * keys_bytes(beside) + head * values_bytes(beside) +
             row % chunk_rows * format.row_bytes(value_channels);
    });
  }

 private:
  // Of a head: whole panels, whole rows. What follows begins on a line.
  constexpr std::int64_t keys_bytes(index_t rows) const noexcept {
    return visit_cache_format(type, [&](auto format) {
      return round_up_to_line(divide_up(rows, panel_rows) * format.panel_bytes(key_channels));
    });
  }
  constexpr std::int64_t values_bytes(index_t rows) const noexcept {
    return visit_cache_format(type,
                              [&](auto format) { return round_up_to_line(rows * format.row_bytes(value_channels)); });
  }
  constexpr std::int64_t chunk_bytes(index_t rows) const noexcept {
    return heads * (keys_bytes(rows) + values_bytes(rows));
  }
  // Rows of the chunk of a row: the last may have fewer.
  constexpr index_t rows_beside(index_t row) const noexcept {
    return std::min(chunk_rows, capacity - row / chunk_rows * chunk_rows);
  }
};

// A head of a cache. Row 0 is the position `origin`, a multiple of panel_rows.
struct CacheView {
  CacheLayout layout;
  const std::byte* data = nullptr;
  index_t head = 0;
  index_t origin = 0;

  constexpr index_t value_width() const noexcept { return divide_up(layout.value_channels, panel_rows) * panel_rows; }
  // From the panel, or the row, of a position to the end of its chunk.
  const std::byte* keys_from(index_t position) const noexcept {
    return data + layout.key_panel(head, position - origin);
  }
  const std::byte* values_from(index_t position) const noexcept {
    return data + layout.value_row(head, position - origin);
  }
  float key(index_t position, index_t channel) const noexcept {
    return visit_cache_format(layout.type, [&](auto format) {
      return format.key(keys_from(position), channel, (position - origin) % panel_rows);
    });
  }
  float value(index_t position, index_t channel) const noexcept {
    return visit_cache_format(
        layout.type, [&](auto format) { return format.value(values_from(position), layout.value_channels, channel); });
  }
};

}  // namespace headgate::inline HEADGATE_ABI
