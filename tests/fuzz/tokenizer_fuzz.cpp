// The first half of arbitrary bytes, alone or inside a good document, is refused as a tokenizer.json with an Error or
// becomes a tokenizer; that, and a good one, then encode the second half. What they encode they can decode, in one
// piece and as a stream alike.
#include "headgate/tokenizer/tokenizer.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "../tokenizer/tokenizer_text.hpp"

namespace {

using headgate::ErrorCode;
using headgate::Tokenizer;

void require(bool holds) {
  if (!holds) __builtin_trap();
}

void check(const headgate::Error& error) {
  require(std::string_view(error.what()).size() <= 4096);
  require(error.code() == ErrorCode::bad_file || error.code() == ErrorCode::limit);
}

void use(const Tokenizer& tokenizer, std::string_view text) {
  for (const bool parse_special : {true, false}) {
    try {
      const auto ids = tokenizer.encode(text, {.parse_special = parse_special});
      for (const std::int32_t id : ids) require(tokenizer.token_text(id).has_value() && id <= tokenizer.max_id());
      headgate::StreamDecoder decoder(tokenizer);
      std::string streamed;
      for (const std::int32_t id : ids) {
        const std::string part = decoder.push(id);
        require(headgate::find_invalid_utf8(part) == std::string::npos);
        streamed += part;
      }
      streamed += decoder.finish();
      require(streamed == tokenizer.decode(ids));
    } catch (const headgate::Error& error) {
      check(error);
    }
  }
}

void load(const std::string& json, std::string_view text) {
  try {
    use(Tokenizer::from_json(json, "fuzz"), text);
  } catch (const headgate::Error& error) {
    check(error);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  static const Tokenizer good = Tokenizer::from_json(TokenizerText().json());
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string half(bytes.substr(0, bytes.size() / 2));
  const std::string_view text = bytes.substr(bytes.size() / 2);

  TokenizerText parts;
  parts.added = "[" + TokenizerText::added_token(300, "<s>") + "]";
  switch (data[0] % 9) {
    case 0:
      return load(half, text), 0;
    case 1:
      parts.added = half;
      break;
    case 2:
      parts.normalizer = half;
      break;
    case 3:
      parts.pre_tokenizer = half;
      break;
    case 4:
      parts.post_processor = half;
      break;
    case 5:
      parts.decoder = half;
      break;
    case 6:
      parts.merges = half;
      break;
    case 7:
      parts.vocab = half;
      break;
    default:
      parts.pre_tokenizer = TokenizerText::split(half);
      break;
  }
  load(parts.json(), text);
  use(good, text);
  return 0;
}
