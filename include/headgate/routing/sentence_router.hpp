// SentenceRouter: one expert for a whole sentence, the one that has the nearest example (RouterRetriever, Lee et al.
// 2024, arXiv 2409.02685, section 3; and the retriever that PHATGOOSE is compared with):
//   q = mean of the rows of a sentence;  p = argmax cos(q, c_p);  all its tokens go to the expert of p, with weight 1
// c are pilot embeddings, some of each expert, with which its own training set was nearest. Follows find_expert of
// RouterRetriever's test.py with score_function cos_sim; golden vectors come from Router of PHATGOOSE's moe.py,
// is_retriever, which is the same rule. Ties go to the earlier embedding. A row depends on the others of its sentence:
// for encoders; a row that is itself an embedding is a sentence of length 1.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "headgate/kernels/native.hpp"
#include "headgate/routing/cosine_gate.hpp"
#include "headgate/routing/plan_writer.hpp"
#include "headgate/routing/router.hpp"

namespace headgate::inline HEADGATE_ABI {

// Where sentences end in the rows of the next calls; stays when a pass begins.
struct SentenceLengths {
  std::vector<index_t> lengths;  // (sentences) rows of each, at least 1, together all; empty: all rows are one sentence
  void reset(index_t /*tokens*/) noexcept {}
};

// Table of routers: SentenceRouter | a whole sentence to the expert of the nearest example | Lee et al. 2024,
//   2409.02685
template <class Backend = NativeBackend>
class SentenceRouter {
 public:
  using State = SentenceLengths;

  // embeddings: (embeddings, hidden_size); expert_of: (embeddings) below num_experts.
  static Expected<SentenceRouter> create(ConstRows embeddings, std::vector<ExpertId> expert_of, index_t num_experts) {
    if (num_experts < 1) return Status::mismatch("experts of a router, at least", num_experts, 1);
    Expected<CosineGate<Backend>> gate = CosineGate<Backend>::create({.prototypes = embeddings});
    if (!gate) return gate.error();
    const auto size = static_cast<std::int64_t>(expert_of.size());
    if (size != embeddings.rows) return Status::mismatch("experts of embeddings against these", size, embeddings.rows);
    for (const ExpertId e : expert_of) {
      if (e < 0 || e >= num_experts) return Status::mismatch("expert of an embedding", e, num_experts - 1);
    }
    return SentenceRouter(std::move(gate).value(), std::move(expert_of), num_experts);
  }

  index_t num_experts() const noexcept { return num_experts_; }
  index_t hidden_size() const noexcept { return gate_.hidden_size(); }
  RouterTraits traits() const noexcept {
    return {
        .takes = takes_mask, .k_min = 1, .k_max = 1, .row_sum = RowSum::one, .batch_coupled = true, .causal = false};
  }

  // The embeddings of a masked expert are out of the running. On an error the plan has no rows.
  Status route(const RouterInput& in, State& state, RoutingPlan& plan, Context& ctx) const {
    plan.clear(num_experts_);
    const ConstRows x = in.hidden;
    if (Status status = check_hidden(x, hidden_size()); !status.ok()) return status;
    if (Status status = check_edits(in.edits, x.rows); !status.ok()) return status;
    if (Status status = check_lengths(state.lengths, x.rows); !status.ok()) return status;
    PlanWriter writer(plan);
    if (Status status = writer.open(num_experts_, x.rows, 1); !status.ok()) return status;

    const Workspace::Mark mark(ctx.workspace);
    const bool is_one = state.lengths.empty();
    const auto sentences = is_one ? std::min(x.rows, index_t{1}) : static_cast<index_t>(state.lengths.size());
    const Rows means = ctx.workspace.take_rows(sentences, x.cols);
    index_t first = 0;
    for (index_t s = 0; s < sentences; ++s) {
      const index_t length = is_one ? x.rows : state.lengths[as_size(s)];
      std::fill_n(means.row_data(s), means.cols, 0.0f);
      for (index_t t = first; t < first + length; ++t) {
        Backend::axpy(1.0f / static_cast<float>(length), x.row_data(t), x.cols, means.row_data(s));
      }
      first += length;
    }
    const Rows cosines = ctx.workspace.take_rows(sentences, gate_.num_experts());
    gate_.logits(means, cosines, ctx);

    first = 0;
    for (index_t s = 0; s < sentences; ++s) {
      const index_t length = is_one ? x.rows : state.lengths[as_size(s)];
      const std::span<float> row = cosines.row(s);
      if (!Backend::all_finite(row.data(), cosines.cols)) return bad_sentence(x, first, length, row, in.layer);
      const ExpertId expert = nearest(row, in.edits.expert_mask);
      for (index_t t = first; t < first + length; ++t) {
        if (expert >= 0) {
          writer.experts(t)[0] = expert;
          writer.weights(t)[0] = 1.0f;
        }
        if (Status status = writer.close_row(t, expert >= 0 ? 1 : 0, {}); !status.ok()) return status;
      }
      first += length;
    }
    writer.finish();
    return Status::success();
  }

 private:
  SentenceRouter(CosineGate<Backend> gate, std::vector<ExpertId> expert_of, index_t num_experts)
      : gate_(std::move(gate)), expert_of_(std::move(expert_of)), num_experts_(num_experts) {}

  Status check_edits(const RouteEdits& edits, index_t tokens) const noexcept {
    if (Status status = check_layer_edits(edits); !status.ok()) return status;
    if (Status status = edits.check(num_experts_, tokens); !status.ok()) return status;
    if (edits.k != 0) return {ErrorCode::usage, "a sentence has one expert: there is no k for a call to set"};
    if (!edits.expert_mask.empty() && edits.mask_meaning != MaskMeaning::select) {
      return {ErrorCode::usage, "expert_mask of a sentence router has no meaning but select"};
    }
    return Status::success();
  }
  static Status check_lengths(std::span<const index_t> lengths, index_t tokens) noexcept {
    if (lengths.empty()) return Status::success();
    std::int64_t total = 0;
    for (const index_t length : lengths) {
      if (length < 1) return Status::mismatch("rows of a sentence, at least", length, 1);
      total += length;
    }
    return total == tokens ? Status::success()
                           : Status::mismatch("rows of all sentences against tokens", total, tokens);
  }
  // -1: every embedding is masked.
  ExpertId nearest(std::span<const float> cosines, std::span<const std::uint8_t> mask) const noexcept {
    ExpertId expert = -1;
    float best = -std::numeric_limits<float>::infinity();
    for (std::size_t p = 0; p < cosines.size(); ++p) {
      const ExpertId of = expert_of_[p];
      if (!(cosines[p] > best) || (!mask.empty() && mask[as_size(of)] == 0)) continue;
      best = cosines[p];
      expert = of;
    }
    return expert;
  }
  // Names the first token at fault; where only their mean is too large, the sentence's first.
  Status bad_sentence(ConstRows x, index_t first, index_t length, std::span<const float> cosines,
                      index_t layer) const noexcept {
    index_t token = first;
    while (token < first + length && Backend::all_finite(x.row_data(token), x.cols)) ++token;
    std::size_t p = 0;
    while (std::isfinite(cosines[p])) ++p;
    return Status::not_finite("cosine of a sentence is not finite", layer, token < first + length ? token : first,
                              expert_of_[p]);
  }

  CosineGate<Backend> gate_;
  std::vector<ExpertId> expert_of_;  // (embeddings)
  index_t num_experts_;
};
static_assert(Router<SentenceRouter<>>);

}  // namespace headgate::inline HEADGATE_ABI
