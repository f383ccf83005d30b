// Arbitrary bytes, as the metadata of a GGUF file or as the changed parts of a good vocabulary, are refused with an
// Error or become a tokenizer; that then encodes them, and decodes what it encoded.
#include "headgate/tokenizer/tokenizer.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "../tokenizer/gguf_text.hpp"

namespace {

using namespace headgate;

void require(bool holds) {
  if (!holds) __builtin_trap();
}

template <class Make>
void use(Make make, std::string_view text) {
  try {
    const Tokenizer tokenizer = make();
    const auto ids = tokenizer.encode(text, {.parse_special = text.size() % 2 == 0});
    for (const std::int32_t id : ids) require(id >= 0 && id <= tokenizer.max_id() && tokenizer.token_text(id));
    StreamDecoder decoder(tokenizer);
    std::string streamed;
    for (const std::int32_t id : ids) streamed += decoder.push(id);
    streamed += decoder.finish();
    require(streamed == tokenizer.decode(ids));
  } catch (const Error& error) {
    require(std::string_view(error.what()).size() <= 4096);
    require(error.code() == ErrorCode::bad_file || error.code() == ErrorCode::limit);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  if (data[0] % 4 == 0) {
    use([&] { return Tokenizer::from_gguf(read_gguf(std::as_bytes(std::span(bytes)), "fuzz").metadata); }, bytes);
    return 0;
  }
  // Lines: tokens, of types and scores that follow from the second byte, or merges.
  GgufText text = data[0] % 2 == 0 ? GgufText::bytes() : GgufText::pieces();
  for (std::size_t begin = 0, end = 0, line = 0; begin < bytes.size() && line < 64; begin = end + 1, ++line) {
    end = std::min(bytes.find('\n', begin), bytes.size());
    const std::string part = bytes.substr(begin, end - begin);
    const std::size_t kind = (data[1] * 31u + line * 7u) % 9;
    if (kind == 8 || (data[0] & 8) != 0) {
      text.vocabulary.merges.push_back(text.keep(part));
    } else {
      text.token(part, static_cast<GgufTokenType>(kind), static_cast<float>(kind * line % 5) - 4.0f);
    }
  }
  text.vocabulary.add_eos = (data[1] & 1) != 0;
  text.vocabulary.strips_after_control = (data[1] & 2) != 0;
  use([&] { return Tokenizer::from_gguf(text.vocabulary); }, bytes);
  return 0;
}
