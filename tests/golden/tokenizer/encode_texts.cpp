// For compare_random.py: reads texts from standard input, each as its size in bytes, a line feed and the bytes; writes
// the ids of each as a line, or ! and what is wrong with it.
//   encode_texts MODEL
#include <cstdio>
#include <iostream>
#include <string>

#include "headgate/tokenizer/load_tokenizer.hpp"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const headgate::Tokenizer tokenizer = headgate::load_tokenizer(argv[1]);
  std::size_t size = 0;
  while (std::cin >> size) {
    std::string text(size, '\0');
    std::cin.get();
    std::cin.read(text.data(), static_cast<std::streamsize>(size));
    std::string line;
    try {
      for (const std::int32_t id : tokenizer.encode(text, {.add_special_tokens = false}))
        line += (line.empty() ? "" : " ") + std::to_string(id);
    } catch (const headgate::Error& error) {
      line = std::string("!") + error.what();
    }
    std::puts(line.c_str());
  }
}
