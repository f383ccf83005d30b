// headgate::models brings what its headers need: JSON, PCRE2 and utf8proc are compiled and linked.
#include "headgate/tokenizer/tokenizer.hpp"

int main() {
  try {
    headgate::Tokenizer::from_json("{}");
  } catch (const headgate::Error& error) {
    return error.code() == headgate::ErrorCode::bad_file ? 0 : 1;
  }
  return 1;
}
