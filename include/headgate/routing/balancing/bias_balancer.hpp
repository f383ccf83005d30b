// BiasBalancer: auxiliary-loss-free load balancing. After a batch, with c_e the tokens sent to expert e and mean their
// mean,
// clang-format off
//   sign            b_e += u * sign(mean - c_e)   Wang et al. 2024 (arXiv 2408.15664), Algorithm 1; DeepSeek-V3, Megatron
//   proportional    b_e += u * (mean - c_e)       the same paper, section 4.3
// clang-format on
// where u is constant or decays as rate / n with the number n of the step (Han & Zhong 2025, arXiv 2512.03915).
//   centred: the mean of the change is subtracted from it (torchtitan); it changes no selection, for a constant shift
//   of all biases changes none.
//   multiplicative: keys are score * b, b starts at 1 and stays positive (Wang et al., section 4.3).
// Follows the paper. What a step gives goes to a router by set_selection_bias, or, multiplicative,
// set_selection_factor; it changes who is chosen, never the weights, and inference has no trace of it. Loads are
// integers, so the result does not depend on the order or the threads in which plans are observed.
#pragma once

#include <atomic>
#include <cmath>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "headgate/core/expected.hpp"
#include "headgate/routing/routing_plan.hpp"

namespace headgate::inline HEADGATE_ABI {

enum class BalanceError : std::uint8_t { sign, proportional };
enum class BalanceRate : std::uint8_t { constant, decaying };

struct BalanceRule {
  BalanceError error = BalanceError::sign;
  BalanceRate schedule = BalanceRate::constant;
  float rate = 1e-3f;  // u, or the c of c / n
  bool centred = false;
  bool multiplicative = false;
};

// Table of structures: BiasBalancer | selection biases moved between batches until loads are even |
//   Wang et al. 2024, 2408.15664
class BiasBalancer {
 public:
  static Expected<BiasBalancer> create(index_t num_experts, const BalanceRule& rule) {
    if (num_experts < 1) return Status::mismatch("experts to balance, at least", num_experts, 1);
    if (!(rule.rate >= 0.0f) || !std::isfinite(rule.rate)) {
      return Status{ErrorCode::usage, "rate of a balancer is negative or not finite"};
    }
    return BiasBalancer(num_experts, rule);
  }

  // Counts a plan's entries. Plans may be observed from several threads at once.
  Status observe(const RoutingPlan& plan) {
    if (plan.num_experts() != num_experts()) {
      return Status::mismatch("experts of the plan against experts of the balancer", plan.num_experts(), num_experts());
    }
    for (const ExpertId e : plan.experts()) {
#if defined(__cpp_lib_atomic_ref)
      std::atomic_ref(loads_[as_size(e)]).fetch_add(1, std::memory_order_relaxed);
#else  // libc++ before 19
      __atomic_fetch_add(&loads_[as_size(e)], 1, __ATOMIC_RELAXED);
#endif
    }
    return Status::success();
  }
  // Moves the biases once by the loads since the last step and forgets the loads. Between batches, by one thread.
  void step() {
    ++steps_;
    const float rate = rule_.schedule == BalanceRate::constant ? rule_.rate : rule_.rate / static_cast<float>(steps_);
    std::int64_t total = 0;
    for (const std::int64_t load : loads_) total += load;
    float mean_change = 0.0f;
    for (std::size_t e = 0; e < loads_.size(); ++e) {
      change_[e] = rate * error(loads_[e], total);
      mean_change += change_[e];
    }
    mean_change /= static_cast<float>(loads_.size());
    for (std::size_t e = 0; e < loads_.size(); ++e) {
      bias_[e] += rule_.centred ? change_[e] - mean_change : change_[e];
      if (rule_.multiplicative && !(bias_[e] >= smallest_factor)) bias_[e] = smallest_factor;
      loads_[e] = 0;
    }
  }

  index_t num_experts() const noexcept { return static_cast<index_t>(loads_.size()); }
  const BalanceRule& rule() const noexcept { return rule_; }
  std::int64_t steps() const noexcept { return steps_; }
  std::span<const float> bias() const noexcept { return bias_; }           // (num_experts)
  std::span<const std::int64_t> loads() const noexcept { return loads_; }  // (num_experts) since the last step

  // All of the balancer as bytes, and back; bytes that are not one's are an error.
  std::string serialize() const {
    std::string out(magic);
    put(out, rule_.error);
    put(out, rule_.schedule);
    put(out, rule_.centred);
    put(out, rule_.multiplicative);
    put(out, rule_.rate);
    put(out, num_experts());
    put(out, steps_);
    for (const float b : bias_) put(out, b);
    for (const std::int64_t load : loads_) put(out, load);
    return out;
  }
  static Expected<BiasBalancer> deserialize(std::string_view bytes) {
    const auto damaged = [](std::string what) {
      return Error(ErrorCode::bad_file, {"", "balancer", -1, std::move(what)});
    };
    if (bytes.size() < header_size || bytes.substr(0, magic.size()) != magic) return damaged("not a saved balancer");
    std::size_t offset = magic.size();
    BalanceRule rule;
    const auto error = get<std::uint8_t>(bytes, offset);
    const auto schedule = get<std::uint8_t>(bytes, offset);
    const auto centred = get<std::uint8_t>(bytes, offset);
    const auto multiplicative = get<std::uint8_t>(bytes, offset);
    rule.rate = get<float>(bytes, offset);
    const auto num_experts = get<index_t>(bytes, offset);
    const auto steps = get<std::int64_t>(bytes, offset);
    if (error > 1 || schedule > 1 || centred > 1 || multiplicative > 1) return damaged("unknown rule");
    if (num_experts < 1 || steps < 0 ||
        bytes.size() - header_size != as_size(num_experts) * (sizeof(float) + sizeof(std::int64_t))) {
      return damaged("size " + std::to_string(bytes.size()) + " does not fit " + std::to_string(num_experts) +
                     " experts");
    }
    rule.error = static_cast<BalanceError>(error);
    rule.schedule = static_cast<BalanceRate>(schedule);
    rule.centred = centred != 0;
    rule.multiplicative = multiplicative != 0;
    Expected<BiasBalancer> balancer = create(num_experts, rule);
    if (!balancer) return balancer;
    BiasBalancer& read = balancer.value();
    read.steps_ = steps;
    for (float& b : read.bias_) {
      b = get<float>(bytes, offset);
      if (!std::isfinite(b)) return damaged("a bias is not finite");
      if (rule.multiplicative && !(b > 0.0f)) return damaged("a factor is not positive");
    }
    for (std::int64_t& load : read.loads_) {
      load = get<std::int64_t>(bytes, offset);
      if (load < 0) return damaged("a load is negative");
    }
    return balancer;
  }

 private:
  BiasBalancer(index_t num_experts, const BalanceRule& rule)
      : rule_(rule),
        bias_(as_size(num_experts), rule.multiplicative ? 1.0f : 0.0f),
        loads_(as_size(num_experts), 0),
        change_(as_size(num_experts)) {}

  // mean - load, or its sign, which is exactly 0 at the mean.
  float error(std::int64_t load, std::int64_t total) const noexcept {
    const std::int64_t scaled = total - load * num_experts();  // num_experts * (mean - load)
    if (rule_.error == BalanceError::sign) return static_cast<float>((scaled > 0) - (scaled < 0));
    return static_cast<float>(scaled) / static_cast<float>(num_experts());
  }

  template <class T>
  static void put(std::string& out, T value) {
    char bytes[sizeof(T)];
    std::memcpy(bytes, &value, sizeof(T));
    out.append(bytes, sizeof(T));
  }
  template <class T>
  static T get(std::string_view bytes, std::size_t& offset) {
    T value;
    std::memcpy(&value, bytes.data() + offset, sizeof(T));
    offset += sizeof(T);
    return value;
  }

  static constexpr std::string_view magic = "HGBB0001";
  static constexpr std::size_t header_size = 8 + 4 + sizeof(float) + sizeof(index_t) + sizeof(std::int64_t);
  static constexpr float smallest_factor = 1e-6f;

  BalanceRule rule_;
  std::vector<float> bias_;          // (num_experts)
  std::vector<std::int64_t> loads_;  // (num_experts)
  std::vector<float> change_;        // (num_experts), of one step
  std::int64_t steps_ = 0;
};

}  // namespace headgate::inline HEADGATE_ABI
