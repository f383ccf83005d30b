// What decodes a stream refers to its tokenizer.
// expect: use of deleted function|call to deleted
#include "headgate/tokenizer/tokenizer.hpp"

using namespace headgate;

void decode(const std::string& path) {
  Tokenizer tokenizer = Tokenizer::from_file(path);
#ifdef HEADGATE_COMPILE_FAIL
  StreamDecoder decoder(std::move(tokenizer));
#else
  StreamDecoder decoder(tokenizer);
#endif
  static_cast<void>(decoder.finish());
}
