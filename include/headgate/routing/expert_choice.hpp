// Expert choice (Zhou et al. 2022, arXiv 2202.09368, section 3.2): experts choose tokens. Of S tokens and E experts
//   P = softmax(W x) over the experts of each token;  expert e takes the C tokens with the largest P_te;  w_te = P_te
//   C = S / E * capacity_factor, rounded down
// Every expert is full; a token has none of them to all. A row depends on all others, also on later ones, so decoders
// refuse it: for encoders, images, analysis. Follows the code of EC-DiT (Sun et al. 2024, arXiv 2410.02098) in DiffMoE
// and ProMoE, of which golden vectors come: each sequence (group_size rows) chooses by itself. Flaxformer rounds C to
// the nearest instead, and takes 4 at least. Ties go to the lower token.
#pragma once

#include <algorithm>
#include <cmath>
#include <utility>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/linear_gate.hpp"
#include "headgate/routing/plan_writer.hpp"
#include "headgate/routing/router.hpp"

namespace headgate::inline HEADGATE_ABI {

struct ExpertChoiceOptions {
  double capacity_factor;    // experts per token on the average
  index_t min_capacity = 1;  // C at least, where there are so many tokens
  index_t group_size = 0;    // rows that are chosen from together; 0: the whole batch
};

// Table of routers: ExpertChoiceRouter | softmax, then each expert takes its best tokens | Zhou et al. 2022, 2202.09368
template <class Backend = NativeBackend>
class ExpertChoiceRouter {
 public:
  using State = NoState;

  // gate: (num_experts, hidden_size); bias: (num_experts) or empty, part of the logits.
  static Expected<ExpertChoiceRouter> create(ConstRows gate, const ExpertChoiceOptions& options,
                                             std::span<const float> bias = {}) {
    Expected<LinearGate<Backend>> linear = LinearGate<Backend>::create(gate, bias);
    if (!linear) return linear.error();
    if (!(options.capacity_factor >= 0.0 && std::isfinite(options.capacity_factor))) {
      return Status{ErrorCode::usage, "capacity factor of expert choice is negative or not finite"};
    }
    if (options.min_capacity < 0) return Status::mismatch("min_capacity, at least", options.min_capacity, 0);
    if (options.group_size < 0) return Status::mismatch("group_size, at least", options.group_size, 0);
    return ExpertChoiceRouter(std::move(linear).value(), options);
  }

  index_t num_experts() const noexcept { return gate_.num_experts(); }
  index_t hidden_size() const noexcept { return gate_.hidden_size(); }
  RouterTraits traits() const noexcept {
    return {.takes = takes_mask, .k_max = num_experts(), .batch_coupled = true, .causal = false};
  }
  // Tokens that an expert takes of so many.
  index_t capacity(index_t tokens) const noexcept {
    const double share = static_cast<double>(tokens) / static_cast<double>(num_experts()) * options_.capacity_factor;
    const index_t most = share < static_cast<double>(tokens) ? static_cast<index_t>(share) : tokens;
    return std::min(std::max(most, options_.min_capacity), tokens);
  }

  // A masked expert chooses nobody; the others choose as ever. On an error the plan has no rows.
  Status route(const RouterInput& in, State& /*state*/, RoutingPlan& plan, Context& ctx) const {
    plan.clear(num_experts());
    const ConstRows x = in.hidden;
    if (Status status = check_hidden(x, hidden_size()); !status.ok()) return status;
    if (Status status = check_edits(in.edits, x.rows); !status.ok()) return status;
    const index_t group = options_.group_size == 0 ? x.rows : options_.group_size;
    if (group != 0 && x.rows % group != 0) return Status::mismatch("tokens beyond whole groups", x.rows % group, 0);

    const Workspace::Mark mark(ctx.workspace);
    const Rows scores = ctx.workspace.take_rows(x.rows, num_experts());
    gate_.logits(x, scores, ctx);
    if (Status status = score(scores, in.layer, ctx); !status.ok()) return status;

    // chosen: (groups, experts, capacity) tokens, each expert's in no order.
    const index_t groups = group == 0 ? 0 : x.rows / group;
    const index_t capacity = this->capacity(group);
    const std::int64_t of_group = std::int64_t{num_experts()} * capacity;
    const std::span<index_t> chosen = ctx.workspace.take<index_t>(groups * of_group);
    const index_t n = ctx.slices(num_experts());
    const std::span<index_t> order = ctx.workspace.take<index_t>(std::int64_t{n} * group);
    const std::span<float> columns = ctx.workspace.take<float>(std::int64_t{n} * group);
    ctx.parallel(n, [&](index_t i) {
      const Slice slice = Slice::of(num_experts(), n, i);
      const auto part = [&](auto span) { return span.subspan(as_size(std::int64_t{i} * group), as_size(group)); };
      for (ExpertId e = slice.first; e < slice.last; ++e) {
        for (index_t g = 0; g < groups; ++g) {
          const std::span<float> column = part(columns);
          for (index_t t = 0; t < group; ++t) column[as_size(t)] = scores.row_data(g * group + t)[e];
          best_places(column, part(order), as_size(capacity));
          index_t* const out = chosen.data() + g * of_group + std::int64_t{e} * capacity;
          for (index_t c = 0; c < capacity; ++c) out[c] = g * group + part(order)[as_size(c)];
        }
      }
    });
    return write(chosen, scores, capacity, in.edits.expert_mask, plan, ctx);
  }

 private:
  ExpertChoiceRouter(LinearGate<Backend> gate, const ExpertChoiceOptions& options)
      : gate_(std::move(gate)), options_(options) {}

  Status check_edits(const RouteEdits& edits, index_t tokens) const noexcept {
    if (Status status = check_layer_edits(edits); !status.ok()) return status;
    if (Status status = edits.check(num_experts(), tokens); !status.ok()) return status;
    if (edits.k != 0) return {ErrorCode::usage, "experts choose tokens: there is no k for a call to set"};
    if (!edits.expert_mask.empty() && edits.mask_meaning != MaskMeaning::select) {
      return {ErrorCode::usage, "expert_mask of expert choice has no meaning but select"};
    }
    return Status::success();
  }

  // Logits (tokens, experts) -> probabilities, in place.
  Status score(Rows rows, index_t layer, Context& ctx) const {
    const index_t n = ctx.slices(rows.rows);
    return ctx.try_parallel(n, [&](index_t i) {
      const Slice slice = Slice::of(rows.rows, n, i);
      Status status;
      for (index_t t = slice.first; t < slice.last && status.ok(); ++t) {
        const std::span<float> row = rows.row(t);
        const auto bad = std::find_if(row.begin(), row.end(), [](float z) { return !std::isfinite(z); });
        if (bad != row.end()) {
          status = Status::not_finite("router logit is not finite", layer, t, static_cast<ExpertId>(bad - row.begin()));
        }
        Backend::softmax(row.data(), rows.cols);
      }
      return status;
    });
  }

  // The places of the count largest scores, at the front of order; ties to the lower place.
  static void best_places(std::span<const float> scores, std::span<index_t> order, std::size_t count) {
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<index_t>(i);
    if (count == order.size()) return;
    std::nth_element(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(),
                     [&](index_t a, index_t b) {
                       const float sa = scores[as_size(a)];
                       const float sb = scores[as_size(b)];
                       return sa > sb || (!(sb > sa) && a < b);
                     });
  }

  // Rows by weight, ties to the lower expert.
  Status write(std::span<const index_t> chosen, ConstRows scores, index_t capacity, std::span<const std::uint8_t> mask,
               RoutingPlan& plan, Context& ctx) const {
    PlanWriter writer(plan);
    if (Status status = writer.open(num_experts(), scores.rows, num_experts()); !status.ok()) return status;
    const std::span<index_t> counts = ctx.workspace.take<index_t>(scores.rows);
    std::fill(counts.begin(), counts.end(), 0);
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      const auto e = static_cast<ExpertId>(i / as_size(capacity) % as_size(num_experts()));
      if (!mask.empty() && mask[as_size(e)] == 0) continue;
      const index_t t = chosen[i];
      const float weight = scores.row_data(t)[e];
      std::size_t place = as_size(counts[as_size(t)]++);
      const std::span<ExpertId> experts = writer.experts(t);
      const std::span<float> weights = writer.weights(t);
      for (; place > 0 && weights[place - 1] < weight; --place) {
        experts[place] = experts[place - 1];
        weights[place] = weights[place - 1];
      }
      experts[place] = e;
      weights[place] = weight;
    }
    const std::span<index_t> scratch = ctx.workspace.take<index_t>(writer.scratch_size());
    std::fill(scratch.begin(), scratch.end(), 0);
    for (index_t t = 0; t < scores.rows; ++t) {
      if (Status status = writer.close_row(t, counts[as_size(t)], scratch); !status.ok()) return status;
    }
    writer.finish();
    return Status::success();
  }

  LinearGate<Backend> gate_;
  ExpertChoiceOptions options_;
};
static_assert(Router<ExpertChoiceRouter<>>);

}  // namespace headgate::inline HEADGATE_ABI
