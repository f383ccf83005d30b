// MultiGateLayer: several tasks over one bank, each with gates of its own: MMoE (Ma et al. 2018, "Modeling Task
// Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts") and the gates of HoME (Wang et al. 2024,
// arXiv 2408.05430). For every task k
//   y_k = sum_i g_k(x)_i E_i(x) [+ sum over the task's own experts i of s_k(x)_i E_i(x)]
// A gate g_k may be masked to the experts of its task (HoME's hierarchy mask: those that all share, those of its group
// of tasks, its own), as if the others were not there. The self-gate s_k, a sigmoid for one expert and a softmax for
// several, keeps a way to the task's own experts that no other expert competes for. MMoE's gates are dense: k = E.
// Follows MMoE's paper; HoME's gates are reconstructed from descriptions of it. There is no official code. HoME's
// experts are normalised MLPs, which a bank may hold (PerExpert); its feature-gates, which give each expert an input of
// its own, are not here.
//
// The plans of all tasks are one batch to the bank, so that each expert's weights are read once. One task without mask
// and self-gate is MoELayer, in bits.
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "headgate/experts/experts.hpp"
#include "headgate/layers/edited_routing.hpp"
#include "headgate/layers/moe_layer.hpp"
#include "headgate/routing/plan_transform.hpp"

namespace headgate::inline HEADGATE_ABI {

// A router over a bank, and the experts it may choose: (num_experts) 0: as if pruned; empty: all.
template <Router R>
struct TaskGate {
  R router;
  std::vector<std::uint8_t> mask = {};
};
template <Router R, Router S = R>
struct GatedTask {
  TaskGate<R> gate;
  std::optional<TaskGate<S>> self_gate = std::nullopt;
};

// Table of structures: MultiGateLayer | several tasks with masked gates and self-gates over one bank |
//   Ma et al. 2018; Wang et al. 2024, 2408.05430
template <Router R, Experts E, Router S = R>
class MultiGateLayer {
 public:
  using Task = GatedTask<R, S>;
  struct State {
    std::vector<RoutingPlan> plans;  // of the last forward, one per task: gate and self-gate together

    void reset(index_t tokens) {
      tokens_ = tokens;
      for (typename R::State& router : routers_) router.reset(tokens);
      for (typename S::State& router : self_routers_) router.reset(tokens);
    }

   private:
    friend class MultiGateLayer;
    index_t tokens_ = 0;
    std::vector<typename R::State> routers_;       // one per task
    std::vector<typename S::State> self_routers_;  // one per task
    RoutingPlan self_plan_, scratch_, all_;        // scratch
    std::vector<ExpertId> experts_;                // of a row
    std::vector<float> weights_;
    std::vector<index_t> slots_;  // zeros between rows
  };

  // usage: no task, a router that does not fit the bank, or a mask that does not fit it, lets nothing through or is
  // none that the router can prune by.
  static Expected<MultiGateLayer> create(std::vector<Task> tasks, E experts) {
    if (tasks.empty()) return Status::mismatch("tasks of a layer, at least", 0, 1);
    if (std::ssize(tasks) > max_index)
      return Status::mismatch("tasks of a layer, at most", std::ssize(tasks), max_index);
    for (const Task& task : tasks) {
      if (Status status = check(task.gate, experts); !status.ok()) return status;
      if (!task.self_gate) continue;
      if (Status status = check(*task.self_gate, experts); !status.ok()) return status;
    }
    return MultiGateLayer(std::move(tasks), std::move(experts));
  }

  index_t num_tasks() const noexcept { return static_cast<index_t>(tasks_.size()); }
  const Task& task(index_t k) const noexcept { return tasks_[as_size(k)]; }
  const E& experts() const noexcept { return experts_; }

  // y (tasks * tokens, hidden_size): the output of task k for in.hidden in rows k * tokens to (k + 1) * tokens - 1. y
  // does not overlap in.hidden. A call's k and mask are for every gate but self-gates, a mask only where no task has
  // one; a forced plan does not say which task it is for.
  Status forward(const RouterInput& in, State& state, Rows y, Context& ctx) const {
    Status status = compute(in, state, y, ctx);
    if (!status.ok() && status.layer < 0) status.layer = in.layer;
    return status;
  }

 private:
  MultiGateLayer(std::vector<Task> tasks, E experts) : tasks_(std::move(tasks)), experts_(std::move(experts)) {}

  template <Router Of>
  static Status check(const TaskGate<Of>& gate, const E& experts) noexcept {
    if (Status status = check_fit(gate.router, experts); !status.ok()) return status;
    if (gate.mask.empty()) return Status::success();
    if (std::ssize(gate.mask) != experts.num_experts())
      return Status::mismatch("size of a task's mask against experts", std::ssize(gate.mask), experts.num_experts());
    if (std::all_of(gate.mask.begin(), gate.mask.end(), [](std::uint8_t allowed) { return allowed == 0; }))
      return {ErrorCode::usage, "mask of a task lets no expert through"};
    if ((gate.router.traits().takes & takes_prune) == 0)
      return {ErrorCode::usage, "router of a task with a mask cannot prune experts"};
    return Status::success();
  }

  Status compute(const RouterInput& in, State& state, Rows y, Context& ctx) const {
    const ConstRows x = in.hidden;
    const std::int64_t rows = std::int64_t{num_tasks()} * x.rows;
    if (rows > max_index) return {ErrorCode::limit, "rows of all tasks", rows, max_index};
    if (y.rows != rows) return Status::mismatch("rows of y against tasks times tokens", y.rows, rows);
    if (y.cols != experts_.hidden_size())
      return Status::mismatch("width of y against hidden_size", y.cols, experts_.hidden_size());
    if (x.cols != experts_.hidden_size())
      return Status::mismatch("width of x against hidden_size", x.cols, experts_.hidden_size());
    if (Status status = check_apart(x, y); !status.ok()) return status;
    if (Status status = check_edits(in.edits); !status.ok()) return status;
    const FloatModes modes;
    fit(state);
    for (std::size_t k = 0; k < tasks_.size(); ++k) {
      if (Status status = route(k, in, state, ctx); !status.ok()) return status;
    }
    fill(y, 0.0f);
    if (tasks_.size() == 1) return experts_.apply(state.plans[0], x, y, ctx);

    index_t entries = 0;
    for (const RoutingPlan& plan : state.plans) entries += plan.entries();
    RoutingPlan& all = state.all_;
    all.clear(experts_.num_experts());
    Status status = all.reserve(y.rows, entries);
    const Workspace::Mark mark(ctx.workspace);
    const Rows repeated = ctx.workspace.take_rows(y.rows, x.cols);
    for (index_t r = 0; r < y.rows && status.ok(); ++r) {
      const RoutingPlan& plan = state.plans[as_size(r / x.rows)];
      const index_t t = r % x.rows;
      status = all.append_row(plan.experts(t), plan.weights(t));
      std::copy_n(x.row_data(t), x.cols, repeated.row_data(r));
    }
    if (status.ok()) status = experts_.apply(all, repeated, y, ctx);
    if (status.token >= 0) status.token %= x.rows;
    return status;
  }

  Status check_edits(const RouteEdits& edits) const noexcept {
    if (edits.forced_plan != nullptr && num_tasks() > 1)
      return {ErrorCode::usage, "a forced plan does not say which task of a layer it is for"};
    if (edits.expert_mask.empty()) return Status::success();
    for (const Task& task : tasks_) {
      if (!task.gate.mask.empty()) return {ErrorCode::usage, "expert_mask of a call of a layer whose tasks have masks"};
    }
    return Status::success();
  }

  // States of new tasks begin with the pass.
  void fit(State& state) const {
    state.plans.resize(tasks_.size());
    while (state.routers_.size() < tasks_.size()) {
      state.routers_.emplace_back();
      state.routers_.back().reset(state.tokens_);
      state.self_routers_.emplace_back();
      state.self_routers_.back().reset(state.tokens_);
    }
  }

  // The plan of task k.
  Status route(std::size_t k, const RouterInput& in, State& state, Context& ctx) const {
    const Task& task = tasks_[k];
    RouterInput own = in;
    if (!task.gate.mask.empty()) {
      own.edits.expert_mask = task.gate.mask;
      own.edits.mask_meaning = MaskMeaning::prune;
    }
    RoutingPlan& plan = state.plans[k];
    Status status = edited_routing(task.gate.router, own, state.routers_[k], plan, state.scratch_, ctx);
    if (!status.ok() || !task.self_gate) return status;

    own.edits = {};
    if (!task.self_gate->mask.empty()) {
      own.edits.expert_mask = task.self_gate->mask;
      own.edits.mask_meaning = MaskMeaning::prune;
    }
    status = edited_routing(task.self_gate->router, own, state.self_routers_[k], state.self_plan_, state.scratch_, ctx);
    return status.ok() ? add(state.self_plan_, plan, state) : status;
  }

  // plan += other, an expert that both have once, with the sum of its weights.
  Status add(const RoutingPlan& other, RoutingPlan& plan, State& state) const {
    RoutingPlan& sum = state.scratch_;
    sum.clear(plan.num_experts());
    Status status = sum.reserve(plan.tokens(), std::int64_t{plan.entries()} + other.entries());
    for (index_t t = 0; t < plan.tokens() && status.ok(); ++t) {
      std::vector<ExpertId>& experts = state.experts_;
      std::vector<float>& weights = state.weights_;
      experts.assign(plan.experts(t).begin(), plan.experts(t).end());
      experts.insert(experts.end(), other.experts(t).begin(), other.experts(t).end());
      weights.assign(plan.weights(t).begin(), plan.weights(t).end());
      weights.insert(weights.end(), other.weights(t).begin(), other.weights(t).end());
      const auto entries = static_cast<index_t>(experts.size());
      state.slots_.resize(std::max(state.slots_.size(), as_size(ExpertPlaces::slots_for(entries))));
      const std::size_t merged = as_size(merge_row(experts, weights, state.slots_));
      status = sum.append_row(std::span(experts).first(merged), std::span(weights).first(merged));
    }
    std::swap(plan, sum);
    return status;
  }

  std::vector<Task> tasks_;
  E experts_;
};

}  // namespace headgate::inline HEADGATE_ABI
