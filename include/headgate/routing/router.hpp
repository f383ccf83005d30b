// Router: hidden states of the tokens -> a plan. Written once, for every policy:
//   * route is const: a router learns nothing while routing. What it remembers is a State that the caller owns and
//   resets.
//   * Logits, scores and selection are float32; logits are summed in an order that does not depend on the batch.
//   * Keys select (score + bias), scores weigh; two arrays, always. A masked key is -inf. Ties go to the lower id.
//   * A logit that is not finite is a numeric Status with layer and token, never an id.
#pragma once

#include <concepts>

#include "headgate/core/context.hpp"
#include "headgate/core/matrix_view.hpp"
#include "headgate/routing/route_edits.hpp"
#include "headgate/routing/routing_plan.hpp"

namespace headgate::inline HEADGATE_ABI {

// What a router reads beside the hidden states.
enum RouterNeeds : unsigned { needs_hidden = 1, needs_token_ids = 2 };

// Which edits of a call (routing/route_edits.hpp) it obeys by itself. A layer refuses the others by name; forced plans
// and masks that zero the output are the layer's own work.
enum RouterTakes : unsigned { takes_k = 1, takes_mask = 2, takes_prune = 4, takes_zero_key = 8 };

// How long its State lives.
enum class StateScope : std::uint8_t {
  none,
  across_layers,  // one forward pass of the same tokens through all layers; reset before the first
  per_text,       // of one layer, growing with its text; reset before the text's first pass alone
};

// What the weights of a row add up to.
enum class RowSum : std::uint8_t { one, at_most_one, zero_or_one, constant, free };

struct RouterTraits {
  unsigned needs = needs_hidden;
  unsigned takes = 0;
  StateScope state = StateScope::none;
  index_t k_min = 0;  // entries of a row, at least and at most
  index_t k_max = 0;
  RowSum row_sum = RowSum::free;
  float row_sum_value = 1.0f;  // of RowSum::constant
  bool batch_coupled = false;  // a row depends on other rows of the batch
  bool causal = true;          // a row depends on earlier rows only
};

struct RouterInput {
  ConstRows hidden = {};                         // (tokens, hidden_size), what the experts will see
  std::span<const std::int32_t> token_ids = {};  // (tokens), for routers that need them; else may be empty
  index_t layer = 0;                             // named in errors; ascends within a pass
  RouteEdits edits = {};                         // of this call of this layer
};

// What every router says to edits that are a layer's work, who keeps them to itself.
inline Status check_layer_edits(const RouteEdits& edits) noexcept {
  if (edits.forced_plan != nullptr) return {ErrorCode::usage, "forced plan given to a router alone; a layer takes it"};
  if (!edits.expert_mask.empty() && edits.mask_meaning == MaskMeaning::zero_output) {
    return {ErrorCode::usage, "expert_mask that zeroes outputs given to a router alone; a layer takes it"};
  }
  return Status::success();
}

// What every router that reads hidden states checks first.
inline Status check_hidden(ConstRows x, index_t hidden_size) noexcept {
  if (Status status = check_view(x); !status.ok()) return status;
  if (x.cols != hidden_size) {
    return Status::mismatch("width of hidden against hidden_size of the router", x.cols, hidden_size);
  }
  return Status::success();
}

// The state of a router that remembers nothing.
struct NoState {
  void reset(index_t /*tokens*/) noexcept {}
};

template <class R>
concept Router = requires(const R& router, const RouterInput& in, typename R::State& state, RoutingPlan& plan,
                          Context& ctx, index_t tokens) {
  { router.num_experts() } noexcept -> std::same_as<index_t>;  // size of the bank its ids index
  { router.hidden_size() } noexcept -> std::same_as<index_t>;
  { router.traits() } noexcept -> std::same_as<RouterTraits>;
  state.reset(tokens);  // before the first layer of a pass of so many tokens
  // Replaces the plan by one row per token.
  { router.route(in, state, plan, ctx) } -> std::same_as<Status>;
};

// Routers whose selection a balancer moves between batches (routing/balancing/): bias and factor (num_experts) are part
// of the keys only, so they change who is chosen, never the weights.
template <class R>
concept TakesSelectionBias =
    Router<R> && std::copy_constructible<R> && requires(R& router, std::span<const float> bias) {
      { router.set_selection_bias(bias) } -> std::same_as<Status>;
    };
template <class R>
concept TakesSelectionFactor =
    Router<R> && std::copy_constructible<R> && requires(R& router, std::span<const float> factor) {
      { router.set_selection_factor(factor) } -> std::same_as<Status>;
    };

}  // namespace headgate::inline HEADGATE_ABI
