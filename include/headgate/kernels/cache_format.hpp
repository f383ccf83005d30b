// CacheFormat: how keys and values of a text lie in memory, in lines of 16 numbers.
//   keys    panels of 16 positions; a line holds one channel of all of them: q . k of 16 positions is a sum of lines
//   values  a row for each position, of whole lines of 16 channels; the channels that fill the last one are 0
// With a group, so many channels of a key or value are whole numbers that share a scale, a half: scale = the largest
// magnitude / 127, rounded to nearest even; number = value / scale, likewise, at most 127. A panel has the 16 scales of
// a group before its lines, a row all its scales behind its lines. What is not finite makes its group NaN.
//
// Every number is a float exactly, scale times number, too: attention over a cache is attention over those floats.
#pragma once

#include <bit>
#include <cstring>
#include <limits>

#include "headgate/core/cache_type.hpp"
#include "headgate/core/dtype.hpp"
#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

template <CacheType TYPE, class Stored, index_t GROUP>
struct CacheFormat {
  using Number = Stored;
  static constexpr CacheType type = TYPE;
  static constexpr index_t group = GROUP;  // 0: no scales
  static constexpr index_t line_numbers = 16;
  static constexpr index_t line_bytes = line_numbers * static_cast<index_t>(sizeof(Number));
  static constexpr index_t scales_bytes = group == 0 ? 0 : line_numbers * static_cast<index_t>(sizeof(f16));

  // Of 16 keys, of one value, of so many channels.
  static constexpr std::int64_t panel_bytes(index_t channels) noexcept {
    return std::int64_t{line_bytes} * channels + std::int64_t{scales_bytes} * groups(channels);
  }
  static constexpr std::int64_t row_bytes(index_t channels) noexcept {
    return scale_of_row(channels, 0) + static_cast<index_t>(sizeof(f16)) * groups(channels);
  }
  static constexpr index_t groups(index_t channels) noexcept {
    if constexpr (group == 0) {
      return 0;
    } else {
      return divide_up(channels, group);
    }
  }
  // Where the line of a channel begins in a panel, and the scale of a group in a row.
  static constexpr std::int64_t line_of_panel(index_t channel) noexcept {
    if constexpr (group == 0) {
      return std::int64_t{line_bytes} * channel;
    } else {
      return std::int64_t{line_bytes} * channel + std::int64_t{scales_bytes} * (channel / group + 1);
    }
  }
  static constexpr std::int64_t scale_of_row(index_t channels, index_t which) noexcept {
    return std::int64_t{line_bytes} * divide_up(channels, line_numbers) + static_cast<index_t>(sizeof(f16)) * which;
  }

  // A key to one of the 16 of a panel; a value to its row.
  static void store_key(const float* key, index_t channels, index_t lane, std::byte* panel) noexcept {
    store(
        key, channels,
        [&](index_t channel) { return panel + line_of_panel(channel) + lane * static_cast<index_t>(sizeof(Number)); },
        [&](index_t which) {
          return panel + line_of_panel(which * group) - scales_bytes + lane * static_cast<index_t>(sizeof(f16));
        });
  }
  static void store_value(const float* value, index_t channels, std::byte* row) noexcept {
    const std::int64_t used = static_cast<index_t>(sizeof(Number)) * std::int64_t{channels};
    std::memset(row + used, 0, as_size(scale_of_row(channels, 0) - used));
    if constexpr (TYPE == CacheType::f32) {
      std::memcpy(row, value, as_size(used));
    } else {
      store(
          value, channels, [&](index_t channel) { return row + channel * static_cast<index_t>(sizeof(Number)); },
          [&](index_t which) { return row + scale_of_row(channels, which); });
    }
  }

  static float key(const std::byte* panel, index_t channel, index_t lane) noexcept {
    const std::byte* const line = panel + line_of_panel(channel);
    float number = read<Number>(line + lane * static_cast<index_t>(sizeof(Number)));
    if constexpr (group > 0) {
      const std::byte* const first = panel + line_of_panel(channel / group * group);
      number *= read<f16>(first - scales_bytes + lane * static_cast<index_t>(sizeof(f16)));
    }
    return number;
  }
  static float value(const std::byte* row, index_t channels, index_t channel) noexcept {
    float number = read<Number>(row + channel * static_cast<index_t>(sizeof(Number)));
    if constexpr (group > 0) number *= read<f16>(row + scale_of_row(channels, channel / group));
    return number;
  }

 private:
  template <class T>
  static float read(const std::byte* from) noexcept {
    T number;
    std::memcpy(&number, from, sizeof number);
    return static_cast<float>(number);
  }
  template <class T>
  static void write(std::byte* to, T number) noexcept {
    std::memcpy(to, &number, sizeof number);
  }
  // number_at(channel), scale_at(group): where each goes.
  template <class NumberAt, class ScaleAt>
  static void store(const float* x, index_t channels, NumberAt number_at, ScaleAt scale_at) noexcept {
    if constexpr (group == 0) {
      for (index_t i = 0; i < channels; ++i) write(number_at(i), Number(x[i]));
    } else {
      for (index_t g = 0; g < groups(channels); ++g) {
        const index_t first = g * group;
        const index_t end = first + group < channels ? first + group : channels;
        std::uint32_t largest = 0;  // of the magnitudes' bits, which order NaN and infinity above all numbers
        for (index_t i = first; i < end; ++i) {
          const std::uint32_t magnitude = std::bit_cast<std::uint32_t>(x[i]) << 1 >> 1;
          largest = magnitude > largest ? magnitude : largest;
        }
        const f16 scale(std::bit_cast<float>(largest) / 127.0f);
        write(scale_at(g), scale);
        const float step = static_cast<float>(scale);
        const double inverse = step > 0.0f ? static_cast<double>(1.0f / step) : 0.0;
        const bool is_finite = largest < 0x7f800000u && (scale.bits & 0x7fffu) < 0x7c00u;
        if (!is_finite) write(scale_at(g), f16(std::numeric_limits<float>::quiet_NaN()));
        for (index_t i = first; i < end; ++i) {
          // In double the product is exact, whether it is fused or not; adding 1.5 * 2^52 rounds to a whole number.
          constexpr double rounder = 6755399441055744.0;
          const double whole = is_finite ? (static_cast<double>(x[i]) * inverse + rounder) - rounder : 0.0;
          write(number_at(i), static_cast<Number>(whole > 127.0 ? 127.0 : whole < -127.0 ? -127.0 : whole));
        }
      }
    }
  }
};

using CacheF32 = CacheFormat<CacheType::f32, float, 0>;
using CacheF16 = CacheFormat<CacheType::f16, f16, 0>;
using CacheQ8 = CacheFormat<CacheType::q8_0, std::int8_t, 32>;

// Calls use with the format of a type.
template <class Use>
constexpr decltype(auto) visit_cache_format(CacheType type, Use&& use) {
  switch (type) {
    case CacheType::f16:
      return use(CacheF16{});
    case CacheType::q8_0:
      return use(CacheQ8{});
    case CacheType::f32:
      break;
  }
  return use(CacheF32{});
}

}  // namespace headgate::inline HEADGATE_ABI
