// Arbitrary bytes, alone or inside a good template, are refused as a chat template with an Error or become a format,
// which writes a conversation of the same bytes without making a control token of them.
#include "headgate/tokenizer/chat_template.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace {

void require(bool holds) {
  if (!holds) __builtin_trap();
}

void recognise(const std::string& jinja, const std::string& said) {
  try {
    const headgate::ChatFormat format = headgate::ChatTemplate(jinja).format({"<s>", "</s>"}, "fuzz");
    for (const bool answer : {true, false}) {
      const headgate::ChatMessage messages[] = {{"user", said}, {"assistant", said}, {"user", said}};
      for (const headgate::ChatSegment& segment : format.segments(messages, answer)) {
        require(!segment.is_control || segment.message < 0);
        require(!segment.text.empty() && segment.message < 3);
      }
    }
  } catch (const headgate::Error& error) {
    require(std::string_view(error.what()).size() <= 4096);
    require(error.code() == headgate::ErrorCode::bad_file || error.code() == headgate::ErrorCode::usage);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::string around[] = {"<|im_start|>system\n",
                                       "<|im_end|>{{'<|im_start|>assistant\n'}}",
                                       "{%- set system_message = \"",
                                       "'<|start_of_role|>assistant<|end_of_role|><|end_of_text|>\n'",
                                       "<|im_system|>system<|im_middle|>",
                                       "<|im_end|><|im_user|><|im_assistant|>"};
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  recognise(bytes, bytes);
  for (std::size_t i = 0; i + 1 < std::size(around); i += 2) recognise(around[i] + bytes + around[i + 1], bytes);
  return 0;
}
