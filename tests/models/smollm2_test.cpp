// A real checkpoint: SmolLM2-135M-Instruct as a GGUF file of Q4_1, against transformers (golden/smollm2). The file is
// third-party's: bash cmake/fetch_smollm2.sh puts it into build/smollm2. A test that needs it skips where it is absent.

#include "headgate/core/thread_pool.hpp"
#include "headgate/models/session.hpp"
#include "headgate/tokenizer/load_tokenizer.hpp"
#include "models/loading.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <optional>

namespace {

using namespace headgate;

std::optional<std::string> smollm2() {
  const char* const named = std::getenv("HEADGATE_SMOLLM2");
  const std::string path =
      named != nullptr ? named : HEADGATE_SOURCE_DIR "/build/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (std::filesystem::exists(path)) return path;
  WARN("skipped: SmolLM2-135M-Instruct.Q4_1.gguf is not there (bash cmake/fetch_smollm2.sh, or set HEADGATE_SMOLLM2)");
  return std::nullopt;
}
nlohmann::json expected() {
  return nlohmann::json::parse(std::ifstream(HEADGATE_SOURCE_DIR "/tests/golden/smollm2/expected.json"));
}

}  // namespace

TEST_CASE("SmolLM2 has the logits and greedy tokens that transformers computes of the same file") {
  const std::optional<std::string> path = smollm2();
  if (!path) return;
  ThreadPool pool(2);
  const std::shared_ptr<const Model> model = load_model(*path, {.executor = pool, .compute = Compute::f32});
  Context ctx(pool);
  int compared = 0;
  const nlohmann::json all = expected();
  for (const nlohmann::json& text : all["texts"]) {
    Session session(model, {.context_size = 256});
    std::vector<std::int32_t> next = values<std::int32_t>(text["prompt"]);
    const std::vector<std::int32_t> greedy = values<std::int32_t>(text["greedy"]);
    const std::vector<double> margins = values<double>(text["margins"]);
    for (std::size_t step = 0; step < greedy.size(); ++step) {
      REQUIRE(session.forward(next, ctx).ok());
      const std::span<const float> logits = session.logits();
      if (step == 0) {
        const std::vector<double> some = values<double>(text["logits"]);
        for (std::size_t i = 0; i < some.size(); ++i) {
          CHECK(std::abs(static_cast<double>(logits[997 * i]) - some[i]) < 1e-3);
        }
      }
      if (margins[step] > 1e-3) {
        CHECK(std::max_element(logits.begin(), logits.end()) - logits.begin() == greedy[step]);
        ++compared;
      }
      next.assign(1, greedy[step]);
    }
  }
  CHECK(compared > 200);
}

TEST_CASE("SmolLM2's tokens are those of its tokenizer in transformers") {
  const std::optional<std::string> path = smollm2();
  if (!path) return;
  const Tokenizer tokenizer = load_tokenizer(*path);
  const nlohmann::json all = expected();
  const nlohmann::json& texts = all["texts"];
  const std::string written[] = {"The capital of France is", "Once upon a time, in a village by the sea,",
                                 "def fibonacci(n):\n"};
  for (std::size_t i = 0; i < std::size(written); ++i) {
    const std::vector<std::int32_t> ids = values<std::int32_t>(texts[i]["prompt"]);
    CHECK(tokenizer.encode(written[i]) == ids);
    CHECK(tokenizer.decode(ids) == written[i]);
  }
}

TEST_CASE("SmolLM2 says nearly the same with whole numbers as with floats") {
  const std::optional<std::string> path = smollm2();
  if (!path) return;
  ThreadPool pool(2);
  const std::shared_ptr<const Model> exact = load_model(*path, {.executor = pool, .compute = Compute::f32});
  const std::shared_ptr<const Model> rounded = load_model(*path, {.executor = pool});
  Context ctx(pool);
  const nlohmann::json all = expected();
  double divergence = 0.0;  // of Kullback and Leibler, all positions together
  int same = 0;
  int positions = 0;
  for (const nlohmann::json& text : all["texts"]) {
    std::vector<std::int32_t> tokens = values<std::int32_t>(text["prompt"]);
    const std::vector<std::int32_t> greedy = values<std::int32_t>(text["greedy"]);
    tokens.insert(tokens.end(), greedy.begin(), greedy.end());
    std::vector<std::vector<double>> logs[2];
    for (const auto& [model, out] : {std::pair(exact, &logs[0]), std::pair(rounded, &logs[1])}) {
      Session session(model, {.context_size = 256, .all_logits = true});
      REQUIRE(session.forward(tokens, ctx).ok());
      for (index_t t = 0; t < session.all_logits().rows; ++t) {
        const std::span<const float> row = session.all_logits().row(t);
        const double largest = static_cast<double>(*std::max_element(row.begin(), row.end()));
        double sum = 0.0;
        for (const float logit : row) sum += std::exp(static_cast<double>(logit) - largest);
        out->emplace_back();
        for (const float logit : row) out->back().push_back(static_cast<double>(logit) - largest - std::log(sum));
      }
    }
    for (std::size_t t = 0; t < logs[0].size(); ++t) {
      for (std::size_t i = 0; i < logs[0][t].size(); ++i) {
        divergence += std::exp(logs[0][t][i]) * (logs[0][t][i] - logs[1][t][i]);
      }
      const auto best = [&](const std::vector<double>& row) {
        return std::max_element(row.begin(), row.end()) - row.begin();
      };
      same += best(logs[0][t]) == best(logs[1][t]) ? 1 : 0;
      ++positions;
    }
  }
  CHECK(positions > 200);
  CHECK(divergence / positions < 0.01);
  CHECK(same > positions * 9 / 10);
}

TEST_CASE("SmolLM2 is packed for whole numbers, and for floats it is mapped") {
  const std::optional<std::string> path = smollm2();
  if (!path) return;
  const ModelDescription about = describe_model(*path, Compute::f32);
  CHECK(about.config.model_type == "llama");
  CHECK(about.weights.parameters == 134'515'008);
  CHECK(about.weights.mapped_bytes > 80'000'000);  // all but q and k, whose rows stand in rotary pairs, and norms
  CHECK(about.weights.packed_bytes < 10'000'000);
  CHECK(about.unused_tensors.empty());
  CHECK(about.unknown_keys.empty());
  CHECK(about.weights.compute == Compute::f32);
  const ModelDescription packed = describe_model(*path);
  CHECK(packed.weights.compute == Compute::int8);
  CHECK(packed.weights.mapped_bytes == 0);
  CHECK(packed.weights.packed_bytes < about.weights.mapped_bytes + about.weights.packed_bytes + 100'000);
}
