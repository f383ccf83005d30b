// A model reads a text that is given (teacher forcing): the loss of every token and what its routers did. The text is
// cut into windows of the session's context; each begins with the model's first token (bos_token_id) or, where it has
// none, with the token before. loss of token t = -ln p(t | the window so far).
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "headgate/analysis/policy_input.hpp"
#include "headgate/analysis/routing_columns.hpp"
#include "headgate/analysis/window_logits.hpp"
#include "headgate/models/load.hpp"
#include "headgate/models/scoped_hook.hpp"
#include "headgate/models/session.hpp"
#include "headgate/sampling/log_softmax.hpp"

namespace headgate::inline HEADGATE_ABI {

struct TextRun {
  std::vector<double> losses;  // one a token, in nats
  RoutingTrace trace;          // of the layers that have experts
  WeightCost cost;             // of all layers together
};

// The routed layers of a model, and what they and all else read from memory.
inline std::vector<index_t> routed_layers(const Model& model) {
  std::vector<index_t> layers;
  for (index_t l = 0; l < model.num_layers(); ++l) {
    if (model.block(l).routed() != nullptr) layers.push_back(l);
  }
  return layers;
}
inline WeightCost weight_cost(const Model& model) {
  WeightCost cost{0.0, static_cast<double>(model.bytes_per_token())};
  for (const index_t l : routed_layers(model)) {
    const RoutingSummary& routing = model.routing(l);
    const index_t counted = std::min(routing.experts_per_token, routing.num_experts);
    const auto bytes = static_cast<double>(model.block(l).routed()->experts().expert_bytes());
    cost.bytes_per_expert += bytes;
    cost.fixed_bytes -= bytes * counted;
  }
  return cost;
}

// session: keeps all logits; what it holds is forgotten, and its on_route rests meanwhile. tokens: of the text, without
// a first token put before it. Throws Error: usage where there are fewer than 2, or no layer has experts; what
// Session::forward says.
inline TextRun run_text(Session& session, std::span<const std::int32_t> tokens, Context& ctx) {
  const Model& model = session.model();
  const std::vector<index_t> layers = routed_layers(model);
  if (layers.empty()) throw Error(ErrorCode::usage, {"", "", -1, "the model has no layer with experts"});
  const std::int32_t bos = model.config().bos_token_id;
  const std::size_t skipped = bos >= 0 ? 0 : 1;  // without a first token there is nothing to predict it from
  if (tokens.size() < 2) throw Error(ErrorCode::usage, {"", "", -1, "the text has fewer than 2 tokens"});

  const index_t num_experts = model.block(layers.front()).routed()->router().num_experts();
  const std::size_t count = tokens.size() - skipped;
  TextRun run{{},
              RoutingTrace(static_cast<index_t>(layers.size()), num_experts, num_experts,
                           RoutingTrace::block_size(static_cast<std::int64_t>(count))),
              weight_cost(model)};
  const ScopedHook hook(session.on_route, [&](index_t layer, index_t, const RoutingPlan& plan) {
    const auto place = std::lower_bound(layers.begin(), layers.end(), layer) - layers.begin();
    run.trace.add(static_cast<index_t>(place), plan);
  });
  for (std::size_t first = skipped; first < tokens.size();) {
    const std::size_t rows = std::min(as_size(session.context_size()), tokens.size() - first);
    std::vector<std::int32_t> window = {bos >= 0 ? bos : tokens[first - 1]};
    window.insert(window.end(), tokens.begin() + std::ptrdiff_t(first),
                  tokens.begin() + std::ptrdiff_t(first + rows - 1));
    run.trace.begin_text();
    const std::size_t done = run.losses.size();
    run.losses.resize(done + rows);
    each_logits(session, window, 0, ctx, [&](std::size_t i, std::span<const float> logits) {
      run.losses[done + i] = -LogSoftmax(logits)[tokens[first + i]];
    });
    first += rows;
  }
  return run;
}

// The columns and the row of a run in a comparison of models.
inline Comparison model_comparison() {
  Comparison table;
  table.title = "Models on the same text";
  table.note = "Experts are per token and layer, bytes per token in all layers, balance and overlap means over layers.";
  table.label_columns = {"model", "router", "attention"};
  table.columns = {{"tokens", "tokens", 0, Better::neither, "tokens of the text that a loss was taken of"},
                   {"loss", "loss", 4, Better::lower, "mean of -ln p of each token, in nats"}};
  for (const auto& columns : {cost_columns(), balance_columns(), overlap_columns()}) {
    table.columns.insert(table.columns.end(), columns.begin(), columns.end());
  }
  return table;
}
inline ComparisonRow model_row(std::vector<std::string> labels, const TextRun& run, std::uint64_t seed) {
  const auto tokens = static_cast<double>(run.losses.size());
  ComparisonRow row{std::move(labels), {{tokens, tokens, tokens}}, {}};
  const std::size_t block = as_size(RoutingTrace::block_size(std::ssize(run.losses)));
  const std::vector<Interval> values = bootstrap(run.trace.num_blocks(),
                                                 [&](std::span<const index_t> times) {
                                                   double sum = 0;
                                                   double count = 0;
                                                   for (std::size_t t = 0; t < run.losses.size(); ++t) {
                                                     sum += times[t / block] * run.losses[t];
                                                     count += times[t / block];
                                                   }
                                                   const RoutingMetrics m = run.trace.metrics(times);
                                                   std::vector<double> numbers = {sum / count};
                                                   for (const double v : cost_values(m, run.cost)) numbers.push_back(v);
                                                   for (const double v : balance_values(m)) numbers.push_back(v);
                                                   for (const double v : overlap_values(m)) numbers.push_back(v);
                                                   return numbers;
                                                 },
                                                 {.seed = seed});
  row.values.insert(row.values.end(), values.begin(), values.end());
  for (index_t l = 0; l < run.trace.num_layers(); ++l) row.loads.push_back(run.trace.loads(l));
  return row;
}

// What the routers of a model read in the first window of a text, with the gates of its checkpoint. Selection biases
// are left out; of a null-expert router the rows of the true experts are taken. The session's on_hidden rests
// meanwhile. Throws usage where a router is no linear gate; what Session::forward says.
inline PolicyInput live_input(const std::string& folder, Session& session, std::span<const std::int32_t> tokens,
                              index_t k, Context& ctx) {
  const Model& model = session.model();
  const index_t width = model.hidden_size();
  PolicyInput input;
  detail::read_checkpoint(
      folder, {Compute::f32}, [&](const Blueprint& blueprint, const TensorSource&, const detail::CheckpointNotes&) {
        blueprint.each_operation([&](const auto& part, index_t layer) {
          if (part.routing() == nullptr) return;
          const WeightRows* const rows = part.linear_gate();
          if (rows == nullptr || rows->cols() != width) {
            throw Error(ErrorCode::usage,
                        {folder, "layer " + std::to_string(layer), -1,
                         "the router is no linear gate of the hidden state, which policies are compared on"});
          }
          const index_t num_experts = part.routing()->num_experts;
          std::vector<float> gate(as_size(std::int64_t{num_experts} * width));
          for (index_t e = 0; e < num_experts; ++e) {
            rows->read(e, std::span(gate).subspan(as_size(std::int64_t{e} * width), as_size(width)));
          }
          input.layers.push_back({{ConstRows(gate.data(), num_experts, width), k}, {}});
        });
      });
  const std::vector<index_t> layers = routed_layers(model);
  if (layers.empty()) throw Error(ErrorCode::usage, {"", "", -1, "the model has no layer with experts"});
  input.expert_bytes = model.block(layers.front()).routed()->experts().expert_bytes();
  input.tokens = static_cast<index_t>(std::min(tokens.size(), as_size(session.context_size())));
  for (const std::int32_t token : tokens.first(as_size(input.tokens))) input.token_ids.push_back(token % width);
  const ScopedHook hook(session.on_hidden, [&](index_t layer, index_t, ConstRows hidden) {
    const auto place = std::lower_bound(layers.begin(), layers.end(), layer) - layers.begin();
    std::vector<float>& all = input.layers[as_size(place)].hidden;
    for (index_t t = 0; t < hidden.rows; ++t)
      all.insert(all.end(), hidden.row_data(t), hidden.row_data(t) + hidden.cols);
  });
  throw_if_error(session.truncate(0));
  for (std::size_t from = 0; from < as_size(input.tokens); from += 128) {
    throw_if_error(
        session.forward(tokens.subspan(from, std::min<std::size_t>(128, as_size(input.tokens) - from)), ctx));
  }
  for (PolicyLayer& layer : input.layers) centre_logits(layer, input.tokens);
  return input;
}

}  // namespace headgate::inline HEADGATE_ABI
