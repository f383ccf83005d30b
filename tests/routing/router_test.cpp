// The generic properties of reference catalogue P1-P20, for every router of support/all_routers.hpp. Elsewhere: P8, P9
// and P18 in staged_router_test.cpp, P12 in routing_plan_test.cpp, P19 in plan_transform_test.cpp. P11, P13, P15, P16
// and P20 are laws of experts and layers.
#include "headgate/routing/router.hpp"

#include <algorithm>
#include <cmath>

#include "headgate/kernels/native.hpp"
#include "support/all_routers.hpp"
#include "support/catch.hpp"
#include "support/status.hpp"
#include "support/thread_executor.hpp"

namespace {

using namespace headgate;

constexpr index_t tokens = 37;
constexpr index_t hidden_size = 26;

struct Shape {
  index_t num_experts;
  index_t k;
};
constexpr Shape shapes[] = {{5, 3}, {7, 3}, {1, 1}, {40, 8}, {65, 64}};

std::vector<float> random_hidden(unsigned seed) {
  return random_floats(as_size(tokens) * as_size(hidden_size), 2.0f, seed);
}
ConstRows rows(const std::vector<float>& x) {
  return {x.data(), static_cast<index_t>(x.size()) / hidden_size, hidden_size};
}

// Ids for routers that need them: what a token is called follows from its hidden state.
std::vector<std::int32_t> token_ids(ConstRows x) {
  std::vector<std::int32_t> ids;
  for (index_t t = 0; t < x.rows; ++t) {
    const float first = x.row_data(t)[0];
    ids.push_back(static_cast<std::int32_t>((first < 0.0f ? -first : first) * 1000.0f) % x.cols);
  }
  return ids;
}

// Of a router that carries a state through layers, the plan of the third.
RoutingPlan routed(const AnyRouter& router, ConstRows x, ExecutorRef threads = {}) {
  Context ctx(threads);
  AnyRouter::State state;
  state.reset(x.rows);
  RoutingPlan plan;
  const std::vector<std::int32_t> ids = token_ids(x);
  const index_t layers = router.traits().state == StateScope::across_layers ? 3 : 1;
  for (index_t layer = 0; layer < layers; ++layer) {
    const Status status = router.route({.hidden = x, .token_ids = ids, .layer = layer}, state, plan, ctx);
    INFO(Error::describe(status));
    REQUIRE(status.ok());
  }
  REQUIRE(plan.tokens() == x.rows);
  return plan;
}

RoutingPlan routed_once(const AnyRouter& router, ConstRows x) {
  Context ctx;
  AnyRouter::State state;
  state.reset(x.rows);
  RoutingPlan plan;
  REQUIRE(router.route({.hidden = x, .token_ids = token_ids(x)}, state, plan, ctx).ok());
  return plan;
}

// Rows of ids and weights, for comparison in bits.
struct Row {
  std::vector<ExpertId> experts;
  std::vector<float> weights;
  friend bool operator==(const Row&, const Row&) = default;
};
Row row(const RoutingPlan& plan, index_t t) {
  return {{plan.experts(t).begin(), plan.experts(t).end()}, {plan.weights(t).begin(), plan.weights(t).end()}};
}
bool contains(std::span<const ExpertId> experts, ExpertId e) {
  return std::find(experts.begin(), experts.end(), e) != experts.end();
}

// Calls law(instance, make, laws, hidden) for every router and shape.
template <class Law>
void for_all_instances(Law law) {
  static const std::vector<NamedRouter> routers = all_routers<NativeBackend>();
  for (const NamedRouter& router : routers) {
    for (const Shape shape : shapes) {
      INFO(router.name << ", " << shape.num_experts << " experts, k " << shape.k);
      law(Instance(shape.num_experts, hidden_size, shape.k, 11), router.make, router.laws, random_hidden(12));
    }
  }
}

}  // namespace

TEST_CASE("P1: plans are well formed and keep to the router's k") {
  for_all_instances([](const Instance& instance, const auto& make, unsigned, const std::vector<float>& x) {
    const AnyRouter router = make(instance);
    const RouterTraits traits = router.traits();
    const RoutingPlan plan = routed(router, rows(x));
    CHECK(router.num_experts() == instance.num_experts);
    CHECK(router.hidden_size() == hidden_size);
    REQUIRE(plan.num_experts() == router.num_experts());
    REQUIRE(plan.offsets().front() == 0);
    REQUIRE(plan.offsets().back() == plan.entries());
    for (index_t t = 0; t < plan.tokens(); ++t) {
      const auto n = static_cast<index_t>(plan.experts(t).size());
      CHECK(n >= traits.k_min);
      CHECK(n <= traits.k_max);
      std::vector<ExpertId> ids(plan.experts(t).begin(), plan.experts(t).end());
      std::sort(ids.begin(), ids.end());
      CHECK(std::adjacent_find(ids.begin(), ids.end()) == ids.end());
      CHECK((ids.empty() || (ids.front() >= 0 && ids.back() < plan.num_experts())));
      for (const float w : plan.weights(t)) CHECK(std::isfinite(w));
    }
  });
}

TEST_CASE("P2: rows add up to what the router's traits say") {
  for_all_instances([](const Instance& instance, const auto& make, unsigned, const std::vector<float>& x) {
    const AnyRouter router = make(instance);
    const RouterTraits traits = router.traits();
    const RoutingPlan plan = routed(router, rows(x));
    for (index_t t = 0; t < plan.tokens(); ++t) {
      double sum = 0.0;
      for (const float w : plan.weights(t)) sum += static_cast<double>(w);
      switch (traits.row_sum) {
        case RowSum::one:
          CHECK(sum == Catch::Approx(1.0).epsilon(1e-6));
          break;
        case RowSum::at_most_one:
          CHECK((sum > 0.0 && sum <= 1.0 + 1e-6));
          break;
        case RowSum::zero_or_one:
          CHECK((sum == 0.0 || sum == Catch::Approx(1.0).epsilon(1e-6)));
          break;
        case RowSum::constant:
          CHECK(sum == Catch::Approx(static_cast<double>(traits.row_sum_value)).epsilon(1e-6));
          break;
        case RowSum::free:
          break;
      }
    }
  });
}

TEST_CASE("P3: permuting tokens permutes the rows of the plan") {
  for_all_instances([](const Instance& instance, const auto& make, unsigned, const std::vector<float>& x) {
    const AnyRouter router = make(instance);
    if (router.traits().batch_coupled) return;
    const std::vector<std::int32_t> order = random_order(tokens, 5);
    std::vector<float> shuffled(x.size());
    for (std::size_t t = 0; t < order.size(); ++t) {
      std::copy_n(rows(x).row_data(order[t]), hidden_size,
                  shuffled.begin() + static_cast<std::ptrdiff_t>(t) * hidden_size);
    }
    const RoutingPlan plan = routed(router, rows(x));
    const RoutingPlan after = routed(router, rows(shuffled));
    for (std::size_t t = 0; t < order.size(); ++t) {
      CHECK(row(after, static_cast<index_t>(t)) == row(plan, order[t]));
    }
  });
}

TEST_CASE("P4: permuting experts permutes the ids") {
  for_all_instances([](const Instance& instance, const auto& make, unsigned laws, const std::vector<float>& x) {
    if ((laws & by_place) != 0) return;
    const std::vector<std::int32_t> order = random_order(instance.num_experts, 6);
    const RoutingPlan plan = routed(make(instance), rows(x));
    const RoutingPlan after = routed(make(instance.permuted(order)), rows(x));
    for (index_t t = 0; t < plan.tokens(); ++t) {
      REQUIRE(after.experts(t).size() == plan.experts(t).size());
      for (std::size_t i = 0; i < plan.experts(t).size(); ++i) {
        CHECK(order[as_size(after.experts(t)[i])] == plan.experts(t)[i]);
        CHECK(after.weights(t)[i] == Catch::Approx(plan.weights(t)[i]).epsilon(2e-6));
      }
    }
  });
}

TEST_CASE("P5, P6, P7: a row does not depend on the rest of the batch, on later tokens or on chunking, in bits") {
  for_all_instances([](const Instance& instance, const auto& make, unsigned, const std::vector<float>& x) {
    const AnyRouter router = make(instance);
    const RouterTraits traits = router.traits();
    if (traits.batch_coupled || !traits.causal) return;
    const RoutingPlan plan = routed(router, rows(x));
    for (const index_t chunk : {index_t{1}, index_t{2}, index_t{7}, index_t{32}}) {
      for (index_t first = 0; first < tokens; first += chunk) {
        const index_t count = std::min(chunk, tokens - first);
        const RoutingPlan part = routed(router, rows(x).middle_rows(first, count));
        for (index_t t = 0; t < count; ++t) CHECK(row(part, t) == row(plan, first + t));
      }
    }
  });
}

TEST_CASE("P10: softmax policies ignore a shift of the logits, and order survives scaling") {
  for_all_instances([](const Instance& instance, const auto& make, unsigned laws, const std::vector<float>& x) {
    const RoutingPlan plan = routed(make(instance), rows(x));
    if ((laws & shift_invariant) != 0) {
      const RoutingPlan shifted = routed(make(instance.with_logits_shifted(0.75f)), rows(x));
      for (index_t t = 0; t < plan.tokens(); ++t) {
        CHECK(row(shifted, t).experts == row(plan, t).experts);
        for (std::size_t i = 0; i < plan.weights(t).size(); ++i) {
          CHECK(shifted.weights(t)[i] == Catch::Approx(plan.weights(t)[i]).epsilon(1e-5));
        }
      }
    }
    if ((laws & logit_order) != 0) {
      const RoutingPlan scaled = routed(make(instance.with_logits_scaled(0.5f)), rows(x));
      for (index_t t = 0; t < plan.tokens(); ++t) CHECK(row(scaled, t).experts == row(plan, t).experts);
    }
  });
}

TEST_CASE("P14: the number of threads changes no bit") {
  for_all_instances([](const Instance& instance, const auto& make, unsigned, const std::vector<float>& x) {
    const AnyRouter router = make(instance);
    const RoutingPlan plan = routed(router, rows(x));
    for (const index_t threads : {index_t{2}, index_t{3}}) {
      ThreadExecutor executor(threads);
      CHECK(routed(router, rows(x), executor) == plan);
    }
  });
}

TEST_CASE("P17: raising the logit of a chosen expert never drops it") {
  for_all_instances([](const Instance& instance, const auto& make, unsigned, const std::vector<float>& x) {
    const RoutingPlan plan = routed(make(instance), rows(x));
    for (ExpertId e = 0; e < instance.num_experts; e += instance.num_experts < 16 ? 2 : 16) {
      const RoutingPlan raised = routed(make(instance.with_logit_raised(e, 0.5f)), rows(x));
      for (index_t t = 0; t < plan.tokens(); ++t) {
        if (contains(plan.experts(t), e)) CHECK(contains(raised.experts(t), e));
      }
    }
  });
}

TEST_CASE("every router gives no row for no token and takes plan and workspace again without allocating") {
  for_all_instances([](const Instance& instance, const auto& make, unsigned, const std::vector<float>& x) {
    const AnyRouter router = make(instance);
    CHECK(routed(router, {nullptr, 0, hidden_size}).entries() == 0);

    Context ctx;
    AnyRouter::State state;
    RoutingPlan plan;
    const std::vector<std::int32_t> ids = token_ids(rows(x));
    const RouterInput in{.hidden = rows(x), .token_ids = ids};
    state.reset(tokens);
    REQUIRE(router.route(in, state, plan, ctx).ok());
    const RoutingPlan first = plan;
    const ExpertId* const experts = plan.experts().data();
    const float* const weights = plan.weights().data();
    const index_t* const offsets = plan.offsets().data();
    const std::size_t capacity = ctx.workspace.capacity();
    state.reset(tokens);
    REQUIRE(router.route(in, state, plan, ctx).ok());
    CHECK(plan == first);
    CHECK(plan.experts().data() == experts);
    CHECK(plan.weights().data() == weights);
    CHECK(plan.offsets().data() == offsets);
    CHECK(ctx.workspace.capacity() == capacity);
  });
}

TEST_CASE("every router obeys the edits of a call that it says it takes, and refuses all others") {
  for_all_instances([](const Instance& instance, auto make, unsigned, const std::vector<float>& x) {
    const auto router = make(instance);
    const index_t experts = router.num_experts();
    const unsigned takes = router.traits().takes;
    if (takes == 0) return;  // a layer refuses for it (layers/edited_routing_test.cpp)
    const std::vector<std::int32_t> ids = token_ids(rows(x));
    Context ctx;
    RoutingPlan plan;
    const auto route = [&](const RouteEdits& edits) {
      AnyRouter::State state;
      state.reset(tokens);
      return router.route({.hidden = rows(x), .token_ids = ids, .edits = edits}, state, plan, ctx);
    };
    std::vector<std::uint8_t> mask(as_size(experts), 1);
    for (std::size_t e = 0; e < mask.size(); e += 2) mask[e] = 0;
    const std::pair<MaskMeaning, unsigned> meanings[] = {{MaskMeaning::select, takes_mask},
                                                         {MaskMeaning::prune, takes_prune},
                                                         {MaskMeaning::zero_key, takes_zero_key},
                                                         {MaskMeaning::zero_output, 0u}};
    for (const auto& [meaning, taken] : meanings) {
      const Status status = route({.expert_mask = mask, .mask_meaning = meaning});
      CHECK(status.code == ((takes & taken) != 0 ? ErrorCode::ok : ErrorCode::usage));
      if (!status.ok() || meaning == MaskMeaning::zero_key) continue;
      CHECK(plan.tokens() == tokens);
      for (const ExpertId e : plan.experts()) CHECK(mask[as_size(e)] == 1);
    }
    const Status one = route({.k = 1});
    CHECK(one.code == ((takes & takes_k) != 0 ? ErrorCode::ok : ErrorCode::usage));
    for (index_t t = 0; t < plan.tokens(); ++t) CHECK(plan.experts(t).size() <= 1);
    CHECK(route({.k = -1}).code == ErrorCode::usage);
    const RoutingPlan forced = plan;
    CHECK(route({.forced_plan = &forced}).code == ErrorCode::usage);
    mask.push_back(1);
    CHECK(route({.expert_mask = mask}).found == experts + 1);
    // What was asked of one call is not asked of the next.
    CHECK(route({}).ok());
    CHECK(plan == routed_once(router, rows(x)));
  });
}

TEST_CASE("every router refuses a wrong width and names the first token whose hidden state is not finite") {
  for_all_instances([](const Instance& instance, const auto& make, unsigned, const std::vector<float>& x) {
    const AnyRouter router = make(instance);
    Context ctx;
    AnyRouter::State state;
    RoutingPlan plan;
    state.reset(tokens);
    const Status narrow = router.route({.hidden = {x.data(), tokens, hidden_size - 1}}, state, plan, ctx);
    CHECK(narrow.code == ErrorCode::usage);
    CHECK(narrow.found == hidden_size - 1);
    CHECK(narrow.allowed == hidden_size);

    if ((router.traits().needs & needs_hidden) == 0) return;
    std::vector<float> bad = x;
    for (const index_t t : {35, 19})
      bad[as_size(t) * as_size(hidden_size) + 3] = std::numeric_limits<float>::quiet_NaN();
    for (const index_t threads : {index_t{1}, index_t{3}}) {
      ThreadExecutor executor(threads);
      Context with_threads(executor);
      state.reset(tokens);
      const Status status = router.route({.hidden = rows(bad), .layer = 4}, state, plan, with_threads);
      CHECK(status.code == ErrorCode::numeric);
      CHECK(status.layer == 4);
      CHECK(status.token == 19);
      CHECK(status.expert == 0);
      CHECK(plan.tokens() == 0);
    }
  });
}

TEST_CASE("traits of a router and its input are of the plainest kind unless they say otherwise") {
  const RouterTraits traits;
  CHECK(traits.needs == needs_hidden);
  CHECK(traits.takes == 0);
  CHECK(traits.state == StateScope::none);
  CHECK(traits.k_min == 0);
  CHECK(traits.k_max == 0);
  CHECK(traits.row_sum == RowSum::free);
  CHECK(traits.row_sum_value == 1.0f);
  CHECK_FALSE(traits.batch_coupled);
  CHECK(traits.causal);
  const RouterInput in;
  CHECK(in.layer == 0);
  CHECK(in.hidden.rows == 0);
  CHECK(in.token_ids.empty());
  const float x = 0.0f;
  CHECK(said(check_hidden({&x, 1, 1}, 1)) == "ok");
  CHECK(said(check_hidden({nullptr, 0, 1}, 1)) == "ok");
  CHECK(said(check_hidden({nullptr, 1, 1}, 1)) == "usage: rows of a matrix without data");
  CHECK(said(check_hidden({&x, -1, 1}, 1)) == "usage: rows of a matrix, at least (got -1, allowed 0)");
  CHECK(said(check_hidden({&x, 1, 2}, 1)) ==
        "usage: width of hidden against hidden_size of the router (got 2, allowed 1)");
}
