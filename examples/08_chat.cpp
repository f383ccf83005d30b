// What a chat program needs: a chat format writes the conversation, and the session computes only what is new.
#include <iostream>
#include <string>

#include "headgate/models/load.hpp"
#include "headgate/models/session.hpp"
#include "headgate/sampling/sampler.hpp"
#include "headgate/tokenizer/load_chat_format.hpp"
#include "headgate/tokenizer/load_tokenizer.hpp"

int main(int argc, char** argv) {
  const std::string path = argc > 1 ? argv[1] : HEADGATE_DEMO_MODEL_DIR;  // a folder or a GGUF file
  const headgate::Tokenizer tokenizer = headgate::load_tokenizer(path);
  // The demo model has no chat template; a model made for conversations has, and needs no name here.
  const auto format = argc > 1 ? headgate::load_chat_format(path) : headgate::load_chat_format(path, "zephyr");
  headgate::Session session(headgate::load_model(path));
  headgate::Context ctx;
  std::vector<headgate::ChatMessage> messages;
  std::vector<std::int32_t> held;  // tokens that the session has read
  for (std::string question = "Once upon a time"; argc < 2 ? messages.empty() : !!std::getline(std::cin, question);) {
    messages.push_back({"user", question});
    std::vector<std::int32_t> ids = encode_chat(tokenizer, format.segments(messages));
    std::size_t same = 0;
    while (same < held.size() && same + 1 < ids.size() && held[same] == ids[same]) ++same;
    headgate::throw_if_error(session.truncate(session.nearest(static_cast<headgate::index_t>(same))));
    held = ids;
    ids.erase(ids.begin(), ids.begin() + session.position());
    headgate::Sampler sampler({.temperature = 0.7f, .seed = 3});
    headgate::StreamDecoder text(tokenizer);
    messages.push_back({"assistant", ""});
    for (int i = 0; i < 50; ++i, held.push_back(ids[0])) {
      headgate::throw_if_error(session.forward(ids, ctx));
      headgate::throw_if_error(sampler.sample(session.logits(), ids.emplace_back()));
      ids = {ids.back()};
      if (session.model().config().is_eos(ids[0]) || tokenizer.id_of(format.end_of_turn()) == ids[0]) break;
      messages.back().content += text.push(ids[0]);
    }
    std::cout << (messages.back().content += text.finish()) << std::endl;
  }
}
