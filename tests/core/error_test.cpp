#include "headgate/core/error.hpp"

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("text from files is escaped and cut in the middle") {
  CHECK(escaped("gate.weight") == "gate.weight");
  CHECK(escaped(std::string_view("a\n\x1b[31m\0z", 8)) == "a\\x0a\\x1b[31m\\x00");
  CHECK(escaped("\xff\x7f") == "\\xff\\x7f");
  const std::string text = escaped(std::string(150, 'a') + std::string(150, 'b'), 20);
  CHECK(text == "aaaaaaaaaa...bbbbbbbbbb");
  CHECK(escaped(std::string(1'000'000, '\n')).size() == 4 * 200 + 3);
}

TEST_CASE("an error names file, field and offset as far as they are known") {
  const auto text = [](const char* file, const char* field, std::int64_t offset) {
    return std::string(Error(ErrorCode::bad_file, {file, field, offset, "got 3, allowed 2"}).what());
  };
  CHECK(text("m/config.json", "k", 17) == "m/config.json: k at byte 17: got 3, allowed 2");
  CHECK(text("m/config.json", "k", -1) == "m/config.json: k: got 3, allowed 2");
  CHECK(text("m/config.json", "", 0) == "m/config.json: at byte 0: got 3, allowed 2");
  CHECK(text("m/config.json", "", -1) == "m/config.json: got 3, allowed 2");
  CHECK(text("", "k", -1) == "k: got 3, allowed 2");
  CHECK(text("", "a\tb", 4) == "a\\x09b at byte 4: got 3, allowed 2");
  const Error error(ErrorCode::io, {"f", "g", 5, "h"});
  CHECK(error.code() == ErrorCode::io);
  CHECK(error.detail().file == "f");
  CHECK(error.detail().offset == 5);
}

TEST_CASE("a status becomes an error that names layer, token and expert") {
  Status status = Status::mismatch("expert id", 9, 7);
  CHECK(Error::describe(status) == "expert id (got 9, allowed 7)");
  status.layer = 3;
  status.token = 0;
  status.expert = 9;
  CHECK(Error(status).what() == std::string("expert id (got 9, allowed 7), layer 3, token 0, expert 9"));
  CHECK(Error(status).code() == ErrorCode::usage);
  CHECK(Error(Status::not_finite("logit", -1, 5)).what() == std::string("logit, token 5"));
  CHECK_NOTHROW(throw_if_error(Status::success()));
  CHECK_THROWS_AS(throw_if_error(status), Error);
}
