#include "headgate/tokenizer/text_steps.hpp"

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("replacing goes from left to right and does not look at what it wrote") {
  const auto replaced = [](const ReplaceText& step, std::string_view text) {
    std::string out;
    step.append(text, out);
    return out;
  };
  CHECK(replaced({" ", "\xE2\x96\x81"}, " a  ") ==
        "\xE2\x96\x81"
        "a\xE2\x96\x81\xE2\x96\x81");
  CHECK(replaced({"aa", "a"}, "aaaaa") == "aaa");
  CHECK(replaced({"x", ""}, "xx") == "");
  CHECK(replaced({"x", "y"}, "") == "");
}

TEST_CASE("white space is counted at both ends of a text") {
  const std::string_view text =
      " \t\xE3\x80\x80"
      "a \xC2\xA0\n";
  CHECK(leading_white_space(text) == 5);
  CHECK(trailing_white_space(text) == 4);
  CHECK(leading_white_space("\n\n") == 2);
  CHECK(trailing_white_space("") == 0);
  CHECK(leading_white_space("\xE1\xA0\x8E") == 0);  // U+180E is none
}

TEST_CASE("the room of a text is a multiple of its size, up to 256 MiB") {
  CHECK(room_for(0, 16) == 4096);
  CHECK(room_for(100, 8) == 4896);
  CHECK(room_for(std::size_t{1} << 30, 8) == std::size_t{256} << 20);
}
