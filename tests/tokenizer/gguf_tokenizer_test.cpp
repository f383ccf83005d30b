#include "headgate/tokenizer/gguf_tokenizer.hpp"

#include <limits>
#include <random>

#include "headgate/tokenizer/load_tokenizer.hpp"
#include "headgate/tokenizer/tokenizer.hpp"
#include "support/catch.hpp"
#include "support/shared_data.hpp"
#include "tokenizer/gguf_text.hpp"
#include "tokenizer/refusal.hpp"

using namespace headgate;

namespace {

using Ids = std::vector<std::int32_t>;
constexpr EncodeOptions bare{.add_special_tokens = false};

void check_bad(const GgufText& text, std::string_view says, ErrorCode code = ErrorCode::bad_file) {
  const Refusal refusal = refusal_of([&] { Tokenizer::from_gguf(text.vocabulary, "m.gguf"); });
  CAPTURE(refusal.text, says);
  CHECK(refusal.code == code);
  CHECK(refusal.text.starts_with("m.gguf: tokenizer.ggml."));
  CHECK(refusal.says(says));
  CHECK(refusal.text.size() < 4096);
}

// Of a whole file: the key's place is known.
void check_bad_file(const io_test::GgufWriter& writer, std::string_view says) {
  const std::string bytes = writer.file();
  const Refusal refusal =
      refusal_of([&] { Tokenizer::from_gguf(read_gguf(std::as_bytes(std::span(bytes)), "m.gguf").metadata); });
  CAPTURE(refusal.text, says);
  CHECK(refusal.code == ErrorCode::bad_file);
  CHECK(refusal.says(says));
}

// The definition: the neighbours whose text is the token of the highest score become it, the leftmost of equals.
Ids merge_slowly(const GgufVocabulary& vocabulary, const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t i = 0, size = 0; i < text.size(); i += size) {
    size = utf8_size(text[i]);
    parts.push_back(text.substr(i, size));
  }
  const auto id_of = [&](const std::string& part) {
    for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
      if (vocabulary.tokens[id] == part && (vocabulary.types[id] == 1 || vocabulary.types[id] == 4))
        return static_cast<std::int32_t>(id);
    }
    return -1;
  };
  while (true) {
    std::size_t best = parts.size();
    float score = -std::numeric_limits<float>::infinity();
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const std::int32_t id = id_of(parts[i] + parts[i + 1]);
      if (id >= 0 && vocabulary.scores[as_size(id)] > score) best = i, score = vocabulary.scores[as_size(id)];
    }
    if (best == parts.size()) break;
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
  Ids ids;
  for (const std::string& part : parts) {
    if (const std::int32_t id = id_of(part); id >= 0) {
      ids.push_back(id);
    } else {
      for (const char byte : part) ids.push_back(3 + static_cast<unsigned char>(byte));
    }
  }
  return ids;
}

}  // namespace

TEST_CASE("the vocabularies that llama.cpp publishes with its test vectors give its ids, and their texts come back") {
  for (const std::string name : {"gpt-2", "deepseek-llm", "llama-spm", "phi-3"}) {
    const auto file = shared_data("data/tokenizers/ggml-vocab-" + name + ".gguf");
    if (!file) continue;
    const Tokenizer tokenizer = load_tokenizer(file->string());
    const std::string texts = read_small_file(file->string() + ".inp", 1 << 20);
    const std::string lines = read_small_file(file->string() + ".out", 1 << 20);
    const std::string separator = "\n__ggml_vocab_test__\n";
    int count = 0;
    for (std::size_t text = 0, line = 0; text < texts.size(); ++count) {
      const std::size_t text_end = std::min(texts.find(separator, text), texts.size());
      const std::size_t line_end = std::min(lines.find('\n', line), lines.size());
      const std::string original = texts.substr(text, text_end - text);
      const Ids ids = tokenizer.encode(original, {.add_special_tokens = false, .parse_special = false});
      std::string printed;
      for (const std::int32_t id : ids) printed += " " + std::to_string(id);
      CAPTURE(name, original);
      CHECK(printed == lines.substr(line, line_end - line));
      CHECK(tokenizer.decode(ids) == original);
      text = text_end + separator.size();
      line = line_end + 1;
    }
    CHECK(count == 46);
  }
}

TEST_CASE("merges of a GGUF vocabulary, its control tokens and what the user defined") {
  const GgufText text = GgufText::bytes();
  const Tokenizer tokenizer = Tokenizer::from_gguf(text.vocabulary);
  CHECK(tokenizer.encode("the aa") == Ids{257, ' ', 258});  // gpt2 adds nothing unless told to
  CHECK(tokenizer.encode("a<|end|><think>") == Ids{'a', 259, 260});
  const Ids plain = tokenizer.encode("<|end|><think>", {.parse_special = false});
  CHECK(plain == Ids{'<', '|', 'e', 'n', 'd', '|', '>', 260});
  CHECK(tokenizer.decode(plain) == "<|end|><think>");
  CHECK(tokenizer.decode(Ids{'a', 259, 'b'}) == "ab");
  CHECK(tokenizer.decode(Ids{'a', 259}, {.skip_special = false}) == "a<|end|>");
  CHECK(tokenizer.is_special(259));
  CHECK_FALSE(tokenizer.is_special(260));
  CHECK(tokenizer.vocab_size() == 261);
  CHECK(tokenizer.max_id() == 260);
  CHECK(tokenizer.id_of("<|end|>") == 259);
}

TEST_CASE("flags of a GGUF vocabulary say which tokens stand around a text, and have llama.cpp's defaults") {
  GgufText text = GgufText::bytes();
  const auto ids = [&] { return Tokenizer::from_gguf(text.vocabulary).encode("a"); };
  text.vocabulary.add_eos = true;
  CHECK(ids() == Ids{'a', 259});
  text.vocabulary.pre = "llama-bpe";  // adds the first token
  CHECK(ids() == Ids{259, 'a', 259});
  text.vocabulary.add_bos = false;
  text.vocabulary.add_eos = false;
  CHECK(ids() == Ids{'a'});
  text.vocabulary.add_space_prefix = true;  // means nothing to byte-level BPE
  CHECK(ids() == Ids{'a'});

  text = GgufText::pieces();
  CHECK(ids() == Ids{1, 263});
  text.vocabulary.add_eos = true;
  CHECK(ids() == Ids{1, 263, 2});
  text.vocabulary.add_bos = false;
  text.vocabulary.add_space_prefix = false;
  CHECK(ids() == Ids{260, 2});
  text.vocabulary.add_bos = true;
  text.vocabulary.bos_id = 2;
  CHECK(ids() == Ids{2, 260, 2});
}

TEST_CASE("text becomes the tokens of the highest scores, its other characters bytes") {
  const GgufText text = GgufText::pieces();
  const Tokenizer tokenizer = Tokenizer::from_gguf(text.vocabulary);
  CHECK(tokenizer.encode("ab", bare) == Ids{259, 262});  // -1 before -2
  CHECK(tokenizer.encode("aab", bare) == Ids{263, 262});
  CHECK(tokenizer.encode(" a", bare) == Ids{259, 263});
  CHECK(tokenizer.encode("a\xC3\xA9", bare) == Ids{263, 3 + 0xC3, 3 + 0xA9});
  CHECK(tokenizer.encode("<x>a<s>b", bare) == Ids{264, 263, 1, 259, 261});  // the mark after each of them
  CHECK(tokenizer.decode(tokenizer.encode("<x>a<s> b\xC3\xA9")) == "<x> a  b\xC3\xA9");
  for (const char* const round : {"", " ", "  a b", "ab\n", "\xE2\x82\xAC", "a a a"})
    CHECK(tokenizer.decode(tokenizer.encode(round)) == round);
  CHECK(tokenizer.encode("", bare).empty());
}

TEST_CASE("control, byte and unused tokens never come of merging text") {
  GgufText text = GgufText::pieces();
  for (const char* const letter :
       {"<", "s", "0", "x", "4", "1", ">", "<s", "<0", "<0x", "<0x4", "<0x41", "[P", "[", "P"})
    text.token(letter, GgufTokenType::normal, -1.0f);
  text.token("[P>", GgufTokenType::unused);
  const Tokenizer tokenizer = Tokenizer::from_gguf(text.vocabulary);
  const auto texts = [&](std::string_view all) {
    std::vector<std::string> tokens;
    for (const std::int32_t id : tokenizer.encode(all, {.add_special_tokens = false, .parse_special = false}))
      tokens.emplace_back(*tokenizer.token_text(id));
    tokens.erase(tokens.begin());  // the mark
    return tokens;
  };
  CHECK(texts("<s>") == std::vector<std::string>{"<s", ">"});
  CHECK(texts("<0x41>") == std::vector<std::string>{"<0x41", ">"});
  CHECK(texts("[P>") == std::vector<std::string>{"[P", ">"});
}

TEST_CASE("a character that is no token may become part of one") {
  GgufText text = GgufText::pieces();
  text.token("cd", GgufTokenType::normal, -3.0f);
  text.token("\xC3\xA9\xC3\xA9", GgufTokenType::normal, -3.0f);
  const Tokenizer tokenizer = Tokenizer::from_gguf(text.vocabulary);
  CHECK(tokenizer.encode("acd", bare) == Ids{263, 265});
  CHECK(tokenizer.encode("ac", bare) == Ids{263, 3 + 'c'});
  CHECK(tokenizer.encode("a\xC3\xA9\xC3\xA9\xC3\xA9", bare) == Ids{263, 266, 3 + 0xC3, 3 + 0xA9});
}

TEST_CASE("without byte tokens a run of unknown characters is one unknown token, or named where there is none") {
  GgufText text;
  text.vocabulary.model = "llama";
  text.token("<unk>", GgufTokenType::unknown);
  text.token("<s>", GgufTokenType::control);
  text.token("</s>", GgufTokenType::control);
  text.token("\xE2\x96\x81");
  text.token("a");
  CHECK(Tokenizer::from_gguf(text.vocabulary).encode("axya", bare) == Ids{3, 4, 0, 4});
  GgufText none;
  none.vocabulary.model = "llama";
  none.vocabulary.add_bos = false;
  none.token("\xE2\x96\x81");
  none.token("a");
  const Tokenizer tokenizer = Tokenizer::from_gguf(none.vocabulary);
  CHECK(tokenizer.encode("aa") == Ids{0, 1, 1});
  const Refusal refusal = refusal_of([&] { tokenizer.encode("aax"); });
  CHECK(refusal.code == ErrorCode::bad_file);
  CHECK(refusal.says("no token for 'x'"));
}

TEST_CASE("random scores give what the definition gives, in short texts and in long ones") {
  std::mt19937 chance(5);
  int wrong = 0;
  for (int round = 0; round < 60; ++round) {
    GgufText text = GgufText::pieces();
    text.vocabulary.add_bos = text.vocabulary.add_space_prefix = false;
    std::vector<std::string> known = {"a", "b", "ab"};
    while (known.size() < 24) {
      std::string token = known[chance() % known.size()] + known[chance() % known.size()];
      if (chance() % 4 == 0) token += "c";  // which is no token
      if (std::find(known.begin(), known.end(), token) != known.end()) continue;
      text.token(token, GgufTokenType::normal, -static_cast<float>(chance() % 8));
      known.push_back(token);
    }
    const Tokenizer tokenizer = Tokenizer::from_gguf(text.vocabulary);
    const std::size_t longest = round == 0 ? 2600 : 90;  // a long one takes the other way through the queue
    for (int i = 0; i < (round == 0 ? 1 : 20); ++i) {
      std::string sample;
      for (std::size_t n = round == 0 ? longest : 1 + chance() % longest; n > 0; --n) sample += "aabbc"[chance() % 5];
      wrong += tokenizer.encode(sample) != merge_slowly(text.vocabulary, sample);
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("tokens that end a text or a turn are control tokens, whatever the file calls them") {
  GgufText text = GgufText::bytes();
  text.vocabulary.types.assign(text.vocabulary.types.size(), 1);
  text.vocabulary.eos_id = 260;  // <think>
  const Tokenizer tokenizer = Tokenizer::from_gguf(text.vocabulary);
  CHECK(tokenizer.is_special(259));  // by its name, <|end|>
  CHECK(tokenizer.is_special(260));
  CHECK(tokenizer.encode("<think>", {.parse_special = false}).size() == 6);  // < th i n k >
  text.vocabulary.types.clear();
  CHECK(Tokenizer::from_gguf(text.vocabulary).is_special(259));
}

TEST_CASE("Phi-3's control tokens take the white space after them along") {
  GgufText text = GgufText::pieces();
  text.token("<|user|>", GgufTokenType::control);
  CHECK(Tokenizer::from_gguf(text.vocabulary).encode("<|user|>\n a", bare) == Ids{265, 259, 3 + '\n', 263});
  text.vocabulary.strips_after_control = true;
  CHECK(Tokenizer::from_gguf(text.vocabulary).encode("<|user|>\n a<s> a", bare) == Ids{265, 263, 1, 259, 263});
}

TEST_CASE("added tokens of byte-level BPE are their own text, also where that looks like a byte") {
  GgufText text = GgufText::bytes();
  text.token("\xC3\xB6\xC3\xB6", GgufTokenType::user_defined);
  const Tokenizer tokenizer = Tokenizer::from_gguf(text.vocabulary);
  CHECK(tokenizer.decode(tokenizer.encode("x\xC3\xB6\xC3\xB6")) == "x\xC3\xB6\xC3\xB6");
}

TEST_CASE("a token without text adds none, and a merge into a control token does not happen") {
  GgufText text = GgufText::bytes();
  text.token("");
  text.token("");
  text.token("ba", GgufTokenType::control);
  text.vocabulary.merges.push_back("b a");
  const Tokenizer tokenizer = Tokenizer::from_gguf(text.vocabulary);
  CHECK(tokenizer.decode(Ids{261, 'a', 262}) == "a");
  CHECK(tokenizer.encode("ba", {.parse_special = false}) == Ids{'b', 'a'});
}

TEST_CASE("C24 tokens that are missing, twice there or no list of strings are refused") {
  GgufText text = GgufText::bytes();
  text.token("the");
  check_bad(text, "tokens: token 261 occurs twice: 'the'");
  text = GgufText::bytes();
  text.token("the", GgufTokenType::control);
  check_bad(text, "occurs twice");
  text = GgufText();
  text.vocabulary.model = "gpt2";
  text.vocabulary.pre = "gpt-2";
  check_bad(text, "tokens: the vocabulary is missing or empty");
  text = GgufText::bytes();
  text.vocabulary.types.assign(text.vocabulary.types.size(), 3);
  check_bad(text, "no token stands for text");
  text = GgufText::bytes();
  check_bad_file(gguf_file(text.vocabulary, {"tokens"}), "tokenizer.ggml.tokens: the key is missing");
  check_bad_file(gguf_file(text.vocabulary, {"tokens"}).key("tokenizer.ggml.tokens", io_test::gguf_array(0, 3, "abc")),
                 "expected a list of strings");
  text.token("\xFF");
  check_bad(text, "token 261 is not UTF-8");
}

TEST_CASE("C25 scores and types of other kinds, too few or unknown are refused") {
  GgufText text = GgufText::pieces();
  text.vocabulary.scores.pop_back();
  check_bad(text, "scores: 264 scores of 265 tokens");
  text.vocabulary.scores.clear();
  check_bad(text, "scores: 0 scores of 265 tokens");
  text = GgufText::pieces();
  text.vocabulary.scores[260] = std::numeric_limits<float>::quiet_NaN();
  check_bad(text, "the score of token 260 is not finite");
  text = GgufText::pieces();
  text.vocabulary.types.pop_back();
  check_bad(text, "token_type: 264 types of 265 tokens");
  for (const std::int64_t type : {99, 0, 7, -1}) {
    text = GgufText::pieces();
    text.vocabulary.types[260] = type;
    check_bad(text, "token_type: unknown type " + std::to_string(type));
    check_bad_file(gguf_file(text.vocabulary), "expected integers from 1 to 6");
  }
  text = GgufText::pieces();
  check_bad_file(gguf_file(text.vocabulary, {"scores"})
                     .key("tokenizer.ggml.scores", io_test::gguf_array(1, 265, std::string(265, '\1'))),
                 "expected a list of f32");
  check_bad_file(gguf_file(text.vocabulary, {"token_type"})
                     .key("tokenizer.ggml.token_type", io_test::gguf_array(1, 265, std::string(265, '\1'))),
                 "expected a list of i32");
}

TEST_CASE("C26 a byte token that names no byte is refused") {
  for (const char* const name : {"<0x-1>", "<0xZZ>", "<0x100>", "a"}) {
    GgufText text = GgufText::pieces();
    text.vocabulary.tokens[5] = name;
    if (std::string_view(name) == "a") text.vocabulary.tokens[260] = "q";
    check_bad(text, "token 5 is no byte token");
  }
}

TEST_CASE("C27 a token of a megabyte is refused") {
  GgufText text = GgufText::bytes();
  text.token(std::string(65535, 'x'));
  CHECK(Tokenizer::from_gguf(text.vocabulary).vocab_size() == 262);
  text.token(std::string(1 << 20, 'y'));
  check_bad(text, "token 262 has 1048576 bytes, at most 65535");
  text = GgufText::bytes();
  for (int i = 0; i < 40; ++i) text.token(std::string(60000, static_cast<char>('0' + i)), GgufTokenType::user_defined);
  check_bad(text, "user-defined tokens", ErrorCode::limit);
}

TEST_CASE("C28 models, pre-tokenizers, merges and ids that are not understood are refused") {
  GgufText text = GgufText::bytes();
  text.vocabulary.model = "t5";
  check_bad(text, "model: unknown tokenizer 't5' (known: gpt2, llama)");
  text = GgufText::bytes("gemma4");
  check_bad(text, "pre: unknown pre-tokenizer 'gemma4' (known: default llama-bpe ");
  for (const char* const name : {"", "llama", "llama-bpe lfm2", " "}) check_bad(GgufText::bytes(name), "pre: ");
  for (const char* const merge : {"th", "t h e", " t", "t ", "", " "}) {
    text = GgufText::bytes();
    text.vocabulary.merges[1] = merge;
    check_bad(text, "merges: merge 1 is not a pair of tokens");
  }
  text = GgufText::bytes();
  text.vocabulary.merges[1] = "zz a";
  check_bad(text, "merge 1: its left part 'zz'");
  text.vocabulary.merges[1] = "a zz";
  check_bad(text, "merge 1: its right part 'zz'");
  text.vocabulary.merges[1] = "z a";
  check_bad(text, "merge 1: its result 'za'");
  text.vocabulary.merges.clear();
  check_bad(text, "merges: the key is missing");
  for (const std::int64_t id : {std::int64_t{261}, std::int64_t{4294967295}, std::int64_t{-1}}) {
    text = GgufText::bytes();
    text.vocabulary.bos_id = id;
    check_bad(text, "bos_token_id: expected the id of a token, 0 to 260, found " + std::to_string(id));
    if (id > 0) check_bad_file(gguf_file(text.vocabulary), "tokenizer.ggml.bos_token_id");
  }
  text = GgufText::bytes();
  check_bad_file(gguf_file(text.vocabulary).key("tokenizer.ggml.unknown_token_id", io_test::gguf_value("a")),
                 "expected an integer, found string");
  text.vocabulary.bos_id.reset();
  text.vocabulary.add_bos = true;
  check_bad(text, "add_bos_token: a first token is to be added");
  text.vocabulary.eos_id.reset();
  text.vocabulary.add_bos = false;
  text.vocabulary.add_eos = true;
  check_bad(text, "add_eos_token: a last token is to be added");
}

TEST_CASE("a tokenizer is read from the metadata of a GGUF file, and a fault is found at its key's place") {
  const GgufText text = GgufText::pieces();
  const std::string bytes =
      gguf_file(text.vocabulary).key("tokenizer.ggml.add_eos_token", io_test::gguf_value(true)).file();
  const GgufFile file = read_gguf(std::as_bytes(std::span(bytes)), "m.gguf");
  CHECK(Tokenizer::from_gguf(file.metadata).encode("ab") == Ids{1, 259, 262, 2});
  GgufText bad = GgufText::bytes("no such name");
  const std::string bad_bytes = gguf_file(bad.vocabulary).file();
  const GgufFile bad_file = read_gguf(std::as_bytes(std::span(bad_bytes)), "m.gguf");
  const Refusal refusal = refusal_of([&] { Tokenizer::from_gguf(bad_file.metadata); });
  CHECK(refusal.says("m.gguf: tokenizer.ggml.pre at byte "));
  CHECK(refusal.offset == bad_file.metadata.find("tokenizer.ggml.pre")->offset);
}
