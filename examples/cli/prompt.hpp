// The prompt of generate and tokenize: text of the command line, of a file or of standard input.
#pragma once

#include <optional>
#include <string>

// The text of -p, or the content of the file of -f (- is standard input), byte for byte, a file's last newline too.
// Throws: usage (exit 2) unless one is given and not empty, io (4), more than 64 MiB (5).
std::string read_prompt(const std::optional<std::string>& text, const std::optional<std::string>& file);
