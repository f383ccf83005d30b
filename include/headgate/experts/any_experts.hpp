// AnyExperts: any bank behind one type, chosen at run time: one virtual call per layer and batch. What decoders are
// built on, so that the number of instantiations is the sum of formats, routers and families, not the product. Copies
// share the bank.
#pragma once

#include <memory>
#include <utility>

#include "headgate/experts/experts.hpp"

namespace headgate::inline HEADGATE_ABI {

class AnyExperts {
 public:
  template <Experts Bank>
    requires(!std::same_as<Bank, AnyExperts>)
  AnyExperts(Bank bank)  // NOLINT(google-explicit-constructor)
      : num_experts_(bank.num_experts()),
        hidden_size_(bank.hidden_size()),
        expert_bytes_(bank.expert_bytes()),
        bank_(std::make_shared<const Erased<Bank>>(std::move(bank))) {}
  // A move is a copy, so that no AnyExperts is ever empty.
  AnyExperts(const AnyExperts&) = default;
  AnyExperts& operator=(const AnyExperts&) = default;
  ~AnyExperts() = default;

  index_t num_experts() const noexcept { return num_experts_; }
  index_t hidden_size() const noexcept { return hidden_size_; }
  std::int64_t expert_bytes() const noexcept { return expert_bytes_; }
  Status apply(const RoutingPlan& plan, ConstRows x, Rows y, Context& ctx) const {
    return bank_->apply(plan, x, y, ctx);
  }

 private:
  struct Interface {
    virtual ~Interface() = default;
    virtual Status apply(const RoutingPlan& plan, ConstRows x, Rows y, Context& ctx) const = 0;
  };
  template <class Bank>
  struct Erased final : Interface {
    explicit Erased(Bank b) : bank(std::move(b)) {}
    Status apply(const RoutingPlan& plan, ConstRows x, Rows y, Context& ctx) const override {
      return bank.apply(plan, x, y, ctx);
    }
    Bank bank;
  };

  index_t num_experts_;
  index_t hidden_size_;
  std::int64_t expert_bytes_;
  std::shared_ptr<const Interface> bank_;
};
static_assert(Experts<AnyExperts>);

}  // namespace headgate::inline HEADGATE_ABI
