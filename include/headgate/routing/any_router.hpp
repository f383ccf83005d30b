// AnyRouter: any router behind one type, its State included, chosen at run time: one virtual call per layer and batch.
// What decoders are built on, so that the number of instantiations is the sum of routers and families, not the product.
#pragma once

#include <concepts>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "headgate/routing/router.hpp"

namespace headgate::inline HEADGATE_ABI {

// Copies share the router inside, which nothing changes: a bias is written on a copy of it.
class AnyRouter {
  // Names a type: the address is what counts.
  template <class T>
  static constexpr char type_tag = 0;

 public:
  // The memory of each kind of router that uses it; for routers without memory it stays empty. Copies are deep.
  class State {
   public:
    State() = default;
    State(State&&) noexcept = default;
    State& operator=(State&&) noexcept = default;
    State(const State& other) : tokens_(other.tokens_) {
      for (const Memory& memory : other.memories_) memories_.push_back({memory.type, memory.held->clone()});
    }
    State& operator=(const State& other) { return *this = State(other); }
    ~State() = default;

    void reset(index_t tokens) {
      tokens_ = tokens;
      for (const Memory& memory : memories_) memory.held->reset(tokens);
    }
    // The memory of the routers whose State is S, made where there was none: for side inputs that a caller puts there
    // (routing/promoe_router.hpp).
    template <class S>
    S& get() {
      for (const Memory& memory : memories_) {
        if (memory.type == &type_tag<S>) return static_cast<Held<S>&>(*memory.held).state;
      }
      memories_.push_back({&type_tag<S>, std::make_unique<Held<S>>()});
      memories_.back().held->reset(tokens_);
      return static_cast<Held<S>&>(*memories_.back().held).state;
    }

   private:
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
    struct Memory {
      const char* type;
      std::unique_ptr<Interface> held;
    };

    std::vector<Memory> memories_;
    index_t tokens_ = 0;  // of the last reset
  };

  template <class R>
    requires(!std::same_as<R, AnyRouter> && Router<R>)
  AnyRouter(R router)  // NOLINT(google-explicit-constructor)
      : num_experts_(router.num_experts()),
        hidden_size_(router.hidden_size()),
        traits_(router.traits()),
        state_type_(&type_tag<typename R::State>),
        router_(std::make_shared<const Erased<R>>(std::move(router))) {}
  // A move is a copy, so that no AnyRouter is ever empty.
  AnyRouter(const AnyRouter&) = default;
  AnyRouter& operator=(const AnyRouter&) = default;
  ~AnyRouter() = default;

  index_t num_experts() const noexcept { return num_experts_; }
  index_t hidden_size() const noexcept { return hidden_size_; }
  RouterTraits traits() const noexcept { return traits_; }
  // Whether its State is S, or that of a router around others, which may be: then what a caller puts there reaches it.
  template <class S>
  bool reads() const noexcept {
    return state_type_ == &type_tag<S> || state_type_ == &type_tag<State>;
  }
  Status route(const RouterInput& in, State& state, RoutingPlan& plan, Context& ctx) const {
    return router_->route(in, state, plan, ctx);
  }
  // As the router's own; usage where it has none. On an error nothing changes.
  Status set_selection_bias(std::span<const float> bias) {
    return replace(router_->with_selection_bias(bias), "the router takes no selection bias");
  }
  Status set_selection_factor(std::span<const float> factor) {
    return replace(router_->with_selection_factor(factor), "the router takes no selection factor");
  }

 private:
  struct Interface;
  // A changed copy of a router, or why there is none; neither: the router has no such thing.
  struct Changed {
    std::shared_ptr<const Interface> router;
    Status status;
  };
  struct Interface {
    virtual ~Interface() = default;
    virtual Status route(const RouterInput& in, State& state, RoutingPlan& plan, Context& ctx) const = 0;
    virtual Changed with_selection_bias(std::span<const float> bias) const = 0;
    virtual Changed with_selection_factor(std::span<const float> factor) const = 0;
  };
  template <class R>
  struct Erased final : Interface {
    explicit Erased(R r) : router(std::move(r)) {}
    Status route(const RouterInput& in, State& state, RoutingPlan& plan, Context& ctx) const override {
      if constexpr (std::same_as<typename R::State, NoState>) {
        NoState none;
        return router.route(in, none, plan, ctx);
      } else if constexpr (std::same_as<typename R::State, State>) {  // a router around another one
        return router.route(in, state, plan, ctx);
      } else {
        return router.route(in, state.template get<typename R::State>(), plan, ctx);
      }
    }
    Changed with_selection_bias(std::span<const float> bias) const override {
      if constexpr (TakesSelectionBias<R>) {
        return changed([bias](R& copy) { return copy.set_selection_bias(bias); });
      } else {
        return {};
      }
    }
    Changed with_selection_factor(std::span<const float> factor) const override {
      if constexpr (TakesSelectionFactor<R>) {
        return changed([factor](R& copy) { return copy.set_selection_factor(factor); });
      } else {
        return {};
      }
    }
    template <class F>
    Changed changed(F&& change) const {
      R copy = router;
      if (Status status = change(copy); !status.ok()) return {nullptr, status};
      return {std::make_shared<const Erased>(std::move(copy)), Status::success()};
    }
    R router;
  };

  Status replace(Changed changed, const char* none) {
    if (!changed.status.ok()) return changed.status;
    if (changed.router == nullptr) return {ErrorCode::usage, none};
    router_ = std::move(changed.router);
    return Status::success();
  }

  index_t num_experts_;
  index_t hidden_size_;
  RouterTraits traits_;
  const char* state_type_;
  std::shared_ptr<const Interface> router_;
};
static_assert(Router<AnyRouter> && TakesSelectionBias<AnyRouter>);

}  // namespace headgate::inline HEADGATE_ABI
