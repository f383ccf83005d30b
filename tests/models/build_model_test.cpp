#include "headgate/models/build_model.hpp"

#include <fstream>
#include <sstream>
#include <stdexcept>

#include "models/checkpoints.hpp"
#include "models/random_checkpoint.hpp"

using namespace headgate;
using namespace models_test;

namespace {

// The demo model, its routers made by the test: make_router(layer, gate).
template <class F>
Model build(F&& make_router) {
  const Json json = read_json(tales + "/config.json");
  const TensorSource source = TensorSource::open(tales);
  const Blueprint blueprint = Qwen3Moe::blueprint(JsonObject(json, "config.json"), source);
  Context ctx;
  Packer packer(ctx,
                [&](index_t layer, const GateWeights& weights, AnyRouter) { return make_router(layer, weights.gate); });
  return build_model(blueprint, packer);
}

}  // namespace

TEST_CASE("a family gives the routers, from the stored gate of each layer") {
  std::vector<index_t> layers;
  const TensorSource source = TensorSource::open(tales);
  const Model model = build([&](index_t layer, ConstRows gate) -> AnyRouter {
    layers.push_back(layer);
    const Tensor* const stored = source.find("model.layers." + std::to_string(layer) + ".mlp.gate.weight");
    REQUIRE(stored != nullptr);
    std::vector<float> row(as_size(gate.cols));
    for (index_t e = 0; e < gate.rows; ++e) {
      read_row(*stored, e, row);
      CHECK(std::equal(row.begin(), row.end(), gate.row_data(e)));
    }
    return switch_router({.gate = gate}).value();  // one expert a token in place of two
  });
  CHECK(layers == std::vector<index_t>{0, 1, 2, 3, 4, 5});
  for (index_t l = 0; l < model.num_layers(); ++l) CHECK(model.block(l).routed()->router().traits().k_max == 1);
}

TEST_CASE("an error of a router reaches the caller of build") {
  CHECK_THROWS_AS(
      build([](index_t, ConstRows gate) -> AnyRouter { return mixtral_router({.gate = gate}, gate.rows + 1).value(); }),
      Error);
}

namespace {

// KiB of the file that lie in this process's memory.
std::int64_t resident_kib(const std::string& name) {
  std::ifstream maps("/proc/self/smaps");
  std::int64_t total = 0;
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    if (line.find('-') < line.find(' ')) inside = line.ends_with(name);
    if (!inside || !line.starts_with("Rss:")) continue;
    std::istringstream words(line.substr(4));
    std::int64_t kib = 0;
    words >> kib;
    total += kib;
  }
  return total;
}

}  // namespace

TEST_CASE("a built model gives the pages of its file back tensor by tensor") {
  std::int64_t most = 0;
  const Model model = build([&](index_t, ConstRows gate) -> AnyRouter {
    most = std::max(most, resident_kib("/tales/model.safetensors"));
    return mixtral_router({.gate = gate}, 2).value();
  });
  CHECK(model.weight_bytes() > 0);
  // Of 18,270 KiB. A fault maps 16 pages around it, those of a released neighbour, too.
  CHECK(most < 12 * 1024);
}

namespace {

// What each layer of a text is routed by, and the bits it ends in.
std::uint64_t bits_of(const std::shared_ptr<const Model>& model, std::vector<RoutingPlan>* plans = nullptr) {
  Session session(model, {.rows_per_pass = 3, .all_logits = true});
  if (plans != nullptr) {
    plans->assign(as_size(model->num_layers()), {});
    session.on_route = [=](index_t layer, index_t, const RoutingPlan& plan) { (*plans)[as_size(layer)] = plan; };
  }
  Context ctx;
  const std::int32_t tokens[] = {3, 14, 15, 9, 26, 5, 35};
  throw_if_error(session.forward(tokens, ctx));
  return hash_of(session.all_logits());
}

// Around another router, whose rows it leaves as they are and counts.
struct Counted {
  using State = AnyRouter::State;
  index_t num_experts() const noexcept { return inner.num_experts(); }
  index_t hidden_size() const noexcept { return inner.hidden_size(); }
  RouterTraits traits() const noexcept { return inner.traits(); }
  Status route(const RouterInput& in, State& state, RoutingPlan& plan, Context& ctx) const {
    *rows += in.hidden.rows;
    return inner.route(in, state, plan, ctx);
  }
  AnyRouter inner;
  std::shared_ptr<index_t> rows;
};

// One checkpoint of every router and attention that can be loaded.
struct Loadable {
  std::string name;
  std::string folder;
  bool is_linear = true;
  index_t nulls = 0;
  bool has_bias = false;
};
template <class F>
void for_each_checkpoint(F&& use) {
  for (const char* const name : tiny_names) use(Loadable{name, tiny(name)});
  use(Loadable{"tales", tales});
  const std::string regions = R"({"type":"bilevel","region_size":2,"regions":2})";
  for (const std::string& attention : {std::string(R"({"type":"dense"})"), regions}) {
    const RandomCheckpoint top_k(top_k_router, attention);
    const RandomCheckpoint null(null_router, attention, RandomCheckpoint::experts + 3);
    const RandomCheckpoint gru(gru_router, attention, RandomCheckpoint::experts, RandomCheckpoint::hidden);
    const RandomCheckpoint balanced(balanced_router, attention);
    use(Loadable{"top-k", top_k.path()});
    use(Loadable{"null", null.path(), true, 3});
    use(Loadable{"gru", gru.path(), false});
    use(Loadable{"balanced", balanced.path(), true, 0, true});
  }
}

}  // namespace

TEST_CASE("a router of the caller's own takes the place of a layer's, in every family and container") {
  for_each_checkpoint([](const Loadable& checkpoint) {
    INFO(checkpoint.name);
    const auto plain = load_model(checkpoint.folder);
    std::vector<index_t> layers;
    for (index_t l = 0; l < plain->num_layers(); ++l) {
      if (plain->block(l).routed() != nullptr) layers.push_back(l);
    }
    std::vector<index_t> asked;
    const index_t replaced = layers.back();
    const auto model = load_model(
        checkpoint.folder, {.make_router = [&](index_t layer, const GateWeights& weights, AnyRouter own) -> AnyRouter {
          asked.push_back(layer);
          CHECK(own.num_experts() == plain->routing(layer).num_experts);
          CHECK(own.traits().k_max == plain->block(layer).routed()->router().traits().k_max);
          CHECK((weights.gate.rows != 0) == checkpoint.is_linear);
          if (checkpoint.is_linear) CHECK(weights.gate.rows == own.num_experts() + checkpoint.nulls);
          CHECK((weights.selection_bias.size() != 0) == checkpoint.has_bias);
          CHECK(weights.gate_bias.empty());
          if (layer != replaced) return own;
          std::vector<float> bias(as_size(own.num_experts()), 0.0f);
          bias[2] = 2.0f;
          const std::vector<float> gate(as_size(own.num_experts()) * as_size(own.hidden_size()), 0.0f);
          const ConstRows rows(gate.data(), own.num_experts(), own.hidden_size());
          return switch_router({.gate = rows, .selection_bias = bias}).value();
        }});
    CHECK(asked == layers);
    std::vector<RoutingPlan> plans;
    std::vector<RoutingPlan> before;
    CHECK(bits_of(model, &plans) != bits_of(plain, &before));
    for (const index_t l : layers) {
      if (l != replaced) CHECK(plans[as_size(l)] == before[as_size(l)]);
    }
    for (const ExpertId e : plans[as_size(replaced)].experts()) CHECK(e == 2);
    CHECK(model->weight_bytes() == plain->weight_bytes());
  });
}

TEST_CASE("a checkpoint's own router, returned or inside another one, gives the bits of the checkpoint") {
  for_each_checkpoint([](const Loadable& checkpoint) {
    INFO(checkpoint.name);
    const std::uint64_t bits = bits_of(load_model(checkpoint.folder));
    CHECK(bits_of(load_model(checkpoint.folder,
                             {.make_router = [](index_t, const GateWeights&, AnyRouter own) { return own; }})) == bits);
    const auto rows = std::make_shared<index_t>(0);
    for (const bool all : {true, false}) {
      *rows = 0;
      index_t wrapped = 0;
      const auto model = load_model(checkpoint.folder,
                                    {.make_router = [&](index_t layer, const GateWeights&, AnyRouter own) -> AnyRouter {
                                      if (!all && layer % 2 == 0) return own;
                                      ++wrapped;
                                      return Counted{own, rows};
                                    }});
      CHECK(bits_of(model) == bits);
      CHECK(*rows == 7 * wrapped);
    }
  });
}

TEST_CASE("a linear gate is handed over as it lies in the file") {
  const TensorSource source = TensorSource::open(tales);
  load_model(tales, {.make_router = [&](index_t layer, const GateWeights& weights, AnyRouter own) {
               const Tensor* const stored = source.find("model.layers." + std::to_string(layer) + ".mlp.gate.weight");
               std::vector<float> row(as_size(weights.gate.cols));
               for (index_t e = 0; e < weights.gate.rows; ++e) {
                 read_row(*stored, e, row);
                 CHECK(std::equal(row.begin(), row.end(), weights.gate.row_data(e)));
               }
               return own;
             }});
}

TEST_CASE("a router that does not fit its layer is refused by the number of the layer") {
  const RandomCheckpoint checkpoint(top_k_router);
  const std::vector<float> gate(5 * 17, 0.0f);
  struct Coupled : Counted {
    RouterTraits traits() const noexcept {
      RouterTraits traits = inner.traits();
      traits.batch_coupled = true;
      return traits;
    }
  };
  const auto refused = [&](const auto& make) {
    const auto loaded =
        try_load_model(checkpoint.path(), {.make_router = [&](index_t layer, const GateWeights&, AnyRouter own) {
                         return layer == 1 ? make(own) : own;
                       }});
    REQUIRE(!loaded.has_value());
    CHECK(loaded.error().code() == ErrorCode::usage);
    CHECK(io_test::contains(loaded.error().what(), ", layer 1"));
    return std::string(loaded.error().what());
  };
  const auto of_shape = [&](index_t experts, index_t width) {
    return [&gate, experts, width](const AnyRouter&) -> AnyRouter {
      return mixtral_router({.gate = {gate.data(), experts, width}}, 2).value();
    };
  };
  CHECK(io_test::contains(refused(of_shape(5, 16)),
                          "experts of the router against experts of the bank (got 5, allowed 4)"));
  CHECK(io_test::contains(refused(of_shape(4, 17)),
                          "hidden_size of the router against that of the bank (got 17, allowed 16)"));
  CHECK(io_test::contains(
      refused([](const AnyRouter& own) -> AnyRouter { return Coupled{{own, std::make_shared<index_t>(0)}}; }),
      "depend on each other"));
}

TEST_CASE("what make_router throws reaches the caller of load_model") {
  const RandomCheckpoint checkpoint(top_k_router);
  const auto thrown = [](index_t, const GateWeights&, AnyRouter) -> AnyRouter { throw std::runtime_error("enough"); };
  CHECK_THROWS_AS(load_model(checkpoint.path(), {.make_router = thrown}), std::runtime_error);
  CHECK_THROWS_AS(try_load_model(checkpoint.path(), {.make_router = thrown}), std::runtime_error);
}

TEST_CASE("memory that make_router lacks is no memory for weights") {
  const RandomCheckpoint checkpoint(top_k_router);
  const auto thrown = [](index_t, const GateWeights&, AnyRouter) -> AnyRouter { throw std::bad_alloc(); };
  CHECK_THROWS_AS(load_model(checkpoint.path(), {.make_router = thrown}), std::bad_alloc);
  CHECK_THROWS_AS(try_load_model(checkpoint.path(), {.make_router = thrown}), std::bad_alloc);
}

TEST_CASE("a checkpoint whose gates are replaced is read and checked as any other") {
  const auto constant = [](index_t, const GateWeights&, AnyRouter) -> AnyRouter {
    const std::vector<float> gate(4 * 16, 0.0f);
    return mixtral_router({.gate = {gate.data(), 4, 16}}, 2).value();
  };
  const RandomCheckpoint missing(top_k_router, R"({"type":"dense"})", 4, 0, "layers.1.mlp.gate.weight");
  const RandomCheckpoint misshapen(top_k_router, R"({"type":"dense"})", 5);
  for (const RandomCheckpoint* checkpoint : {&missing, &misshapen}) {
    const auto loaded = try_load_model(checkpoint->path(), {.make_router = constant});
    REQUIRE(!loaded.has_value());
    CHECK(loaded.error().code() == ErrorCode::bad_file);
    CHECK(io_test::contains(loaded.error().what(), "mlp.gate.weight"));
  }
}
