#include "headgate/models/parts/short_convolution_part.hpp"

#include "models/small_file.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("a short convolution is found behind its prefix, biases only where it has some") {
  const SmallFile file({counting("c.in_proj.weight", {15, 5}), counting("c.conv.weight", {5, 1, 3}),
                        counting("c.out_proj.weight", {5, 5}, "BF16"), counting("c.in_proj.bias", {15}),
                        counting("c.conv.bias", {5})});
  ShortConvolutionShape shape{.hidden_size = 5, .taps = 3};
  const ShortConvolutionPart part = ShortConvolutionPart::find(file.source, "c.", shape);
  CHECK(part.words() == "short convolution of 3");
  WeightList weights;
  part.list_weights(weights);
  CHECK(weights.size() == 3);
  const StateSize size{20, 4, 2};
  CHECK(part.state()(size) == shape.state_bytes(size));
  Context ctx;
  CHECK(part.pack(Packer(ctx)).hidden_size() == 5);
  shape.has_bias = true;
  const Error error = io_test::error_of([&] { ShortConvolutionPart::find(file.source, "c.", shape); });
  CHECK(error.detail().field == "c.out_proj.bias");
  shape = {.hidden_size = 5, .taps = 4};
  CHECK(io_test::error_of([&] { ShortConvolutionPart::find(file.source, "c.", shape); }).detail().field ==
        "c.conv.weight");
}
