// The logits of a text that is given (teacher forcing), window by window.
#pragma once

#include <algorithm>
#include <span>

#include "headgate/core/context.hpp"
#include "headgate/models/session.hpp"

namespace headgate::inline HEADGATE_ABI {

// Empties the session, gives it the window in passes of its rows and calls use(i, logits after window[i]), once for
// each i from `first` on, on the context's threads. session: keeps all logits. Throws Error: usage where it does not;
// what Session::forward says.
template <class Use>
void each_logits(Session& session, std::span<const std::int32_t> window, std::size_t first, Context& ctx, Use use) {
  if (!session.options().all_logits) {
    throw Error(ErrorCode::usage, {"", "all_logits", -1, "the session must keep them"});
  }
  throw_if_error(session.truncate(0));
  const std::size_t piece = as_size(session.options().rows_per_pass);
  for (std::size_t from = 0; from < window.size(); from += piece) {
    const std::span<const std::int32_t> part = window.subspan(from, std::min(piece, window.size() - from));
    throw_if_error(session.forward(part, ctx));
    const std::size_t begin = std::clamp(first, from, from + part.size());
    ctx.parallel(static_cast<index_t>(from + part.size() - begin), [&](index_t task) {
      const std::size_t i = begin + as_size(task);
      use(i, session.all_logits().row(static_cast<index_t>(i - from)));
    });
  }
}

}  // namespace headgate::inline HEADGATE_ABI
