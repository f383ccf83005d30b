// PEER (He 2024, "Mixture of A Million Experts", arXiv 2407.04153): product keys.
//   q = BatchNorm(W x), for every head two halves q_1, q_2; the norm (running statistics) may be left out
//   z_(i,j) = K_1i . q_1 + K_2j . q_2;  expert i J + j;  A = the k best of a head;  w = softmax over A
// Heads choose for themselves from one pool; where two choose the same expert it stands once, with the sum of their
// weights, at its first place. Exactly what enumerating all I J sums chooses, at the cost of I + J of them
// (routing/product_keys.hpp). The experts are single neurons (experts/single_neuron_experts.hpp). There is no official
// code; lucidrains' PEER-pytorch, of which golden vectors come, is followed in layout and order of halves and heads.
// Its default is PeerScore::relu with k = 1: the score itself, where positive, of the best one of each of many heads.
// The paper has I = J; here sides may differ, so that any number of experts has product keys.
#pragma once

#include <cmath>
#include <memory>
#include <vector>

#include "headgate/kernels/native.hpp"
#include "headgate/kernels/product.hpp"
#include "headgate/routing/plan_transform.hpp"
#include "headgate/routing/plan_writer.hpp"
#include "headgate/routing/product_keys.hpp"
#include "headgate/routing/query_norm.hpp"
#include "headgate/routing/router.hpp"

namespace headgate::inline HEADGATE_ABI {

// What becomes of the scores of a head's k best.
enum class PeerScore : std::uint8_t {
  softmax,  // of the paper
  relu,     // lucidrains' non_competing_scores; without positive ones a row is empty
};

// A router keeps copies. Rows of a matrix may lie apart, as those of PEER-pytorch's keys (heads, I, 2, key_size) do:
// the first half is {keys, heads * I, key_size, 2 * key_size}, the second the same from keys + key_size on.
struct PeerWeights {
  ConstRows query;                  // W (2 * heads * key_size, hidden_size): all first halves, then all second ones
  ConstRows first_keys;             // K_1 (heads * I, key_size), a head after the other
  ConstRows second_keys;            // K_2 (heads * J, key_size)
  const QueryNorm* norm = nullptr;  // null: none
};

struct PeerOptions {
  index_t heads = 8;
  index_t k = 16;  // experts of a head
  PeerScore score = PeerScore::softmax;
};

// Table of routers: PeerRouter | product keys, so that millions of experts cost what thousands do | He 2024, 2407.04153
template <class Backend = NativeBackend>
class PeerRouter {
  using Scratch = typename ProductKeys<Backend>::Scratch;

 public:
  using State = NoState;

  static Expected<PeerRouter> create(const PeerWeights& weights, const PeerOptions& options) {
    Expected<ProductKeys<Backend>> keys =
        ProductKeys<Backend>::create(weights.first_keys, weights.second_keys, options.heads);
    if (!keys) return keys.error();
    const index_t num_experts = keys.value().num_keys();
    if (Status status = check_view(weights.query); !status.ok()) return status;
    if (weights.query.cols < 1) {
      return Status::mismatch("columns of a query (hidden_size), at least", weights.query.cols, 1);
    }
    const std::int64_t queries = std::int64_t{2} * options.heads * keys.value().key_size();
    if (weights.query.rows != queries) {
      return Status::mismatch("rows of the query against 2 heads key_size", weights.query.rows, queries);
    }
    if (options.k < 1) return Status::mismatch("k of product keys, at least", options.k, 1);
    if (options.k > num_experts) return Status::mismatch("k of product keys against experts", options.k, num_experts);
    if (weights.norm != nullptr) {
      if (Status status = weights.norm->check(weights.query.rows); !status.ok()) return status;
    }
    return PeerRouter(weights, std::move(keys).value(), options);
  }

  index_t num_experts() const noexcept { return parts_->keys.num_keys(); }
  index_t hidden_size() const noexcept { return parts_->query.cols(); }
  // k of a call is for routers of one head, which it leaves with that many entries of a row.
  RouterTraits traits() const noexcept {
    const bool is_relu = options_.score == PeerScore::relu;
    const std::int64_t most = std::int64_t{options_.heads} * options_.k;
    return {.takes = takes_mask | takes_prune | (options_.heads == 1 ? takes_k : 0u),
            .k_min = is_relu ? 0 : options_.k,
            .k_max = most < num_experts() ? static_cast<index_t>(most) : num_experts(),
            .row_sum = is_relu               ? RowSum::free
                       : options_.heads == 1 ? RowSum::one
                                             : RowSum::constant,
            .row_sum_value = is_relu ? 1.0f : static_cast<float>(options_.heads)};
  }

  // A call that masks experts looks at the sums of all of them, and a row may be shorter then. On an error the plan has
  // no rows.
  Status route(const RouterInput& in, State& /*state*/, RoutingPlan& plan, Context& ctx) const {
    plan.clear(num_experts());
    const ConstRows x = in.hidden;
    const RouteEdits& edits = in.edits;
    if (Status status = check_hidden(x, hidden_size()); !status.ok()) return status;
    if (Status status = check(edits); !status.ok()) return status;
    const index_t k = edits.k == 0 ? options_.k : edits.k;
    const std::int64_t row_size = std::int64_t{options_.heads} * k;
    if (row_size > max_index) return Status::mismatch("entries of a row", row_size, max_index);
    PlanWriter writer(plan);
    if (Status status = writer.open(num_experts(), x.rows, static_cast<index_t>(row_size)); !status.ok()) return status;

    const Workspace::Mark mark(ctx.workspace);
    const Rows queries = ctx.workspace.take_rows(x.rows, parts_->query.rows());
    const std::span<index_t> counts = ctx.workspace.take<index_t>(std::int64_t{x.rows} * options_.heads);
    product<Backend>(parts_->query.view(), x, queries, ctx);
    Status status = choose(queries, edits.expert_mask, k, counts, writer, ctx);
    if (status.ok()) status = close_rows(k, counts, writer, ctx);
    status.layer = status.ok() ? -1 : in.layer;
    if (status.ok()) writer.finish();
    return status;
  }

 private:
  struct Parts {
    Panel16<F32> query;  // (2 heads key_size, hidden_size)
    ProductKeys<Backend> keys;
    std::vector<float> scale;  // (rows of query); empty: no norm
    std::vector<float> shift;
  };

  PeerRouter(const PeerWeights& weights, ProductKeys<Backend> keys, const PeerOptions& options) : options_(options) {
    Parts parts{Panel16<F32>(weights.query), std::move(keys), {}, {}};
    for (index_t c = 0; weights.norm != nullptr && c < weights.query.rows; ++c) {
      parts.scale.push_back(weights.norm->scale(c));
      parts.shift.push_back(weights.norm->shift(c));
    }
    parts_ = std::make_shared<const Parts>(std::move(parts));
  }

  Status check(const RouteEdits& edits) const noexcept {
    if (Status status = check_layer_edits(edits); !status.ok()) return status;
    if (Status status = edits.check(num_experts(), 0); !status.ok()) return status;
    if (edits.k > num_experts()) return Status::mismatch("k of the call against experts", edits.k, num_experts());
    if (edits.k != 0 && options_.heads > 1) return {ErrorCode::usage, "k of the call for a router of several heads"};
    if (!edits.expert_mask.empty() && edits.mask_meaning == MaskMeaning::zero_key) {
      return {ErrorCode::usage, "expert_mask of product keys has no meaning but select and prune"};
    }
    return Status::success();
  }

  // The experts and weights of every head at their place in the room of the token, and how many they are.
  // counts: (tokens, heads).
  Status choose(Rows queries, std::span<const std::uint8_t> mask, index_t k, std::span<index_t> counts,
                PlanWriter& writer, Context& ctx) const {
    // A head after the other, so that its keys stay in the cache for all tokens.
    const TileCut cut{queries.rows, F32Tile::max_rows};
    const index_t units = options_.heads * cut.count();
    const index_t n = ctx.slices(units);
    const std::span<Scratch> scratch = ctx.workspace.take<Scratch>(n);
    for (Scratch& of_slice : scratch) {
      new (&of_slice) Scratch(parts_->keys.take_scratch(k, !mask.empty(), ctx.workspace));
    }
    return ctx.try_parallel(n, [&](index_t i) {
      const Slice slice = Slice::of(units, n, i);
      Status failure;
      for (index_t unit = slice.first; unit < slice.last; ++unit) {
        const index_t head = unit / cut.count();
        const Slice tokens = cut.tile(unit % cut.count());
        score(queries.middle_rows(tokens.first, tokens.last - tokens.first), head, scratch[as_size(i)]);
        for (index_t t = tokens.first; t < tokens.last; ++t) {
          Status status = choose_row(t, t - tokens.first, head, mask, k, counts, writer, scratch[as_size(i)]);
          status.token = t;
          if (!status.ok() && (failure.ok() || t < failure.token)) failure = status;
        }
      }
      return failure;
    });
  }

  // queries: of some tokens; those of the head are normalised in place.
  void score(Rows queries, index_t head, Scratch& scratch) const noexcept {
    const index_t size = parts_->keys.key_size();
    for (const index_t half : {0, 1}) {
      const index_t column = (half * options_.heads + head) * size;
      const Rows own(queries.data + column, queries.rows, size, queries.stride);
      for (index_t r = 0; r < own.rows && !parts_->scale.empty(); ++r) {
        float* const q = own.row_data(r);
        for (index_t c = 0; c < size; ++c) {
          q[c] = fused_multiply_add(parts_->scale[as_size(column + c)], q[c], parts_->shift[as_size(column + c)]);
        }
      }
      parts_->keys.score(own, half, head, scratch);
    }
  }

  // row: of the scores.
  Status choose_row(index_t token, index_t row, index_t head, std::span<const std::uint8_t> mask, index_t k,
                    std::span<index_t> counts, PlanWriter& writer, Scratch& scratch) const noexcept {
    const std::span<ExpertId> experts = writer.experts(token).subspan(as_size(head * k), as_size(k));
    const std::span<float> weights = writer.weights(token).subspan(as_size(head * k), as_size(k));
    index_t count = 0;
    if (Status status = parts_->keys.choose(row, mask, scratch, experts, weights, count); !status.ok()) return status;
    if (options_.score == PeerScore::softmax) {
      Backend::softmax(weights.data(), count);
    } else {
      index_t positive = 0;  // they stand first
      while (positive < count && weights[as_size(positive)] > 0.0f) ++positive;
      count = positive;
    }
    counts[as_size(token) * as_size(options_.heads) + as_size(head)] = count;
    return Status::success();
  }

  // What the heads chose becomes a row.
  Status close_rows(index_t k, std::span<const index_t> counts, PlanWriter& writer, Context& ctx) const {
    const auto heads = as_size(options_.heads);
    const auto tokens = static_cast<index_t>(counts.size() / heads);
    const index_t n = ctx.slices(divide_up(tokens, 64));
    const std::int64_t slots_size =
        options_.heads == 1 ? writer.scratch_size() : ExpertPlaces::slots_for(options_.heads * k);
    const std::span<index_t> table = ctx.workspace.take<index_t>(n * slots_size);
    std::fill(table.begin(), table.end(), 0);
    return ctx.try_parallel(n, [&](index_t i) {
      const Slice slice = Slice::of(tokens, n, i);
      const std::span<index_t> own = table.subspan(as_size(i * slots_size), as_size(slots_size));
      Status failure;
      for (index_t t = slice.first; t < slice.last && failure.ok(); ++t) {
        const std::span<ExpertId> experts = writer.experts(t);
        const std::span<float> weights = writer.weights(t);
        std::size_t count = 0;
        for (std::size_t h = 0; h < heads; ++h) {
          for (std::size_t e = h * as_size(k); e < h * as_size(k) + as_size(counts[as_size(t) * heads + h]); ++e) {
            experts[count] = experts[e];
            weights[count++] = weights[e];
          }
        }
        if (heads > 1) count = as_size(merge_row(experts.first(count), weights.first(count), own));
        failure = writer.close_row(t, static_cast<index_t>(count), own);
      }
      return failure;
    });
  }

  PeerOptions options_;
  std::shared_ptr<const Parts> parts_;  // which copies share
};
static_assert(Router<PeerRouter<>>);

}  // namespace headgate::inline HEADGATE_ABI
