// CosineGate: logits of a token by the angles between it and a prototype of each expert, at a temperature:
//   v = x, or P x + p;  z_e = scale <v / |v|, c_e / |c_e|>,  scale = exp(min(tau, ln 100))
// Norms are at least 1e-12. Who has it:
//   Tutel, XMoE (Hwang et al. 2022, arXiv 2206.03382; Chi et al. 2022, arXiv 2204.09179)   with P, before a softmax
//   DynMoE (Guo et al. 2024, arXiv 2405.14297)                                   without P, before a sigmoid
//   ProMoE (Wei et al. 2025, arXiv 2510.24711)                                   without P, tau = 0
// Follows the code of Tutel (cosine_top.py), which bounds the scale by 100 and so the temperature by 0.01. Scaling x
// changes nothing where P has no bias. A prototype of zeros gives logit 0.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "headgate/core/context.hpp"
#include "headgate/core/expected.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/kernels/product.hpp"

namespace headgate::inline HEADGATE_ABI {

// The parameters; a gate keeps copies. Official modules hold the prototypes as columns (sim_matrix), here they are
// rows.
struct CosineGateWeights {
  ConstRows prototypes;                        // c (num_experts, width)
  float temperature = 0.0f;                    // tau
  ConstRows projector = {};                    // P (width, hidden_size), cosine_projector; empty: v = x
  std::span<const float> projector_bias = {};  // p (width) or empty
};

template <class Backend = NativeBackend>
class CosineGate {
 public:
  static Expected<CosineGate> create(const CosineGateWeights& weights) {
    const ConstRows& prototypes = weights.prototypes;
    const ConstRows& projector = weights.projector;
    for (const ConstRows& matrix : {prototypes, projector}) {
      if (Status status = check_view(matrix); !status.ok()) return status;
    }
    if (prototypes.rows < 1) return Status::mismatch("prototypes of a gate (experts), at least", prototypes.rows, 1);
    if (prototypes.cols < 1) return Status::mismatch("width of a gate's prototypes, at least", prototypes.cols, 1);
    if (projector.rows != 0 && projector.rows != prototypes.cols) {
      return Status::mismatch("rows of a gate's projector against width of its prototypes", projector.rows,
                              prototypes.cols);
    }
    if (projector.rows != 0 && projector.cols < 1) {
      return Status::mismatch("columns of a gate's projector (hidden_size), at least", projector.cols, 1);
    }
    const auto bias = static_cast<std::int64_t>(weights.projector_bias.size());
    if (bias != 0 && bias != projector.rows) {
      return Status::mismatch("size of the bias of a gate's projector against its rows", bias, projector.rows);
    }
    if (!std::isfinite(weights.temperature)) return Status{ErrorCode::usage, "temperature of a gate is not finite"};
    return CosineGate(weights);
  }

  index_t num_experts() const noexcept { return prototypes_->rows(); }
  index_t hidden_size() const noexcept { return projector_->rows() != 0 ? projector_->cols() : prototypes_->cols(); }
  float scale() const noexcept { return scale_; }

  // x (T, hidden_size) -> z (T, num_experts). Where a norm is not finite, neither are the logits.
  void logits(ConstRows x, Rows z, Context& ctx) const {
    const Workspace::Mark mark(ctx.workspace);
    ConstRows v = x;
    if (projector_->rows() != 0) {
      const Rows projected = ctx.workspace.take_rows(x.rows, projector_->rows());
      product<Backend>(projector_->view(), x, projected, ctx);
      v = projected;
      for_rows(x.rows, ctx, [&](index_t t) {
        if (!bias_.empty()) Backend::axpy(1.0f, bias_.data(), projected.cols, projected.row_data(t));
      });
    }
    product<Backend>(prototypes_->view(), v, z, ctx);
    for_rows(x.rows, ctx, [&](index_t t) {
      const float norm = std::sqrt(Backend::dot(v.row_data(t), v.row_data(t), v.cols));
      // Of an infinite norm the factor would be 0, and all experts equally good.
      const float factor = std::isfinite(norm) ? scale_ / std::max(norm, least_norm) : norm;
      for (float& logit : z.row(t)) logit *= factor;
    });
  }

 private:
  static constexpr float least_norm = 1e-12f;

  explicit CosineGate(const CosineGateWeights& weights)
      : prototypes_(std::make_shared<const Panel16<F32>>(normalized(weights.prototypes))),
        projector_(std::make_shared<const Panel16<F32>>(weights.projector)),
        bias_(weights.projector_bias.begin(), weights.projector_bias.end()),
        scale_(std::exp(std::min(weights.temperature, std::log(100.0f)))) {}

  static Panel16<F32> normalized(ConstRows rows) {
    std::vector<float> values;
    for (index_t r = 0; r < rows.rows; ++r) {
      double squares = 0.0;
      for (const float c : rows.row(r)) squares += static_cast<double>(c) * static_cast<double>(c);
      const double norm = std::max(std::sqrt(squares), static_cast<double>(least_norm));
      for (const float c : rows.row(r)) values.push_back(static_cast<float>(static_cast<double>(c) / norm));
    }
    return Panel16<F32>(ConstRows{values.data(), rows.rows, rows.cols});
  }
  template <class F>
  static void for_rows(index_t rows, Context& ctx, F each) {
    const index_t n = ctx.slices(rows);
    ctx.parallel(n, [&](index_t i) {
      const Slice slice = Slice::of(rows, n, i);
      for (index_t t = slice.first; t < slice.last; ++t) each(t);
    });
  }

  std::shared_ptr<const Panel16<F32>> prototypes_;  // (num_experts, width), of norm 1; which copies share
  std::shared_ptr<const Panel16<F32>> projector_;   // (width, hidden_size) or empty
  std::vector<float> bias_;                         // (width) or empty
  float scale_;
};

}  // namespace headgate::inline HEADGATE_ABI
