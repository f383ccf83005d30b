// AnyRouter: any router behind one type, its State included, chosen at run time: one virtual call per layer and batch.
// What decoders are built on, so that the number of instantiations is the sum of routers and families, not the product.
#pragma once

#include <concepts>
#include <memory>
#include <utility>

#include "headgate/routing/router.hpp"

namespace headgate::inline HEADGATE_ABI {

class AnyRouter {
  // Names a type: the address is what counts.
  template <class T>
  static constexpr char type_tag = 0;

 public:
  // The memory of the kind of router that uses it first; for a router without memory it stays empty. Copies are deep.
  class State {
   public:
    State() = default;
    State(State&&) noexcept = default;
    State& operator=(State&&) noexcept = default;
    State(const State& other) : type_(other.type_), tokens_(other.tokens_) {
      if (other.held_) held_ = other.held_->clone();
    }
    State& operator=(const State& other) { return *this = State(other); }
    ~State() = default;

    void reset(index_t tokens) {
      tokens_ = tokens;
      if (held_) held_->reset(tokens);
    }

   private:
    friend class AnyRouter;
    struct Interface {
      virtual ~Interface() = default;
      virtual std::unique_ptr<Interface> clone() const = 0;
      virtual void reset(index_t tokens) = 0;
    };
    template <class S>
    struct Held final : Interface {
      std::unique_ptr<Interface> clone() const override { return std::make_unique<Held>(*this); }
      void reset(index_t tokens) override { state.reset(tokens); }
      S state;
    };

    // Null if it holds the memory of another kind of router.
    template <class S>
    S* get() {
      if (!held_) {
        held_ = std::make_unique<Held<S>>();
        held_->reset(tokens_);
        type_ = &type_tag<S>;
      }
      return type_ == &type_tag<S> ? &static_cast<Held<S>&>(*held_).state : nullptr;
    }

    std::unique_ptr<Interface> held_;
    const char* type_ = nullptr;
    index_t tokens_ = 0;  // of the last reset
  };

  template <Router R>
    requires(!std::same_as<R, AnyRouter>)
  AnyRouter(R router)  // NOLINT(google-explicit-constructor)
      : num_experts_(router.num_experts()),
        hidden_size_(router.hidden_size()),
        traits_(router.traits()),
        router_(std::make_unique<Erased<R>>(std::move(router))) {}

  index_t num_experts() const noexcept { return num_experts_; }
  index_t hidden_size() const noexcept { return hidden_size_; }
  RouterTraits traits() const noexcept { return traits_; }
  // Precondition: not moved from.
  Status route(const RouterInput& in, State& state, RoutingPlan& plan, Context& ctx) const {
    return router_->route(in, state, plan, ctx);
  }

 private:
  struct Interface {
    virtual ~Interface() = default;
    virtual Status route(const RouterInput& in, State& state, RoutingPlan& plan, Context& ctx) const = 0;
  };
  template <class R>
  struct Erased final : Interface {
    explicit Erased(R r) : router(std::move(r)) {}
    Status route(const RouterInput& in, State& state, RoutingPlan& plan, Context& ctx) const override {
      if constexpr (std::same_as<typename R::State, NoState>) {
        NoState none;
        return router.route(in, none, plan, ctx);
      } else {
        auto* const own = state.get<typename R::State>();
        if (own == nullptr) return {ErrorCode::usage, "router state belongs to another kind of router"};
        return router.route(in, *own, plan, ctx);
      }
    }
    R router;
  };

  index_t num_experts_;
  index_t hidden_size_;
  RouterTraits traits_;
  std::unique_ptr<const Interface> router_;
};
static_assert(Router<AnyRouter>);

}  // namespace headgate::inline HEADGATE_ABI
