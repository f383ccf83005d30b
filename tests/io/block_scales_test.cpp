#include "headgate/io/block_scales.hpp"

#include "io/refusal.hpp"
#include "io/safetensors_writer.hpp"
#include "support/catch.hpp"

#include <limits>
#include <vector>

namespace {

using namespace headgate;
using io_test::contains;
using io_test::error_of;
using io_test::ScratchFolder;

std::string bytes(const std::vector<float>& numbers) {
  std::string text(4 * numbers.size(), '\0');
  if (!numbers.empty()) std::memcpy(text.data(), numbers.data(), text.size());
  return text;
}
TensorSource source(const ScratchFolder& folder, const std::string& shape, const std::vector<float>& scales) {
  folder.write("model.safetensors", io_test::safetensors({{"s", "F32", shape, bytes(scales)}}));
  return TensorSource::open(folder / "model.safetensors");
}

}  // namespace

TEST_CASE("blocks of 128 share a scale, and those at the edges are smaller") {
  const ScratchFolder folder;
  const TensorSource file = source(folder, "[2,2,3]", {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  const BlockScales scales(file, "s", {2, 129, 257});
  CHECK(scales.tensor().name == "s");
  const auto row = [&](std::int64_t r) {
    std::vector<float> values(257, 2.0f);
    scales.apply(r, values);
    return values;
  };
  const auto expected = [](float a, float b, float c) {
    std::vector<float> values(257, 2 * a);
    std::fill(values.begin() + 128, values.end(), 2 * b);
    values[256] = 2 * c;
    return values;
  };
  CHECK(row(0) == expected(1, 2, 3));
  CHECK(row(127) == expected(1, 2, 3));
  CHECK(row(128) == expected(4, 5, 6));
  CHECK(row(129) == expected(7, 8, 9));  // the second matrix
  CHECK(row(257) == expected(10, 11, 12));
}

TEST_CASE("scales of another shape or type, or that are not finite, are refused with their name") {
  const ScratchFolder folder;
  const auto refused = [&](const TensorSource& file, const Shape& weights) {
    const Error error = error_of([&] { BlockScales(file, "s", weights); });
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(contains(error.what(), "model.safetensors: s"));
    return std::string(error.what());
  };
  const TensorSource file = source(folder, "[1,2]", {1, 2});
  CHECK_NOTHROW(BlockScales(file, "s", {128, 129}));
  CHECK(contains(refused(file, {129, 129}), "expected shape (2, 2), found (1, 2)"));
  CHECK(contains(refused(file, {128, 128}), "expected shape (1, 1), found (1, 2)"));
  CHECK(contains(refused(file, {3, 128, 129}), "expected shape (3, 1, 2), found (1, 2)"));
  CHECK(contains(error_of([&] { BlockScales(file, "t", {1, 1}); }).what(), "t: the tensor is missing"));
  for (const float wrong : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()}) {
    CHECK(contains(refused(source(folder, "[2,1]", {1, wrong}), {200, 5}), "a scale of row 1 is not finite"));
  }
  folder.write("model.safetensors", io_test::safetensors({{"s", "U8", "[1,1]", "\x7f"}}));
  CHECK(contains(refused(TensorSource::open(folder / "model.safetensors"), {5, 5}),
                 "expected type F32 or BF16 or F16, found U8"));
}

TEST_CASE("scales of four bits are told from others") {
  const ScratchFolder folder;
  const auto has_four_bits = [&](float scale) {
    return BlockScales(source(folder, "[1,2]", {1.0f, scale}), "s", {7, 200}).has_four_bits();
  };
  for (const float scale : {0.0f, 0.25f, -1.875f, 0x1.ep-99f, 0x1p99f}) CHECK(has_four_bits(scale));
  for (const float scale : {1.9375f, 0.1f, 0x1p-101f, 0x1p100f, -0x1p120f}) CHECK_FALSE(has_four_bits(scale));
}

TEST_CASE("a product below the normal floats is zero whoever computes it") {
  const ScratchFolder folder;
  const TensorSource file = source(folder, "[1,1]", {2e-38f});
  std::vector<float> values = {0.5f, 1.0f};
  BlockScales(file, "s", {1, 2}).apply(0, values);
  CHECK(values[0] == 0.0f);
  CHECK(values[1] == 2e-38f);
}
