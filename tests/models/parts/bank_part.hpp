// What every part that becomes a bank of experts says and does.
#pragma once

#include "headgate/models/part.hpp"
#include "headgate/models/weight_count.hpp"
#include "models/small_file.hpp"
#include "support/applied.hpp"
#include "support/routing.hpp"

namespace models_test {

template <class P>
headgate::WeightCount count_of(const P& part) {
  headgate::WeightList weights;
  part.list_weights(weights);
  return headgate::WeightCount::of(weights);
}
// What the packed bank adds to zeros for x of small numbers, two tokens with these experts.
template <class P>
reference::Matrix outputs_of(const P& part, headgate::index_t hidden_size,
                             std::initializer_list<headgate::ExpertId> first,
                             std::initializer_list<headgate::ExpertId> second) {
  headgate::Context ctx;
  headgate::Packer packer(ctx);
  const headgate::AnyExperts bank = part.pack(packer);
  headgate::RoutingPlan plan;
  plan.clear(bank.num_experts());
  for (const auto& row : {first, second}) {
    const std::vector<float> weights(row.size(), 0.5f);
    headgate::throw_if_error(plan.append_row(std::vector<headgate::ExpertId>(row), weights));
  }
  reference::Matrix x(2, hidden_size);
  for (std::size_t i = 0; i < x.values.size(); ++i) x.values[i] = 0.125f * static_cast<float>(i % 5) - 0.25f;
  return reference::applied(bank, plan, x);
}

}  // namespace models_test
