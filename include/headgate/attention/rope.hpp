// Rope: rotary position embedding (Su et al. 2021, "RoFormer"), the half-rotation form of Hugging Face checkpoints: the
// pair (x_i, x_{i + d/2}) of a head of size d at position p turns by the angle p * theta^(-2i/d). The kernels turn
// (Backend::rope); this gives the angles. They are the same for all heads and layers, so a pass computes them once.
// Computed in double: at position 100,000 a float angle is off by 0.004.
#pragma once

#include <cmath>
#include <vector>

#include "headgate/core/expected.hpp"
#include "headgate/core/matrix_view.hpp"

namespace headgate::inline HEADGATE_ABI {

class Rope {
 public:
  static Expected<Rope> create(double theta, index_t head_dim) {
    if (head_dim < 2 || head_dim % 2 != 0)
      return Status::mismatch("head_dim of rotary positions, even and at least", head_dim, 2);
    if (!(theta > 0.0 && std::isfinite(theta))) {
      return Error(ErrorCode::usage,
                   {"", "rope_theta", -1, "expected a positive number, found " + std::to_string(theta)});
    }
    return Rope(theta, head_dim);
  }

  index_t half() const noexcept { return static_cast<index_t>(frequencies_.size()); }

  // cosines and sines of the positions first_position, first_position + 1, ... Precondition: both are (tokens, half).
  void angles(index_t first_position, Rows cosines, Rows sines) const noexcept {
    for (index_t t = 0; t < cosines.rows; ++t) {
      const double position = static_cast<double>(first_position) + t;
      for (index_t i = 0; i < half(); ++i) {
        const double angle = position * frequencies_[as_size(i)];
        cosines.row_data(t)[i] = static_cast<float>(std::cos(angle));
        sines.row_data(t)[i] = static_cast<float>(std::sin(angle));
      }
    }
  }

 private:
  Rope(double theta, index_t head_dim) : frequencies_(as_size(head_dim / 2)) {
    for (index_t i = 0; i < half(); ++i) frequencies_[as_size(i)] = std::pow(theta, -2.0 * i / head_dim);
  }

  std::vector<double> frequencies_;  // radians per position
};

}  // namespace headgate::inline HEADGATE_ABI
