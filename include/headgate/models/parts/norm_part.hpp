// NormPart: the weights of a norm of rows, RMSNorm or LayerNorm.
#pragma once

#include <optional>

#include "headgate/layers/norm.hpp"
#include "headgate/models/packer.hpp"
#include "headgate/models/weight_use.hpp"

namespace headgate::inline HEADGATE_ABI {

struct NormPart {
  enum class Kind : std::uint8_t { rms, layer };

  WeightRows weight;  // (1, width)
  float epsilon;
  Kind kind = Kind::rms;
  std::optional<WeightRows> bias = std::nullopt;  // (1, width), of a LayerNorm

  index_t width() const noexcept { return weight.cols(); }
  void list_weights(WeightList& weights) const {
    weights.push_back(WeightUse::vector(weight));
    if (bias) weights.push_back(WeightUse::vector(*bias));
  }
  AnyNorm pack(const Packer& packer) const {
    if (kind == Kind::rms) return RmsNorm<>::create(packer.floats(weight), epsilon).value();
    return LayerNorm<>::create(packer.floats(weight), packer.floats(bias), epsilon).value();
  }
};

}  // namespace headgate::inline HEADGATE_ABI
