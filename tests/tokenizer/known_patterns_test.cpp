#include "headgate/tokenizer/known_patterns.hpp"

#include "headgate/tokenizer/pattern.hpp"
#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("patterns of published tokenizers are understood, and those of whole words leave no text unmatched") {
  const std::string text = "Don't 1234\n\n\xE4\xB8\xAD\xC3\xA9  (x)\t";
  for (const std::string_view pattern :
       {known_patterns::gpt2, known_patterns::llama3, known_patterns::qwen2, known_patterns::qwen35,
        known_patterns::o200k, known_patterns::tekken, known_patterns::kimi_k2, known_patterns::bailing}) {
    const Pattern compiled = Pattern::regex(pattern, "f");
    MatchBudget budget = MatchBudget::for_text(text.size());
    PatternSearch search(compiled, budget);
    search.start(text);
    std::size_t matched = 0;
    while (const auto match = search.next()) matched += match->end - match->begin;
    CAPTURE(pattern);
    CHECK(matched == text.size());
  }
}
