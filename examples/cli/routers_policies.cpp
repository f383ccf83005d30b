#include <algorithm>

#include "headgate/analysis/policy_comparison.hpp"
#include "headgate/analysis/text_run.hpp"
#include "headgate/kernels/native.hpp"
#include "prompt.hpp"
#include "routers.hpp"
#if defined(HEADGATE_POLICIES)
#include HEADGATE_POLICIES
#endif

namespace {

// Of replayed counts.
constexpr headgate::index_t hidden_size = 256;
constexpr headgate::index_t tokens = 1024;

headgate::Comparison compared(const headgate::PolicyInput& input, std::uint64_t seed) {
  static const headgate::Policies policies = [] {
    headgate::Policies all = headgate::all_policies();
#if defined(HEADGATE_POLICIES)
    add_policies(all);
#endif
    return all;
  }();
  headgate::Context serial;
  return headgate::compare_policies(input, policies, {.seed = seed}, serial);
}

}  // namespace

std::vector<headgate::Comparison> policy_tables(const RoutersOptions& options) {
  const auto seed = static_cast<unsigned>(options.seed);
  const headgate::PolicyInput skewed = headgate::skewed_input(seed);
  std::vector<headgate::Comparison> tables = {compared(skewed, options.seed)};
  if (options.counts) {
    const std::string csv = read_prompt(std::nullopt, options.counts);
    for (const headgate::RoutingCounts& counts : headgate::parse_routing_counts(csv, *options.counts)) {
      const auto experts = static_cast<headgate::index_t>(counts.popularity.front().size());
      if (experts > hidden_size) {
        throw headgate::Error(headgate::ErrorCode::limit,
                              {*options.counts, "expert", -1, "more than " + std::to_string(hidden_size) + " experts"});
      }
      headgate::PolicyInput replay = headgate::sampled_input(headgate::escaped(counts.name), counts.popularity,
                                                             std::max(2, experts / 8), hidden_size, tokens, seed);
      replay.note =
          "Replay: Gumbel noise on the logarithms of real routing counts, k an eighth of the experts and at least 2; "
          "bytes as of experts of OLMoE.";
      replay.expert_bytes = skewed.expert_bytes;
      tables.push_back(compared(replay, options.seed));
    }
  }
  return tables;
}

headgate::Comparison policy_table(LoadedText& loaded, std::uint64_t seed, headgate::Context& ctx) {
  const headgate::Model& model = loaded.session.model();
  headgate::index_t k = 0;
  for (headgate::index_t l = 0; l < model.num_layers() && k == 0; ++l) k = model.routing(l).experts_per_token;
  headgate::PolicyInput input = headgate::live_input(loaded.folder, loaded.session, loaded.tokens, k, ctx);
  input.name = "hidden states of " + loaded.name;
  input.note = "Hidden states and gates of the model, its first window of the text.";
  return compared(input, seed);
}
