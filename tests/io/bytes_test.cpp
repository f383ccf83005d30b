#include "headgate/io/bytes.hpp"

#include "io/refusal.hpp"
#include "io/safetensors_writer.hpp"
#include "support/catch.hpp"

#include <array>

namespace {

using namespace headgate;
using io_test::bytes_of;
using io_test::contains;
using io_test::error_of;

static_assert(!std::is_constructible_v<Bytes, std::vector<std::byte>, const char*>);  // bytes of a temporary
static_assert(std::is_constructible_v<Bytes, std::vector<std::byte>&, const char*>);

}  // namespace

TEST_CASE("a cursor takes numbers and text at any alignment and knows where it stands") {
  Bytes cursor(bytes_of(std::string_view("x\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\xffrest", 17)), "f");
  CHECK(cursor.take_text(1, "first") == "x");
  CHECK(cursor.take_u64("long") == 0x0807060504030201u);
  CHECK(cursor.position() == 9);
  CHECK(cursor.remaining() == 8);
  CHECK(cursor.take_u32("short") == 0xff0b0a09u);
  CHECK(cursor.take(0, "nothing").empty());
  CHECK(cursor.take(4, "rest").size() == 4);
  CHECK(cursor.remaining() == 0);
}

TEST_CASE("a cursor refuses to take more than there is, whatever the number") {
  Bytes cursor(bytes_of("0123456789"), "some.file");
  cursor.take(3, "start");
  for (const std::uint64_t count :
       {std::uint64_t{8}, std::uint64_t{1} << 32, std::uint64_t{1} << 63, ~std::uint64_t{0}, ~std::uint64_t{0} - 2}) {
    const Error error = error_of([&] { cursor.take(count, "table"); });
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(std::string(error.what()) ==
          "some.file: table at byte 3: the file ends too early (needs " + std::to_string(count) + " bytes, has 7)");
    CHECK(cursor.position() == 3);
  }
  CHECK(contains(error_of([&] { cursor.take_u64("count"); }).what(), "count at byte 3"));
  CHECK(cursor.take_u32("fits") != 0);
}

TEST_CASE("sizes that do not fit 64 bits are noticed") {
  constexpr std::uint64_t large = ~std::uint64_t{0};
  CHECK(checked_multiply(3, 5) == 15u);
  CHECK(checked_multiply(0, large) == 0u);
  CHECK(checked_multiply(large, 1) == large);
  CHECK(checked_multiply(std::uint64_t{1} << 32, (std::uint64_t{1} << 32) - 1).has_value());
  CHECK_FALSE(checked_multiply(std::uint64_t{1} << 32, std::uint64_t{1} << 32).has_value());
  CHECK_FALSE(checked_multiply(large, 2).has_value());
  CHECK(checked_add(large - 1, 1) == large);
  CHECK_FALSE(checked_add(large, 1).has_value());
}
