// ScopedHook: a hook of a session for the length of a block. What was there before rests meanwhile and is back when the
// block is left, by an exception too, so that no hook outlives what it refers to.
//
//   const ScopedHook hook(session.on_route, [&](index_t layer, index_t position, const RoutingPlan& plan) { ... });
#pragma once

#include <functional>
#include <type_traits>
#include <utility>

#include "headgate/core/config.hpp"

namespace headgate::inline HEADGATE_ABI {

// Hook: RouteHook, HiddenHook or another std::function. Scopes of one place end in the reverse order of their
// beginning, and the place stays where it is: a session must not be moved meanwhile.
template <class Hook>
class [[nodiscard]] ScopedHook {
 public:
  ScopedHook(Hook& place, std::type_identity_t<Hook> hook) noexcept : place_(place), other_(std::move(hook)) {
    place_.swap(other_);
  }
  ~ScopedHook() { place_.swap(other_); }
  ScopedHook(const ScopedHook&) = delete;
  ScopedHook& operator=(const ScopedHook&) = delete;

 private:
  Hook& place_;
  Hook other_;  // what was there before
};

}  // namespace headgate::inline HEADGATE_ABI
