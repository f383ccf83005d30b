// LatentExperts: gated experts whose gate and up projections pass through a latent space that a group of experts shares
// (Liu et al. 2025, "Mixture of Latent Experts", MoLE, MoLAE since its second version, arXiv 2503.23100, section 3):
//   E_i(x) = D_i (act(A^g_i B^g x) * (A^u_i B^u x)),  B^g, B^u (latent_size, hidden_size) of i's group of experts
// B x is computed once for each token and group, however many of the group a token chooses. latent_size = hidden_size
// with B = 1 is GluExperts. Plain experts become such ones by interop/shared_projection.hpp. Follows the paper; its
// code was not to be had.
#pragma once

#include <utility>
#include <vector>

#include "headgate/core/expected.hpp"
#include "headgate/experts/experts.hpp"
#include "headgate/kernels/native.hpp"
#include "headgate/kernels/product.hpp"

namespace headgate::inline HEADGATE_ABI {

struct LatentShape {
  index_t num_experts = 0;
  index_t group_size = 0;  // experts that share a latent space, by id; it divides num_experts
  index_t hidden_size = 0;
  index_t latent_size = 0;
  index_t ffn_size = 0;
  Activation activation = {};
};
// Of a group, each (latent_size, hidden_size).
struct LatentProjections {
  ConstRows gate;
  ConstRows up;
};
// Of an expert: gate and up (ffn_size, latent_size), down (hidden_size, ffn_size).
struct LatentMatrices {
  ConstRows gate;
  ConstRows up;
  ConstRows down;
};

// Table of structures: LatentExperts | gated experts behind a projection that a group of them shares | Liu et al. 2025,
//   2503.23100
template <WeightFormat Format = F32, class Backend = NativeBackend>
class LatentExperts {
 public:
  // groups: one for group_size experts. The format packs floats.
  static Expected<LatentExperts> create(const LatentShape& shape, std::span<const LatentProjections> groups,
                                        std::span<const LatentMatrices> experts, Format format = {}) {
    if (Status status = check(shape); !status.ok()) return status;
    if (!format.packs_floats()) return Status{ErrorCode::usage, "the format keeps bytes of files and packs no floats"};
    const auto given = [](const auto& list) { return static_cast<std::int64_t>(list.size()); };
    if (given(groups) != shape.num_experts / shape.group_size) {
      return Status::mismatch("groups of latent experts given", given(groups), shape.num_experts / shape.group_size);
    }
    if (given(experts) != shape.num_experts) {
      return Status::mismatch("experts given", given(experts), shape.num_experts);
    }
    LatentExperts bank(shape);
    const auto add = [&](ConstRows matrix, index_t rows, index_t cols, std::vector<Panel16<Format>>& to) {
      if (Status status = check_view(matrix); !status.ok()) return status;
      if (matrix.rows != rows) return Status::mismatch("rows of a matrix of latent experts", matrix.rows, rows);
      if (matrix.cols != cols) return Status::mismatch("columns of a matrix of latent experts", matrix.cols, cols);
      to.emplace_back(matrix, format);
      return Status::success();
    };
    for (const LatentProjections& group : groups) {
      for (const ConstRows matrix : {group.gate, group.up}) {
        Status status = add(matrix, shape.latent_size, shape.hidden_size, bank.projections_);
        if (!status.ok()) return status;
      }
    }
    for (std::size_t e = 0; e < experts.size(); ++e) {
      for (const auto& [matrix, rows, cols] : {std::tuple(experts[e].gate, shape.ffn_size, shape.latent_size),
                                               std::tuple(experts[e].up, shape.ffn_size, shape.latent_size),
                                               std::tuple(experts[e].down, shape.hidden_size, shape.ffn_size)}) {
        Status status = add(matrix, rows, cols, bank.matrices_);
        if (!status.ok()) {
          status.expert = static_cast<ExpertId>(e);
          return status;
        }
      }
    }
    return bank;
  }

  const LatentShape& shape() const noexcept { return shape_; }
  index_t num_experts() const noexcept { return shape_.num_experts; }
  index_t hidden_size() const noexcept { return shape_.hidden_size; }
  // Of one expert alone; the projections of its group are read beside them, once for all that are chosen of it.
  std::int64_t expert_bytes() const noexcept {
    return shape_.num_experts == 0 ? 0 : matrices_[0].bytes() + matrices_[1].bytes() + matrices_[2].bytes();
  }

  Status apply(const RoutingPlan& plan, ConstRows x, Rows y, Context& ctx) const {
    if (Status status = check_apply(plan, x, y, num_experts(), hidden_size()); !status.ok()) return status;
    if (Status status = check_finite<Backend>(plan, x); !status.ok()) return status;
    const Workspace::Mark mark(ctx.workspace);
    const ExpertMajor by_expert = ExpertMajor::of(plan, ctx.workspace);
    const Rows gates = ctx.workspace.take_rows(x.rows, shape_.latent_size);
    const Rows ups = ctx.workspace.take_rows(x.rows, shape_.latent_size);
    index_t group = -1;
    for (index_t i = 0; i < by_expert.size(); ++i) {
      const ExpertId e = by_expert.experts[as_size(i)];
      if (e / shape_.group_size != group) {
        group = e / shape_.group_size;
        const auto& of_group = projections_.data() + std::ptrdiff_t{2} * group;
        const Factor<Format> both[] = {{of_group[0].view(), gates}, {of_group[1].view(), ups}};
        products<Backend>(std::span<const Factor<Format>>(both), x, ctx);
      }
      if (Status status = add(by_expert, i, gates, ups, y, ctx); !status.ok()) return status;
    }
    return Status::success();
  }

 private:
  explicit LatentExperts(const LatentShape& shape) : shape_(shape) {}

  static Status check(const LatentShape& shape) noexcept {
    if (shape.hidden_size < 1) return Status::mismatch("hidden_size, at least", shape.hidden_size, 1);
    if (shape.latent_size < 1) return Status::mismatch("latent_size, at least", shape.latent_size, 1);
    if (shape.ffn_size < 1) return Status::mismatch("ffn_size, at least", shape.ffn_size, 1);
    if (shape.group_size < 1) return Status::mismatch("experts of a latent group, at least", shape.group_size, 1);
    if (shape.num_experts < 0 || shape.num_experts % shape.group_size != 0) {
      return {ErrorCode::usage, "experts of latent experts are no whole groups"};
    }
    return Status::success();
  }

  // y += weight * E(x) of the rows of one expert.
  Status add(const ExpertMajor& plan, index_t i, ConstRows gates, ConstRows ups, Rows y, Context& ctx) const {
    const Workspace::Mark mark(ctx.workspace);
    const ExpertId e = plan.experts[as_size(i)];
    const index_t first = plan.offsets[as_size(i)];
    const std::span<const index_t> tokens = plan.tokens_of(i);
    const auto count = static_cast<index_t>(tokens.size());
    const Panel16<Format>* const own = matrices_.data() + std::ptrdiff_t{3} * e;
    const Rows latent = ctx.workspace.take_rows(count, shape_.latent_size);
    const Rows h = ctx.workspace.take_rows(count, shape_.ffn_size);
    const Rows up = ctx.workspace.take_rows(count, shape_.ffn_size);
    const Rows out = ctx.workspace.take_rows(count, shape_.hidden_size);
    for (const auto& [from, matrix, to] : {std::tuple(gates, &own[0], h), std::tuple(ups, &own[1], up)}) {
      for (index_t r = 0; r < count; ++r) {
        std::copy_n(from.row_data(tokens[as_size(r)]), latent.cols, latent.row_data(r));
      }
      product<Backend>(matrix->view(), latent, to, ctx);
    }
    for (index_t r = 0; r < count; ++r) {
      Backend::glu(shape_.activation, h.row_data(r), up.row_data(r), shape_.ffn_size, h.row_data(r));
    }
    product<Backend>(own[2].view(), h, out, ctx);
    for (index_t r = 0; r < count; ++r) {
      const index_t token = tokens[as_size(r)];
      if (!Backend::all_finite(out.row_data(r), out.cols)) {
        return Status::not_finite("output of an expert is not finite", -1, token, e);
      }
      Backend::axpy(plan.weights[as_size(first + r)], out.row_data(r), out.cols, y.row_data(token));
    }
    return Status::success();
  }

  LatentShape shape_;
  std::vector<Panel16<Format>> projections_;  // gate and up of each group
  std::vector<Panel16<Format>> matrices_;     // gate, up and down of each expert
};

}  // namespace headgate::inline HEADGATE_ABI
