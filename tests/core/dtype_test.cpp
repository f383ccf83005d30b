#include "headgate/core/dtype.hpp"

#include <cmath>
#include <cstring>
#include <string_view>
#include <tuple>
#include <utility>

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("every bfloat16 survives the way to float and back, NaN apart, which stays NaN") {
  bool same = true;
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    bf16 value;
    value.bits = static_cast<std::uint16_t>(bits);
    const float wide = static_cast<float>(value);
    const bf16 back(wide);
    same = same && (std::isnan(wide) ? std::isnan(static_cast<float>(back)) : back.bits == bits);
  }
  CHECK(same);
}

TEST_CASE("floats become the nearest bfloat16, ties to even") {
  const auto bits = [](float x) { return bf16(x).bits; };
  CHECK(bits(1.0f) == 0x3f80);
  CHECK(bits(1.0f + 0x1p-8f) == 0x3f80);  // halfway, to even
  CHECK(bits(1.0f + 0x1p-8f + 0x1p-23f) == 0x3f81);
  CHECK(bits(1.0f + 3 * 0x1p-8f) == 0x3f82);  // halfway, to even
  CHECK(bits(3.4028235e38f) == 0x7f80);       // rounds to infinity
  CHECK(bits(-INFINITY) == 0xff80);
  CHECK(bits(-0.0f) == 0x8000);
  CHECK(bits(1e-45f) == 0);
  CHECK(std::isnan(static_cast<float>(bf16(std::bit_cast<float>(0x7f800001u)))));
}

TEST_CASE("every half is the float that IEEE 754 says") {
  bool same = true;
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    f16 half;
    half.bits = static_cast<std::uint16_t>(bits);
    const float value = static_cast<float>(half);
    const int exponent = static_cast<int>(bits >> 10) & 31;
    const int fraction = static_cast<int>(bits) & 1023;
    if (exponent == 31 && fraction != 0) {
      same = same && std::isnan(value);
      continue;
    }
    double expected = exponent == 31  ? INFINITY
                      : exponent == 0 ? std::ldexp(fraction, -24)
                                      : std::ldexp(1024 + fraction, exponent - 25);
    if ((bits & 0x8000u) != 0) expected = -expected;
    same = same && static_cast<double>(value) == expected && std::signbit(value) == std::signbit(expected);
  }
  CHECK(same);
}

TEST_CASE("floats become the nearest half, ties to even, and halves survive the way there and back") {
  bool same = true;
  const auto half = [](std::uint32_t bits) {
    f16 value;
    value.bits = static_cast<std::uint16_t>(bits);
    return static_cast<float>(value);
  };
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float wide = half(bits);
    const f16 back(wide);
    same = same && (std::isnan(wide) ? std::isnan(static_cast<float>(back)) : back.bits == bits);
    if ((bits & 0x7fffu) >= 0x7bffu) continue;  // from here to the next one
    const float next = half(bits + 1);
    const float middle = 0.5f * (wide + next);  // exact
    same = same && f16(middle).bits == bits + (bits & 1u);
    same = same && f16(std::nextafter(middle, wide)).bits == bits && f16(std::nextafter(middle, next)).bits == bits + 1;
  }
  CHECK(same);
  CHECK(f16(65519.996f).bits == 0x7bff);
  CHECK(f16(65520.0f).bits == 0x7c00);
  CHECK(f16(-INFINITY).bits == 0xfc00);
  CHECK(f16(1e-45f).bits == 0);
  CHECK(f16(-1e-45f).bits == 0x8000);
  CHECK(std::isnan(static_cast<float>(f16(std::bit_cast<float>(0x7f800001u)))));
}

TEST_CASE("every number of eight bits is the float that its format says") {
  bool same = true;
  for (int bits = 0; bits < 256; ++bits) {
    f8_e4m3 fine;
    f8_e5m2 wide;
    fine.bits = wide.bits = static_cast<std::uint8_t>(bits);
    const double sign = bits < 128 ? 1.0 : -1.0;
    const int four = (bits >> 3) & 15;
    const int three = bits & 7;
    const float f = static_cast<float>(fine);
    if (four == 15 && three == 7) {
      same = same && std::isnan(f);
    } else {
      const double expected = sign * (four == 0 ? std::ldexp(three, -9) : std::ldexp(8 + three, four - 10));
      same = same && static_cast<double>(f) == expected && std::signbit(f) == (bits >= 128);
    }
    const int five = (bits >> 2) & 31;
    const int two = bits & 3;
    const float w = static_cast<float>(wide);
    if (five == 31) {
      same = same && (two == 0 ? std::isinf(w) : std::isnan(w)) && std::signbit(w) == (bits >= 128);
    } else {
      const double expected = sign * (five == 0 ? std::ldexp(two, -16) : std::ldexp(4 + two, five - 17));
      same = same && static_cast<double>(w) == expected && std::signbit(w) == (bits >= 128);
    }
  }
  CHECK(same);
  f8_e4m3 largest;
  largest.bits = 0x7e;
  CHECK(static_cast<float>(largest) == 448.0f);
  CHECK(f8_e4m3().bits == 0);
  CHECK(f8_e5m2().bits == 0);
}

TEST_CASE("data types have a name and a size, at their place in the list") {
  index_t total = 0;
  for (const DTypeInfo& entry : dtypes) {
    CHECK(&info(entry.dtype) == &entry);
    CHECK_FALSE(entry.name.empty());
    if (entry.block == 1) total += entry.size;
  }
  CHECK(total == 1 + 1 + 1 + 2 + 2 + 2 + 2 + 4 + 4 + 4 + 8 + 8 + 8 + 1 + 1);
  CHECK(info(DType::bf16).name == "BF16");
  CHECK(info(DType::f8_e4m3).size == 1);
}

TEST_CASE("data types are those of safetensors, then the quantized ones of GGUF") {
  const std::pair<std::string_view, index_t> expected[] = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"U16", 2}, {"I16", 2}, {"F16", 2},     {"BF16", 2},   {"U32", 4},
      {"I32", 4},  {"F32", 4}, {"U64", 8}, {"I64", 8}, {"F64", 8}, {"F8_E4M3", 1}, {"F8_E5M2", 1}};
  const std::tuple<std::string_view, index_t, index_t> quantized[] = {
      {"Q4_0", 18, 32},   {"Q4_1", 20, 32},     {"Q5_0", 22, 32},   {"Q5_1", 24, 32},   {"Q8_0", 34, 32},
      {"Q2_K", 84, 256},  {"Q3_K", 110, 256},   {"Q4_K", 144, 256}, {"Q5_K", 176, 256}, {"Q6_K", 210, 256},
      {"IQ4_NL", 18, 32}, {"IQ4_XS", 136, 256}, {"MXFP4", 17, 32}};
  REQUIRE(std::size(dtypes) == std::size(expected) + std::size(quantized));
  for (std::size_t i = 0; i < std::size(expected); ++i) {
    CHECK(dtypes[i].name == expected[i].first);
    CHECK(dtypes[i].size == expected[i].second);
    CHECK(dtypes[i].block == 1);
  }
  for (std::size_t i = 0; i < std::size(quantized); ++i) {
    const DTypeInfo& found = dtypes[std::size(expected) + i];
    CHECK(std::tuple(found.name, found.size, found.block) == quantized[i]);
  }
  CHECK(bf16().bits == 0);
  CHECK(f16().bits == 0);
}
