#include "headgate/tokenizer/token_decoder.hpp"

#include "support/catch.hpp"

using namespace headgate;

namespace {

static_assert(!std::is_constructible_v<TextAssembler, TokenDecoder>);  // a temporary
static_assert(std::is_constructible_v<TextAssembler, TokenDecoder&>);

// What each token completes, and at last what was held back.
std::vector<std::string> parts(const TokenDecoder& decoder, const std::vector<std::string>& tokens) {
  TextAssembler assembler(decoder);
  std::vector<std::string> texts;
  for (const std::string& token : tokens) texts.push_back(assembler.push(token));
  texts.push_back(assembler.finish());
  return texts;
}

using Texts = std::vector<std::string>;
const std::string mark = "\xE2\x96\x81";

std::string spelt(std::string_view bytes) {
  std::string text;
  append_byte_characters(bytes, text);
  return text;
}

TokenDecoder byte_level() {
  TokenDecoder decoder;
  decoder.byte_level = true;
  return decoder;
}

TokenDecoder sentencepiece() {
  TokenDecoder decoder;
  decoder.replacements.push_back({mark, " "});
  decoder.byte_fallback = true;
  decoder.stripped = " ";
  decoder.max_stripped = 1;
  return decoder;
}

}  // namespace

TEST_CASE("half a character is held back until it is complete") {
  CHECK(parts(byte_level(), {spelt(" a\xF0\x9F"), spelt("\x9A"), spelt("\x80!")}) ==
        Texts{" a", "", "\xF0\x9F\x9A\x80!", ""});
}

TEST_CASE("half a character at the end is one U+FFFD, or one for each byte of a byte token") {
  CHECK(parts(byte_level(), {spelt("a\xF0\x9F")}) == Texts{"a", "\xEF\xBF\xBD"});
  CHECK(parts(sentencepiece(), {"a", "<0xF0>", "<0x9F>"}) == Texts{"a", "", "", "\xEF\xBF\xBD\xEF\xBF\xBD"});
}

TEST_CASE("bytes that cannot become a character are replaced as soon as that is certain") {
  CHECK(parts(byte_level(), {spelt("\x80"), spelt("\xE2\x82"), spelt("x"), spelt("\xFF")}) ==
        Texts{"\xEF\xBF\xBD", "", "\xEF\xBF\xBDx", "\xEF\xBF\xBD", ""});
  CHECK(parts(sentencepiece(), {"<0xE2>", "<0x82>", "x"}) == Texts{"", "", "\xEF\xBF\xBD\xEF\xBF\xBDx", ""});
}

TEST_CASE("SentencePiece's mark is a space, but for the first") {
  CHECK(parts(sentencepiece(), {mark + "a", mark + mark + "b", "<0x41>"}) == Texts{"a", "  b", "A", ""});
  CHECK(parts(sentencepiece(), {mark + mark, "x" + mark}) == Texts{" ", "x ", ""});
  TokenDecoder metaspace;
  metaspace.dropped_first = mark;
  metaspace.replacements.push_back({mark, " "});
  CHECK(parts(metaspace, {mark + mark + "a" + mark, mark + "b"}) == Texts{"a", " b", ""});
}

TEST_CASE("only the start of a text is stripped, and only so many times") {
  TokenDecoder decoder;
  decoder.stripped = " ";
  decoder.max_stripped = 1;
  CHECK(parts(decoder, {"Hello", " world"}) == Texts{"Hello", " world", ""});
  CHECK(parts(decoder, {"  Hello", " world"}) == Texts{" Hello", " world", ""});
  CHECK(parts(decoder, {" ", " x"}) == Texts{"", " x", ""});
  decoder.max_stripped = 2;
  CHECK(parts(decoder, {" ", "  x"}) == Texts{"", " x", ""});
  CHECK(parts(decoder, {" x ", " y"}) == Texts{"x ", " y", ""});
}

TEST_CASE("only the first token loses its mark, and what it drops may stand anywhere in it") {
  TokenDecoder decoder;
  decoder.dropped_first = "_";
  CHECK(parts(decoder, {"_a_b", "_c"}) == Texts{"ab", "_c", ""});
}

TEST_CASE("replacements run one after another, and a byte token may come of them") {
  TokenDecoder decoder;
  decoder.replacements = {{"a", "b"}, {"b", "c"}, {"(", "<"}};
  decoder.byte_fallback = true;
  CHECK(parts(decoder, {"ab", "(0x41>"}) == Texts{"cc", "A", ""});
  decoder.byte_fallback = false;
  CHECK(parts(decoder, {"(0x41>"}) == Texts{"<0x41>", ""});
}

TEST_CASE("without a decoder tokens are joined with spaces") {
  TokenDecoder decoder;
  decoder.spaced = true;
  CHECK(parts(decoder, {"a", "b"}) == Texts{"a", " b", ""});
}

TEST_CASE("a decoder that nothing is said of changes nothing") {
  CHECK(parts(TokenDecoder{}, {" a", "<0x41>", "_b"}) == Texts{" a", "<0x41>", "_b", ""});
  TokenDecoder spaced = byte_level();
  spaced.spaced = true;
  CHECK(parts(spaced, {spelt("a"), spelt(" b"), ""}) == Texts{"a", "  b", " ", ""});
  TokenDecoder stripping;
  stripping.stripped = "\xE2\x96\x81";
  stripping.max_stripped = 3;
  CHECK(parts(stripping, {mark + mark + " " + mark}) == Texts{" " + mark, ""});
}
