// Compiled patterns of PCRE2, and what Unicode is to the installed version. The only file that includes PCRE2.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "headgate/core/error.hpp"
#include "headgate/core/utf8.hpp"
#include "headgate/tokenizer/unicode_properties.hpp"

#ifndef PCRE2_CODE_UNIT_WIDTH  // whichever it is: the names that end in _8 are always there
#define PCRE2_CODE_UNIT_WIDTH 8
#endif
#include <pcre2.h>

namespace headgate::inline HEADGATE_ABI {

struct PatternCodeDelete {
  void operator()(pcre2_code_8* code) const noexcept { pcre2_code_free_8(code); }
  void operator()(pcre2_compile_context_8* context) const noexcept { pcre2_compile_context_free_8(context); }
  void operator()(pcre2_match_data_8* data) const noexcept { pcre2_match_data_free_8(data); }
  void operator()(pcre2_match_context_8* context) const noexcept { pcre2_match_context_free_8(context); }
};
using PatternCode = std::shared_ptr<pcre2_code_8>;  // only read once compiled

// Null, and why, where the pattern is none. Only a line feed ends a line.
inline PatternCode compile_pattern(std::string_view pattern, std::uint32_t options, std::string* why = nullptr) {
  const std::unique_ptr<pcre2_compile_context_8, PatternCodeDelete> context(pcre2_compile_context_create_8(nullptr));
  if (context == nullptr) throw Error(ErrorCode::limit, {"", "", -1, "out of memory while compiling a pattern"});
  pcre2_set_newline_8(context.get(), PCRE2_NEWLINE_LF);
  int code = 0;
  std::size_t offset = 0;
  PatternCode compiled(pcre2_compile_8(reinterpret_cast<PCRE2_SPTR8>(pattern.data()), pattern.size(),
                                       PCRE2_UTF | options, &code, &offset, context.get()),
                       PatternCodeDelete());
  if (compiled == nullptr && why != nullptr) {
    PCRE2_UCHAR8 message[256];
    pcre2_get_error_message_8(code, message, sizeof message);
    why->assign(message, std::find(message, message + sizeof message, 0));
  }
  return compiled;
}

// For PatternTranslator.
class InstalledUnicode {
 public:
  bool is_script(std::string_view name) const {
    return compile_pattern("\\p{sc:" + std::string(name) + "}", PCRE2_UCP) != nullptr;
  }

  // The characters of the table of changes, and what was unassigned in Unicode 16 and is no longer.
  const std::vector<char32_t>& points() const {
    static const std::vector<char32_t> all = [] {
      std::vector<char32_t> points, unassigned;
      for (const UnicodeChange& row : unicode_changes) {
        for (char32_t c = row.first; c <= row.last; ++c) points.push_back(c);
      }
      for (const UnicodeRange& range : unassigned_characters) {
        for (char32_t c = range.first; c <= range.last; ++c) {
          if (c < 0x40000 || (c >= 0xE0000 && c < 0xE1000)) unassigned.push_back(c);
        }
      }
      const std::vector<bool> is_unassigned = members("\\p{Cn}", unassigned);
      for (std::size_t i = 0; i < unassigned.size(); ++i) {
        if (!is_unassigned[i]) points.push_back(unassigned[i]);
      }
      std::sort(points.begin(), points.end());
      return points;
    }();
    return all;
  }

  // Which of them are in [text].
  std::vector<bool> members(const std::string& text) const { return members(text, points()); }

 private:
  static std::vector<bool> members(const std::string& text, const std::vector<char32_t>& points) {
    std::string subject;
    for (const char32_t c : points) append_utf8(subject, c);
    const PatternCode code = compile_pattern("[" + text + "]++", PCRE2_UCP);
    const std::unique_ptr<pcre2_match_data_8, PatternCodeDelete> data(pcre2_match_data_create_8(1, nullptr));
    std::vector<bool> members(points.size(), false);
    if (code == nullptr || data == nullptr) return members;
    std::size_t at = 0, point = 0;
    while (pcre2_match_8(code.get(), reinterpret_cast<PCRE2_SPTR8>(subject.data()), subject.size(), at,
                         PCRE2_NO_UTF_CHECK, data.get(), nullptr) > 0) {
      const std::size_t* const found = pcre2_get_ovector_pointer_8(data.get());
      for (; at < found[1]; at += utf8_size(subject[at]), ++point) members[point] = at >= found[0];
    }
    return members;
  }
};

}  // namespace headgate::inline HEADGATE_ABI
