// What stands beside the weights of a packed checkpoint, so that it is a folder as any other: config.json, of a GGUF
// file made of its keys, and its vocabulary.
#pragma once

#include <cstring>
#include <string>
#include <utility>

#include "headgate/io/json_text.hpp"
#include "headgate/models/families.hpp"

namespace headgate::inline HEADGATE_ABI {

// The config.json that a family reads for the checkpoint in a GGUF file, whose tensors have its names. Precondition:
// the source is one. Throws as load_model does.
template <class List = Families>
std::string gguf_config_text(const TensorSource& source) {
  GgufTranslation gguf(source);
  std::string text;
  List::visit(std::as_const(gguf), [&](auto family) {
    family.translate(gguf);
    Json json = gguf.config();
    auto& members = std::get<Json::Object>(json.value);
    members.insert(members.begin(), {"model_type", -1, GgufTranslation::json(std::string(family.model_type)), {}});
    text = json_text(json) + "\n";
  });
  return text;
}

// The vocabulary and the chat template of a GGUF file as a GGUF file without tensors. Precondition: the source is one.
inline std::string gguf_vocabulary(const TensorSource& source) {
  std::string keys;
  std::uint64_t count = 0;
  for (const GgufValue& value : source.metadata()->values()) {
    if (!value.key.starts_with("tokenizer.") && value.key != "general.architecture") continue;
    // In the file the length of the key, the key, the type and the value follow one another.
    const char* const begin = value.key.data() - sizeof(std::uint64_t);
    const char* const end = reinterpret_cast<const char*>(value.bytes.data() + value.bytes.size());
    keys.append(begin, end);
    ++count;
  }
  std::string file = "GGUF";
  const auto put = [&file](auto number) { file.append(reinterpret_cast<const char*>(&number), sizeof number); };
  put(std::uint32_t{3});
  put(std::uint64_t{0});
  put(count);
  return file + keys;
}

}  // namespace headgate::inline HEADGATE_ABI
