#include "../../examples/cli/json_writer.hpp"

#include <limits>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "support/catch.hpp"

TEST_CASE("what JsonWriter writes is what another JSON library reads") {
  std::string every_byte;
  for (char c = 0; c < 0x7f; ++c) every_byte += c;
  every_byte += "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80";
  JsonWriter out;
  out.begin_object().key("text \"\\").value(every_byte).key("empty").begin_array().end_array();
  out.key("numbers").begin_array().value(-3).value(0.1).value(0.1f).value(1e300).value(
      std::numeric_limits<double>::quiet_NaN());
  out.value(std::uint64_t{18446744073709551615u}).end_array();
  out.key("nested").begin_object().key("ids").array(std::vector<int>{1, 2, 3}).end_object().end_object();

  const nlohmann::json read = nlohmann::json::parse(out.take());
  CHECK(read.at("text \"\\") == every_byte);
  CHECK(read.at("empty").empty());
  CHECK(read.at("numbers").at(0) == -3);
  CHECK(read.at("numbers").at(1) == 0.1);
  CHECK(read.at("numbers").at(2).get<float>() == 0.1f);
  CHECK(read.at("numbers").at(3) == 1e300);
  CHECK(read.at("numbers").at(4).is_null());
  CHECK(read.at("numbers").at(5) == 18446744073709551615u);
  CHECK(read.at("nested").at("ids") == nlohmann::json::array({1, 2, 3}));

  CHECK(out.begin_array().end_array().take() == "[]");
}
