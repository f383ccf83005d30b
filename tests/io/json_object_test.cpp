#include "headgate/io/json_object.hpp"

#include "headgate/io/json.hpp"
#include "io/refusal.hpp"
#include "support/catch.hpp"

namespace {

using namespace headgate;
using io_test::contains;
using io_test::error_of;

constexpr std::int64_t int64_max = std::numeric_limits<std::int64_t>::max();

const Json document = parse_json(
    R"({"n":64,"eps":1e-06,"on":true,"name":"silu","none":null,"ids":[1,2],"names":["x","y"],"rope":{"theta":1e4},)"
    R"("text":"64","real":64.0,"large":4294967360,"huge":18446744073709551680})",
    "config.json");

}  // namespace

TEST_CASE("values are read by key with type and range") {
  const JsonObject object(document, "config.json");
  CHECK(object.get_integer("n", 1, 64) == 64);
  CHECK(object.get_index("n", 64, 100) == 64);
  CHECK(object.get_integer("large", 0, int64_max) == 4294967360);
  CHECK(object.get_number("eps", 0, 1) == 1e-6);
  CHECK(object.get_number("n", 0, 64) == 64.0);
  CHECK(object.get_bool("on"));
  CHECK(object.get_string("name") == "silu");
  CHECK(object.get_integers("ids", 0, 9) == std::vector<std::int64_t>{1, 2});
  CHECK(object.get_strings("names") == std::vector<std::string>{"x", "y"});
  CHECK(object.get_list("ids").size() == 2);
  CHECK(object.get_object("rope").get_number("theta", 1, 1e9) == 1e4);
  CHECK(object.file() == "config.json");
}

TEST_CASE("a key that is absent or null means the default, and only that") {
  const JsonObject object(document, "config.json");
  for (const char* key : {"none", "absent"}) {
    CHECK_FALSE(object.has(key));
    CHECK(object.get_integer(key, 1, 2, 7) == 7);
    CHECK(object.get_index(key, 1, 2, 7) == 7);
    CHECK(object.get_number(key, 1, 2, 7.5) == 7.5);
    CHECK(object.get_bool(key, true));
    CHECK(object.get_string(key, "x") == "x");
  }
  CHECK(object.has("n"));
  CHECK(object.get_integer("n", 1, 64, 7) == 64);
  CHECK(object.get_number("eps", 0, 1, 7) == 1e-6);
  CHECK(object.get_bool("on", false));
  CHECK(object.get_string("name", "x") == "silu");
  CHECK_THROWS_AS(object.get_integer("text", 1, 64, 7), Error);
  CHECK_THROWS_AS(object.get_number("text", 1, 64, 7), Error);
  CHECK_THROWS_AS(object.get_bool("text", false), Error);
  CHECK_THROWS_AS(object.get_string("n", "x"), Error);
  CHECK(object.value("none")->is_null());
  CHECK(object.value("absent") == nullptr);
}

TEST_CASE("a value of another type or range is refused with key, byte, finding and what is allowed") {
  const JsonObject object(document, "config.json");
  const auto text = [](auto&& read) {
    const Error error = error_of(read);
    CHECK(error.code() == ErrorCode::bad_file);
    return std::string(error.what());
  };
  CHECK(text([&] { object.get_integer("n", 1, 63); }) ==
        "config.json: n at byte 5: expected an integer from 1 to 63, found 64");
  CHECK(text([&] { object.get_integer("n", 65, 70); }) ==
        "config.json: n at byte 5: expected an integer from 65 to 70, found 64");
  CHECK(contains(text([&] { object.get_integer("text", 1, 64); }), "found the string \"64\""));
  CHECK(contains(text([&] { object.get_integer("real", 1, 64); }), "found the number 64"));
  // 64 + 2^32 and 64 + 2^64 are not 64.
  CHECK(contains(text([&] { object.get_index("large", 1, 64); }), "found 4294967360"));
  CHECK(contains(text([&] { object.get_integer("huge", 1, int64_max); }), "found the number 18446744073709551"));
  CHECK(contains(text([&] { object.get_integer("on", 0, 1); }), "found true"));
  CHECK(contains(text([&] { object.get_integer("none", 0, 1); }), "expected an integer from 0 to 1, found null"));
  CHECK(contains(text([&] { object.get_integer("ids", 0, 9); }), "found a list of 2"));
  CHECK(text([&] { object.get_number("eps", 1, 2); }) ==
        "config.json: eps at byte 14: expected a number from 1 to 2, found the number 1e-06");
  CHECK(contains(text([&] { object.get_number("rope", 1, 2); }), "found an object"));
  CHECK(contains(text([&] { object.get_bool("n"); }), "expected true or false, found 64"));
  CHECK(contains(text([&] { object.get_string("on"); }), "expected a string, found true"));
  CHECK(contains(text([&] { object.get_list("n"); }), "expected a list, found 64"));
  CHECK(contains(text([&] { object.get_integers("ids", 2, 9); }), "ids at byte "));
  CHECK(contains(text([&] { object.get_strings("ids"); }), "expected a string, found 1"));
  CHECK(contains(text([&] { object.get_object("n"); }), "expected an object, found 64"));
  CHECK(contains(text([&] { object.get_object("rope").get_integer("theta", 1, 2); }),
                 "config.json: rope.theta at byte "));
  CHECK(text([&] { object.get_integer("experts", 1, 64); }) ==
        "config.json: experts at byte 0: the key is missing, expected an integer from 1 to 64");
  CHECK(contains(text([&] { object.get_number("experts", 1, 64); }), "the key is missing, expected a number"));
  CHECK(contains(text([&] { object.get_bool("experts"); }), "the key is missing, expected true or false"));
  CHECK(text([&] { object.fail("n", "must divide 100"); }) == "config.json: n at byte 5: must divide 100");
  CHECK(contains(text([&] { object.fail("experts", "must be there"); }), "experts at byte 0: must be there"));
  const Json list = parse_json(" []", "f");
  CHECK(text([&] { JsonObject(list, "f"); }) == "f: at byte 1: expected an object, found a list of 0");
}

TEST_CASE("keys that nobody asked for are known") {
  const JsonObject object(document, "config.json");
  CHECK(object.keys().size() == 12);
  CHECK(object.unread_keys() == object.keys());
  object.get_integer("n", 1, 64);
  object.has("none");
  object.get_string("absent", "");
  object.get_object("rope");
  const std::vector<std::string> unread = object.unread_keys();
  CHECK(unread == std::vector<std::string>{"eps", "on", "name", "ids", "names", "text", "real", "large", "huge"});
}

TEST_CASE("both ends of a range belong to it") {
  const Json json = parse_json(R"({"i":-3,"x":0.5})", "f");
  const JsonObject object(json, "f");
  CHECK(object.get_integer("i", -3, 9) == -3);
  CHECK(object.get_integer("i", -9, -3) == -3);
  CHECK_THROWS_AS(object.get_integer("i", -2, 9), Error);
  CHECK_THROWS_AS(object.get_integer("i", -9, -4), Error);
  CHECK(object.get_number("i", -3, 0) == -3.0);
  CHECK(object.get_number("x", 0.5, 1) == 0.5);
  CHECK(object.get_number("x", 0, 0.5) == 0.5);
  CHECK_THROWS_AS(object.get_number("x", 0.6, 1), Error);
  CHECK_THROWS_AS(object.get_number("x", 0, 0.4), Error);
  CHECK_THROWS_AS(object.get_number("i", -2, 0), Error);
  CHECK_THROWS_AS(object.get_number("i", -9, -4), Error);
  const Json nan = parse_json(R"({"x":NaN})", "f", 0, {.non_finite = true});
  CHECK_THROWS_AS(JsonObject(nan, "f").get_number("x", 0, 1), Error);
}

TEST_CASE("a value is described for messages") {
  const auto described = [](std::string_view text) { return parse_json(text, "f").describe(); };
  CHECK(described("null") == "null");
  CHECK(described("true") == "true");
  CHECK(described("false") == "false");
  CHECK(described("-7") == "-7");
  CHECK(described("-2.5") == "the number -2.5");
  CHECK(described("-1.7976931348623157e308") == "the number -1.7976931348623157e+308");
  CHECK(described("[[],1]") == "a list of 2");
  CHECK(described("{}") == "an object");
  const std::string forty(40, 's');
  CHECK(described('"' + forty + forty + '"') == "the string \"" + forty + forty + '"');
  CHECK(described('"' + forty + 'x' + forty + '"') == "the string \"" + forty + "..." + forty + '"');
  CHECK(Json().offset == -1);
  CHECK(Json().is_null());
  CHECK(JsonMember().offset == -1);
}

TEST_CASE("a key is read once anybody asked for it, each of its values too, and one that is ignored") {
  const Json json = parse_json(R"({"a":1,"b":2,"a":3,"c":4,"a":5,"d":6})", "f", 0, {.repeated_keys = true});
  const JsonObject object(json, "f");
  CHECK(object.keys() == std::vector<std::string>{"a", "b", "a", "c", "a", "d"});
  object.ignore("c");
  object.ignore("nobody");
  CHECK(object.unread_keys() == std::vector<std::string>{"a", "b", "a", "a", "d"});
  CHECK(std::string(error_of([&] { object.has("a"); }).what()) ==
        "f: a at byte 13: the key occurs twice in one object");
  CHECK(object.unread_keys() == std::vector<std::string>{"b", "d"});
  CHECK(object.has("d"));
  CHECK(object.unread_keys() == std::vector<std::string>{"b"});
  CHECK(object.members()[1].offset == 7);
  CHECK(object.members()[1].value.offset == 11);
}

TEST_CASE("what is wrong inside a list or an object is named by the keys that lead to it") {
  const Json json = parse_json(R"({"list":[1,"x"],"o":{"p":{"q":true}}})", "f");
  const JsonObject object(json, "f", "root");
  const auto text = [](auto&& read) { return std::string(error_of(read).what()); };
  CHECK(text([&] { object.get_integers("list", 0, 9); }) ==
        "f: root.list at byte 11: expected an integer from 0 to 9, found the string \"x\"");
  CHECK(text([&] { object.get_strings("list"); }) == "f: root.list at byte 9: expected a string, found 1");
  const JsonObject inner = object.get_object("o").get_object("p");
  CHECK(text([&] { inner.get_string("q"); }) == "f: root.o.p.q at byte 30: expected a string, found true");
  CHECK(text([&] { inner.get_string("r"); }) == "f: root.o.p.r at byte 25: the key is missing, expected a string");
  CHECK(text([&] { inner.fail("r", "no"); }) == "f: root.o.p.r at byte 25: no");
  CHECK(text([&] { JsonObject(object.members()[0].value, "g", "here"); }) ==
        "g: here at byte 8: expected an object, found a list of 2");
}
