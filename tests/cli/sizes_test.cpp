#include "../../examples/cli/sizes.hpp"

#include "support/catch.hpp"

TEST_CASE("numbers of bytes are printed in the decimal unit that leaves one to three digits before the point") {
  CHECK(size_text(std::int64_t{0}) == "0 bytes");
  CHECK(size_text(std::int64_t{999}) == "999 bytes");
  CHECK(size_text(std::int64_t{1000}) == "1.0 kB");
  CHECK(size_text(std::int64_t{18'726'912}) == "18.7 MB");
  CHECK(size_text(std::int64_t{999'949}) == "999.9 kB");
  CHECK(size_text(std::int64_t{999'950}) == "1.0 MB");
  CHECK(size_text(std::int64_t{61'000'000'000}) == "61.0 GB");
  CHECK(size_text(std::int64_t{INT64_MAX}) == "9.2 EB");
  CHECK(size_text(2.5e15) == "2.5 PB");
  CHECK(size_text(1e24) == "1000000.0 EB");
}
