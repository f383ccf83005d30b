// ShortConvolutionPart: the weights of a gated short convolution (attention/short_convolution.hpp).
#pragma once

#include <optional>
#include <string>

#include "headgate/attention/short_convolution.hpp"
#include "headgate/models/part.hpp"

namespace headgate::inline HEADGATE_ABI {

struct ShortConvolutionPart {
  ShortConvolutionShape shape;
  WeightRows input;                                                   // (3 hidden_size, hidden_size)
  WeightRows taps;                                                    // (hidden_size, taps)
  WeightRows output;                                                  // (hidden_size, hidden_size)
  std::optional<WeightRows> input_bias, taps_bias, output_bias = {};  // with has_bias

  // The convolution behind a prefix, "model.layers.0.conv.".
  static ShortConvolutionPart find(const TensorSource& source, const std::string& prefix,
                                   const ShortConvolutionShape& shape) {
    const std::int64_t width = shape.hidden_size;
    const auto bias = [&](const char* name, std::int64_t size) -> std::optional<WeightRows> {
      if (!shape.has_bias) return std::nullopt;
      return WeightRows::find(source, prefix + name, {size});
    };
    return {shape,
            WeightRows::find(source, prefix + "in_proj.weight", {3 * width, width}),
            WeightRows::find(source, prefix + "conv.weight", {width, 1, shape.taps}),
            WeightRows::find(source, prefix + "out_proj.weight", {width, width}),
            bias("in_proj.bias", 3 * width),
            bias("conv.bias", width),
            bias("out_proj.bias", width)};
  }

  std::string words() const { return "short convolution of " + std::to_string(shape.taps); }
  void list_weights(WeightList& weights) const {
    weights.push_back(WeightUse::matrix(input, input.format()));
    weights.push_back(WeightUse::matrix(output, output.format()));
    weights.push_back(WeightUse::vector(taps));
    for (const auto* bias : {&input_bias, &taps_bias, &output_bias}) {
      if (*bias) weights.push_back(WeightUse::vector(**bias));
    }
  }
  StateNeed state() const {
    return [sizes = shape](const StateSize& size) { return sizes.state_bytes(size); };
  }
  ScratchNeed scratch() const {
    return [sizes = shape](const PassSize& pass) { return sizes.scratch_floats(pass); };
  }
  ShortConvolution<AnyFormat> pack(const Packer& packer) const {
    auto mixer = ShortConvolution<AnyFormat>::create(shape, {input.format(), output.format()}).value();
    packer.each_row(input, input.format(), [&](index_t r, WeightRow row) { mixer.set_input_row(r, row); });
    packer.each_row(output, output.format(), [&](index_t r, WeightRow row) { mixer.set_output_row(r, row); });
    packer.each_row(taps, [&](index_t channel, const float* row) { mixer.set_taps(channel, row); });
    if (input_bias) packer.copy(*input_bias, mixer.input_bias());
    if (taps_bias) packer.copy(*taps_bias, mixer.taps_bias());
    if (output_bias) packer.copy(*output_bias, mixer.output_bias());
    return mixer;
  }
};

}  // namespace headgate::inline HEADGATE_ABI
