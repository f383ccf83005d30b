// What a chat program needs: a chat format writes the conversation, and the session computes only what is new.
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "headgate/models/load.hpp"
#include "headgate/models/session.hpp"
#include "headgate/sampling/sampler.hpp"
#include "headgate/tokenizer/load_chat_format.hpp"
#include "headgate/tokenizer/load_tokenizer.hpp"

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : HEADGATE_DEMO_MODEL_DIR;
  const headgate::Tokenizer tokenizer = headgate::load_tokenizer(folder);
  // The demo model has no chat template; a model made for conversations has, and needs no name here.
  const auto format = argc > 1 ? headgate::load_chat_format(folder) : headgate::load_chat_format(folder, "zephyr");
  headgate::Session session(headgate::load_model(folder));
  headgate::Context ctx;
  std::vector<headgate::ChatMessage> messages;
  std::vector<std::int32_t> held;  // tokens that the session has read
  for (std::string question = argc > 1 ? "" : "Once upon a time"; messages.empty() || !question.empty();) {
    if (question.empty() && !std::getline(std::cin, question)) break;
    messages.push_back({"user", question});
    std::vector<std::int32_t> ids = encode_chat(tokenizer, format.segments(messages));
    std::size_t same = 0;
    while (same < held.size() && same + 1 < ids.size() && held[same] == ids[same]) ++same;
    headgate::throw_if_error(session.truncate(session.nearest(static_cast<headgate::index_t>(same))));
    held = ids;
    ids.erase(ids.begin(), ids.begin() + session.position());
    headgate::Sampler sampler({.temperature = 0.7f, .seed = 3});
    headgate::StreamDecoder text(tokenizer);
    std::string answer;
    for (int i = 0; i < 50; ++i, held.push_back(ids[0])) {
      headgate::throw_if_error(session.forward(ids, ctx));
      ids.resize(1);
      headgate::throw_if_error(sampler.sample(session.logits(), ids[0]));
      if (session.model().config().is_eos(ids[0]) || tokenizer.id_of(format.end_of_turn()) == ids[0]) break;
      answer += text.push(ids[0]);
    }
    messages.push_back({"assistant", answer += text.finish()});
    std::printf("%s\n", answer.c_str());
    if (argc < 2 || !std::getline(std::cin, question)) break;
  }
}
