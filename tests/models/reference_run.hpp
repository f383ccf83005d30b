// Running a decoder beside a reference: the expected.json of a trained checkpoint (tokens, log-probabilities, routes).
#pragma once

#include "headgate/core/thread_pool.hpp"
#include "headgate/sampling/candidates.hpp"
#include "headgate/sampling/log_softmax.hpp"
#include "models/checkpoints.hpp"

namespace models_test {

using namespace headgate;

// All logits of a text, forwarded in pieces of so many tokens. context_size: 0 for the model's.
struct Run {
  Run(const std::shared_ptr<const Model>& model, std::span<const std::int32_t> text, index_t piece, index_t threads,
      RouteHook hook = {}, index_t context_size = 0)
      : vocab_size(model->vocab_size()) {
    ThreadPool pool(threads);
    Context ctx(pool);
    Session session(model, {.context_size = context_size, .rows_per_pass = piece, .all_logits = true});
    session.on_route = std::move(hook);
    // Large pieces are cut by the session, single tokens by the caller.
    const std::size_t step = piece == 1 ? 1 : text.size();
    for (std::size_t first = 0; first < text.size(); first += step) {
      throw_if_error(session.forward(text.subspan(first, step), ctx));
      const ConstRows found = session.all_logits();
      logits.insert(logits.end(), found.data, found.data + std::int64_t{found.rows} * found.cols);
    }
  }
  ConstRows rows() const {
    return {logits.data(), static_cast<index_t>(logits.size() / as_size(vocab_size)), vocab_size};
  }

  index_t vocab_size;
  std::vector<float> logits;
};

inline std::vector<std::int32_t> greedy_tokens(const std::shared_ptr<const Model>& model,
                                               std::vector<std::int32_t> prompt, std::size_t count,
                                               index_t context_size = 0) {
  Context ctx;
  Session session(model, {.context_size = context_size});
  std::vector<std::int32_t> tokens;
  throw_if_error(session.forward(prompt, ctx));
  while (tokens.size() < count) {
    tokens.push_back(greedy(session.logits()));
    throw_if_error(session.forward({&tokens.back(), 1}, ctx));
  }
  return tokens;
}

// The cosine of the angle between them.
inline double similarity(const std::vector<float>& a, const std::vector<float>& b) {
  double products = 0.0;
  double a_squares = 0.0;
  double b_squares = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    products += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    a_squares += static_cast<double>(a[i]) * static_cast<double>(a[i]);
    b_squares += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return products / std::sqrt(a_squares * b_squares);
}

inline double largest_difference(std::span<const float> found, const std::vector<double>& expected) {
  REQUIRE(found.size() == expected.size());
  double worst = 0.0;
  double scale = 0.0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(found[i]) - expected[i]));
    scale = std::max(scale, std::abs(expected[i]));
  }
  return worst / scale;
}

// The reference's greedy tokens with its log-probabilities to 2e-4, and the same bits in pieces and on threads.
inline void check_continuations(const std::shared_ptr<const Model>& model, const JsonObject& expected) {
  index_t turn = 0;
  for (const Json& entry : expected.get_list("continuations")) {
    const JsonObject continuation(entry, "expected.json");
    const std::vector<std::int32_t> prompt = ids(*continuation.value("prompt"));
    const std::vector<std::int32_t> wanted = ids(*continuation.value("greedy"));
    INFO(continuation.get_string("text").substr(0, 40));
    CHECK(greedy_tokens(model, prompt, wanted.size()) == wanted);

    std::vector<std::int32_t> text = prompt;
    text.insert(text.end(), wanted.begin(), wanted.end() - 1);
    const Run run(model, text, static_cast<index_t>(text.size()), 1);
    const std::span<const Json> steps = continuation.get_list("top5_logprobs");
    double worst = 0.0;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const std::span<const float> logits = run.rows().row(static_cast<index_t>(prompt.size() + i - 1));
      CHECK(greedy(logits) == wanted[i]);
      const LogSoftmax logprobs(logits);
      const std::span<const Json> best = std::get<Json::Array>(steps[i].value);
      const std::vector<TokenLogprob> top = logprobs.top(static_cast<index_t>(best.size()));
      for (std::size_t j = 0; j < best.size(); ++j) {
        const std::vector<double> pair = numbers(best[j]);  // id, log-probability
        worst = std::max(worst, std::abs(logprobs[static_cast<std::int32_t>(pair[0])] - pair[1]));
        worst = std::max(worst, std::abs(top[j].logprob - pair[1]));
      }
    }
    CHECK(worst < 2e-4);

    // Every piece meets every number of threads in one of the continuations.
    const std::uint64_t bits = hash_of(run.rows());
    for (const index_t piece : {1, 7, static_cast<index_t>(text.size())}) {
      const index_t threads = 1 + turn++ % 3;
      INFO("pieces of " << piece << ", threads " << threads);
      CHECK(hash_of(Run(model, text, piece, threads).rows()) == bits);
    }
    ++turn;
  }
}

// The reference's expert ids in order of selection, null experts left out, and its weights to 1e-5.
inline void check_routes(const std::shared_ptr<const Model>& model, const JsonObject& expected) {
  const JsonObject routes = expected.get_object("routes");
  const std::vector<std::int32_t> text = ids(*routes.value("tokens"));
  const std::span<const Json> layers = routes.get_list("layers");

  for (const index_t piece : {1, 7, static_cast<index_t>(text.size())}) {
    for (const index_t threads : {1, 2, 3}) {
      INFO("pieces of " << piece << ", threads " << threads);
      std::vector<index_t> seen(layers.size());
      int wrong_ids = 0;
      double worst = 0.0;
      const Run run(model, text, piece, threads, [&](index_t layer, index_t first_position, const RoutingPlan& plan) {
        const JsonObject wanted(layers[as_size(layer)], "expected.json");
        CHECK(first_position == seen[as_size(layer)]);
        for (index_t t = 0; t < plan.tokens(); ++t) {
          const std::size_t position = as_size(seen[as_size(layer)]++);
          const std::span<const ExpertId> experts = plan.experts(t);
          const std::vector<std::int32_t> chosen = ids(wanted.get_list("experts")[position]);
          const std::vector<double> weights = numbers(wanted.get_list("weights")[position]);
          std::vector<ExpertId> true_experts;
          for (std::size_t i = 0; i < chosen.size(); ++i) {
            if (chosen[i] >= plan.num_experts()) continue;  // a null expert, which no plan knows
            if (true_experts.size() < experts.size()) {
              const double weight = static_cast<double>(plan.weights(t)[true_experts.size()]);
              worst = std::max(worst, std::abs(weight - weights[i]));
            }
            true_experts.push_back(chosen[i]);
          }
          if (std::vector<ExpertId>(experts.begin(), experts.end()) != true_experts) ++wrong_ids;
        }
      });
      CHECK(seen == std::vector<index_t>(layers.size(), static_cast<index_t>(text.size())));
      CHECK(wrong_ids == 0);
      CHECK(worst < 1e-5);
      CHECK(largest_difference(run.rows().row(run.rows().rows - 1), numbers(*expected.value("logits_last"))) < 2e-5);
    }
  }
}

}  // namespace models_test
