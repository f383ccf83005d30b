#include "headgate/tokenizer/gguf_pre_tokenizer.hpp"

#include "headgate/tokenizer/tokenizer.hpp"
#include "support/catch.hpp"
#include "tokenizer/gguf_text.hpp"

using namespace headgate;

namespace {

// The pieces that a text is cut into, with a bar between two.
std::string cut(std::string_view name, const std::string& text) {
  std::vector<PreTokenizer::Step> steps;
  for (const std::string_view pattern : find_gguf_pre_tokenizer(name)->patterns) {
    if (pattern.empty()) break;
    steps.push_back(SplitPieces{Pattern::regex(pattern, "pre"), SplitPieces::Behavior::isolated});
  }
  MatchBudget budget = MatchBudget::for_text(text.size());
  const PieceList list = PreTokenizer(std::move(steps)).split(text, true, budget);
  std::string out;
  for (const PieceList::Piece& piece : list.pieces) out += (out.empty() ? "" : "|") + std::string(list.view(piece));
  return out;
}

}  // namespace

TEST_CASE("every name of a pre-tokenizer is known once, and makes a tokenizer that gives texts back") {
  std::vector<std::string> names;
  const std::string all = gguf_pre_tokenizer_names();
  for (std::size_t begin = 0, end = 0; begin < all.size(); begin = end + 1) {
    end = std::min(all.find(' ', begin), all.size());
    names.push_back(all.substr(begin, end - begin));
  }
  CHECK(names.size() > 50);
  for (const std::string& name : names) {
    CAPTURE(name);
    CHECK(std::count(names.begin(), names.end(), name) == 1);
    REQUIRE(find_gguf_pre_tokenizer(name) != nullptr);
    const Tokenizer tokenizer = Tokenizer::from_gguf(GgufText::bytes(name).vocabulary);
    for (const char* const text : {"the  theory, don't 1234.5\n\n x", "\xE4\xB8\xAD\xE6\x96\x87 \xC3\xA9t\xC3\xA9", ""})
      CHECK(tokenizer.decode(tokenizer.encode(text)) == text);
  }
  for (const char* const name : {"", " ", "llama", "gpt-2 phi-2", "GPT-2"})
    CHECK(find_gguf_pre_tokenizer(name) == nullptr);
}

TEST_CASE("pre-tokenizers cut as the tokenizers that they are named for") {
  CHECK(cut("gpt-2", "I'm 123  I'M\n\nx") == "I|'m| 123| | I|'|M|\n|\n|x");
  CHECK(cut("smollm", "a 123") == "a| |1|2|3");
  CHECK(cut("llama-bpe", "I'M 1234\n\n x") == "I|'M| |123|4|\n\n| x");
  CHECK(cut("glm4", "(ab 1234") == "(ab| |123|4");
  CHECK(cut("qwen2", "I'M 12\xCC\x81") == "I|'M| |1|2|\xCC\x81");
  CHECK(cut("qwen35", "e\xCC\x81g") == "e\xCC\x81g");
  CHECK(cut("qwen2", "e\xCC\x81g") == "e|\xCC\x81g");
  CHECK(cut("gpt-4o", "HelloWorld don't/\n") == "Hello|World| don't|/\n");
  CHECK(cut("tekken", "HelloWorld don't 12") == "Hello|World| don|'t| |1|2");
  CHECK(cut("kimi-k2",
            "\xE4\xB8\xAD\xE6\x96\x87"
            "ab 1234") == "\xE4\xB8\xAD\xE6\x96\x87|ab| |123|4");
  CHECK(cut("deepseek-llm", "a\xC3\xA9 1a, b\n") == "a|\xC3\xA9| |1|a|,| b|\n");  // :-~ holds the letters, too
  CHECK(cut("deepseek-coder", "a\xC3\xA9 1a, b\n") == "a\xC3\xA9| |1|a|,| b|\n");
  CHECK(cut("deepseek-v3",
            "\xE4\xB8\xAD\xE6\x96\x87"
            "ab 1234!cd") == "\xE4\xB8\xAD\xE6\x96\x87|ab| |123|4|!cd");
  CHECK(cut("bailingmoe", "a'll \n\nb") == "a|'ll| \n\n|b");
  CHECK(cut("default", "a+b 1234 c") == "a|+|b| |123|4| c");
}
