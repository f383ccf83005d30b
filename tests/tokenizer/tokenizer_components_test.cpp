#include "headgate/tokenizer/tokenizer_components.hpp"

#include "headgate/tokenizer/tokenizer.hpp"
#include "support/catch.hpp"
#include "tokenizer/refusal.hpp"
#include "tokenizer/tokenizer_text.hpp"

using namespace headgate;

namespace {

// With one component replaced.
Refusal refused(std::string TokenizerText::* component, const std::string& json) {
  TokenizerText text;
  text.*component = json;
  return refusal_of([&] { Tokenizer::from_json(text.json(), "t.json"); });
}

std::string repeated(std::string_view before, int count, std::string_view middle, std::string_view after) {
  std::string text;
  for (int i = 0; i < count; ++i) text += before;
  text += middle;
  for (int i = 0; i < count; ++i) text += after;
  return text;
}

}  // namespace

TEST_CASE("E14 patterns: a bad one is refused, a hostile one is a limit, none is slow") {
  const auto load = [](const std::string& regex) {
    return refused(&TokenizerText::pre_tokenizer, TokenizerText::split(regex));
  };
  CHECK(load("(a").code == ErrorCode::bad_file);
  CHECK(load("(a").says("t.json: pre_tokenizer.pattern.Regex: pattern '(a' does not compile"));
  CHECK(load("(a)\\1").says("\\1"));
  CHECK(load("a{1000000000}").code == ErrorCode::bad_file);
  CHECK(load(std::string(1 << 20, 'a')).code == ErrorCode::limit);

  TokenizerText text;
  text.pre_tokenizer =
      R"({"type":"Sequence","pretokenizers":[)" + TokenizerText::split("(a+)+b") + R"(,{"type":"ByteLevel"}]})";
  const Tokenizer catastrophic = Tokenizer::from_json(text.json());
  CHECK(refusal_of([&] { catastrophic.encode(std::string(100000, 'a')); }).code == ErrorCode::limit);
  // A pattern that matches nothing at all cuts between characters, as in the reference.
  text.pre_tokenizer = R"({"type":"Sequence","pretokenizers":[)" + TokenizerText::split("") +
                       R"(,{"type":"ByteLevel","use_regex":false,"add_prefix_space":false}]})";
  CHECK(Tokenizer::from_json(text.json()).encode("the") == std::vector<std::int32_t>{'t', 'h', 'e'});
}

TEST_CASE("E15 pre-tokenizers: unknown, not an object, nested 300 times, too long") {
  const auto load = [](const std::string& json) { return refused(&TokenizerText::pre_tokenizer, json); };
  const Refusal unknown = load(R"({"type":"UnicodeScripts"})");
  CHECK(unknown.code == ErrorCode::bad_file);
  CHECK(unknown.says(
      "unknown type 'UnicodeScripts' (known: BertPreTokenizer, ByteLevel, CharDelimiterSplit, Digits, Metaspace, "
      "Punctuation, Sequence, Split, Whitespace, WhitespaceSplit)"));
  CHECK(unknown.offset > 0);
  CHECK(load("\"ByteLevel\"").says("pre_tokenizer"));
  CHECK(load("[]").code == ErrorCode::bad_file);
  CHECK(load("{}").says("type"));
  CHECK(load(repeated(R"({"type":"Sequence","pretokenizers":[)", 300, R"({"type":"ByteLevel"})", "]}"))
            .says("nested too deep"));
  CHECK(load(R"({"type":"Sequence","pretokenizers":[)" + repeated("", 200, "", R"({"type":"Digits"},)") +
             R"({"type":"Digits"}]})")
            .says("more than 64 steps"));
  CHECK(load(R"({"type":"Split","pattern":{"Regex":"a"},"behavior":"Odd","invert":false})")
            .says("unknown behavior 'Odd'"));
  CHECK(load(R"({"type":"Split","pattern":{"Glob":"a"},"behavior":"Isolated"})").says("Regex"));
  CHECK(load(R"({"type":"Punctuation","behavior":"Odd"})").says("unknown behavior 'Odd'"));
  CHECK(load(R"({"type":"CharDelimiterSplit","delimiter":"ab"})").says("one character"));
  CHECK(load(R"({"type":"Metaspace","replacement":"ab"})").says("one character"));
  CHECK(load(R"({"type":"Metaspace","replacement":"_","prepend_scheme":"last"})").says("known: always, first, never"));
  CHECK(load(R"({"type":"Metaspace","replacement":"_","prepend_scheme":"always","add_prefix_space":false})")
            .says("contradicts"));
}

TEST_CASE("E16 normalizers: unknown, an empty Replace, a Regex, doublings") {
  const auto load = [](const std::string& json) { return refused(&TokenizerText::normalizer, json); };
  CHECK(load(R"({"type":"Precompiled"})")
            .says("known: ByteLevel, Lowercase, NFC, NFD, NFKC, NFKD, Prepend, Replace, Sequence, Strip"));
  CHECK(load(R"({"type":"Replace","pattern":{"String":""},"content":"x"})").says("1 to 256 bytes, found 0"));
  CHECK(load(R"({"type":"Replace","pattern":{"Regex":"(a"},"content":"x"})").says("normalizer.pattern.Regex"));
  CHECK(load(R"({"type":"Sequence"})").says("normalizers"));
  TokenizerText text;
  text.normalizer = R"({"type":"Sequence","normalizers":[)" +
                    repeated("", 39, "", R"({"type":"Replace","pattern":{"String":"a"},"content":"aa"},)") +
                    R"({"type":"NFC"}]})";
  const Tokenizer doubling = Tokenizer::from_json(text.json());
  const Refusal refusal = refusal_of([&] { doubling.encode("aaaa"); });
  CHECK(refusal.code == ErrorCode::limit);
  CHECK(refusal.says("normalizer"));
  CHECK(doubling.encode("b").size() == 1);  // and the tokenizer still works
}

TEST_CASE("E17 decoders: unknown, or in an order that would mean something else") {
  const auto load = [](const std::string& json) { return refused(&TokenizerText::decoder, json); };
  CHECK(load(R"({"type":"WordPiece"})")
            .says("known: ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Sequence, Strip"));
  CHECK(load(R"({"type":"Strip","content":" ","start":1,"stop":0})").says("after Fuse"));
  CHECK(load(R"({"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"Strip","content":" ","start":0,"stop":1}]})")
            .says("stop"));
  CHECK(load(R"({"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"ByteFallback"}]})").says("must stand before"));
  CHECK(load(R"({"type":"Replace","pattern":{"Regex":"a"},"content":""})").says("with a Regex is not supported"));
  CHECK(load("7").says("decoder"));
}

TEST_CASE("E18 post-processors: undefined or unknown tokens, the second text, two templates") {
  const auto load = [](const std::string& json) { return refused(&TokenizerText::post_processor, json); };
  const auto make = [](const std::string& single, const std::string& tokens) {
    return R"({"type":"TemplateProcessing","single":)" + single + R"(,"pair":[],"special_tokens":)" + tokens + "}";
  };
  const std::string a = R"({"Sequence":{"id":"A","type_id":0}})", x = R"({"SpecialToken":{"id":"X","type_id":0}})";
  CHECK(load(make("[" + x + "," + a + "]", "{}")).says("token 'X' is not in special_tokens"));
  CHECK(load(make("[" + x + "," + a + "]", R"({"X":{"id":"X","ids":[4000],"tokens":["X"]}})"))
            .says("id 4000 of 'X' is no token"));
  CHECK(load(make("[" + x + "," + a + "]", R"({"X":{"id":"X","ids":[-1],"tokens":["X"]}})")).says("found -1"));
  CHECK(load(make("[]", "{}")).says("no sequence A"));
  CHECK(load(make("[" + a + "," + a + "]", "{}")).says("twice"));
  CHECK(load(make(R"([{"Sequence":{"id":"B","type_id":0}}])", "{}")).says("the sequence A only"));
  CHECK(load(R"({"type":"Odd"})")
            .says("known: BertProcessing, ByteLevel, RobertaProcessing, Sequence, TemplateProcessing"));
  for (const char* const cls :
       {"7", "[]", "[\"a\"]", R"(["a","b"])", R"(["a",-1])", R"(["a",4000])", R"(["a",4294967393])"}) {
    const Refusal refusal = load(std::string(R"({"type":"BertProcessing","sep":["b",98],"cls":)") + cls + "}");
    CHECK(refusal.code == ErrorCode::bad_file);
    CHECK(refusal.says("cls"));
  }
  CHECK(load(R"({"type":"RobertaProcessing","sep":["b",98],"cls":["a",97]})").code == ErrorCode::ok);
  const std::string good = make("[" + x + "," + a + "]", R"({"X":{"id":"X","ids":[65],"tokens":["A"]}})");
  CHECK(load(R"({"type":"Sequence","processors":[)" + good + "," + good + "]}").says("second"));
  CHECK(load(good).code == ErrorCode::ok);
}
