// A router of your own in a real model: what its text is worth with other experts per token. LoadOptions::make_router
// is asked for every layer; here it answers with the router of example 03, whose prototypes are the rows of the
// checkpoint's own gate. It works for any checkpoint with linear gates.
#include <cstdio>
#include <string>
#include <vector>

#include "headgate/analysis/text_run.hpp"
#include "headgate/models/load.hpp"
#include "headgate/models/session.hpp"
#include "headgate/tokenizer/tokenizer.hpp"
#include "prototype_router.hpp"

// Reads the text with the model and prints the mean loss of a token, and the mean number of experts that it cost.
void report(const char* name, const std::shared_ptr<const headgate::Model>& model, const std::string& folder) {
  const std::vector<std::int32_t> tokens =
      headgate::Tokenizer::from_file(folder + "/tokenizer.json")
          .encode(
              "Once upon a time there was a king who had three sons. The eldest was strong, the second was clever, "
              "and the youngest went into the wood and sat down beneath a tree.");
  headgate::Session session(model, {.all_logits = true});
  headgate::Context ctx;
  const bool has_first = tokens.front() == model->config().bos_token_id;  // run_text puts it before every window itself
  const headgate::TextRun run = headgate::run_text(session, std::span(tokens).subspan(has_first ? 1 : 0), ctx);
  double loss = 0;
  for (const double nats : run.losses) loss += nats / static_cast<double>(run.losses.size());
  std::printf("%-30s loss %.3f, experts per token %.2f\n", name, loss, run.trace.metrics().experts_per_token);
}

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : HEADGATE_DEMO_MODEL_DIR;
  report("the checkpoint's own router", headgate::load_model(folder), folder);
  for (const float margin : {0.0f, 0.5f, 1.0f, 2.0f, 4.0f}) {
    const auto make_router = [&](index_t, const headgate::GateWeights& weights, const headgate::AnyRouter&) {
      const headgate::ConstRows gate = weights.gate;  // (experts, hidden size)
      std::vector<float> prototypes;
      for (index_t e = 0; e < gate.rows; ++e)
        prototypes.insert(prototypes.end(), gate.row(e).begin(), gate.row(e).end());
      return PrototypeRouter(std::move(prototypes), gate.cols, margin);
    };
    const std::string name = "nearest prototypes, margin " + std::to_string(margin).substr(0, 3);
    report(name.c_str(), headgate::load_model(folder, {.make_router = make_router}), folder);
  }
}
