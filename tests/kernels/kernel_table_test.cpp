#include "headgate/kernels/kernel_table.hpp"

#include <string_view>
#include <type_traits>

#include "headgate/kernels/scalar.hpp"
#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("a table of kernels is plain data without an empty entry") {
  STATIC_REQUIRE(std::is_trivially_copyable_v<KernelTableV2>);
  STATIC_REQUIRE(std::is_standard_layout_v<KernelTableV2>);
  static constexpr KernelTableV2 table = make_kernel_table<Scalar>("some name");
  CHECK(std::string_view(table.name) == "some name");
  void* entries[sizeof(KernelTableV2) / sizeof(void*)];
  static_assert(sizeof(entries) == sizeof(table));
  std::memcpy(entries, &table, sizeof(table));
  for (void* const entry : entries) CHECK(entry != nullptr);
}
