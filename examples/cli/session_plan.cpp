#include "session_plan.hpp"

#include <algorithm>

#include <unistd.h>

#include <fmt/format.h>

#include "headgate/core/error.hpp"
#include "machine.hpp"
#include "note.hpp"
#include "numbers.hpp"

using headgate::index_t;

headgate::SessionOptions plan_session(const SessionRequest& options, const headgate::ModelDescription& model,
                                      MemoryUse& use) {
  const std::int64_t made_for = model.config.max_position_embeddings;
  const std::int64_t context = options.context > 0 ? options.context : made_for;
  constexpr std::int64_t longest = headgate::max_index - headgate::panel_rows;  // of a session
  headgate::SessionOptions session;
  session.context_size = static_cast<index_t>(std::min(context, longest));
  session.rows_per_pass =
      static_cast<index_t>(std::min({options.ubatch_rows, options.batch_rows, context, std::int64_t{1} << 16}));
  session.cache_type = options.cache_type;
  const auto texts = static_cast<index_t>(options.parallel);
  const headgate::MemoryPlan plan = model.memory(session, thread_count(options.threads), texts);
  const double kv_bytes = static_cast<double>(plan.kv_cache) / session.context_size * static_cast<double>(context);
  const double machine = static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGE_SIZE));
  if (context > longest || kv_bytes > machine) {
    throw_limit(fmt::format("a context of {} positions takes {} of KV cache, more than the {} of memory", context,
                            size_text(kv_bytes), size_text(machine)));
  }
  if (context > made_for) {
    note(fmt::format("headgate: warning: the model was made for {} positions, not {}\n", made_for, context));
  }
  constexpr std::int64_t rest = std::int64_t{64} << 20;  // program, tokenizer and scratch memory of a usual pass
  use = {.weights = plan.weights,
         .kv_cache = plan.kv_cache,
         .largest_tensor = plan.largest_tensor,
         .other = rest + std::max<std::int64_t>(plan.workspace - rest / 2, 0)};
  note(use.text());
  if (static_cast<double>(use.total()) > machine) {
    throw_limit(
        fmt::format("memory to run the model (got {}, allowed {})", size_text(use.total()), size_text(machine)));
  }
  return session;
}
