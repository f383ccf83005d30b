// Text from C++, in fifteen lines: load a model and its tokenizer, then ask a session for one token after another.
#include <cstdio>
#include <string>
#include <vector>

#include "headgate/models/load.hpp"
#include "headgate/models/session.hpp"
#include "headgate/sampling/sampler.hpp"
#include "headgate/tokenizer/tokenizer.hpp"

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : HEADGATE_DEMO_MODEL_DIR;
  const headgate::Tokenizer tokenizer = headgate::Tokenizer::from_file(folder + "/tokenizer.json");
  headgate::Session session(headgate::load_model(folder));
  headgate::Sampler sampler({.temperature = 0.7f, .seed = 3});
  headgate::StreamDecoder text(tokenizer);
  headgate::Context ctx;  // one thread; Context(pool) for more
  std::vector<std::int32_t> tokens = tokenizer.encode("Once upon a time");
  text.skip(tokens);  // what is printed goes on where the prompt ends
  for (int i = 0; i < 100; ++i) {
    headgate::throw_if_error(session.forward(tokens, ctx));
    tokens.resize(1);
    headgate::throw_if_error(sampler.sample(session.logits(), tokens[0]));
    if (session.model().config().is_eos(tokens[0])) break;
    std::printf("%s", text.push(tokens[0]).c_str());
  }
  std::printf("%s\n", text.finish().c_str());
}
