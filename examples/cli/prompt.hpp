// The prompt of generate and tokenize: text of the command line, of a file or of standard input, and its tokens.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "headgate/core/types.hpp"
#include "headgate/tokenizer/tokenizer.hpp"

// The text of -p, or the content of the file of -f (- is standard input), byte for byte, a file's last newline too.
// Throws: usage (exit 2) unless one is given, io (4), more than 64 MiB (5).
std::string read_prompt(const std::optional<std::string>& text, const std::optional<std::string>& file);

// Throws bad_file (3) where the value of a flag is not UTF-8, with the byte.
void require_utf8(const std::string& text, const char* flag);

// The tokens of the text, with what tokenizer.json puts in front. Throws: usage where there are none; flag names where
// the text is from.
std::vector<std::int32_t> encode_prompt(const headgate::Tokenizer& tokenizer, const std::string& text,
                                        const char* flag);

// A tokenizer may know more tokens than the model has rows for: a text with one of those is refused (exit 3) by its
// name. file: tokenizer.json.
void require_embedded(std::span<const std::int32_t> ids, headgate::index_t vocab_size,
                      const headgate::Tokenizer& tokenizer, const std::string& file);
