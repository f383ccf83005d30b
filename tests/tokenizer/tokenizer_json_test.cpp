#include "headgate/tokenizer/tokenizer_json.hpp"

#include <chrono>

#include "headgate/tokenizer/tokenizer.hpp"
#include "support/catch.hpp"
#include "tokenizer/refusal.hpp"
#include "tokenizer/tokenizer_text.hpp"

using namespace headgate;

namespace {

Refusal refused(const std::string& json) {
  const Refusal refusal = refusal_of([&] { Tokenizer::from_json(json, "t.json"); });
  CHECK(refusal.text.size() < 4096);
  return refusal;
}

// With one part replaced.
Refusal refused(std::string TokenizerText::* part, const std::string& json) {
  TokenizerText text;
  text.*part = json;
  return refused(text.json());
}

void check_bad(const Refusal& refusal, std::string_view says) {
  CAPTURE(refusal.text);
  CHECK(refusal.code == ErrorCode::bad_file);
  CHECK(refusal.text.starts_with("t.json: "));
  CHECK(refusal.says(says));
}

}  // namespace

TEST_CASE("the small tokenizer that the tests damage is good") {
  const Tokenizer tokenizer = Tokenizer::from_json(TokenizerText().json());
  CHECK(tokenizer.encode("the aaaaa") == std::vector<std::int32_t>{257, ' ', 259, 'a'});
  CHECK(tokenizer.vocab_size() == 260);
  CHECK(tokenizer.max_id() == 259);
}

TEST_CASE("E1 text that is not JSON is refused with its place") {
  const std::string good = TokenizerText().json();
  for (std::size_t size = 0; size < good.size(); size += 1 + size / 7) {
    const Refusal refusal = refused(good.substr(0, size));
    CHECK(refusal.code == ErrorCode::bad_file);
    CHECK(refusal.says("byte"));
  }
  check_bad(refused(good + "x"), "not valid JSON");
  check_bad(refused("[]"), "expected an object");
  check_bad(refused("7"), "expected an object");
  check_bad(refused("\xEF\xBB\xBF" + good), "byte order mark");
  check_bad(refused(std::string(100000, '[')), "");
  check_bad(refused(&TokenizerText::top_extra, R"(,"decoder":null)"), "twice");
  check_bad(refused(&TokenizerText::vocab, "{\"\xFF\":0}"), "not valid JSON");
}

TEST_CASE("E2 the model or its vocabulary is missing, or of a kind that is not known") {
  TokenizerText text;
  for (const char* const model : {"null", "[]", "\"BPE\"", "7"})
    check_bad(refused(text.json_with_model(model)), "model");
  check_bad(refused(R"({"version":"1.0"})"), "expected an object");
  check_bad(refused(text.json_with_model("{}")), "vocabulary is missing or empty");
  check_bad(refused(&TokenizerText::model_type, "\"Unigram\""), "unknown type 'Unigram' (known: BPE)");
  check_bad(refused(&TokenizerText::vocab, "{}"), "missing or empty");
  check_bad(refused(&TokenizerText::vocab, "null"), "expected an object, found null");
  check_bad(refused(&TokenizerText::vocab, "[]"), "expected an object");
  check_bad(refused(&TokenizerText::version, "\"9.9\""), "unknown version '9.9' (known: 1.0)");
  check_bad(refused(&TokenizerText::version, "1.0"), "version");
}

TEST_CASE("E3 ids that are no ids are refused with their token") {
  for (const char* const id : {"-1", "2147483648", "4294967297", "1000000", "18446744073709551616", "\"7\"", "3.5",
                               "null", "[]", "{}", "true", "1e3"}) {
    check_bad(refused(&TokenizerText::vocab, TokenizerText::byte_vocab(std::string(R"(,"th":)") + id)), "token 'th'");
  }
  check_bad(refused(&TokenizerText::vocab, TokenizerText::byte_vocab(R"(,"th":97)")),
            "id 97 of token 'th' is also that of 'a'");
  // An id above the others is legal, as published vocabularies have gaps; what bounds it is the model's embedding.
  TokenizerText text;
  text.vocab = TokenizerText::byte_vocab(R"(,"the":257,"th":258,"aa":1000,"aaaa":256)");
  CHECK(Tokenizer::from_json(text.json()).max_id() == 1000);
  CHECK(Tokenizer::from_json(text.json()).vocab_size() == 260);
}

TEST_CASE("E4 a token that occurs twice is refused") {
  check_bad(refused(&TokenizerText::vocab, TokenizerText::byte_vocab(R"(,"a":300)")), "twice");
}

TEST_CASE("E5 a token of a megabyte is legal") {
  TokenizerText text;
  text.vocab =
      TokenizerText::byte_vocab(R"(,"th":256,"the":257,"aa":258,"aaaa":259,")" + std::string(1 << 20, 'x') + "\":260");
  CHECK(Tokenizer::from_json(text.json()).token_text(260)->size() == 1 << 20);
}

TEST_CASE("E6 merges that are no pairs are refused with their number") {
  for (const char* const merges : {"{}", "\"t h\"", "7", "null"})
    check_bad(refused(&TokenizerText::merges, merges), "model.merges");
  for (const char* const merge : {"\"t h e\"", "\"th\"", "\"\"", "\" \"", "\"t \"", "\" t\"", "\"t  h\"", "7", "null",
                                  "{}", "[]", R"(["t"])", R"(["t","h","e"])", R"([["t"],"h"])", R"(["t",7])"}) {
    check_bad(refused(&TokenizerText::merges, std::string(R"(["a a",)") + merge + "]"), "merge 1 is not a pair");
  }
  check_bad(refused(TokenizerText().json_with_model("{\"vocab\":" + TokenizerText::byte_vocab() + "}")),
            "model.merges");
  TokenizerText text;
  text.merges = R"(["#version: 0.2","t h",["th","e"]])";
  CHECK(Tokenizer::from_json(text.json()).encode("the") == std::vector<std::int32_t>{257});
}

TEST_CASE("E7 merges of tokens that are not there are refused with their number") {
  check_bad(refused(&TokenizerText::merges, R"(["a a","zz a"])"), "merge 1: its left part 'zz'");
  check_bad(refused(&TokenizerText::merges, R"(["a a","a zz"])"), "merge 1: its right part 'zz'");
  check_bad(refused(&TokenizerText::merges, R"(["a a","aa a"])"), "merge 1: its result 'aaa'");
}

TEST_CASE("E8 a prefix or suffix of subwords is refused") {
  check_bad(refused(&TokenizerText::model_extra, R"(,"continuing_subword_prefix":"##long")"),
            "continuing_subword_prefix");
  check_bad(refused(&TokenizerText::model_extra, R"(,"end_of_word_suffix":"</w>")"), "end_of_word_suffix");
  CHECK(refused(&TokenizerText::model_extra, R"(,"continuing_subword_prefix":"","end_of_word_suffix":null)").code ==
        ErrorCode::ok);
}

TEST_CASE("E9 dropout is refused") {
  check_bad(refused(&TokenizerText::model_extra, R"(,"unk_token":7)"), "unk_token");
  for (const char* const dropout : {"2.0", "0.1", "-1", "\"0\""}) {
    check_bad(refused(&TokenizerText::model_extra, std::string(R"(,"dropout":)") + dropout), "dropout");
  }
  for (const char* const dropout : {"null", "0", "0.0"}) {
    CHECK(refused(&TokenizerText::model_extra, std::string(R"(,"dropout":)") + dropout).code == ErrorCode::ok);
  }
}

TEST_CASE("an unknown token that the model does not know stands for nothing, and hinders no text that needs none") {
  TokenizerText text;
  text.vocab = R"({"a":0,"b":1})";
  text.merges = "[]";
  text.pre_tokenizer = text.decoder = "null";
  text.model_extra = R"(,"unk_token":"<unk>")";
  for (const std::string& added : {std::string("[]"), "[" + TokenizerText::added_token(2, "<unk>") + "]"}) {
    text.added = added;
    const Tokenizer tokenizer = Tokenizer::from_json(text.json());
    CHECK(tokenizer.encode("ab") == std::vector<std::int32_t>{0, 1});
    const Refusal refusal = refusal_of([&] { tokenizer.encode("ab\xC3\xA9x"); });
    CHECK(refusal.code == ErrorCode::bad_file);
    CHECK(refusal.says("no token for '"));
    CHECK(refusal.says(", and no unk_token"));
    CHECK(refusal.offset == 2);
  }
}

TEST_CASE("E10 a vocabulary that cannot spell a byte encodes the texts without it, and names it in others") {
  TokenizerText text;
  text.vocab = TokenizerText::byte_vocab(R"(,"th":256,"the":257,"aa":258,"aaaa":259)", 0xE2);
  const Tokenizer tokenizer = Tokenizer::from_json(text.json());
  CHECK(tokenizer.encode("the \xC3\xA9") == std::vector<std::int32_t>{257, ' ', 0xC3, 0xA9});
  const Refusal refusal = refusal_of([&] { tokenizer.encode("the \xE2\x82\xAC"); });
  CHECK(refusal.code == ErrorCode::bad_file);
  CHECK(refusal.says("no token for the byte 0xE2"));
  CHECK(refusal.offset == 4);
  // What a normalizer wrote has no place in the text.
  text.vocab = TokenizerText::byte_vocab(R"(,"th":256,"the":257,"aa":258,"aaaa":259)", 0xEF);
  text.normalizer = R"({"type":"Prepend","prepend":"\uFF41"})";
  CHECK(refusal_of([&] { Tokenizer::from_json(text.json()).encode("a"); }).offset == -1);
}

TEST_CASE("E11 tokens that look like byte tokens and are none are tokens like others") {
  TokenizerText text;
  text.model_extra = R"(,"byte_fallback":true)";
  text.decoder = R"({"type":"ByteFallback"})";
  text.vocab = TokenizerText::byte_vocab(R"(,"th":256,"the":257,"aa":258,"aaaa":259,"<0x-1>":260,"<0xZZ>":261)");
  const Tokenizer tokenizer = Tokenizer::from_json(text.json());
  CHECK(tokenizer.decode(std::vector<std::int32_t>{260, 261}) == "<0x-1><0xZZ>");
}

TEST_CASE("E12 added tokens that are none are refused") {
  const auto added = [](const std::string& tokens) { return refused(&TokenizerText::added, tokens); };
  const auto one = [](const std::string& id, const std::string& content) {
    return "[{\"id\":" + id + ",\"content\":" + content + "}]";
  };
  for (const char* const id : {"-5", "2147483648", "4294967296", "\"0\"", "1.5", "null", "100000"})
    check_bad(added(one(id, "\"<x>\"")), "id");
  check_bad(added(one("300", "null")), "content");
  check_bad(added(R"([{"id":300}])"), "content");
  check_bad(added(one("300", "\"a\"")), "contradicts the vocabulary, which has id 97");
  check_bad(added(one("97", "\"<x>\"")), "contradicts the vocabulary, which has 'a' there");
  const std::string x = TokenizerText::added_token(300, "<x>");
  check_bad(added("[" + x + "," + x + "]"), "occurs twice");
  check_bad(added("[" + x + "," + TokenizerText::added_token(300, "<y>") + "]"), "occurs twice");
  check_bad(added("[" + x + "," + TokenizerText::added_token(301, "<x>") + "]"), "occurs twice");
  check_bad(added("{}"), "expected a list");
  check_bad(added("7"), "expected a list");
  check_bad(added("[7]"), "expected objects");
  check_bad(added("[[]]"), "expected an object");
  check_bad(added("[" + TokenizerText::added_token(300, "<x>", ",\"lstrip\":1") + "]"), "lstrip");
  CHECK(added(one("97", "\"a\"")).code == ErrorCode::ok);
  CHECK(added(one("300", "\"\"")).code == ErrorCode::ok);  // found nowhere
}

TEST_CASE("E13 a hundred thousand added tokens load in bounded time, and more than are allowed do not") {
  const auto many = [](int count) {
    std::string tokens = "[";
    for (int i = 0; i < count; ++i)
      tokens += (i > 0 ? "," : "") + TokenizerText::added_token(300 + i, "<" + std::to_string(i) + ">");
    TokenizerText text;
    text.added = tokens + "]";
    return text.json();
  };
  const auto start = std::chrono::steady_clock::now();
  const Tokenizer tokenizer = Tokenizer::from_json(many(100000));
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(30));  // 0.5 s; sanitizers take longer
  CHECK(tokenizer.encode("<99999><7>") == std::vector<std::int32_t>{100299, 307});
  CHECK(tokenizer.vocab_size() == 100260);
  const Refusal too_many = refused(many(131073));
  CHECK(too_many.code == ErrorCode::limit);
  CHECK(too_many.says("more than 131072 added tokens"));
  TokenizerText text;
  text.added = "[" + TokenizerText::added_token(300, std::string(3 << 20, 'x')) + "]";
  CHECK(refused(text.json()).code == ErrorCode::limit);
}

TEST_CASE("E19 truncation and padding, which serve batches, are never read") {
  for (const char* const settings :
       {R"("truncation":{"max_length":-1,"stride":9})", R"("truncation":{"max_length":2,"stride":0})",
        R"("truncation":7)", R"("padding":{"strategy":{"Fixed":9},"pad_id":0},"truncation":null)"}) {
    std::string text = TokenizerText().json();
    text.replace(text.find("\"truncation\":null"), 17, settings);
    const bool pads = std::string_view(settings).starts_with("\"padding\"");
    if (pads) text.replace(text.find(",\"padding\":null"), 15, "");
    CHECK(Tokenizer::from_json(text).encode("the aaaaa") == std::vector<std::int32_t>{257, ' ', 259, 'a'});
  }
}

TEST_CASE("E20 chat templates are never read") {
  CHECK(
      refused(&TokenizerText::top_extra, R"(,"chat_template":"{% for x in range(10**9) %}{% include '/etc/passwd' %}")")
          .code == ErrorCode::ok);
}
