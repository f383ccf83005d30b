#include "headgate/tokenizer/symbol_merger.hpp"

#include <map>
#include <random>

#include "support/catch.hpp"

using namespace headgate;

namespace {

using Ids = std::vector<std::int32_t>;
using Merges = std::map<std::pair<std::int32_t, std::int32_t>, SymbolMerger::Merge>;

SymbolMerger::Merge find(const Merges& merges, std::int32_t left, std::int32_t right) {
  const auto found = merges.find({left, right});
  return found == merges.end() ? SymbolMerger::Merge{} : found->second;
}

Ids merge_slowly(const Merges& merges, Ids ids) {
  while (true) {
    SymbolMerger::Merge best;
    std::size_t place = 0;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      const SymbolMerger::Merge merge = find(merges, ids[i], ids[i + 1]);
      if (merge.rank < best.rank) best = merge, place = i;
    }
    if (best.rank == SymbolMerger::never) return ids;
    ids[place] = best.result;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
}

// Symbols 0 to 2, then the results: each of its own pair, ranks in any order.
Merges random_merges(std::mt19937& chance, std::int32_t count) {
  Merges merges;
  for (std::int32_t id = 3; id < 3 + count; ++id) {
    const auto any = [&] { return static_cast<std::int32_t>(chance() % static_cast<unsigned>(id)); };
    const auto rank = static_cast<std::int32_t>(chance() % 50);
    merges.emplace(std::pair(any(), any()), SymbolMerger::Merge{rank, id});
  }
  return merges;
}

}  // namespace

TEST_CASE("symbols of any number merge as the definition says, and tokens know where they begin") {
  std::mt19937 chance(21);
  SymbolMerger merger;
  int wrong = 0;
  for (int round = 0; round < 400; ++round) {
    const Merges merges = random_merges(chance, 2 + round % 30);
    const std::size_t sizes[] = {1, 2, 3, 63, 64, 65, 66, 127, 128, 129, 200, 1000};
    for (const std::size_t size : {sizes[chance() % 12], std::size_t{65} + chance() % 400}) {
      Ids symbols;
      // Runs of one symbol, and any.
      while (symbols.size() < size) {
        const auto symbol = static_cast<std::int32_t>(chance() % 3);
        symbols.insert(symbols.end(), 1 + (chance() % 8 == 0 ? chance() % 150 : 0), symbol);
      }
      symbols.resize(size);
      // Two symbols before and one behind are not looked at.
      Ids around = {0, 1};
      around.insert(around.end(), symbols.begin(), symbols.end());
      around.push_back(2);
      const auto last = static_cast<std::int32_t>(size) + 2;
      std::int32_t farthest = 0;
      std::vector<SymbolMerger::Token> tokens = {{77, 0}};
      merger.merge(
          around, 2, last,
          [&](const SymbolMerger::Token& left, const SymbolMerger::Token& right, std::int32_t end) {
            farthest = std::max(farthest, end);
            wrong += left.first < 2 || right.first <= left.first || end <= right.first;
            return find(merges, left.id, right.id);
          },
          tokens);
      wrong += farthest > last || tokens[0].id != 77 || tokens[1].first != 2;
      Ids ids;
      for (std::size_t i = 1; i < tokens.size(); ++i) {
        ids.push_back(tokens[i].id);
        const std::int32_t end = i + 1 < tokens.size() ? tokens[i + 1].first : last;
        const auto part = std::span(around).subspan(as_size(tokens[i].first), as_size(end - tokens[i].first));
        wrong += merge_slowly(merges, Ids(part.begin(), part.end())) != Ids{tokens[i].id};
      }
      wrong += ids != merge_slowly(merges, symbols);
    }
  }
  CHECK(wrong == 0);
}
