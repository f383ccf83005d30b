#include "headgate/core/aligned_buffer.hpp"

#include <algorithm>
#include <cstdint>
#include <new>

#include "support/catch.hpp"
#include "support/sanitized.hpp"

using namespace headgate;

namespace {

bool aligned(const void* address, std::size_t to) { return reinterpret_cast<std::uintptr_t>(address) % to == 0; }

}  // namespace

TEST_CASE("buffers are aligned and zero; large ones lie on 2 MiB") {
  for (const std::size_t size : {std::size_t{1}, std::size_t{1000}, std::size_t{3} << 20}) {
    AlignedBuffer buffer(size);
    CHECK(buffer.size() == size);
    CHECK(aligned(buffer.data(), size > 1000 ? std::size_t{2} << 20 : 64));
    const std::byte* const bytes = std::as_const(buffer).data();
    CHECK(std::all_of(bytes, bytes + size, [](std::byte b) { return b == std::byte{0}; }));
  }
}

#if !HEADGATE_SANITIZED  // whose allocators end the program
TEST_CASE("a buffer that no machine has is an error, or empty") {
  for (const std::size_t size : {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX - 63, (std::size_t{1} << 47) + 1}) {
    CHECK(AlignedBuffer(size, std::nothrow).size() == 0);
    CHECK(AlignedBuffer(size, std::nothrow).data() == nullptr);
    CHECK_THROWS_AS(AlignedBuffer(size), std::bad_alloc);
  }
}
#endif

TEST_CASE("an empty buffer holds nothing") {
  const AlignedBuffer none;
  CHECK(none.size() == 0);
  CHECK(none.data() == nullptr);
  CHECK(AlignedBuffer(0).data() == nullptr);
}

TEST_CASE("a moved buffer keeps its bytes and its address") {
  AlignedBuffer buffer(100);
  buffer.data()[7] = std::byte{42};
  const std::byte* const address = buffer.data();
  AlignedBuffer moved(std::move(buffer));
  CHECK(moved.data() == address);
  AlignedBuffer other(std::size_t{4} << 20);
  other = std::move(moved);
  CHECK(other.data() == address);
  CHECK(other.data()[7] == std::byte{42});
  CHECK(other.size() == 100);
}
