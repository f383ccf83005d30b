#include "headgate/tokenizer/byte_level.hpp"

#include <set>

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("the byte alphabet has 256 distinct printable characters and can be undone") {
  CHECK(std::set<char32_t>(byte_alphabet.begin(), byte_alphabet.end()).size() == 256);
  CHECK(byte_alphabet[' '] == 0x120);
  CHECK(byte_alphabet['\n'] == 0x10A);
  CHECK(byte_alphabet['A'] == 'A');
  CHECK(byte_alphabet[0xAD] == 0x143);
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes += static_cast<char>(byte);
  std::string spelt, back;
  append_byte_characters(bytes, spelt);
  append_token_bytes(spelt, back);
  CHECK(back == bytes);
}

TEST_CASE("the byte alphabet takes printable Latin-1 for itself, to its bounds, and the rest in order") {
  for (const std::size_t byte : {33u, 126u, 161u, 172u, 174u, 255u}) CHECK(byte_alphabet[byte] == byte);
  CHECK(byte_alphabet[0] == 0x100);
  CHECK(byte_alphabet[127] == 0x121);
  CHECK(byte_alphabet[160] == 0x142);
  CHECK(byte_alphabet[173] == byte_alphabet_end - 1);
  CHECK(alphabet_bytes[173] == -1);
  std::string out;
  append_token_bytes("\xC5\x84", out);  // U+0144, the first outside
  CHECK(out == "\xC5\x84");
}

TEST_CASE("a token with a character outside the byte alphabet stands for its own text") {
  std::string out = "x";
  append_token_bytes("a\xC4\xA0\xE2\x96\x81", out);
  CHECK(out == "xa\xC4\xA0\xE2\x96\x81");
}
