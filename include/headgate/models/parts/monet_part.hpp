// MonetPart: a layer of Monet, whose experts are pairs (layers/monet_experts.hpp). Its plan is factored and no other
// layer's, so to a decoder it is one network that every token passes.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "headgate/layers/decoder_block.hpp"
#include "headgate/layers/monet_layer.hpp"
#include "headgate/models/part.hpp"

namespace headgate::inline HEADGATE_ABI {

// A MonetLayer with a router as a bank of one expert.
template <FactoredExperts Bank>
class MonetNetwork {
 public:
  explicit MonetNetwork(MonetLayer<Bank> layer) : layer_(std::move(layer)) {}

  index_t num_experts() const noexcept { return 1; }
  index_t hidden_size() const noexcept { return layer_.experts().hidden_size(); }
  std::int64_t expert_bytes() const noexcept { return 0; }  // whoever lists the weights knows

  Status apply(const RoutingPlan& plan, ConstRows x, Rows y, Context& ctx) const {
    if (Status status = check_apply(plan, x, y, 1, hidden_size()); !status.ok()) return status;
    const Workspace::Mark mark(ctx.workspace);
    const Rows out = ctx.workspace.take_rows(x.rows, x.cols);
    typename MonetLayer<Bank>::State state;
    state.reset(x.rows);
    if (Status status = layer_.forward({.hidden = x}, state, out, ctx); !status.ok()) return status;
    for (index_t t = 0; t < x.rows; ++t) {
      for (const float weight : plan.weights(t)) NativeBackend::axpy(weight, out.row_data(t), x.cols, y.row_data(t));
    }
    return Status::success();
  }

 private:
  MonetLayer<Bank> layer_;
};

struct MonetPart {
  // Of one side of the pairs.
  struct Side {
    WeightRows gate;      // router.w1.weight, w2 (heads * side, hidden_size)
    WeightRows mean;      // router.norm1.running_mean, norm2 (heads)
    WeightRows variance;  // router.norm1.running_var, norm2 (heads)
  };
  index_t side;  // the layer has side * side experts
  MonetOptions options;
  bool is_vertical;
  Side sides[2];
  std::vector<WeightRows> matrices;  // u, v, b; vertical: u1, u2, v11, v12, v21, v22, b1, b2
  std::vector<WeightRows> biases;    // of u; of u1, u2

  std::string words() const {
    const std::string n = std::to_string(side);
    return "Monet, " + n + " x " + n + " experts, " + (is_vertical ? "vertical" : "horizontal") + ", " +
           std::to_string(options.heads) + " heads, " + std::to_string(options.topk) + " of a side";
  }
  void list_weights(WeightList& weights) const {
    for (const Side& s : sides) {
      weights.push_back(WeightUse::fixed(s.gate));
      weights.push_back(WeightUse::vector(s.mean));
      weights.push_back(WeightUse::vector(s.variance));
    }
    for (const WeightRows& rows : matrices) weights.push_back(WeightUse::fixed(rows));
    for (const WeightRows& rows : biases) weights.push_back(WeightUse::vector(rows));
  }
  // Logits of both sides, what all parts of both make of a row, its mixed and shared numbers, the output.
  ScratchNeed scratch() const {
    const std::int64_t inner = matrices[0].rows();
    return [inner, logits = std::int64_t{2} * options.heads * side,
            width = std::int64_t{2} * matrices[0].cols()](const PassSize& pass) {
      return pass.rows * (2 * logits + 6 * inner + width) + pass.threads * (logits + 4 * inner);
    };
  }
  DecoderBlock::Dense pack(const Packer& packer) const {
    const auto held = [&](const std::vector<WeightRows>& list) {
      std::vector<HeldRows> all;
      for (const WeightRows& rows : list) all.emplace_back(rows, packer);
      return all;
    };
    const std::vector<HeldRows> m = held(matrices);
    const std::vector<HeldRows> b = held(biases);
    const std::vector<HeldRows> r =
        held({sides[0].gate, sides[0].mean, sides[0].variance, sides[1].gate, sides[1].mean, sides[1].variance});
    const auto router_side = [&](std::size_t s) {
      return MonetSide{r[3 * s].rows, r[3 * s + 1].values, r[3 * s + 2].values};
    };
    MonetRouter<> router = MonetRouter<>::create(router_side(0), router_side(1), options).value();
    const Activation relu2{ActivationKind::relu2};
    if (is_vertical) {
      return network(std::move(router), VerticalExperts<>::create({.u = {m[0].rows, m[1].rows},
                                                                   .u_bias = {b[0].values, b[1].values},
                                                                   .v11 = m[2].rows,
                                                                   .v12 = m[3].rows,
                                                                   .v21 = m[4].rows,
                                                                   .v22 = m[5].rows,
                                                                   .b = {m[6].rows, m[7].rows}},
                                                                  relu2)
                                            .value());
    }
    return network(std::move(router),
                   HorizontalExperts<>::create({m[0].rows, b[0].values, m[1].rows, m[2].rows}, side, relu2).value());
  }

 private:
  template <FactoredExperts Bank>
  static DecoderBlock::Dense network(MonetRouter<> router, Bank bank) {
    auto layer = MonetLayer<Bank>::create(std::move(router), std::move(bank)).value();
    return DecoderBlock::Dense::create(MonetNetwork<Bank>(std::move(layer))).value();
  }
};

}  // namespace headgate::inline HEADGATE_ABI
