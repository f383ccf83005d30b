#include "headgate/tokenizer/byte_token.hpp"

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("every byte has a token that names it, and is found again") {
  for (std::size_t byte = 0; byte < 256; ++byte) CHECK(byte_of_token(byte_token(byte)) == byte);
  CHECK(byte_token(10) == "<0x0A>");
}
