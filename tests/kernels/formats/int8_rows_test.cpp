#include "headgate/kernels/formats/int8_rows.hpp"

#include <random>
#include <vector>

#include "headgate/kernels/panel16.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"

using namespace headgate;

TEST_CASE("every weight of rows of eight bits keeps its value in panels, whatever the width") {
  std::mt19937 engine(3);
  for (const index_t k : {1, 3, 4, 31, 32, 33, 100}) {
    CAPTURE(k);
    CHECK(Int8Rows::fits(k));
    Panel16<Int8Rows> packed(19, k);
    std::vector<std::vector<std::byte>> rows;
    for (index_t r = 0; r < 19; ++r) {
      std::vector<std::byte> row(as_size(Int8Rows::row_bytes(k)));
      for (std::byte& byte : row) byte = static_cast<std::byte>(engine());
      const float scale = 0.01f * static_cast<float>(r - 4);
      std::memcpy(row.data(), &scale, sizeof scale);
      packed.set_row(r, static_cast<const std::byte*>(row.data()));
      rows.push_back(row);
    }
    std::vector<float> found(as_size(k));
    std::vector<std::byte> back(as_size(Int8Rows::row_bytes(k)));
    for (index_t r = 0; r < 19; ++r) {
      packed.view().read_row(r, found.data());
      for (index_t i = 0; i < k; ++i) {
        const auto q = static_cast<std::int8_t>(rows[as_size(r)][as_size(4 + i)]);
        CHECK(found[as_size(i)] == 0.01f * static_cast<float>(r - 4) * static_cast<float>(q));
      }
      Int8Rows::unpack_row(packed.view().panel(r / 16), k, r % 16, back.data());
      CHECK(back == rows[as_size(r)]);
    }
  }
}

TEST_CASE("a row of eight bits is within half a step of its floats, and its largest is kept") {
  for (const index_t k : {1, 5, 64}) {
    const std::vector<float> x = random_floats(as_size(k), 3.0f, 7);
    std::vector<std::byte> row(as_size(Int8Rows::row_bytes(k)));
    Int8Rows::encode(x.data(), k, row.data());
    float scale;
    std::memcpy(&scale, row.data(), sizeof scale);
    float largest = 0.0f;
    for (index_t i = 0; i < k; ++i) {
      const auto q = static_cast<std::int8_t>(row[as_size(4 + i)]);
      CHECK(std::abs(scale * static_cast<float>(q) - x[as_size(i)]) <= 0.5001f * scale);
      largest = std::max(largest, std::abs(x[as_size(i)]));
    }
    CHECK(scale == largest / 127.0f);
  }
  const float zeros[2] = {0.0f, -0.0f};
  std::byte row[6];
  Int8Rows::encode(zeros, 2, row);
  for (const std::byte byte : row) CHECK(byte == std::byte{0});
}
