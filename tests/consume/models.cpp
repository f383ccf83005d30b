// headgate::models brings what its headers need: JSON, PCRE2 and utf8proc are compiled and linked.
#include "headgate/models/load.hpp"
#include "headgate/models/session.hpp"
#include "headgate/tokenizer/tokenizer.hpp"

int main() {
  try {
    headgate::Session session(headgate::load_model("no such folder"));
    return 1;
  } catch (const headgate::Error& error) {
    if (error.code() != headgate::ErrorCode::io) return 1;
  }
  try {
    headgate::Tokenizer::from_json("{}");
  } catch (const headgate::Error& error) {
    return error.code() == headgate::ErrorCode::bad_file ? 0 : 1;
  }
  return 1;
}
