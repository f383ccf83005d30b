#include "headgate/core/quantized_blocks.hpp"

#include <cmath>
#include <cstdio>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/golden.hpp"

namespace {

using namespace headgate;

std::vector<std::uint32_t> bits_of(const std::vector<float>& values) {
  std::vector<std::uint32_t> bits(values.size());
  std::memcpy(bits.data(), values.data(), values.size() * sizeof(float));
  return bits;
}
// The bytes that make_vectors.py decodes, behind one more, so that their address is odd.
std::vector<std::byte> random_blocks(const nlohmann::json& type, std::size_t bytes, std::size_t count) {
  std::vector<std::byte> raw(1 + bytes * count);
  auto state = type.at("seed").get<std::uint32_t>();
  for (std::size_t i = 1; i < raw.size(); ++i) {
    state = state * 1664525u + 1013904223u;
    raw[i] = static_cast<std::byte>(state >> 24);
  }
  for (std::size_t b = 0; b < count; ++b) {
    for (const auto& half : type.at("halves")) {
      std::byte& high = raw[1 + b * bytes + half.get<std::size_t>() + 1];
      if ((high & std::byte{0x7c}) == std::byte{0x7c}) high &= std::byte{0xbf};
    }
  }
  return raw;
}
std::string fnv1a(const std::vector<std::uint32_t>& words) {
  std::uint64_t value = 0xcbf29ce484222325u;
  for (const std::uint32_t word : words) value = (value ^ word) * 0x100000001b3u;
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}
template <class Blocks>
std::vector<float> decoded(const std::byte* block) {
  std::vector<float> out(as_size(Blocks::size));
  decode_blocks<Blocks>(block, 0, Blocks::size, out.data());
  return out;
}
// A block of zeros but for its half of one, and what is set.
template <class Blocks>
std::vector<std::byte> block_with(std::initializer_list<std::pair<std::size_t, int>> bytes) {
  std::vector<std::byte> block(as_size(Blocks::bytes));
  for (const auto& [place, value] : bytes) block[place] = static_cast<std::byte>(value);
  return block;
}

}  // namespace

TEST_CASE("2,000 random blocks of every quantized type have the bits that the gguf package gives them") {
  const nlohmann::json vectors = golden("quantized_blocks");
  std::set<std::string> seen;
  for (const DTypeInfo& type : dtypes) {
    const bool is_quantized = visit_blocks(type.dtype, [&]<class Blocks>(Blocks) {
      const std::string name(type.name);
      INFO(name);
      seen.insert(name);
      constexpr std::size_t count = 2000;
      const nlohmann::json& expected = vectors.at(name);
      const std::vector<std::byte> raw = random_blocks(expected, as_size(Blocks::bytes), count);
      const std::size_t size = as_size(Blocks::size);
      std::vector<float> all(size * count);
      decode_blocks<Blocks>(raw.data() + 1, 0, static_cast<std::int64_t>(all.size()), all.data());
      const std::vector<std::uint32_t> bits = bits_of(all);
      CHECK(std::vector(bits.begin(), bits.begin() + Blocks::size) == values<std::uint32_t>(expected.at("first")));
      CHECK(std::vector(bits.end() - Blocks::size, bits.end()) == values<std::uint32_t>(expected.at("last")));
      CHECK(fnv1a(bits) == expected.at("hash").get<std::string>());
    });
    CHECK(is_quantized == (type.block > 1));
  }
  CHECK(seen.size() == 13);
}

TEST_CASE("weights of blocks are decoded from any place on") {
  const nlohmann::json type = {{"seed", 7}, {"halves", {0}}};
  const auto check = [&]<class Blocks>(Blocks) {
    const std::vector<std::byte> raw = random_blocks(type, as_size(Blocks::bytes), 3);
    constexpr std::int64_t all = 3 * Blocks::size;
    std::vector<float> whole(as_size(all));
    decode_blocks<Blocks>(raw.data() + 1, 0, all, whole.data());
    const auto expected = bits_of(whole);
    for (std::int64_t first = 0; first < all; first += 5) {
      for (const std::int64_t count : {std::int64_t{0}, std::int64_t{1}, std::int64_t{31}, std::int64_t{70}, all}) {
        const std::int64_t taken = std::min(count, all - first);
        std::vector<float> part(as_size(taken) + 1, 5.0f);
        decode_blocks<Blocks>(raw.data() + 1, first, taken, part.data());
        REQUIRE(part.back() == 5.0f);
        part.pop_back();
        REQUIRE(bits_of(part) == std::vector(expected.begin() + first, expected.begin() + first + taken));
      }
    }
  };
  check(blocks::Q4_0{});
  check(blocks::Q4_K{});
}

TEST_CASE("C45 every pattern of the six bits of scales and minima of Q4_K and Q5_K is the number it says") {
  // In group g the scale is s and the minimum m, all others are zero or all ones.
  bool same = true;
  for (const int others : {0, 63}) {
    for (index_t g = 0; g < 8; ++g) {
      for (int s = 0; s < 64; ++s) {
        for (int m = 0; m < 64; ++m) {
          int scale[8];
          int minimum[8];
          for (int i = 0; i < 8; ++i) {
            scale[i] = i == g ? s : others;
            minimum[i] = i == g ? m : others;
          }
          std::byte packed[12];
          for (int i = 0; i < 4; ++i) {
            packed[i] = static_cast<std::byte>(scale[i] | scale[i + 4] >> 4 << 6);
            packed[i + 4] = static_cast<std::byte>(minimum[i] | minimum[i + 4] >> 4 << 6);
            packed[i + 8] = static_cast<std::byte>((scale[i + 4] & 15) | (minimum[i + 4] & 15) << 4);
          }
          const auto found = blocks::load_six_bits(packed, g);
          same = same && found[0] == s && found[1] == m;
        }
      }
    }
  }
  CHECK(same);
}

TEST_CASE("C45 a block of all ones, scales apart, decodes to finite numbers") {
  const nlohmann::json vectors = golden("quantized_blocks");
  for (const DTypeInfo& type : dtypes) {
    visit_blocks(type.dtype, [&]<class Blocks>(Blocks) {
      if (Blocks::dtype == DType::mxfp4) return;
      INFO(type.name);
      std::vector<std::byte> block(as_size(Blocks::bytes), std::byte{0xff});
      for (const auto& half : vectors.at(std::string(type.name)).at("halves")) {
        block[half.get<std::size_t>()] = std::byte{0x00};
        block[half.get<std::size_t>() + 1] = std::byte{0x3c};  // 1
      }
      bool finite = true;
      for (const float y : decoded<Blocks>(block.data())) finite = finite && std::isfinite(y);
      CHECK(finite);
    });
  }
}

TEST_CASE("C46 every byte of weights of the nonlinear types and of MXFP4 is two numbers of the table") {
  const float table[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
  const float doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
  bool same = true;
  for (int byte = 0; byte < 256; ++byte) {
    for (std::size_t i = 0; i < 16; ++i) {
      const std::vector<float> nl =
          decoded<blocks::IQ4_NL>(block_with<blocks::IQ4_NL>({{1, 0x3c}, {2 + i, byte}}).data());
      same = same && nl[i] == table[byte & 15] && nl[i + 16] == table[byte >> 4];
      const std::vector<float> mx = decoded<blocks::MXFP4>(block_with<blocks::MXFP4>({{0, 128}, {1 + i, byte}}).data());
      same = same && mx[i] == doubled[byte & 15] && mx[i + 16] == doubled[byte >> 4];
      for (std::size_t g = 0; g < 8; ++g) {  // scales of all bits zero are -32
        const std::vector<float> xs =
            decoded<blocks::IQ4_XS>(block_with<blocks::IQ4_XS>({{1, 0x3c}, {8 + 16 * g + i, byte}}).data());
        same = same && xs[32 * g + i] == -32 * table[byte & 15] && xs[32 * g + i + 16] == -32 * table[byte >> 4];
      }
    }
  }
  CHECK(same);
}

TEST_CASE("every exponent of MXFP4 is the power of two that ggml makes of it") {
  bool same = true;
  for (int e = 0; e < 256; ++e) {
    const std::vector<float> y =
        decoded<blocks::MXFP4>(block_with<blocks::MXFP4>({{0, e}, {1, 0x75}, {2, 0xf1}}).data());
    same = same && y[0] == static_cast<float>(std::ldexp(6.0, e - 128)) &&
           y[16] == static_cast<float>(std::ldexp(12.0, e - 128)) &&
           y[1] == static_cast<float>(std::ldexp(1.0, e - 128)) &&
           y[17] == static_cast<float>(std::ldexp(-12.0, e - 128));
  }
  CHECK(same);
}

TEST_CASE("a scale that is infinite or no number gives such weights, and nothing else") {
  const std::vector<float> infinite =
      decoded<blocks::Q8_0>(block_with<blocks::Q8_0>({{1, 0x7c}, {2, 1}, {3, 255}}).data());
  CHECK(infinite[0] == std::numeric_limits<float>::infinity());
  CHECK(infinite[1] == -std::numeric_limits<float>::infinity());
  CHECK(std::isnan(infinite[2]));
  for (const float y : decoded<blocks::Q6_K>(block_with<blocks::Q6_K>({{209, 0x7e}}).data())) CHECK(std::isnan(y));
}
