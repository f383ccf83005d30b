// load_tokenizer: the tokenizer of a model, wherever its files keep it.
#pragma once

#include <filesystem>
#include <string>
#include <system_error>

#include "headgate/io/tensor_source.hpp"
#include "headgate/tokenizer/tokenizer.hpp"

namespace headgate::inline HEADGATE_ABI {

// Where load_tokenizer reads: the tokenizer.json of a folder, or else its tokenizer.gguf, which headgate quantize makes
// of a GGUF file; or the file itself.
inline std::string tokenizer_file(const std::string& model) {
  std::error_code none;
  if (!std::filesystem::is_directory(model, none)) return model;
  const std::string of_gguf = model + "/tokenizer.gguf";
  const bool has_json = std::filesystem::exists(model + "/tokenizer.json", none);
  return !has_json && std::filesystem::exists(of_gguf, none) ? of_gguf : model + "/tokenizer.json";
}

// model: a folder with a tokenizer.json or tokenizer.gguf, a tokenizer.json, or a GGUF file (of a split one, the
// first). Throws Error (io, bad_file, limit).
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
