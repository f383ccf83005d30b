// AddedProjection: what stands beside a projection of an attention and adds to it, whatever it is: routed low-rank
// experts (layers/routed_addition.hpp), an adapter. Shared by all threads and sessions that use the attention.
#pragma once

#include "headgate/core/context.hpp"
#include "headgate/core/matrix_view.hpp"

namespace headgate::inline HEADGATE_ABI {

// Which projection of an attention: query, key and value read hidden_size numbers, output makes them.
enum class AttentionProjection : std::uint8_t { query, key, value, output };

class AddedProjection {
 public:
  virtual ~AddedProjection() = default;
  virtual index_t in_size() const noexcept = 0;
  virtual index_t out_size() const noexcept = 0;
  // y (rows, out_size) += f(x), x (rows, in_size), apart. A row of y depends on its row of x alone.
  virtual Status add(ConstRows x, Rows y, Context& ctx) const = 0;
};

}  // namespace headgate::inline HEADGATE_ABI
