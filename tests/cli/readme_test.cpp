// The code of the README is code that is compiled and run.
#include <string>

#include "cli/scratch_folder.hpp"
#include "support/catch.hpp"

TEST_CASE("the program in the README is examples/01_route_a_batch.cpp, and has twelve lines") {
  const std::string readme = cli::read_all(HEADGATE_SOURCE_DIR "/README.md");
  const std::string example = cli::read_all(HEADGATE_SOURCE_DIR "/examples/01_route_a_batch.cpp");
  const std::size_t begin = readme.find("```cpp\n") + 7;
  const std::string block = readme.substr(begin, readme.find("```", begin) - begin);
  CHECK(example.ends_with(block));
  // Only a comment stands before it.
  const std::string before = example.substr(0, example.size() - block.size());
  for (std::size_t line = 0; line < before.size(); line = before.find('\n', line) + 1) {
    CHECK((before.compare(line, 2, "//") == 0 || before[line] == '\n'));
  }
  std::size_t lines = 0;
  for (std::size_t line = 0; line < block.size(); line = block.find('\n', line) + 1)
    lines += block[line] == '\n' ? 0u : 1u;
  CHECK(lines <= 12);
}
