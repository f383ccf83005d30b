// What stands beside the weights of a model in its folder, for a folder that is made of it.
#pragma once

#include <cstdint>
#include <string>

#include "headgate/models/checkpoint_documents.hpp"
#include "whole_folder.hpp"

// All but config.json, as it is there; of a GGUF file its vocabulary.
inline void write_documents_beside_config(const std::string& model, WholeFolder& folder) {
  constexpr std::uint64_t max_bytes = std::uint64_t{1} << 30;
  const headgate::Descriptor place = headgate::Descriptor::open(model);
  if (!place.is_folder()) {
    folder.write("tokenizer.gguf", headgate::gguf_vocabulary(headgate::TensorSource::open(model)));
    return;
  }
  for (const char* const name : {"generation_config.json", "tokenizer.json", "tokenizer.gguf", "tokenizer_config.json",
                                 "special_tokens_map.json", "chat_template.jinja"}) {
    if (place.contains(name)) folder.write(name, headgate::read_small_file(place.open_inside(name), max_bytes));
  }
}
