#include <utility>

#include "headgate/analysis/policy_comparison.hpp"
#include "headgate/analysis/text_run.hpp"
#include "headgate/kernels/native.hpp"
#include "prompt.hpp"
#include "routers.hpp"

namespace {

// Weights of one expert of OLMoE-1B-7B in bfloat16: 3 matrices of 2048 x 1024.
constexpr std::int64_t olmoe_expert_bytes = std::int64_t{3} * 2048 * 1024 * 2;
constexpr headgate::index_t hidden_size = 256;
constexpr headgate::index_t tokens = 1024;

headgate::Comparison compared(headgate::PolicyInput input, std::uint64_t seed, const char* note,
                              headgate::Context& ctx) {
  headgate::Comparison table = headgate::compare_policies<headgate::NativeBackend>(input, {.seed = seed}, ctx);
  table.note =
      std::string(note) +
      " FFN rows and bytes are per token and layer; ns/token is the routing of one layer on one thread. What a policy "
      "has beside a gate (null experts, recurrent cell, masks) is random; selection biases were balanced on the text.";
  return table;
}

}  // namespace

std::vector<headgate::Comparison> policy_tables(const RoutersOptions& options) {
  headgate::Context ctx;
  std::vector<headgate::Comparison> tables;
  const auto seed = static_cast<unsigned>(options.seed);
  std::vector<std::vector<double>> zipf;
  for (unsigned layer = 0; layer < 2; ++layer) zipf.push_back(headgate::zipf_popularity(64, seed + layer));
  headgate::PolicyInput skewed = headgate::sampled_input("skewed logits", zipf, 8, hidden_size, tokens, seed);
  skewed.expert_bytes = olmoe_expert_bytes;
  tables.push_back(compared(std::move(skewed), options.seed,
                            "Gumbel noise on a Zipf law over 64 experts, k = 8; bytes as of experts of OLMoE.", ctx));
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
      replay.expert_bytes = olmoe_expert_bytes;
      tables.push_back(
          compared(std::move(replay), options.seed,
                   "Replay: Gumbel noise on the logarithms of real routing counts, k an eighth of the experts "
                   "and at least 2; bytes as of experts of OLMoE.",
                   ctx));
    }
  }
  return tables;
}

headgate::Comparison policy_table(LoadedText& loaded, std::uint64_t seed, headgate::Context& ctx) {
  const headgate::index_t k = loaded.session.model().config().num_experts_per_tok;
  headgate::PolicyInput input = headgate::live_input(loaded.folder, loaded.session, loaded.tokens, k, ctx);
  input.name = "hidden states of " + loaded.name;
  headgate::Context serial;
  return compared(std::move(input), seed, "Hidden states and gates of the model, its first window of the text.",
                  serial);
}
