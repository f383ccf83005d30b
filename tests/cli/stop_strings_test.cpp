#include "../../examples/cli/stop_strings.hpp"

#include <random>
#include <string>
#include <vector>

#include "support/catch.hpp"

namespace {

// The definition: read byte by byte, stop at the first byte that completes a string, cut before the longest such.
std::string expected_text(const std::string& text, const std::vector<std::string>& stops) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::size_t longest = 0;
    for (const std::string& stop : stops) {
      if (text.substr(0, end).ends_with(stop)) longest = std::max(longest, stop.size());
    }
    if (longest > 0) return text.substr(0, end - longest);
  }
  return text;
}

}  // namespace

TEST_CASE("a text ends before the first stop string, however it is cut into pieces") {
  std::mt19937 random(7);
  const auto letters = [&](std::size_t size) {
    std::string text;
    while (text.size() < size) text += static_cast<char>('a' + random() % 2);
    return text;
  };
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::string> stops(random() % 4);
    for (std::string& stop : stops) stop = letters(1 + random() % 5);
    const std::string text = letters(random() % 20);
    StopStrings stop(stops);
    std::string shown;
    for (std::size_t first = 0; first < text.size() && !stop.found();) {
      const std::size_t size = random() % 6;
      shown += stop.append(std::string_view(text).substr(first, size));
      first += size;
    }
    shown += stop.finish();
    CAPTURE(round, text, stops);
    CHECK(shown == expected_text(text, stops));
  }
}

TEST_CASE("only what may begin a stop string is held back") {
  StopStrings stop({"<end>", "de"});
  CHECK(stop.append("abc <") == "abc ");
  CHECK(stop.append("en") == "");
  CHECK(stop.append("x d") == "<enx ");
  CHECK(stop.finish() == "d");
  CHECK_FALSE(stop.found());
}
