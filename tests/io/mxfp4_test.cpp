#include "headgate/io/mxfp4.hpp"

#include "headgate/core/context.hpp"
#include "io/refusal.hpp"
#include "io/safetensors_writer.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"

#include <cmath>
#include <vector>

namespace {

using namespace headgate;
using io_test::contains;
using io_test::error_of;
using io_test::ScratchFolder;

// Byte i of the blocks that make_vectors.py unpacks.
std::string bytes(std::size_t count) {
  std::string text(count, '\0');
  for (std::size_t i = 0; i < count; ++i) text[i] = static_cast<char>((i * 37 + i / 256 * 11) % 256);
  return text;
}
TensorSource source(const ScratchFolder& folder, const std::string& blocks_shape, const std::string& blocks,
                    const std::string& scales_shape, const std::string& scales, const std::string& dtype = "U8") {
  folder.write("model.safetensors", io_test::safetensors({{"w_blocks", dtype, blocks_shape, blocks},
                                                          {"w_scales", "U8", scales_shape, scales}}));
  return TensorSource::open(folder / "model.safetensors");
}
// The weights that every pair of a scale and four bits stands for.
double weight(int bits, int scale) {
  constexpr double values[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  return std::ldexp(bits < 8 ? values[bits] : -values[bits - 8], scale - 127);
}

}  // namespace

TEST_CASE("MXFP4 is unpacked to the bits of transformers' own code, on threads that flush denormals, too") {
  const nlohmann::json expected = golden("weight_rows");
  std::string scales;
  for (const int exponent : values<int>(expected["exponents"])) scales += static_cast<char>(exponent);
  const ScratchFolder folder;
  const TensorSource file = source(folder, "[2,3,3,16]", bytes(288), "[2,3,3]", scales);
  const Mxfp4 weights(file, "w", {2, 3, 96});
  CHECK(weights.blocks().name == "w_blocks");
  CHECK(weights.scales().name == "w_scales");
  std::vector<std::int32_t> found;
  std::vector<float> row(96);
  for (std::int64_t r = 0; r < 6; ++r) {
    weights.read(r, row);
    for (const float value : row) found.push_back(std::bit_cast<std::int32_t>(value));
    const std::vector<float> as_is = row;
    Context context;
    context.parallel(1, [&](index_t) { weights.read(r, row); });
    for (std::size_t c = 0; c < row.size(); ++c) {
      CHECK(std::bit_cast<std::int32_t>(row[c]) == std::bit_cast<std::int32_t>(as_is[c]));
    }
  }
  CHECK(found == values<std::int32_t>(expected["mxfp4"]));
}

TEST_CASE("every value of MXFP4 is exact in bfloat16, and those beyond the floats are refused") {
  std::string all(16, '\0');
  for (std::size_t i = 0; i < 16; ++i) all[i] = static_cast<char>(i | ((15 - i) << 4));
  for (int scale = 0; scale < 256; ++scale) {
    const ScratchFolder folder;
    const TensorSource file = source(folder, "[1,1,16]", all, "[1,1]", std::string(1, static_cast<char>(scale)));
    const Mxfp4 weights(file, "w", {1, 32});
    std::vector<float> row(32);
    if (scale >= 253) {
      const Error error = error_of([&] { weights.read(0, row); });
      CHECK(error.code() == ErrorCode::bad_file);
      CHECK(contains(error.what(), "model.safetensors: w_scales"));
      CHECK(contains(error.what(), "scale 0 of row 0 is " + std::to_string(scale)));
      CHECK(contains(error.what(), scale == 255 ? "no number" : "beyond all floats"));
      continue;
    }
    weights.read(0, row);
    bool same = true;
    for (int i = 0; i < 16; ++i) {
      for (const auto& [place, bits] : {std::pair(2 * i, i), std::pair(2 * i + 1, 15 - i)}) {
        const float value = row[as_size(place)];
        same = same && static_cast<double>(value) == weight(bits, scale) && std::signbit(value) == (bits >= 8) &&
               static_cast<float>(bf16(value)) == value;
      }
    }
    CHECK(same);
  }
}

TEST_CASE("a large scale of MXFP4 is fine where no weight times it is beyond the floats") {
  const ScratchFolder folder;
  const TensorSource file = source(folder, "[1,1,16]", std::string(16, '\x32'), "[1,1]", "\xfe");
  std::vector<float> row(32);
  Mxfp4(file, "w", {1, 32}).read(0, row);
  CHECK(row[0] == 0x1p127f);
  CHECK(row[1] == 0x1.8p127f);
}

TEST_CASE("MXFP4 tensors of other shapes or types are refused with name, found and allowed") {
  const ScratchFolder folder;
  const auto refused = [&](const TensorSource& file, const Shape& shape) {
    const Error error = error_of([&] { Mxfp4(file, "w", shape); });
    CHECK(error.code() == ErrorCode::bad_file);
    return std::string(error.what());
  };
  const TensorSource file = source(folder, "[2,3,2,16]", bytes(192), "[2,3,2]", std::string(12, '\x7f'));
  CHECK_NOTHROW(Mxfp4(file, "w", {2, 3, 64}));
  CHECK(contains(refused(file, {2, 3, 32}), "w_scales at byte"));
  CHECK(contains(refused(file, {2, 3, 32}), "expected shape (2, 3, 1), found (2, 3, 2)"));
  CHECK(contains(refused(file, {2, 3, 70}), "w_scales at byte"));
  CHECK(contains(refused(file, {2, 3, 70}), "rows of 70 weights are no whole blocks"));
  CHECK(contains(error_of([&] { Mxfp4(file, "v", {2, 3, 64}); }).what(), "v_scales: the tensor is missing"));
  CHECK(contains(refused(source(folder, "[2,3,4,8]", bytes(192), "[2,3,2]", std::string(12, '\x7f')), {2, 3, 64}),
                 ": expected shape (2, 3, 2, 16), found (2, 3, 4, 8)"));
  CHECK(
      contains(refused(source(folder, "[2,3,2,16]", bytes(192), "[2,3,2]", std::string(12, '\x7f'), "I8"), {2, 3, 64}),
               "expected type U8, found I8"));
}

TEST_CASE("MXFP4 of no rows or no columns has nothing to read") {
  const ScratchFolder folder;
  CHECK_NOTHROW(Mxfp4(source(folder, "[0,3,2,16]", "", "[0,3,2]", ""), "w", {0, 3, 64}));
  const TensorSource none = source(folder, "[2,0,16]", "", "[2,0]", "");
  Mxfp4(none, "w", {2, 0}).read(1, {});
}
