// ExpertsPart: the weights of a bank of feed-forward experts, all of one shape; a bank of one is a dense network or a
// shared expert.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "headgate/experts/any_experts.hpp"
#include "headgate/experts/glu_experts.hpp"
#include "headgate/experts/zero_compute.hpp"
#include "headgate/models/part.hpp"

namespace headgate::inline HEADGATE_ABI {

// The matrices of one expert; biases (1, rows of their matrix).
struct ExpertRows {
  std::optional<WeightRows> gate;  // (ffn_size, hidden_size); none: not gated
  WeightRows up;                   // (ffn_size, hidden_size)
  WeightRows down;                 // (hidden_size, ffn_size)
  std::optional<WeightRows> gate_bias = std::nullopt;
  std::optional<WeightRows> up_bias = std::nullopt;
  std::optional<WeightRows> down_bias = std::nullopt;
};

struct ExpertsPart {
  std::vector<ExpertRows> experts;  // at least one; all have gates or none, biases or none
  Activation activation = {};
  index_t experts_per_token = 1;
  bool is_routed = true;
  index_t zero_experts = 0;  // behind these, experts that return their input

  index_t num_experts() const noexcept { return static_cast<index_t>(experts.size()); }
  index_t hidden_size() const noexcept { return experts.front().up.cols(); }
  index_t ffn_size() const noexcept { return experts.front().up.rows(); }
  GluShape shape() const noexcept {
    return {.num_experts = num_experts(),
            .hidden_size = hidden_size(),
            .ffn_size = ffn_size(),
            .activation = activation,
            .gated = experts.front().gate.has_value(),
            .has_bias = experts.front().up_bias.has_value()};
  }
  // One format a matrix, of all experts: the one that keeps the values of each. Gate and up meet the same activations:
  // both floats, where one of them must.
  GluFormats<AnyFormat> formats() const {
    const auto keeping = [&](AnyFormat (WeightRows::*format_of)() const noexcept, auto&& rows_of) {
      const AnyFormat format = (rows_of(experts.front()).*format_of)();
      for (const ExpertRows& expert : experts) {
        if ((rows_of(expert).*format_of)() != format) return AnyFormat(F32{});
      }
      return format;
    };
    const auto gate_of = [](const ExpertRows& e) -> const WeightRows& { return e.gate ? *e.gate : e.up; };
    const auto up_of = [](const ExpertRows& e) -> const WeightRows& { return e.up; };
    const auto down_of = [](const ExpertRows& e) -> const WeightRows& { return e.down; };
    const AnyFormat down = keeping(&WeightRows::format, down_of);
    const GluFormats<AnyFormat> all{keeping(&WeightRows::format, gate_of), keeping(&WeightRows::format, up_of), down};
    if (tile_of(all.gate) == tile_of(all.up)) return all;
    return {keeping(&WeightRows::format_for_floats, gate_of), keeping(&WeightRows::format_for_floats, up_of), down};
  }

  std::string words() const {
    return std::to_string(num_experts()) + " experts, " + std::to_string(ffn_size()) + " wide";
  }
  // Whether every matrix of every expert lies in a file as kernels read it: a bank is left there whole, or not at all.
  bool is_mapped() const {
    const GluFormats<AnyFormat> all = formats();
    return std::all_of(experts.begin(), experts.end(), [&](const ExpertRows& e) {
      return (!e.gate || (e.gate->mapped() != nullptr && e.gate->format() == all.gate)) && e.up.mapped() != nullptr &&
             e.up.format() == all.up && e.down.mapped() != nullptr && e.down.format() == all.down;
    });
  }

  void list_weights(WeightList& weights) const {
    const GluFormats<AnyFormat> packed = formats();
    const bool mapped = is_mapped();
    for (index_t e = 0; e < num_experts(); ++e) {
      const auto add = [&](WeightUse use, bool is_matrix = false) {
        use.is_mapped = is_matrix && mapped;
        use.is_active = use.is_read = e < experts_per_token;
        use.expert = is_routed ? e : -1;
        weights.push_back(std::move(use));
      };
      const ExpertRows& expert = experts[as_size(e)];
      if (expert.gate) add(WeightUse::matrix(*expert.gate, packed.gate), true);
      add(WeightUse::matrix(expert.up, packed.up), true);
      add(WeightUse::matrix(expert.down, packed.down), true);
      for (const auto* bias : {&expert.gate_bias, &expert.up_bias, &expert.down_bias}) {
        if (*bias) add(WeightUse::vector(**bias));
      }
    }
  }
  // The plan by expert, gathered rows and what the activation makes of them.
  ScratchNeed scratch() const {
    const index_t total = num_experts() + zero_experts;
    return [sizes = shape(), k = std::min(experts_per_token, total), total](const PassSize& pass) {
      const std::int64_t entries = pass.rows * k;
      return scratch_by_expert(pass, total, k) +
             std::min<std::int64_t>(entries, sizes.entries_at_a_time()) * sizes.floats_per_entry();
    };
  }
  AnyExperts pack(const Packer& packer) const {
    GluExperts<AnyFormat> bank = pack_bank(packer);
    if (zero_experts == 0) return bank;
    const std::vector<ZeroComputeExpert> behind(as_size(zero_experts), {ZeroComputeKind::identity});
    return WithZeroComputeExperts<GluExperts<AnyFormat>>::create(std::move(bank), behind).value();
  }
  // Without the zero experts.
  GluExperts<AnyFormat> pack_bank(const Packer& packer) const {
    const GluFormats<AnyFormat> packed = formats();
    const std::vector<GluPanels> seen = panels(packer);
    GluExperts<AnyFormat> bank = seen.empty() ? GluExperts<AnyFormat>::create(shape(), packed).value()
                                              : GluExperts<AnyFormat>::over(shape(), packed, seen).value();
    for (ExpertId e = 0; e < bank.num_experts(); ++e) {
      const ExpertRows& expert = experts[as_size(e)];
      const auto each = [&](const WeightRows& rows, AnyFormat format, auto set) {
        if (!seen.empty()) return;
        packer.each_row(rows, format, [&](index_t r, WeightRow row) { (bank.*set)(e, r, row); });
      };
      const auto bias = [&](const std::optional<WeightRows>& rows, auto set) {
        const std::vector<float> values = packer.floats(rows);
        for (std::size_t r = 0; r < values.size(); ++r) (bank.*set)(e, static_cast<index_t>(r), values[r]);
      };
      using Bank = GluExperts<AnyFormat>;
      if (expert.gate) each(*expert.gate, packed.gate, &Bank::set_gate_row);
      each(expert.up, packed.up, &Bank::set_up_row);
      each(expert.down, packed.down, &Bank::set_down_row);
      bias(expert.gate_bias, &Bank::set_gate_bias);
      bias(expert.up_bias, &Bank::set_up_bias);
      bias(expert.down_bias, &Bank::set_down_bias);
    }
    return bank;
  }

 private:
  // Of every expert, or none: they are to be packed.
  std::vector<GluPanels> panels(const Packer& packer) const {
    std::vector<GluPanels> all;
    if (!is_mapped()) return all;
    for (const ExpertRows& e : experts) {
      all.push_back({e.gate ? packer.panels(*e.gate) : nullptr, packer.panels(e.up), packer.panels(e.down)});
    }
    return all.front().up != nullptr ? all : std::vector<GluPanels>();
  }
};

}  // namespace headgate::inline HEADGATE_ABI
