#include "headgate/io/json_text.hpp"

#include <limits>

#include "headgate/io/json.hpp"
#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("JSON that was read is written as what is read as the same") {
  for (const std::string text :
       {R"({"a":1,"b":[true,false,null],"c":{"d":-0.5,"e":1e-06,"f":1e+30},"g":"x"})", R"([])", R"({})", R"("")",
        R"(9223372036854775807)", R"(10000.0)", R"({"a\"\\\u0001":"\u001f\n"})"}) {
    CAPTURE(text);
    const std::string once = json_text(parse_json(text, "a"));
    CHECK(json_text(parse_json(once, "b")) == once);
    if (text.find("\\n") == text.npos) CHECK(once == text);
  }
  CHECK(json_text(parse_json("\"\\u00e9\"", "a")) == "\"\xC3\xA9\"");
}

TEST_CASE("a double is written as one, whatever its digits") {
  const auto text_of = [](double value) {
    Json json;
    json.value = value;
    return json_text(json);
  };
  for (const double value : {0.1, 1.0, -3.0, 1e300, 5e-324, 0.22, 123456789.0}) {
    const Json back = parse_json(text_of(value), "a");
    REQUIRE(std::holds_alternative<double>(back.value));
    CHECK(std::get<double>(back.value) == value);
  }
  CHECK(text_of(std::numeric_limits<double>::infinity()) == "Infinity");
  CHECK(text_of(-std::numeric_limits<double>::infinity()) == "-Infinity");
  CHECK(text_of(std::numeric_limits<double>::quiet_NaN()) == "NaN");
}
