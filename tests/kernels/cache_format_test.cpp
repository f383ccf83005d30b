#include "headgate/kernels/cache_format.hpp"

#include <cmath>
#include <vector>

#include "kernels/kernel_cases.hpp"
#include "support/catch.hpp"

using namespace headgate;

namespace {

// A key and a value of these channels, as they come back.
template <class Format>
std::pair<std::vector<float>, std::vector<float>> there_and_back(const std::vector<float>& x, index_t lane) {
  const auto channels = static_cast<index_t>(x.size());
  std::vector<std::byte> panel(as_size(Format::panel_bytes(channels)), std::byte{0x55});
  std::vector<std::byte> row(as_size(Format::row_bytes(channels)), std::byte{0x55});
  Format::store_key(x.data(), channels, lane, panel.data());
  Format::store_value(x.data(), channels, row.data());
  std::vector<float> key, value;
  for (index_t i = 0; i < channels; ++i) {
    key.push_back(Format::key(panel.data(), i, lane));
    value.push_back(Format::value(row.data(), channels, i));
  }
  const index_t width = divide_up(channels, 16) * 16;
  for (index_t i = channels; i < width; ++i) {
    CHECK(exactly_equal(Format::value(row.data(), channels, i), 0.0f));
  }
  return {key, value};
}

}  // namespace

TEST_CASE("a cache holds floats, and the nearest halves") {
  for (const index_t channels : {0, 1, 14, 24, 32, 64, 80}) {
    const std::vector<float> x = random_floats(channels, 1, -3.0f, 3.0f);
    std::vector<float> halves;
    for (const float number : x) halves.push_back(static_cast<float>(f16(number)));
    for (const index_t lane : {0, 7, 15}) {
      CHECK(there_and_back<CacheF32>(x, lane) == std::pair(x, x));
      CHECK(there_and_back<CacheF16>(x, lane) == std::pair(halves, halves));
    }
  }
}

TEST_CASE("a cache of eight bits is off by half a step of its group at most, and by nothing where a step allows it") {
  for (const index_t channels : {1, 14, 24, 32, 33, 64, 80}) {
    for (const float size : {1e-3f, 1.0f, 3000.0f}) {
      const std::vector<float> x = random_floats(channels, 2, -size, size);
      const auto [key, value] = there_and_back<CacheQ8>(x, 3);
      CHECK(key == value);
      bool is_near = true;
      for (std::size_t first = 0; first < x.size(); first += 32) {
        const std::size_t end = std::min(first + 32, x.size());
        float largest = 0.0f;
        for (std::size_t i = first; i < end; ++i) largest = std::max(largest, std::abs(x[i]));
        for (std::size_t i = first; i < end; ++i) {
          is_near = is_near && std::abs(key[i] - x[i]) <= 0.502f * static_cast<float>(f16(largest / 127.0f));
        }
      }
      CHECK(is_near);
    }
  }
  std::vector<float> whole{127.0f, -127.0f, 0.0f, 1.0f, -64.0f};
  CHECK(there_and_back<CacheQ8>(whole, 0) == std::pair(whole, whole));
  const std::vector<float> nothing(40, 0.0f);
  CHECK(there_and_back<CacheQ8>(nothing, 0) == std::pair(nothing, nothing));
  CHECK(there_and_back<CacheQ8>(std::vector<float>(3, 1e-9f), 0).first == std::vector<float>(3, 0.0f));
}

TEST_CASE("what is not finite makes its group of a cache of eight bits NaN, and no other") {
  for (const float bad : {std::nanf(""), INFINITY, -INFINITY, 3e38f}) {
    std::vector<float> x = random_floats(70, 3);
    x[40] = bad;
    const auto [key, value] = there_and_back<CacheQ8>(x, 9);
    bool expected = true;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const bool is_bad = i / 32 == 1;
      expected = expected && std::isnan(key[i]) == is_bad && std::isnan(value[i]) == is_bad;
    }
    CHECK(expected);
  }
}

TEST_CASE("keys of a panel keep out of each other's way") {
  const auto check = []<class Format>(Format) {
    std::vector<std::byte> panel(as_size(Format::panel_bytes(40)));
    for (index_t lane = 0; lane < 16; ++lane) {
      Format::store_key(random_floats(40, static_cast<unsigned>(lane)).data(), 40, lane, panel.data());
    }
    for (index_t lane = 0; lane < 16; ++lane) {
      const std::vector<float> alone = there_and_back<Format>(random_floats(40, static_cast<unsigned>(lane)), 0).first;
      for (index_t i = 0; i < 40; ++i) CHECK(exactly_equal(Format::key(panel.data(), i, lane), alone[as_size(i)]));
    }
  };
  check(CacheF32{});
  check(CacheF16{});
  check(CacheQ8{});
}

TEST_CASE("a cache takes the bytes of its numbers and scales") {
  CHECK(CacheF32::panel_bytes(24) == 16 * 24 * 4);
  CHECK(CacheF16::panel_bytes(24) == 16 * 24 * 2);
  CHECK(CacheQ8::panel_bytes(64) == 16 * (64 + 2 * 2));
  CHECK(CacheQ8::panel_bytes(24) == 16 * (24 + 2));
  CHECK(CacheF32::row_bytes(24) == 32 * 4);
  CHECK(CacheF16::row_bytes(24) == 32 * 2);
  CHECK(CacheQ8::row_bytes(64) == 64 + 2 * 2);
  CHECK(CacheQ8::row_bytes(24) == 32 + 2);
  CHECK(CacheQ8::row_bytes(0) == 0);
}
