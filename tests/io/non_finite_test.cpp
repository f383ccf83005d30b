#include "headgate/io/non_finite.hpp"

#include "support/catch.hpp"

#include <cmath>
#include <string>

using headgate::detail::NonFinite;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// What strict parsers are given.
std::string zeroed(const std::string& text) { return std::string(NonFinite(text).text()); }

}  // namespace

TEST_CASE("numbers that are not finite become zeros of the same length, and are remembered by their place") {
  const NonFinite found(R"({"a":NaN,"b":[-Infinity,Infinity , 1e400,-2.5E+308,1]})");
  CHECK(found.text() == R"({"a":0.0,"b":[0.0000000,0.000000 , 0.000,0.0000000,1]})");
  REQUIRE(found.at(5).has_value());
  CHECK(std::isnan(*found.at(5)));
  CHECK(found.at(14) == -infinity);
  CHECK(found.at(24) == infinity);
  CHECK(found.at(35) == infinity);
  CHECK(found.at(41) == -infinity);
  CHECK_FALSE(found.at(51).has_value());
  CHECK_FALSE(found.at(6).has_value());
}

TEST_CASE("what is finite, a string, or no number stays as it is") {
  for (const std::string text : {"1.7976931348623157e308",
                                 "2e-400",
                                 "0e999",
                                 "0.0e999",
                                 "-0",
                                 "NaNa",
                                 "aNaN",
                                 "1NaN",
                                 "-NaN",
                                 "+Infinity",
                                 "infinity",
                                 "01e999",
                                 "1.e999",
                                 "1e999.0",
                                 "1e",
                                 "-",
                                 "",
                                 "\"NaN\"",
                                 "\"\\\"NaN",
                                 "\"\\",
                                 "nul",
                                 "1e+-999"}) {
    INFO(text);
    CHECK(zeroed(text) == text);
  }
  CHECK(zeroed("\"NaN\\\\\"NaN") == "\"NaN\\\\\"0.0");
  CHECK(zeroed("1.7976931348623159e308") == "0.00000000000000000000");
}

TEST_CASE("a number is beyond a double by its whole size, wherever point and exponent are") {
  const std::string zeros(400, '0');
  CHECK(NonFinite("1" + zeros).at(0) == infinity);
  CHECK(NonFinite("-1" + zeros + ".5").at(0) == -infinity);
  CHECK_FALSE(NonFinite("1" + zeros + "e-400").at(0).has_value());
  CHECK_FALSE(NonFinite("0." + zeros + "1").at(0).has_value());
  CHECK_FALSE(NonFinite("0." + zeros + "1e400").at(0).has_value());
  CHECK(NonFinite("0." + zeros + "1e800").at(0) == infinity);
  CHECK(NonFinite("1e99999999999999999999").at(0) == infinity);
  CHECK_FALSE(NonFinite("1e-99999999999999999999").at(0).has_value());
}

TEST_CASE("long numbers are finite or not by their value") {
  const std::string zeros(400, '0');
  const auto is_finite = [](const std::string& text) { return zeroed(text) == text; };
  CHECK_FALSE(is_finite("1" + zeros));
  CHECK(is_finite("1" + zeros + "e-100"));
  CHECK(is_finite("0." + zeros + "1e500"));
  CHECK_FALSE(is_finite("0." + zeros + "1e710"));
  CHECK(is_finite("1" + zeros.substr(0, 308)));
  CHECK_FALSE(is_finite("18" + zeros.substr(0, 307)));
  CHECK(is_finite("179769313486231570" + zeros.substr(0, 291)));
  CHECK_FALSE(is_finite("1e99999999999999999999999"));
  CHECK(is_finite("1e-99999999999999999999999"));
  CHECK(is_finite("0" + ("." + zeros) + "e99999999999999999999999"));
}
