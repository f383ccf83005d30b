// SelectStage: which experts of one token. It reads two arrays: keys say who is better, scores what an expert weighs; a
// masked key is -inf and never chosen. Experts come best first, ties to the lower id.
#pragma once

#include <concepts>
#include <span>

#include "headgate/core/status.hpp"
#include "headgate/kernels/kernel_backend.hpp"

namespace headgate::inline HEADGATE_ABI {

template <class S>
concept SelectStage = std::is_copy_constructible_v<S> && std::is_copy_assignable_v<S> &&
                      requires(const S& select, std::span<const float> keys, std::span<const float> scores,
                               std::span<ExpertId> chosen, index_t n) {
                        {
                          S::needs_nonnegative_scores
                        } -> std::convertible_to<bool>;  // it does, so they must never be negative
                        { select.check(n) } noexcept -> std::same_as<Status>;  // do the settings fit n experts?
                        {
                          select.min_k(n)
                        } noexcept -> std::same_as<index_t>;  // how many of n unmasked experts it chooses, at least
                        { select.max_k(n) } noexcept -> std::same_as<index_t>;  // and at most
                        {
                          select.with_k(n)
                        } noexcept -> std::same_as<S>;  // the same rule for a call that asks for k = n
                        // Fills the front of chosen, which has room for max_k of all experts; returns how many.
                        {
                          select.template choose<NativeBackend>(keys, scores, chosen)
                        } noexcept -> std::same_as<index_t>;
                      };

}  // namespace headgate::inline HEADGATE_ABI
