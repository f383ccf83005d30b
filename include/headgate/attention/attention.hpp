// Attention: what a decoder layer asks of one: mix the rows of a text with all rows before them. The attention itself
// is immutable; what it remembers of a text is a Cache that the caller owns. A cache is addressed by position and keeps
// no count: to forget the end of a text is to write over it.
//
// Every row is computed by the same function of the row and the cache, from position 0 up, so a prompt has the same
// bits whole, in chunks or token by token, on any number of threads.
#pragma once

#include <concepts>

#include "headgate/core/context.hpp"
#include "headgate/core/expected.hpp"
#include "headgate/core/matrix_view.hpp"

namespace headgate::inline HEADGATE_ABI {

struct AttentionInput {
  ConstRows hidden;            // (tokens, hidden_size), normalised
  index_t first_position = 0;  // of row 0; the cache holds every position before it
  ConstRows cosines;           // (tokens, half) of the rotary angles at these positions (rope.hpp)
  ConstRows sines;             // (tokens, half)
};

template <class A>
concept Attention = requires(const A& attention, const AttentionInput& in, typename A::Cache& cache,
                             const typename A::Cache& constant, Rows y, Context& ctx, index_t positions) {
  { attention.hidden_size() } noexcept -> std::same_as<index_t>;
  { attention.weight_bytes() } noexcept -> std::same_as<std::int64_t>;     // read for any number of rows
  { attention.make_cache(positions) } -> std::same_as<typename A::Cache>;  // throws std::bad_alloc
  { constant.clone(positions) } -> std::same_as<typename A::Cache>;        // the first so many positions are copied
  // y (tokens, hidden_size) = the attention's output; the residual is the caller's. Writes the rows' positions in the
  // cache and nothing before them.
  { attention.forward(in, cache, y, ctx) } -> std::same_as<Status>;
};

// What every attention checks before it computes.
inline Status check_attention(const AttentionInput& in, Rows y, index_t hidden_size, index_t half,
                              index_t context_size) noexcept {
  const index_t tokens = in.hidden.rows;
  for (const ConstRows& matrix : {in.hidden, in.cosines, in.sines}) {
    if (Status status = check_view(matrix); !status.ok()) return status;
  }
  if (Status status = check_view(y); !status.ok()) return status;
  if (in.hidden.cols != hidden_size)
    return Status::mismatch("width of x against hidden_size", in.hidden.cols, hidden_size);
  if (y.rows != tokens) return Status::mismatch("rows of y against tokens", y.rows, tokens);
  if (y.cols != hidden_size) return Status::mismatch("width of y against hidden_size", y.cols, hidden_size);
  if (in.cosines.rows != tokens) return Status::mismatch("rows of cosines against tokens", in.cosines.rows, tokens);
  if (in.sines.rows != tokens) return Status::mismatch("rows of sines against tokens", in.sines.rows, tokens);
  if (in.cosines.cols != half)
    return Status::mismatch("cosines of a row against half of head_dim", in.cosines.cols, half);
  if (in.sines.cols != half) return Status::mismatch("sines of a row against half of head_dim", in.sines.cols, half);
  if (in.first_position < 0) return Status::mismatch("position", in.first_position, 0);
  if (std::int64_t{in.first_position} + tokens > context_size) {
    return {ErrorCode::limit, "positions against the size of the context", std::int64_t{in.first_position} + tokens,
            context_size};
  }
  return Status::success();
}

}  // namespace headgate::inline HEADGATE_ABI
