// A Mixture-of-Experts layer, given routing: shapes x formats x tokens x routing x instruction sets, as a share of what
// the machine can read and multiply; the bank of experts alone, or with the router that chooses them. Weights are cold:
// a call finds other experts, or another layer, than the one before. Random weights and activations; activations are
// packed as the format wants them. Flags and output: support/sweep.hpp, and
//   --routing=uniform,zipf,hot,same,FILE  support/routings.hpp; hot is also given as a multiple of uniform, and of same
//                                         several tokens as a multiple of one
//   --part=experts,layer
#include <memory>

#include "headgate/experts/glu_experts.hpp"
#include "headgate/io/json_text.hpp"
#include "headgate/layers/moe_layer.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/routings.hpp"

using namespace headgate;

namespace {

using Bank = GluExperts<AnyFormat>;
using Layer = MoELayer<SoftmaxTopK<Keep>, Bank>;

Bank random_bank(const bench::Shape& shape, AnyFormat format, const bench::RandomRows& rows, Context& ctx) {
  Bank bank =
      Bank::create(GluShape{shape.num_experts, shape.hidden_size, shape.ffn_size}, {format, format, format}).value();
  ctx.parallel(shape.num_experts, [&](index_t e) {
    const std::int64_t first = std::int64_t{e} * 37;
    for (index_t r = 0; r < shape.ffn_size; ++r) {
      bank.set_gate_row(e, r, rows.row(first + r));
      bank.set_up_row(e, r, rows.row(first + r + 11));
    }
    for (index_t r = 0; r < shape.hidden_size; ++r) bank.set_down_row(e, r, rows.row(first + r + 23));
  });
  return bank;
}

// Plans of one routing, and rows from which the router makes them: logit e is channel e.
struct Turns {
  Turns(bench::Routing routing, const bench::Shape& shape, index_t tokens) {
    std::mt19937 rng(1);
    std::normal_distribution<float> normal;
    for (index_t i = 0; i < (tokens > 64 ? 3 : 32); ++i) {
      plans.push_back(routing.plan(tokens));
      std::vector<float>& x = rows.emplace_back(as_size(tokens) * as_size(shape.hidden_size));
      for (float& value : x) value = normal(rng);
      for (index_t t = 0; t < tokens; ++t) {
        float* const row = x.data() + std::int64_t{t} * shape.hidden_size;
        for (index_t e = 0; e < shape.num_experts; ++e) row[e] *= 0.1f;
        for (const ExpertId e : plans.back().experts(t)) row[e] += 5.0f;
      }
      experts_touched += bench::touched(plans.back());
      entries += static_cast<double>(plans.back().entries());
    }
    experts_touched /= static_cast<double>(plans.size());
    entries /= static_cast<double>(plans.size());
  }
  std::vector<RoutingPlan> plans;
  std::vector<std::vector<float>> rows;
  double experts_touched = 0.0;  // means
  double entries = 0.0;
};

void run(const bench::Sweep& sweep, const bench::Shape& shape, const std::string& format_name, AnyFormat format,
         MachineLimits& limits, Context& ctx) {
  const bench::RandomRows random(format, std::max(shape.hidden_size, shape.ffn_size));
  std::vector<float> gate(as_size(shape.num_experts) * as_size(shape.hidden_size));
  for (index_t e = 0; e < shape.num_experts; ++e) gate[as_size(e) * as_size(shape.hidden_size) + as_size(e)] = 1.0f;
  const GateWeights gate_weights{.gate = {gate.data(), shape.num_experts, shape.hidden_size}};
  std::vector<Layer> layers;
  for (std::int64_t bytes = 0; bytes < bench::cold_bytes && layers.size() < 512;
       bytes += layers.back().experts().bytes()) {
    layers.emplace_back(olmoe_router(gate_weights, shape.k).value(), random_bank(shape, format, random, ctx));
  }
  std::size_t next = 0;
  std::vector<float> y;
  Layer::State state;
  std::vector<bench::Case> cases;
  const auto find = [&](const std::string& words) {
    for (std::size_t i = 0; i < cases.size(); ++i) {
      if (cases[i].words.starts_with(words)) return static_cast<int>(i);
    }
    return -1;
  };
  const auto words_of = [](const std::string& part, index_t tokens, const std::string& routing) {
    return "\"part\":\"" + part + "\",\"tokens\":" + std::to_string(tokens) + ",\"routing\":" + json_string(routing);
  };
  for (const index_t tokens : sweep.tokens) {
    const std::size_t size = as_size(tokens) * as_size(shape.hidden_size);
    y.resize(std::max(y.size(), size));
    for (const std::string& routing : sweep.own.at("--routing")) {
      const auto turns = std::make_shared<Turns>(bench::Routing(routing, shape), shape, tokens);
      for (const std::string& part : sweep.own.at("--part")) {
        const bool has_router = part == "layer";
        if (!has_router && part != "experts") {
          throw Error(ErrorCode::usage, {"", "--part", -1, "'" + part + "' is none of experts, layer"});
        }
        if (has_router && turns->entries != static_cast<double>(tokens) * shape.k) {
          throw Error(ErrorCode::usage, {routing, "", -1,
                                         "the router of a layer chooses " + std::to_string(shape.k) +
                                             " experts, not as many as recorded: --part=experts"});
        }
        bench::Case one{.words = words_of(part, tokens, routing), .run = {}, .calls = tokens > 64 ? 1 : 20};
        one.words += ",\"experts_touched\":" + std::to_string(static_cast<int>(turns->experts_touched + 0.5));
        one.run = [&, turns, has_router, tokens] {
          const std::size_t turn = next++;
          const Layer& layer = layers[turn % layers.size()];
          const std::size_t i = turn % turns->plans.size();
          const ConstRows x(turns->rows[i].data(), tokens, shape.hidden_size);
          const Rows out(y.data(), tokens, shape.hidden_size);
          throw_if_error(has_router ? layer.forward({.hidden = x}, state, out, ctx)
                                    : layer.experts().apply(turns->plans[i], x, out, ctx));
        };
        one.bytes = turns->experts_touched * static_cast<double>(layers.front().experts().expert_bytes());
        one.operations = 6.0 * turns->entries * shape.hidden_size * shape.ffn_size;
        if (has_router) {
          one.bytes += 4.0 * static_cast<double>(gate.size());
          one.operations += 2.0 * tokens * static_cast<double>(gate.size());
        }
        if (routing == "hot") one.base = find(words_of(part, tokens, "uniform"));
        if (routing == "same" && tokens > 1) one.base = find(words_of(part, 1, "same"));
        cases.push_back(std::move(one));
      }
    }
  }
  const std::string words = "\"shape\":\"" + std::string(shape.name) + "\",\"format\":\"" + format_name + "\"";
  sweep.measure([&] { bench::measure(cases, words, bench::compute_of(format), sweep.rounds, limits, ctx); });
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const bench::Sweep sweep = bench::Sweep::parse(
        argc, argv, {{"--routing", {"uniform", "zipf", "hot", "same"}}, {"--part", {"experts", "layer"}}});
    sweep.each([&](auto&&... what) { run(sweep, what...); });
  } catch (const Error& error) {
    std::fprintf(stderr, "bench_layer: %s\n", error.what());
    return 2;
  }
  return 0;
}
