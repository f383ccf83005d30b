// Arbitrary bytes as UTF-8: taken apart they are as before, what is called whole is well-formed, and characters are
// written as they were read.
#include "headgate/core/utf8.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace {

void require(bool holds) {
  if (!holds) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::size_t invalid = headgate::find_invalid_utf8(text);
  require(invalid == text.npos || invalid < size);
  std::string replaced;
  for (std::size_t i = 0; i < size;) {
    const headgate::Utf8Unit unit = headgate::first_utf8_unit(text.substr(i));
    require(unit.size >= 1 && unit.size <= 4 && unit.size <= size - i);
    const bool is_whole = unit.kind == headgate::Utf8Unit::Kind::complete;
    require(i >= invalid ? i > invalid || !is_whole : is_whole);
    if (is_whole) {
      require(headgate::utf8_size(text[i]) == unit.size);
      const char32_t c = headgate::code_point_at(text, i);
      require(c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF));
      std::string written;
      headgate::append_utf8(written, c);
      require(written == text.substr(i, unit.size));
      require(headgate::previous_utf8(text, i + unit.size) == i);
      replaced += written;
    } else {
      require(unit.kind != headgate::Utf8Unit::Kind::cut || i + unit.size == size);
      replaced += headgate::replacement_character;
    }
    i += unit.size;
  }
  require(headgate::find_invalid_utf8(replaced) == std::string::npos);
  return 0;
}
