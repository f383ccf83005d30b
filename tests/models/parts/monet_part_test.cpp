#include "headgate/models/parts/monet_part.hpp"

#include "models/parts/bank_part.hpp"
#include "support/catch.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("a layer of Monet is one network to a decoder, and refuses what its layer refuses") {
  const SmallFile file({counting("w", {6, 4}), counting("m", {2}), counting("u", {9, 4}), counting("ub", {9}),
                        counting("v", {4, 9}), counting("b", {3, 4})});
  const auto find = [&](const char* name, const Shape& shape) { return WeightRows::find(file.source, name, shape); };
  const MonetPart::Side side{find("w", {6, 4}), find("m", {2}), find("m", {2})};
  MonetPart part{3,
                 {.heads = 2, .topk = 1},
                 false,
                 {side, side},
                 {find("u", {9, 4}), find("v", {4, 9}), find("b", {3, 4})},
                 {find("ub", {9})}};
  CHECK(part.words() == "Monet, 3 x 3 experts, horizontal, 2 heads, 1 of a side");
  CHECK(count_of(part).parameters == 2 * 28 + 36 + 36 + 12 + 9);
  CHECK(part.scratch()({3, 1, 3, 1}) > 0);
  Context ctx;
  Packer packer(ctx);
  const DecoderBlock::Dense network = part.pack(packer);
  reference::Matrix x(3, 4), y(3, 4), more(3, 4);
  for (std::size_t i = 0; i < x.values.size(); ++i) x.values[i] = 0.125f * static_cast<float>(i % 3);
  RoutingPlan plan;
  throw_if_error(network.add(x.view(), y.view(), plan, ctx));
  more.values = y.values;
  throw_if_error(network.add(x.view(), more.view(), plan, ctx));
  bool is_zero = true;
  for (std::size_t i = 0; i < y.values.size(); ++i) {
    CHECK(more.values[i] == Approx(2.0f * y.values[i]));  // it adds
    is_zero = is_zero && y.values[i] == Approx(0.0f);
  }
  CHECK_FALSE(is_zero);

  part.options.topk = 4;
  CHECK(io_test::error_of([&] { part.pack(packer); }).code() == ErrorCode::usage);
}
