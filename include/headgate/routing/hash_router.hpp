// Hash routing (Roller et al. 2021, "Hash Layers", arXiv 2106.04426): experts are a fixed function of the token's id.
//   A = table[token_id];  w_e = 1 / k
// The paper's layers have k = 1; any hash (random, balanced by frequency, clustered) is a table. Follows the paper:
// there is no router to train, nothing of the hidden state is read, and the plan is known before the model runs.
#pragma once

#include <vector>

#include "headgate/core/expected.hpp"
#include "headgate/routing/plan_writer.hpp"
#include "headgate/routing/router.hpp"

namespace headgate::inline HEADGATE_ABI {

// Table of routers: HashRouter | a table of token ids | Roller et al. 2021, 2106.04426
class HashRouter {
 public:
  using State = NoState;

  // table: (vocabulary, k), ids below num_experts, distinct in a row. hidden_size is that of the layer.
  static Expected<HashRouter> create(std::vector<ExpertId> table, index_t k, index_t num_experts, index_t hidden_size) {
    if (num_experts < 1) return Status::mismatch("experts of a router, at least", num_experts, 1);
    if (hidden_size < 1) return Status::mismatch("hidden_size of a router, at least", hidden_size, 1);
    if (k < 1) return Status::mismatch("k of a hash router, at least", k, 1);
    if (k > num_experts) return Status::mismatch("k of a hash router against experts", k, num_experts);
    if (table.empty() || table.size() % as_size(k) != 0 || table.size() / as_size(k) > as_size(max_index)) {
      return Status::mismatch("size of a hash table, which is a multiple of k,",
                              static_cast<std::int64_t>(table.size()), k);
    }
    for (std::size_t i = 0; i < table.size(); ++i) {
      Status status;
      if (table[i] < 0 || table[i] >= num_experts)
        status = Status::mismatch("id in a hash table", table[i], num_experts - 1);
      for (std::size_t j = i - i % as_size(k); j < i && status.ok(); ++j) {
        if (table[j] == table[i]) status = Status::mismatch("times an expert stands in one row of a hash table", 2, 1);
      }
      if (status.ok()) continue;
      status.token = static_cast<index_t>(i / as_size(k));
      status.expert = table[i];
      return status;
    }
    return HashRouter(std::move(table), k, num_experts, hidden_size);
  }

  index_t num_experts() const noexcept { return num_experts_; }
  index_t hidden_size() const noexcept { return hidden_size_; }
  index_t vocabulary() const noexcept { return static_cast<index_t>(table_.size() / as_size(k_)); }
  RouterTraits traits() const noexcept {
    return {.needs = needs_token_ids, .takes = takes_k | takes_mask, .k_min = k_, .k_max = k_, .row_sum = RowSum::one};
  }

  // A masked expert leaves the row, whose other weights stay; k of the call takes the first of a row.
  Status route(const RouterInput& in, State& /*state*/, RoutingPlan& plan, Context& ctx) const {
    plan.clear(num_experts_);
    const index_t tokens = in.hidden.rows;
    if (in.hidden.cols != hidden_size_) {
      return Status::mismatch("width of hidden against hidden_size of the router", in.hidden.cols, hidden_size_);
    }
    const auto ids = static_cast<std::int64_t>(in.token_ids.size());
    if (ids != tokens) return Status::mismatch("token ids of a router that needs them against tokens", ids, tokens);
    const RouteEdits& edits = in.edits;
    if (Status status = check_layer_edits(edits); !status.ok()) return status;
    if (Status status = edits.check(num_experts_, tokens); !status.ok()) return status;
    if (edits.k > k_) return Status::mismatch("k of the call against hashes", edits.k, k_);
    const std::span<const std::uint8_t> mask = edits.expert_mask;
    if (!mask.empty() && edits.mask_meaning != MaskMeaning::select) {
      return {ErrorCode::usage, "expert_mask of a hash router has no meaning but select"};
    }
    const index_t k = edits.k == 0 ? k_ : edits.k;

    PlanWriter writer(plan);
    if (Status status = writer.open(num_experts_, tokens, k); !status.ok()) return status;
    const Workspace::Mark mark(ctx.workspace);
    const std::span<index_t> scratch = ctx.workspace.take<index_t>(writer.scratch_size());
    for (index_t& seen : scratch) seen = 0;
    for (index_t t = 0; t < tokens; ++t) {
      const std::int32_t id = in.token_ids[as_size(t)];
      if (id < 0 || id >= vocabulary()) {
        Status status = Status::mismatch("token id against the hash table", id, vocabulary() - 1);
        status.layer = in.layer;
        status.token = t;
        return status;
      }
      index_t count = 0;
      for (const ExpertId e : std::span(table_).subspan(as_size(id) * as_size(k_), as_size(k))) {
        if (!mask.empty() && mask[as_size(e)] == 0) continue;
        writer.experts(t)[as_size(count)] = e;
        writer.weights(t)[as_size(count++)] = 1.0f / static_cast<float>(k);
      }
      if (Status status = writer.close_row(t, count, scratch); !status.ok()) return status;
    }
    writer.finish();
    return Status::success();
  }

 private:
  HashRouter(std::vector<ExpertId> table, index_t k, index_t num_experts, index_t hidden_size)
      : table_(std::move(table)), k_(k), num_experts_(num_experts), hidden_size_(hidden_size) {}

  std::vector<ExpertId> table_;  // (vocabulary, k)
  index_t k_;
  index_t num_experts_;
  index_t hidden_size_;
};
static_assert(Router<HashRouter>);

}  // namespace headgate::inline HEADGATE_ABI
