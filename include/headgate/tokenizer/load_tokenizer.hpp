// load_tokenizer: the tokenizer of a model, wherever its files keep it.
#pragma once

#include <filesystem>
#include <string>
#include <system_error>

#include "headgate/io/tensor_source.hpp"
#include "headgate/tokenizer/tokenizer.hpp"

namespace headgate::inline HEADGATE_ABI {

// Where load_tokenizer reads: the tokenizer.json of a folder, or the file itself.
inline std::string tokenizer_file(const std::string& model) {
  std::error_code none;
  return std::filesystem::is_directory(model, none) ? model + "/tokenizer.json" : model;
}

// model: a folder with a tokenizer.json, a tokenizer.json, or a GGUF file (of a split one, the first).
// Throws Error (io, bad_file, limit).
inline Tokenizer load_tokenizer(const std::string& model) {
  const std::string file = tokenizer_file(model);
  if (file.ends_with(".json")) return Tokenizer::from_file(file);
  if (file.ends_with(".gguf") || MappedFile::open(file).text().starts_with("GGUF")) {
    const TensorSource source = TensorSource::open(file);
    if (source.metadata() != nullptr) return Tokenizer::from_gguf(*source.metadata());
  }
  throw Error(ErrorCode::bad_file,
              {file, "", -1, "holds no tokenizer (known: a folder with tokenizer.json, a GGUF file)"});
}

}  // namespace headgate::inline HEADGATE_ABI
