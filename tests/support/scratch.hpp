// Whether a call takes no more from a workspace than was said.
#pragma once

#include "headgate/core/context.hpp"

// The workspace has room for so many floats and not one more while call() runs. Whether it needed no other block.
template <class Call>
bool stays_within(headgate::Context& ctx, std::int64_t floats, Call&& call) {
  using headgate::Workspace;
  const std::int64_t lines = (floats + 15) / 16;
  ctx.workspace.reserve(static_cast<std::size_t>(lines) * 64);
  const std::size_t held = ctx.workspace.capacity();
  const Workspace::Mark mark(ctx.workspace);
  static_cast<void>(ctx.workspace.take<std::byte>(static_cast<std::int64_t>(held) - lines * 64));
  call();
  return ctx.workspace.capacity() == held;
}
