#include "headgate/core/block_bytes.hpp"

#include <vector>

#include "support/catch.hpp"

namespace {

using namespace headgate;

// Any bytes, of which all are used.
std::vector<std::byte> some_bytes(index_t count, std::uint32_t seed) {
  std::vector<std::byte> bytes(as_size(count));
  for (std::byte& byte : bytes) {
    seed = seed * 1664525u + 1013904223u;
    byte = static_cast<std::byte>(seed >> 24);
  }
  return bytes;
}

template <class Blocks>
constexpr bool has_halves = requires { Blocks::scale_at; };

// A block put together from the parts of another is that block, whatever stood there before and in any order.
template <class Blocks>
void check_inverse(std::uint32_t seed) {
  const std::vector<std::byte> block = some_bytes(Blocks::bytes, seed);
  std::vector<std::byte> copy = some_bytes(Blocks::bytes, ~seed);
  constexpr index_t groups = Blocks::size / blocks::group;
  for (index_t g = groups - 1; g >= 0; --g) {
    blocks::store_q<Blocks>(copy.data(), g, Blocks::affine(block.data(), g).q);
    if constexpr (groups > 1) {
      blocks::store_scales<Blocks>(copy.data(), g, Blocks::group_scales(block.data(), g));
    }
  }
  if constexpr (has_halves<Blocks>) {
    f16 d;
    f16 minimum;
    std::memcpy(&d, block.data() + Blocks::scale_at, 2);
    if constexpr (blocks::has_minimum<Blocks>) std::memcpy(&minimum, block.data() + Blocks::minimum_at, 2);
    blocks::store_halves<Blocks>(copy.data(), d, minimum);
  } else {
    copy[0] = block[0];
  }
  INFO(info(Blocks::dtype).name);
  CHECK(copy == block);
}

template <class... Types>
void check_all(blocks::TypeList<Types...>, std::uint32_t seed) {
  (check_inverse<Types>(seed), ...);
}

}  // namespace

TEST_CASE("a block put together from the parts that are read of another one has its bytes") {
  for (std::uint32_t seed = 1; seed <= 50; ++seed) check_all(blocks::All{}, seed);
}

TEST_CASE("the codes of one group leave those of the others alone") {
  const std::vector<std::byte> block = some_bytes(blocks::Q6_K::bytes, 3);
  for (index_t changed = 0; changed < 8; ++changed) {
    std::vector<std::byte> copy = block;
    blocks::Codes zero{};
    blocks::store_q<blocks::Q6_K>(copy.data(), changed, zero);
    for (index_t g = 0; g < 8; ++g) {
      CHECK(blocks::Q6_K::affine(copy.data(), g).q == (g == changed ? zero : blocks::Q6_K::affine(block.data(), g).q));
    }
  }
}
