// "did you mean ...?" for a word that was not understood.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// The number of letters to add, drop or change to make b of a.
inline std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t changed = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, row[j] + 1, diagonal + 1});
    }
  }
  return row[b.size()];
}

// Names the known word nearest to the one typed, if it is near enough to be a slip.
inline std::string suggestion(std::string_view typed, const std::vector<std::string>& known) {
  typed = typed.substr(0, std::min<std::size_t>(typed.find('='), 32));
  const std::string* nearest = nullptr;
  std::size_t least = 4;
  for (const std::string& word : known) {
    const std::size_t distance = edit_distance(typed, word);
    if (distance < least && distance < typed.size()) {
      least = distance;
      nearest = &word;
    }
  }
  return nearest == nullptr ? "see --help" : "did you mean " + *nearest + "?";
}
