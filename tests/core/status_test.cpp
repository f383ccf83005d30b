#include "headgate/core/status.hpp"

#include <string_view>
#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("a status is a success unless it says otherwise") {
  CHECK(Status().ok());
  CHECK(Status::success().ok());
  constexpr Status mismatch = Status::mismatch("k", 9, 7);
  CHECK_FALSE(mismatch.ok());
  CHECK(mismatch.code == ErrorCode::usage);
  CHECK(mismatch.found == 9);
  CHECK(mismatch.allowed == 7);
  CHECK(mismatch.token == -1);
  constexpr Status numeric = Status::not_finite("logit", 1, 2, 3);
  CHECK(numeric.code == ErrorCode::numeric);
  CHECK(numeric.layer == 1);
  CHECK(numeric.token == 2);
  CHECK(numeric.expert == 3);
}

TEST_CASE("error codes are the exit codes of the program") {
  CHECK(static_cast<int>(ErrorCode::ok) == 0);
  CHECK(static_cast<int>(ErrorCode::failure) == 1);
  CHECK(static_cast<int>(ErrorCode::usage) == 2);
  CHECK(static_cast<int>(ErrorCode::bad_file) == 3);
  CHECK(static_cast<int>(ErrorCode::io) == 4);
  CHECK(static_cast<int>(ErrorCode::limit) == 5);
  CHECK(static_cast<int>(ErrorCode::numeric) == 6);
  CHECK(static_cast<int>(ErrorCode::interrupted) == 130);
}

TEST_CASE("what a status does not know is -1, and what it does not compare is 0") {
  for (const Status& status :
       {Status(), Status::success(), Status::mismatch("k", 9, 7), Status::not_finite("z", -1, -1)}) {
    CHECK(status.layer == -1);
    CHECK(status.token == -1);
    CHECK(status.expert == -1);
  }
  CHECK(Status().found == 0);
  CHECK(Status().allowed == 0);
  CHECK(std::string_view(Status().what).empty());
  CHECK(Status::not_finite("z", 1, 2).found == 0);
  CHECK(Status::not_finite("z", 1, 2).allowed == 0);
  CHECK(Status::not_finite("z", 1, 2).expert == -1);
  CHECK(std::string_view(Status::mismatch("k", 9, 7).what) == "k");
}
