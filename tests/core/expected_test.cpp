#include "headgate/core/expected.hpp"

#include "support/catch.hpp"

using namespace headgate;

namespace {

struct MoveOnly {
  explicit MoveOnly(int v) : value(v) {}
  MoveOnly(MoveOnly&&) = default;
  MoveOnly& operator=(MoveOnly&&) = default;
  int value;
};
Expected<MoveOnly> create(int value) {
  if (value < 0) return Status::mismatch("value, at least", value, 0);
  return MoveOnly(value);
}

}  // namespace

TEST_CASE("an expected value can be looked at, changed and moved out") {
  Expected<MoveOnly> made = create(3);
  REQUIRE(made);
  CHECK(made.has_value());
  made.value().value = 4;
  CHECK(std::as_const(made).value().value == 4);
  CHECK(std::move(made).value().value == 4);
  CHECK(create(5).value().value == 5);
}

TEST_CASE("an expected error is kept, and thrown by whoever wants the value") {
  Expected<MoveOnly> failed = create(-2);
  CHECK_FALSE(failed);
  CHECK(failed.error().what() == std::string("value, at least (got -2, allowed 0)"));
  CHECK_THROWS_AS(failed.value(), Error);
  CHECK_THROWS_AS(std::as_const(failed).value(), Error);
  CHECK_THROWS_WITH(create(-3).value(), "value, at least (got -3, allowed 0)");
  const Expected<int> from_error = Error(ErrorCode::io, {"f", "", -1, "gone"});
  CHECK(from_error.error().code() == ErrorCode::io);
}
