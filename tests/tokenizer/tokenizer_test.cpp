// Against vectors.json, which make_vectors.py beside it makes from Hugging Face's tokenizers.
#include "headgate/tokenizer/tokenizer.hpp"

#include <pthread.h>

#include <chrono>
#include <set>
#include <thread>

#include "headgate/tokenizer/load_tokenizer.hpp"
#include "support/catch.hpp"
#include "support/shared_data.hpp"
#include "tokenizer/refusal.hpp"
#include "tokenizer/tokenizer_text.hpp"

using namespace headgate;

namespace {

using Ids = std::vector<std::int32_t>;

const Json& vectors() {
  static const Json json = read_json(HEADGATE_SOURCE_DIR "/tests/golden/tokenizer/vectors.json");
  return json;
}

Ids ids_of(const Json& list) {
  Ids ids;
  for (const Json& id : std::get<Json::Array>(list.value))
    ids.push_back(static_cast<std::int32_t>(std::get<std::int64_t>(id.value)));
  return ids;
}

std::string fnv1a(const Ids& ids) {
  std::uint64_t value = 0xCBF29CE484222325;
  for (const std::int32_t id : ids) {
    for (int shift = 0; shift < 32; shift += 8)
      value = (value ^ (static_cast<std::uint32_t>(id) >> shift & 255)) * 0x100000001B3;
  }
  std::string text(16, '0');
  for (std::size_t i = 16; i-- > 0; value >>= 4) text[i] = "0123456789abcdef"[value & 15];
  return text;
}

const Tokenizer& tales() {
  static const Tokenizer tokenizer = Tokenizer::from_file(HEADGATE_SOURCE_DIR "/examples/models/tales/tokenizer.json");
  return tokenizer;
}

std::string streamed(const Tokenizer& tokenizer, const Ids& ids, const DecodeOptions& options = {}) {
  StreamDecoder decoder(tokenizer, options);
  std::string text;
  for (const std::int32_t id : ids) {
    const std::string part = decoder.push(id);
    CHECK(find_invalid_utf8(part) == std::string::npos);
    text += part;
  }
  return text + decoder.finish();
}

// The samples, and the whole of every shared text that is there.
void check_known(const Tokenizer& tokenizer, const std::string& name) {
  const JsonObject all(vectors(), "vectors.json");
  const JsonObject known = all.get_object("known").get_object(name);
  const std::vector<std::string> samples = all.get_strings("samples");
  const std::span<const Json> expected = known.get_list("ids");
  for (std::size_t i = 0; i < samples.size(); ++i) {
    CAPTURE(name, samples[i]);
    CHECK(tokenizer.encode(samples[i]) == ids_of(expected[i]));
  }
  for (const JsonMember& text : known.get_object("texts").members()) {
    const auto path = shared_data("data/text/" + text.key);
    if (!path) continue;
    CAPTURE(name, text.key);
    const JsonObject hash(text.value, "vectors.json");
    const std::string bytes = read_small_file(*path, max_text_size);
    const Ids ids = tokenizer.encode(bytes);
    CHECK(static_cast<std::int64_t>(ids.size()) == hash.get_integer("count", 0, max_index));
    CHECK(fnv1a(ids) == hash.get_string("fnv1a"));
  }
}

// vocab.json and merges.txt as one tokenizer.json.
std::string qwen2_json(const std::filesystem::path& folder) {
  TokenizerText text;
  text.normalizer = R"({"type":"NFC"})";
  text.pre_tokenizer =
      R"({"type":"Sequence","pretokenizers":[)" +
      TokenizerText::split(
          R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)") +
      R"(,{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})";
  const auto special = [](int id, std::string_view content) {
    return TokenizerText::added_token(id, content, R"(,"special":true,"normalized":false)");
  };
  text.added = "[" + special(151643, "<|endoftext|>") + "," + special(151644, "<|im_start|>") + "," +
               special(151645, "<|im_end|>") + "]";
  text.vocab = read_small_file(folder / "vocab.json", std::uint64_t{1} << 24);
  const std::string merges = read_small_file(folder / "merges.txt", std::uint64_t{1} << 24);
  text.merges = "[";
  for (std::size_t i = 0, end; i < merges.size(); i = end + 1) {
    end = merges.find('\n', i);
    if (end > i) text.merges += (text.merges.size() > 1 ? "," : "") + TokenizerText::quoted(merges.substr(i, end - i));
  }
  text.merges += "]";
  return text.json();
}

}  // namespace

TEST_CASE("the demo model's tokenizer agrees with the reference") {
  check_known(tales(), "tales");
  const JsonObject all(vectors(), "vectors.json");
  const std::vector<std::string> samples = all.get_strings("samples");
  const std::span<const Json> plain = all.get_list("tales_plain");
  for (std::size_t i = 0; i < samples.size(); ++i) {
    CAPTURE(samples[i]);
    CHECK(tales().encode(samples[i], {.add_special_tokens = false, .parse_special = false}) == ids_of(plain[i]));
    // The post-processor's token comes first, and everything comes back.
    const Ids ids = tales().encode(samples[i]);
    CHECK(ids[0] == 0);
    CHECK(tales().decode(std::span(ids).subspan(1), {.skip_special = false}) == samples[i]);
  }
  for (const Json& json : all.get_list("tales_decoded")) {
    const JsonObject decoded(json, "vectors.json");
    const Ids ids = ids_of(*decoded.value("ids"));
    CHECK(tales().decode(ids) == decoded.get_string("text"));
    CHECK(streamed(tales(), ids) == decoded.get_string("text"));
  }
}

TEST_CASE("random texts of mixed scripts, emoji, marks and controls become the reference's tokens") {
  const Json json = read_json(HEADGATE_SOURCE_DIR "/tests/golden/tokenizer/random.json");
  const JsonObject all(json, "random.json");
  const std::vector<std::string> texts = all.get_strings("texts");
  const std::span<const Json> expected = all.get_list("tales");
  REQUIRE(texts.size() >= 300);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    CAPTURE(texts[i]);
    const Ids ids = tales().encode(texts[i], {.add_special_tokens = false});
    CHECK(ids == ids_of(expected[i]));
    CHECK(tales().decode(ids, {.skip_special = false}) == texts[i]);
  }
}

// Pushed one by one after a prompt, tokens give what decoding all of them gives after the prompt's text.
void check_continuations(const Tokenizer& tokenizer, const std::string& name, std::span<const std::string> texts) {
  for (const std::string& text : texts) {
    const Ids ids = tokenizer.encode(text);
    for (const bool skip_special : {true, false}) {
      const DecodeOptions options{.skip_special = skip_special};
      const std::string whole = tokenizer.decode(ids, options);
      for (std::size_t prompt = 0; prompt <= ids.size(); ++prompt) {
        const std::span<const std::int32_t> before = std::span(ids).first(prompt);
        StreamDecoder reader(tokenizer, options), decoder(tokenizer, options);
        std::string given;  // with the prompt's whole characters
        for (const std::int32_t id : before) given += reader.push(id);
        decoder.skip(before);
        for (const std::int32_t id : std::span(ids).subspan(prompt)) given += decoder.push(id);
        given += decoder.finish();
        if (given != whole) FAIL(name << ", '" << text << "', prompt of " << prompt << ": '" << given << "'");
      }
    }
  }
}

TEST_CASE("the tokens after a prompt neither lose nor invent a space") {
  const JsonObject all(vectors(), "vectors.json");
  const std::vector<std::string> samples = all.get_strings("samples");
  check_continuations(tales(), "tales", samples);
  const JsonObject models = all.get_object("models");
  for (const Json& json : all.get_list("variants")) {
    const JsonObject variant(json, "vectors.json");
    std::string text = variant.get_string("json");
    text.replace(text.find('@'), 1, models.get_string(variant.get_string("model")));
    check_continuations(Tokenizer::from_json(text), variant.get_string("name"), variant.get_strings("texts"));
  }
  for (const char* const name : {"olmoe", "granite", "ggml-vocab-gpt-2.gguf", "ggml-vocab-deepseek-llm.gguf",
                                 "ggml-vocab-llama-spm.gguf", "ggml-vocab-phi-3.gguf"}) {
    if (const auto path = shared_data(std::string("data/tokenizers/") + name))
      check_continuations(load_tokenizer(path->string()), name, samples);
  }
}

TEST_CASE("a continuation of SentencePiece begins with its space, a text of its own does not") {
  TokenizerText text;
  text.vocab = R"({"\u2581the":0,"\u2581king":1})";
  text.merges = "[]";
  text.pre_tokenizer = text.decoder =
      R"({"type":"Metaspace","replacement":"\u2581","prepend_scheme":"first","split":true})";
  const Tokenizer metaspace = Tokenizer::from_json(text.json());
  text.pre_tokenizer = "null";
  text.decoder = R"({"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"\u2581"},"content":" "},)"
                 R"({"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]})";
  const Tokenizer sequence = Tokenizer::from_json(text.json());
  for (const Tokenizer* const tokenizer : {&metaspace, &sequence}) {
    StreamDecoder alone(*tokenizer), after(*tokenizer);
    CHECK(alone.push(1) == "king");
    CHECK(alone.push(1) == " king");
    after.skip(Ids{0});
    CHECK(after.push(1) == " king");
    after.skip({});
    CHECK(after.push(0) == " the");
  }
}

TEST_CASE("published tokenizers agree with the reference") {
  for (const char* const name : {"olmoe", "granite"}) {
    if (const auto path = shared_data(std::string("data/tokenizers/") + name + "/tokenizer.json")) {
      check_known(Tokenizer::from_file(*path), name);
    }
  }
}

TEST_CASE("Qwen2's tokenizer agrees with the reference and with llama.cpp's test vectors") {
  const auto folder = shared_data("data/tokenizers/qwen2-moe");
  const auto texts_path = shared_data("data/tokenizers/ggml-vocab-qwen2.gguf.inp");
  const auto ids_path = shared_data("data/tokenizers/ggml-vocab-qwen2.gguf.out");
  if (!folder || !texts_path || !ids_path) return;
  const Tokenizer tokenizer = Tokenizer::from_json(qwen2_json(*folder));
  check_known(tokenizer, "qwen2-moe");
  const std::string texts = read_small_file(*texts_path, 1 << 20), lines = read_small_file(*ids_path, 1 << 20);
  const std::string separator = "\n__ggml_vocab_test__\n";
  int count = 0;
  for (std::size_t text = 0, line = 0; text < texts.size();) {
    const std::size_t text_end = std::min(texts.find(separator, text), texts.size());
    const std::size_t line_end = std::min(lines.find('\n', line), lines.size());
    std::string ids;
    for (const std::int32_t id : tokenizer.encode(texts.substr(text, text_end - text))) ids += " " + std::to_string(id);
    CHECK(ids == lines.substr(line, line_end - line));
    text = text_end + separator.size();
    line = line_end + 1;
    ++count;
  }
  CHECK(count >= 46);
}

TEST_CASE("every component agrees with the reference") {
  const JsonObject all(vectors(), "vectors.json");
  const JsonObject models = all.get_object("models");
  for (const Json& json : all.get_list("variants")) {
    const JsonObject variant(json, "vectors.json");
    const std::string name = variant.get_string("name");
    std::string text = variant.get_string("json");
    text.replace(text.find('@'), 1, models.get_string(variant.get_string("model")));
    const Tokenizer tokenizer = Tokenizer::from_json(text, name);
    const std::vector<std::string> texts = variant.get_strings("texts"), decoded = variant.get_strings("decoded");
    const std::span<const Json> expected = variant.get_list("ids");
    for (std::size_t i = 0; i < texts.size(); ++i) {
      CAPTURE(name, texts[i]);
      const Ids ids = tokenizer.encode(texts[i]);
      CHECK(ids == ids_of(expected[i]));
      CHECK(tokenizer.decode(ids, {.skip_special = false}) == decoded[i]);
      CHECK(streamed(tokenizer, ids, {.skip_special = false}) == decoded[i]);
    }
  }
}

TEST_CASE("patterns match what they match in the reference") {
  const JsonObject all(vectors(), "vectors.json");
  const std::vector<std::string> texts = all.get_strings("pattern_texts");
  for (const Json& json : all.get_list("patterns")) {
    const JsonObject each(json, "vectors.json");
    const std::string pattern = each.get_string("pattern");
    std::vector<PreTokenizer::Step> steps;
    steps.push_back(SplitPieces{Pattern::regex(pattern, "f"), SplitPieces::Behavior::removed, /*invert=*/true});
    const PreTokenizer pre_tokenizer(std::move(steps));
    const std::span<const Json> expected = each.get_list("pieces");
    for (std::size_t i = 0; i < texts.size(); ++i) {
      MatchBudget budget = MatchBudget::for_text(texts[i].size());
      const PieceList list = pre_tokenizer.split(texts[i], true, budget);
      std::vector<std::string> pieces;
      for (const PieceList::Piece& piece : list.pieces) pieces.emplace_back(list.view(piece));
      std::vector<std::string> wanted;
      for (const Json& piece : std::get<Json::Array>(expected[i].value))
        wanted.push_back(std::get<std::string>(piece.value));
      CAPTURE(pattern, texts[i]);
      CHECK(pieces == wanted);
    }
  }
}

TEST_CASE("tokens are known by id and by text") {
  CHECK(tales().vocab_size() == 4096);
  CHECK(tales().max_id() == 4095);
  CHECK(tales().id_of("<|endoftext|>") == 0);
  CHECK(tales().token_text(0) == "<|endoftext|>");
  CHECK(tales().is_special(0));
  CHECK_FALSE(tales().is_special(4));
  CHECK_FALSE(tales().is_special(-1));
  CHECK_FALSE(tales().id_of("no such token"));
  CHECK_FALSE(tales().token_text(4096));
  CHECK_FALSE(tales().token_text(-1));
  std::set<std::string_view> texts;
  for (std::int32_t id = 0; id <= tales().max_id(); ++id) {
    const auto text = tales().token_text(id);
    REQUIRE(text);
    CHECK(tales().id_of(*text) == id);
    texts.insert(*text);
  }
  CHECK(texts.size() == 4096);
}

TEST_CASE("an id without a token adds no text, and a negative one is refused") {
  CHECK(tales().decode(Ids{5000, 100000}) == "");
  CHECK(refusal_of([] { tales().decode(Ids{-1}); }).code == ErrorCode::usage);
}

TEST_CASE("a file that is not there is an I/O error") {
  CHECK(refusal_of([] { Tokenizer::from_file(HEADGATE_SOURCE_DIR "/no/tokenizer.json"); }).code == ErrorCode::io);
  CHECK(refusal_of([] { Tokenizer::from_file(HEADGATE_SOURCE_DIR "/tests"); }).code == ErrorCode::io);
}

TEST_CASE("E21 of two special tokens of which one begins the other, the longest is found first") {
  TokenizerText text;
  text.added = "[" + TokenizerText::added_token(300, "<|a|>") + "," + TokenizerText::added_token(301, "<|a|>b") + "]";
  CHECK(Tokenizer::from_json(text.json()).encode("<|a|>b<|a|>c") == Ids{301, 300, 'c'});
}

TEST_CASE("E22, L9 tokens that are half a character are held back, and replaced at the end") {
  const Tokenizer tokenizer = Tokenizer::from_json(TokenizerText().json());
  StreamDecoder decoder(tokenizer);
  CHECK(decoder.push(0xE2) == "");
  CHECK(decoder.push(0x82) == "");
  CHECK(decoder.push(0xAC) == "\xE2\x82\xAC");
  CHECK(decoder.push(0xF0) == "");
  CHECK(decoder.finish() == "\xEF\xBF\xBD");
  CHECK(decoder.finish() == "");
}

TEST_CASE("F1 an empty text is what the post-processor adds, and nothing without it") {
  CHECK(tales().encode("") == Ids{0});
  CHECK(tales().encode("", {.add_special_tokens = false}).empty());
  CHECK(tales().decode(Ids{}) == "");
}

TEST_CASE("F2 odd but legal text comes back byte for byte") {
  using namespace std::string_literals;
  for (const std::string& text : {" "s, "a\0b"s,
                                  "\xEF\xBB\xBF"
                                  "BOM"s,
                                  "a\r\nb\r\n"s, "\xEF\xBF\xBF"s,
                                  "\xE2\x80\xAE"
                                  "abc\xE2\x80\xAC"s,
                                  "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7"s}) {
    CHECK(tales().decode(tales().encode(text)) == text);
  }
}

TEST_CASE("F3 text that is not UTF-8 is refused with the byte where it stops being so") {
  for (const char* const bad :
       {"\x80", "\xE2\x82", "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xFF\xFE", "caf\xE9"}) {
    const std::string text = std::string("ab\xC3\xA9") + bad;
    const Refusal refusal = refusal_of([&] { tales().encode(text); });
    CHECK(refusal.code == ErrorCode::bad_file);
    CHECK(refusal.offset == static_cast<std::int64_t>(4 + (bad[0] == 'c' ? 3 : 0)));
    CHECK(refusal.says("not UTF-8"));
  }
  CHECK(refusal_of([] { tales().encode(std::string(max_text_size + 1, 'a')); }).code == ErrorCode::limit);
}

TEST_CASE("F4 twenty thousand combining marks are legal") {
  TokenizerText json;
  json.normalizer = R"({"type":"NFC"})";
  std::string text = "e";
  for (int i = 0; i < 20000; ++i) text += "\xCC\x81";
  CHECK(Tokenizer::from_json(json.json()).encode(text).size() > 20000);
  CHECK(tales().decode(tales().encode(text)) == text);
}

TEST_CASE("F5 special tokens written in a text are tokens, or text where that is asked for") {
  CHECK(tales().encode("<|user|>", {.add_special_tokens = false}) == Ids{2});
  const Ids plain = tales().encode("<|user|>", {.add_special_tokens = false, .parse_special = false});
  CHECK(plain.size() > 1);
  CHECK(tales().decode(plain) == "<|user|>");
}

TEST_CASE("pieces are one text, in which only those that say so are tokens") {
  using Pieces = std::vector<headgate::TextPiece>;
  const auto encode = [](const Tokenizer& tokenizer, const Pieces& pieces) {
    return tokenizer.encode(pieces, {.add_special_tokens = false});
  };
  // Borders are no borders of tokens, and what is no token by its name is text.
  CHECK(encode(tales(), {{"Once up"}, {"on a ti"}, {"me", true}}) ==
        tales().encode("Once upon a time", {.add_special_tokens = false}));
  CHECK(encode(tales(), {{"<|user|>", true}, {"\nHello"}, {"<|user|>", true}}) ==
        tales().encode("<|user|>\nHello<|user|>", {.add_special_tokens = false}));
  CHECK(tales().encode(Pieces{{"a"}}) == tales().encode("a"));
  CHECK(tales().encode(Pieces{}) == tales().encode(""));
  const Ids typed = encode(tales(), {{"<|user|>", true}, {"a<|user|>b"}, {"<|user|>", true}});
  CHECK(typed.front() == 2);
  CHECK(typed.back() == 2);
  CHECK(std::count(typed.begin(), typed.end(), 2) == 2);
  CHECK(tales().decode(typed, {.skip_special = false}) == "<|user|>a<|user|>b<|user|>");

  TokenizerText parts;
  parts.added = "[" + TokenizerText::added_token(300, "[a]", R"(,"special":true,"normalized":true,"rstrip":true)") +
                "," + TokenizerText::added_token(301, "b]", R"(,"special":false)") + "," +
                TokenizerText::added_token(302, "<c", R"(,"special":true,"lstrip":true)") + "," +
                TokenizerText::added_token(303, " ", R"(,"special":true)") + "]";
  const Tokenizer tokenizer = Tokenizer::from_json(parts.json());
  CHECK(encode(tokenizer, {{"[a]", true}, {"  x"}}) == Ids{300, 'x'});      // takes the white space of the next piece
  CHECK(encode(tokenizer, {{"x \n"}, {"<c", true}}) == Ids{'x', 302});      // and of the one before
  CHECK(encode(tokenizer, {{"[a]", true}, {" ", true}}) == Ids{300, 303});  // but a token stays one
  CHECK(encode(tokenizer, {{"[a]b]"}}) == Ids{'[', 'a', ']', 301});         // not special: found wherever it stands
  CHECK(encode(tokenizer, {{"b"}, {"]"}}) == Ids{301});
  CHECK(encode(tokenizer, {{"["}, {"a]"}}) == Ids{'[', 'a', ']'});
  CHECK(encode(tokenizer, {{"b"}, {"]", true}, {"<"}, {"c"}}) == Ids{301, '<', 'c'});
  CHECK_THROWS_AS(encode(tokenizer, {{"a"}, {"\xE4"}}), headgate::Error);
}

TEST_CASE("F6, F7 long runs take linear time, on a thread with a small stack too") {
  const auto work = [](void* failed) -> void* {
    try {
      std::vector<std::string> texts;
      for (const char c : {'a', ' ', '\n', '1', '_', '('}) texts.push_back(std::string(1 << 20, c));
      texts.push_back(std::string(131072, 'Z'));
      std::string chinese, us;
      while (chinese.size() < 300000) chinese += "\xE4\xB8\xAD";
      while (us.size() < 1000000) us += "us";
      texts.push_back(chinese);
      texts.push_back(us);
      for (const std::string& text : texts) *static_cast<bool*>(failed) |= tales().decode(tales().encode(text)) != text;
    } catch (...) {
      *static_cast<bool*>(failed) = true;
    }
    return nullptr;
  };
  const auto start = std::chrono::steady_clock::now();
  pthread_attr_t attributes;
  REQUIRE(pthread_attr_init(&attributes) == 0);
  REQUIRE(pthread_attr_setstacksize(&attributes, 256 * 1024) == 0);
  pthread_t thread;
  bool failed = false;
  REQUIRE(pthread_create(&thread, &attributes, work, &failed) == 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
  CHECK_FALSE(failed);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(90));  // 3 s; sanitizers take longer
}

TEST_CASE("F12 the same text composed and decomposed is different tokens, unless the tokenizer composes") {
  CHECK(tales().encode("\xC3\xA9") != tales().encode("e\xCC\x81"));
  TokenizerText text;
  text.normalizer = R"({"type":"NFC"})";
  const Tokenizer composing = Tokenizer::from_json(text.json());
  CHECK(composing.encode("\xC3\xA9") == composing.encode("e\xCC\x81"));
}

TEST_CASE("one tokenizer serves several threads") {
  const std::string text = "Once upon a time, there was a king <|user|> 123.\n\n";
  const Ids expected = tales().encode(text);
  int wrong[3] = {};
  std::vector<std::thread> threads;
  for (int& count : wrong) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) count += tales().encode(text) != expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong[0] + wrong[1] + wrong[2] == 0);
}
