// A config.json of arbitrary bytes is read by one family, which the first byte chooses, and refused with an Error: of
// what it says, or, where all of it is understood, of the first tensor, for there are none.
#include "headgate/models/families.hpp"

#include <cstddef>
#include <cstdint>
#include <string>

#include "headgate/io/json.hpp"

namespace {

void require(bool holds) {
  if (!holds) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    const headgate::Json json = headgate::parse_json(text, "fuzz", 0, {.non_finite = true, .repeated_keys = true});
    const headgate::JsonObject object(json, "fuzz");
    int number = 0;
    bool is_read = false;
    headgate::Families::for_each([&](auto family) {
      if (number++ == data[0] % headgate::Families::size) {
        const headgate::Blueprint blueprint = family.blueprint(object, headgate::TensorSource());
        is_read = true;
      }
    });
    require(!is_read);
  } catch (const headgate::Error& error) {
    require(std::string_view(error.what()).size() <= 4096);
    require(error.code() == headgate::ErrorCode::bad_file || error.code() == headgate::ErrorCode::limit);
  }
  return 0;
}
