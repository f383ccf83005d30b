#include "headgate/core/cache_type.hpp"

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("every type of cache has a name") {
  CHECK(name_of(CacheType::f32) == "f32");
  CHECK(name_of(CacheType::f16) == "f16");
  CHECK(name_of(CacheType::q8_0) == "q8_0");
  CHECK(name_of(CacheType{}) == "f32");
}
