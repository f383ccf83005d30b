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

TEST_CASE("bytes at the ends of printable ASCII, and texts as long as allowed") {
  CHECK(escaped(std::string_view("\x1f \x7e\x7f", 4)) == "\\x1f ~\\x7f");
  CHECK(escaped(std::string_view("\x80\x09", 2)) == "\\x80\\x09");
  const std::string exact(20, 'a');
  CHECK(escaped(exact, 20) == exact);
  CHECK(escaped(exact + "b", 20) == std::string(10, 'a') + "..." + std::string(9, 'a') + "b");
  CHECK(escaped(std::string(200, 'a')) == std::string(200, 'a'));
  CHECK(escaped(std::string(201, 'a')).size() == 203);
  CHECK(ErrorDetail{}.offset == -1);
  const std::string path(1024, 'p');
  CHECK(Error(ErrorCode::io, {path, "", -1, "gone"}).what() == path + ": gone");
  CHECK(std::string(Error(ErrorCode::io, {path + "p", "", -1, "gone"}).what()).size() == 1024 + 3 + 6);
}

TEST_CASE("a status is described with what differs and with places from 0 on") {
  Status status = Status::mismatch("k", 2, 2);
  CHECK(Error::describe(status) == "k");
  status.layer = 0;
  CHECK(Error::describe(status) == "k, layer 0");
  status.layer = -1;
  status.expert = 0;
  CHECK(Error::describe(status) == "k, expert 0");
  CHECK(Error(status).detail().offset == -1);
  CHECK(Error(status).detail().file.empty());
  CHECK(Error(status).detail().what == "k, expert 0");
}
