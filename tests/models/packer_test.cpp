#include "headgate/models/packer.hpp"

#include <numeric>

#include "headgate/routing/topk_softmax.hpp"
#include "io/gguf_writer.hpp"
#include "kernels/kernel_cases.hpp"
#include "kernels/random_rows.hpp"
#include "models/small_file.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("a packer reads every row once and packs it in the format that keeps its values") {
  const SmallFile file({counting("a", {5, 7}, "BF16"), counting("bias", {5})});
  const WeightRows a = WeightRows::find(file.source, "a", {5, 7});
  const WeightRows bias = WeightRows::find(file.source, "bias", {5});
  Context ctx;
  const Packer packer(ctx);
  std::vector<float> counted(35);
  std::iota(counted.begin(), counted.end(), 0.0f);
  CHECK(packer.floats(a) == counted);
  CHECK(packer.floats(std::optional<WeightRows>()).empty());
  std::vector<int> seen(5);
  packer.each_row(a, [&](index_t r, const float* row) {
    ++seen[as_size(r)];
    CHECK(row[6] == static_cast<float>(7 * r + 6));
  });
  CHECK(seen == std::vector<int>(5, 1));

  const Matrix matrix = packer.linear(a, bias);
  const std::vector<float> ones(7, 1.0f);
  std::vector<float> y(5);
  CHECK(matrix.forward(ConstRows(ones.data(), 1, 7), Rows(y.data(), 1, 5), ctx).ok());
  CHECK(y == std::vector<float>{21, 71, 121, 171, 221});  // the row's sum and its bias
}

TEST_CASE("a packer reports the bytes that it has read, at the end all of them once") {
  const SmallFile file({counting("a", {5, 7}, "BF16"), counting("b", {3, 2})});
  const WeightRows a = WeightRows::find(file.source, "a", {5, 7});
  const WeightRows b = WeightRows::find(file.source, "b", {3, 2});
  CHECK(a.stored_size() == 70);
  Context ctx;
  Packer packer(ctx);
  std::vector<std::int64_t> done;
  packer.report_to(
      [&](std::int64_t bytes, std::int64_t total) {
        CHECK(total == 94);
        done.push_back(bytes);
      },
      94);
  static_cast<void>(packer.linear(a));
  static_cast<void>(packer.floats(b));
  static_cast<void>(packer.floats(b));  // more than was said
  REQUIRE(!done.empty());
  CHECK(done.back() == 94);
  CHECK(std::count(done.begin(), done.end(), 94) == 1);
}

TEST_CASE("blocks are left in their file where rows are whole panels, and copied elsewhere, with the same bits") {
  const std::vector<std::byte> rows = random_rows<blocks::Q8_0>(32, 64, 1);
  const std::string bytes(reinterpret_cast<const char*>(rows.data()), rows.size());
  io_test::GgufWriter writer;
  writer.tensor("whole", {64, 32}, 8, bytes);
  writer.tensor("cut", {64, 17}, 8, bytes.substr(0, 17 * 68));
  const io_test::ScratchFolder folder;
  folder.write("blocks.gguf", writer.file());
  const TensorSource source = TensorSource::open(folder / "blocks.gguf");
  Context ctx;
  const Packer packer(ctx);
  const WeightRows whole = WeightRows::find(source, "whole", {32, 64});
  const WeightRows cut = WeightRows::find(source, "cut", {17, 64});
  CHECK(whole.format() == RowBlocks<blocks::Q8_0>{});
  CHECK(whole.mapped() != nullptr);
  CHECK(whole.part(16, 16).mapped() == whole.mapped() + 16 * 68);
  CHECK(whole.part(0, 16, 2).mapped() == nullptr);
  CHECK(whole.deinterleaved(4, 0, 2).mapped() == nullptr);
  CHECK(cut.mapped() == nullptr);
  const Matrix seen = packer.linear(whole);
  CHECK(seen.weights().data == whole.mapped());
  CHECK(packer.kept().size() == 1);
  Packer copying(ctx);
  copying.copy_all();
  const Matrix copied = copying.linear(whole);
  CHECK(copied.weights().data != whole.mapped());
  CHECK(copying.kept().empty());
  const Matrix other = packer.linear(cut);
  const std::vector<float> x = random_floats(64, 2);
  std::vector<float> y[3] = {std::vector<float>(32), std::vector<float>(32), std::vector<float>(17)};
  CHECK(seen.forward(ConstRows(x.data(), 1, 64), Rows(y[0].data(), 1, 32), ctx).ok());
  CHECK(copied.forward(ConstRows(x.data(), 1, 64), Rows(y[1].data(), 1, 32), ctx).ok());
  CHECK(other.forward(ConstRows(x.data(), 1, 64), Rows(y[2].data(), 1, 17), ctx).ok());
  CHECK(y[0] == y[1]);
  CHECK(std::equal(y[2].begin(), y[2].end(), y[0].begin()));
}

TEST_CASE("a packer's router of the caller takes the place of a layer's own, and the layer is told") {
  Context ctx;
  const std::vector<float> gate(5 * 3, 0.0f);
  const GateWeights weights{.gate = ConstRows(gate.data(), 5, 3)};
  const AnyRouter own = olmoe_router(weights, 2).value();
  CHECK(Packer(ctx).replaced(weights, own).traits().k_max == 2);
  index_t told = -1;
  Packer packer(ctx, [&](index_t layer, const GateWeights&, AnyRouter) -> AnyRouter {
    told = layer;
    return olmoe_router(weights, 3).value();
  });
  packer.begin_layer(7);
  CHECK(packer.replaced(weights, own).traits().k_max == 3);
  CHECK(told == 7);
}
