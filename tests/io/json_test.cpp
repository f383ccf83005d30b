#include "headgate/io/json.hpp"

#include "io/refusal.hpp"
#include "support/catch.hpp"

#include <clocale>

namespace {

using namespace headgate;
using io_test::contains;
using io_test::error_of;

std::string repeated(std::string_view part, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += part;
  return text;
}

// Writes down the events it sees.
class Recorder final : public JsonHandler {
 public:
  std::string events;

  void start_object() override { add("{"); }
  void end_object() override { add("}"); }
  void start_array() override { add("["); }
  void end_array() override { add("]"); }
  void key(std::string_view name) override { add("key " + std::string(name)); }
  void string(std::string_view value) override { add("string " + std::string(value)); }
  void number(std::int64_t value) override { add("integer " + std::to_string(value)); }
  void number(double value) override { add("number " + detail::to_text(value)); }
  void boolean(bool value) override { add(value ? "true" : "false"); }
  void null() override { add("null"); }

 private:
  void add(const std::string& event) { events += std::to_string(offset()) + " " + event + "\n"; }
};

std::string events_of(std::string_view text, std::int64_t first_byte = 0) {
  Recorder recorder;
  parse_json(text, "f.json", recorder, first_byte);
  return recorder.events;
}

struct BadText {
  std::string id;  // of the catalogue
  std::string text;
  std::int64_t offset;
  std::string part;
};

}  // namespace

TEST_CASE("events carry the byte where their token begins") {
  CHECK(events_of(R"({"a" : [1, -2,3.5,true , false,null],"b\"":"x\\", "c":{}})") ==
        "0 {\n1 key a\n7 [\n8 integer 1\n11 integer -2\n14 number 3.5\n18 true\n25 false\n31 null\n35 ]\n"
        "37 key b\"\n43 string x\\\n50 key c\n54 {\n55 }\n56 }\n");
  CHECK(events_of(" \n 17 ", 100) == "103 integer 17\n");
  CHECK(events_of("\"\\u00e9\\ud83d\\ude00\"") == "0 string \xc3\xa9\xf0\x9f\x98\x80\n");
}

TEST_CASE("only a number without fraction and exponent that fits 64 signed bits is an integer") {
  CHECK(events_of("[9223372036854775807,-9223372036854775808,-0]") ==
        "0 [\n1 integer 9223372036854775807\n21 integer -9223372036854775808\n42 integer 0\n44 ]\n");
  CHECK(events_of("[9223372036854775808,18446744073709551616,-9223372036854775809,2.0,1e3,1E-40]") ==
        "0 [\n1 number 9223372036854775808\n21 number 18446744073709551616\n42 number -9223372036854775808\n"
        "63 number 2\n67 number 1000\n71 number 1e-40\n76 ]\n");
}

TEST_CASE("numbers mean the same in every locale") {
  // Where the system has no such locale the call changes nothing and the test is weaker.
  const std::string before = std::setlocale(LC_ALL, nullptr);
  std::setlocale(LC_ALL, "de_DE.UTF-8");
  const std::string events = events_of("1.5");
  std::setlocale(LC_ALL, before.c_str());
  CHECK(events == "0 number 1.5\n");
}

TEST_CASE("text that is not strict JSON is refused at the byte where it goes wrong") {
  const std::vector<BadText> texts = {
      {"D1 0 bytes", "", 0, "unexpected end of input"},
      {"D1 space", " \n", 2, "unexpected end of input"},
      {"D1 cut", "{\"a\": [1, 2", 11, "unexpected end of input; expected ']'"},
      {"D1 BOM", "\xef\xbb\xbf{}", 0, "byte order mark"},
      {"D1 UTF-16 little-endian", std::string("\xff\xfe{\0}\0", 6), 0, "UTF-16"},
      {"D1 UTF-16 big-endian", std::string("\xfe\xff\0{\0}", 6), 0, "UTF-16"},
      {"D1 HTML", "<!DOCTYPE html>", 0, "invalid literal; last read: '<'"},
      {"D1 lfs pointer", "version https://git-lfs.github.com/spec/v1\n", 0, "invalid literal; last read: 'v'"},
      {"D2 trailing comma", "{\"a\":1,}", 7, "expected string literal"},
      {"D2 trailing comma in a list", "[1,]", 3, "unexpected ']'"},
      {"D2 garbage", "{} garbage", 3, "expected end of input"},
      {"D2 two documents", "{}{}", 2, "expected end of input"},
      {"D2 NUL", std::string("{\0}", 3), 1, "NUL byte"},
      {"D2 NUL behind the end", std::string("{}\0", 3), 2, "NUL byte"},
      {"D2 comment", "// c\n{}", 0, "invalid literal"},
      {"D2 comment inside", "{/* c */}", 1, "not valid JSON"},
      {"D2 unquoted key", "{a:1}", 1, "expected string literal"},
      {"D2 raw control byte", "{\"a\x01\":1}", 3, "U+0001"},
      {"D2 raw new line", "[\"a\nb\"]", 3, "must be escaped"},
      {"D2 ff byte", "{\"a\xff\":1}", 3, "ill-formed UTF-8"},
      {"D2 cut UTF-8", "[\"\xe2\x82\"]", 4, "ill-formed UTF-8"},
      {"D2 overlong", "[\"\xc0\x80\"]", 2, "ill-formed UTF-8"},
      {"D2 beyond Unicode", "[\"\xf4\x90\x80\x80\"]", 3, "ill-formed UTF-8"},
      {"D2 surrogate in UTF-8", "[\"\xed\xa0\x80\"]", 3, "ill-formed UTF-8"},
      {"D2 lone surrogate", "[\"\\ud800\"]", 8, "surrogate"},
      {"D2 low surrogate first", "[\"\\udc00\"]", 7, "surrogate"},
      {"D2 NaN", "[NaN]", 1, "invalid literal"},
      {"D2 Infinity", "[-Infinity]", 2, "invalid number"},
      {"D2 too large a number", "[1e400]", 5, "number overflow"},
      {"D2 leading zero", "[01]", 2, "expected ']'"},
      {"D2 plus", "[+1]", 1, "invalid literal"},
      {"D2 bare point", "[1.]", 3, "expected digit"},
      {"D3 open", std::string(100'000, '['), 64, "nested too deep (allowed 64)"},
      {"D3 closed", std::string(100'000, '[') + std::string(100'000, ']'), 64, "nested too deep"},
      {"D3 objects", repeated("{\"a\":", 100'000), 320, "nested too deep"},
      {"D4", "{\"a\":1, \"b\":2, \"a\":1}", 15, "a at byte 15: the key occurs twice in one object"},
      {"D4 spelled otherwise", "{\"a\":1, \"\\u0061\":2}", 8, "the key occurs twice"},
      {"D4 empty", "{\"\":1, \"\":2}", 7, "the key occurs twice"},
      {"D4 inside", "[{\"x\":{\"a\":1, \"a\":1}}]", 14, "the key occurs twice"},
  };
  for (const BadText& bad : texts) {
    INFO(bad.id);
    Recorder recorder;
    for (const Error& error : {error_of([&] { parse_json(bad.text, "config.json"); }),
                               error_of([&] { parse_json(bad.text, "config.json", recorder); })}) {
      INFO(error.what());
      CHECK(error.code() == ErrorCode::bad_file);
      CHECK(error.detail().offset == bad.offset);
      CHECK(contains(error.what(), "config.json: "));
      CHECK(contains(error.what(), bad.part));
    }
  }
  CHECK(contains(error_of([] { parse_json("{\n  \"a\": x}", "f"); }).what(), "line 2, column 8"));
}

TEST_CASE("the same key in different objects is no repetition") {
  CHECK(parse_json(R"([{"a":1},{"a":{"a":2}},{"b":1,"c":{"b":1}}])", "f").value.index() == 5);
  CHECK(parse_json(R"({"a":{"b":1},"b":{"a":2}})", "f").value.index() == 6);
  CHECK(error_of([] { parse_json(R"({"a":{"b":1},"b":2,"a":3})", "f"); }).detail().offset == 19);
}

TEST_CASE("what is nested to the limit is read, one level more is not") {
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK(parse_json(nested(64), "f").value.index() == 5);
  CHECK_THROWS_AS(parse_json(nested(65), "f"), Error);
  CHECK(parse_json("[" + repeated("[],{},", 100) + "0]", "f").value.index() == 5);
}

TEST_CASE("an error deep in a long text has a short message") {
  const std::string text = "[\"" + std::string(8 << 20, 'x') + "\n\"]";
  const Error error = error_of([&] { parse_json(text, "config.json"); });
  CHECK(error.detail().offset == static_cast<std::int64_t>(2 + (8 << 20)));
  CHECK(std::string(error.what()).size() < 1000);
}

TEST_CASE("long strings and many keys are read") {
  // D5
  const Json text = parse_json("{\"long\":\"" + std::string(8 << 20, 'x') + "\"}", "f");
  CHECK(std::get<Json::Object>(text.value).size() == 1);
  std::string keys = "{";
  for (int i = 0; i < 100'000; ++i) keys += (i == 0 ? "\"key" : ",\"key") + std::to_string(i) + "\":0";
  const Json many = parse_json(keys + "}", "f");
  const JsonObject object(many, "f");
  CHECK(object.members().size() == 100'000);
  CHECK(object.get_integer("key99999", 0, 0) == 0);
  CHECK(object.unread_keys().size() == 99'999);
}

TEST_CASE("with the rules of Python's json, numbers that are not finite are numbers where they stand") {
  const auto events = [](std::string_view text) {
    Recorder recorder;
    parse_json(text, "f.json", recorder, 100, {.non_finite = true});
    return recorder.events;
  };
  CHECK(events("[NaN, Infinity,-Infinity\n,1e400 , -1E+400,1e-400,0.5,7]") ==
        "100 [\n101 number nan\n106 number inf\n115 number -inf\n126 number inf\n134 number -inf\n142 number 0\n"
        "149 number 0.5\n153 integer 7\n154 ]\n");
  CHECK(events("NaN") == "100 number nan\n");
  CHECK(events("{\"NaN\":\"\\\"NaN, -Infinity\",\"a\":NaN}") ==
        "100 {\n101 key NaN\n107 string \"NaN, -Infinity\n126 key a\n130 number nan\n133 }\n");
  CHECK(events("[" + std::string(400, '9') + ".0]").starts_with("100 [\n101 number inf\n"));
  CHECK(events("[0." + std::string(400, '0') + "1e2, 1" + std::string(400, '0') + "e-400]") ==
        "100 [\n101 number 0\n508 number 1\n914 ]\n");
  CHECK(events("[1e99999999999999999999,1e-99999999999999999999]") == "100 [\n101 number inf\n124 number 0\n147 ]\n");
  // What Python refuses, too.
  for (const std::string text : {"[nan]", "[NAN]", "[+Infinity]", "[- Infinity]", "[-NaN]", "[Infinity1]", "[1NaN]",
                                 "[01e400]", "[1.e400]", "[.1e400]", "[1e400x]", "[Infinit]", "[\"a\"NaN]", "NaN NaN",
                                 "[NaN", "[\"NaN", "{NaN:1}", "{1e400:1}", "[1e+]"}) {
    INFO(text);
    CHECK(error_of([&] { events(text); }).code() == ErrorCode::bad_file);
  }
  const Json tree = parse_json("{\"a\":NaN,\"b\":-Infinity,\"c\":1e999}", "f", 0, {.non_finite = true});
  const JsonObject object(tree, "f");
  CHECK(contains(error_of([&] { object.get_number("a", 0, 1); }).what(),
                 "a at byte 5: expected a number from 0 to 1, found the number nan"));
  CHECK(contains(error_of([&] { object.get_number("b", 0, 1); }).what(), "found the number -inf"));
  CHECK(contains(error_of([&] { object.get_integer("c", 0, 1); }).what(), "found the number inf"));
}

TEST_CASE("with the rules of Python's json, a key that occurs twice is refused where it is read, else passed over") {
  const std::string text = R"({"a":1,"b":2,"a":3,"c":{"x":1,"x":2,"y":3}})";
  const Json tree = parse_json(text, "f", 0, {.repeated_keys = true});
  const JsonObject object(tree, "f");
  CHECK(object.get_integer("b", 0, 9) == 2);
  CHECK(object.get_object("c").get_integer("y", 0, 9) == 3);
  CHECK(std::string(error_of([&] { object.get_integer("a", 0, 9); }).what()) ==
        "f: a at byte 13: the key occurs twice in one object");
  CHECK(error_of([&] { object.has("a"); }).detail().offset == 13);
  CHECK(error_of([&] { object.get_object("c").get_integer("x", 0, 9); }).detail().field == "c.x");
  CHECK(contains(error_of([&] { parse_json(text, "f"); }).what(), "a at byte 13: the key occurs twice"));
}

TEST_CASE("a tree is limited in values") {
  const Error error = error_of([] { parse_json("[1,2,3]", "f", 0, {64, 3}); });
  CHECK(error.code() == ErrorCode::limit);
  CHECK(error.detail().offset == 5);
  CHECK(contains(error.what(), "too many values (allowed 3)"));
  CHECK(parse_json("[1,2,3]", "f", 0, {64, 4}).value.index() == 5);
}

TEST_CASE("members come one at a time, each complete, under one limit each") {
  std::string seen;
  const auto use = [&](const JsonMember& member) {
    seen += member.key + "@" + std::to_string(member.offset) + "=" + member.value.describe() + ";";
  };
  for_each_json_member(R"({"a":[1,{"x":[]}],"b":{"c":null},"d":2})", "f", use, 10, {64, 5});
  CHECK(seen == "a@11=a list of 2;b@28=an object;d@43=2;");
  CHECK(contains(error_of([&] { for_each_json_member("[1]", "f", use); }).what(),
                 "at byte 0: expected an object, found a list"));
  CHECK(error_of([&] { for_each_json_member("{\"a\":[1,2,3]}", "f", use, 0, {64, 3}); }).code() == ErrorCode::limit);
}

TEST_CASE("a handler stops the reading with an error of its own") {
  class Refuser : public JsonHandler {
   public:
    void start_object() override {}
    void end_object() override {}
    void start_array() override {}
    void end_array() override {}
    void key(std::string_view) override {}
    void string(std::string_view) override {}
    void number(std::int64_t) override { fail("id", "expected a name, found a number"); }
    void number(double) override {}
    void boolean(bool) override {}
    void null() override {}
  } refuser;
  const Error error = error_of([&] { parse_json("{\"x\": 4}", "tokenizer.json", refuser); });
  CHECK(error.code() == ErrorCode::bad_file);
  CHECK(std::string(error.what()) == "tokenizer.json: id at byte 6: expected a name, found a number");
}

TEST_CASE("the demo model's config.json is read") {
  const std::string path = HEADGATE_SOURCE_DIR "/examples/models/tales/config.json";
  const Json json = read_json(path);
  const JsonObject config(json, path);
  CHECK(config.get_string("model_type") == "qwen3_moe");
  CHECK(config.get_index("num_experts", 1, 65536) == 16);
  CHECK(error_of([&] { read_json(path, 10); }).code() == ErrorCode::limit);
}

TEST_CASE("the rules of JSON are strict unless told otherwise") {
  const JsonRules rules;
  CHECK(rules.depth == 64);
  CHECK(rules.tree_values == 1'048'576);
  CHECK_FALSE(rules.non_finite);
  CHECK_FALSE(rules.repeated_keys);
  CHECK(Json{}.offset == -1);
  CHECK(Json{}.is_null());
  CHECK(JsonMember{}.offset == -1);
  CHECK_NOTHROW(parse_json("[1,2]", "f", 0, {.depth = 1, .tree_values = 3}));
  CHECK_THROWS_AS(parse_json("[[]]", "f", 0, {.depth = 1, .tree_values = 3}), Error);
  CHECK_THROWS_AS(parse_json("[1,2,3]", "f", 0, {.depth = 1, .tree_values = 3}), Error);
}

TEST_CASE("a document of 64 MiB is the largest that is read from a file unless told otherwise") {
  const io_test::ScratchFolder folder;
  const std::string path = folder.write("large.json", "");
  std::filesystem::resize_file(path, (std::uint64_t{64} << 20) + 1);
  CHECK(std::string(error_of([&] { read_json(path); }).what()) ==
        path + ": the file is too large (has 67108865 bytes, allowed 67108864)");
  std::filesystem::resize_file(path, std::uint64_t{64} << 20);
  CHECK(std::string(error_of([&] { read_json(path); }).what()) == path + ": at byte 0: not valid JSON: a NUL byte");
}

TEST_CASE("the limit of values counts the document itself with its first member, and each other member anew") {
  const std::string text = R"({"a":[1,2],"b":[1,2,3],"c":[]})";
  std::string seen;
  const auto use = [&](const JsonMember& member) { seen += member.key; };
  for_each_json_member(text, "f", use, 0, {.tree_values = 4});
  CHECK(seen == "abc");
  const Error error = error_of([&] { for_each_json_member(text, "f", use, 0, {.tree_values = 3}); });
  CHECK(error.code() == ErrorCode::limit);
  CHECK(error.detail().offset == 8);
  CHECK(contains(error.what(), "allowed 3"));
}

TEST_CASE("a value alone is a document, and a handler has no place before the first event") {
  CHECK(Recorder().offset() == -1);
  CHECK(Recorder().file().empty());
  CHECK(events_of("12") == "0 integer 12\n");
  CHECK(events_of(" \"\\\\\" ", 3) == "4 string \\\n");
  CHECK(events_of("9223372036854775807") == "0 integer 9223372036854775807\n");
  CHECK(events_of("9223372036854775808") == "0 number 9223372036854775808\n");
  CHECK(events_of("-9223372036854775808") == "0 integer -9223372036854775808\n");
  CHECK(events_of("null") == "0 null\n");
  Recorder recorder;
  parse_json("[\n7]", "named.json", recorder);
  CHECK(recorder.file() == "named.json");
  CHECK(recorder.offset() == 3);
}
