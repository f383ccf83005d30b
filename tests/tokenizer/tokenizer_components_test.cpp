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

namespace {

// The value that a component's reader makes of its JSON.
template <class... More>
Refusal unread(const std::string& json, More&... more) {
  const Json tree = parse_json(json, "c.json");
  return refusal_of([&] { TokenizerComponents::read(JsonObject(tree, "c.json", ""), more...); });
}

std::vector<std::string> pieces(const std::string& json, const std::string& text) {
  std::vector<PreTokenizer::Step> steps;
  REQUIRE(unread(json, steps).text == "");
  MatchBudget budget = MatchBudget::for_text(text.size());
  const PieceList list = PreTokenizer(std::move(steps)).split(text, true, budget);
  std::vector<std::string> out;
  for (const auto& piece : list.pieces) out.emplace_back(list.view(piece));
  return out;
}

std::string normalized(const std::string& json, const std::string& text) {
  std::vector<Normalizer::Step> steps;
  REQUIRE(unread(json, steps).text == "");
  return Normalizer(std::move(steps)).apply(text);
}

Refusal decoder_of(const std::string& json, TokenDecoder& decoder) {
  bool joined = false;
  return unread(json, decoder, joined);
}

std::string sequence(const std::string& key, const std::string& part, int count, const std::string& last) {
  return R"({"type":"Sequence",")" + key + "\":[" + repeated("", count, "", part + ",") + last + "]}";
}

using Texts = std::vector<std::string>;
using Ids = std::vector<std::int32_t>;

}  // namespace

TEST_CASE("each pre-tokenizer cuts as its type and its options say") {
  CHECK(pieces(R"({"type":"ByteLevel"})", "a b") == Texts{"\xC4\xA0"
                                                          "a",
                                                          "\xC4\xA0"
                                                          "b"});
  CHECK(pieces(R"({"type":"ByteLevel","add_prefix_space":false})", "a b") == Texts{"a",
                                                                                   "\xC4\xA0"
                                                                                   "b"});
  CHECK(pieces(R"({"type":"ByteLevel","use_regex":false})", "a b") == Texts{"\xC4\xA0"
                                                                            "a\xC4\xA0"
                                                                            "b"});
  CHECK(pieces(R"({"type":"Digits"})", "a12b") == Texts{"a", "12", "b"});
  CHECK(pieces(R"({"type":"Digits","individual_digits":true})", "a12b") == Texts{"a", "1", "2", "b"});
  CHECK(pieces(R"({"type":"Metaspace","replacement":"_"})", "a b") == Texts{"_a", "_b"});
  CHECK(pieces(R"({"type":"Metaspace","replacement":"_","split":false})", "a b") == Texts{"_a_b"});
  CHECK(pieces(R"({"type":"Metaspace","replacement":"_","add_prefix_space":false})", "a b") == Texts{"a", "_b"});
  CHECK(pieces(R"({"type":"Metaspace","replacement":"_","prepend_scheme":"never"})", "a b") == Texts{"a", "_b"});
  CHECK(pieces(R"({"type":"Metaspace","replacement":"_","prepend_scheme":"never","add_prefix_space":false})", "a") ==
        Texts{"a"});
  const std::string words = R"({"type":"Sequence","pretokenizers":[{"type":"WhitespaceSplit"},)";
  CHECK(pieces(words + R"({"type":"Metaspace","replacement":"_","prepend_scheme":"first"}]})", "a b") ==
        Texts{"_a", "b"});
  CHECK(pieces(words + R"({"type":"Metaspace","replacement":"_","prepend_scheme":"always"}]})", "a b") ==
        Texts{"_a", "_b"});
  CHECK(pieces(R"({"type":"Whitespace"})", "ab, c!?") == Texts{"ab", ",", "c", "!?"});
  CHECK(pieces(R"({"type":"WhitespaceSplit"})", "ab, c\n!?") == Texts{"ab,", "c", "!?"});
  CHECK(pieces(R"({"type":"Punctuation"})", "a!?b$c") == Texts{"a", "!", "?", "b", "$", "c"});
  CHECK(pieces(R"({"type":"Punctuation","behavior":"Removed"})", "a!?b") == Texts{"a", "b"});
  CHECK(pieces(R"({"type":"Punctuation","behavior":"Contiguous"})", "a!?b") == Texts{"a", "!?", "b"});
  CHECK(pieces(R"({"type":"BertPreTokenizer"})", "a! b") == Texts{"a", "!", "b"});
  CHECK(pieces(R"({"type":"CharDelimiterSplit","delimiter":"."})", "a.b..c") == Texts{"a", "b", "c"});
  const auto split = [](const std::string& behavior, const std::string& more) {
    return R"({"type":"Split","pattern":{"String":"."},"behavior":")" + behavior + "\"" + more + "}";
  };
  CHECK(pieces(split("Isolated", ""), "a.b") == Texts{"a", ".", "b"});
  CHECK(pieces(split("Removed", R"(,"invert":true)"), "a.b") == Texts{"."});
  CHECK(pieces(split("MergedWithPrevious", R"(,"invert":false)"), "a.b") == Texts{"a.", "b"});
  CHECK(pieces(split("MergedWithNext", ""), "a.b") == Texts{"a", ".b"});
}

TEST_CASE("each normalizer changes what its type and its options say") {
  const std::string e = "e\xCC\x81", composed = "\xC3\xA9", fi = "\xEF\xAC\x81";
  CHECK(normalized(R"({"type":"NFC"})", e + fi) == composed + fi);
  CHECK(normalized(R"({"type":"NFD"})", composed + fi) == e + fi);
  CHECK(normalized(R"({"type":"NFKC"})", e + fi) == composed + "fi");
  CHECK(normalized(R"({"type":"NFKD"})", composed + fi) == e + "fi");
  CHECK(normalized(R"({"type":"Lowercase"})", "AB") == "ab");
  CHECK(normalized(R"({"type":"ByteLevel"})", " a") ==
        "\xC4\xA0"
        "a");
  CHECK(normalized(R"({"type":"Prepend","prepend":"_"})", "a") == "_a");
  CHECK(normalized(R"({"type":"Strip","strip_left":true,"strip_right":false})", " a ") == "a ");
  CHECK(normalized(R"({"type":"Strip","strip_left":false,"strip_right":true})", " a ") == " a");
  CHECK(normalized(R"({"type":"Replace","pattern":{"String":"a."},"content":"x"})", "a.ab") == "xab");
  CHECK(normalized(R"({"type":"Replace","pattern":{"Regex":"a."},"content":"x"})", "a.ab") == "xx");
}

TEST_CASE("components are as long as their limits say") {
  const std::string lower = R"({"type":"Lowercase"})", digits = R"({"type":"Digits"})";
  const std::string too_many = "a sequence of more than 64 steps";
  std::vector<Normalizer::Step> normalizer;
  CHECK(unread(sequence("normalizers", lower, 63, lower), normalizer).text == "");
  CHECK(normalizer.size() == 64);
  normalizer.clear();
  CHECK(unread(sequence("normalizers", lower, 64, lower), normalizer).says(too_many));
  std::vector<PreTokenizer::Step> pre_tokenizer;
  CHECK(unread(sequence("pretokenizers", digits, 63, digits), pre_tokenizer).text == "");
  pre_tokenizer.clear();
  CHECK(unread(sequence("pretokenizers", digits, 64, digits), pre_tokenizer).says(too_many));
  const std::string replace = R"({"type":"Replace","pattern":{"String":"a"},"content":"b"})";
  TokenDecoder decoder, longer;
  CHECK(decoder_of(sequence("decoders", replace, 63, replace), decoder).text == "");
  CHECK(decoder.replacements.size() == 64);
  CHECK(decoder_of(sequence("decoders", replace, 64, replace), longer).says(too_many));
  const auto replaced = [](std::size_t size) {
    std::vector<Normalizer::Step> steps;
    return unread(R"({"type":"Replace","pattern":{"String":")" + std::string(size, 'a') + R"("},"content":""})", steps);
  };
  CHECK(replaced(256).text == "");
  CHECK(replaced(1).text == "");
  CHECK(replaced(257).says("a text to replace has 1 to 256 bytes, found 257"));
}

TEST_CASE("a decoder's parts are read into it, and each out of order is refused with its name") {
  TokenDecoder decoder;
  const std::string mark = R"({"type":"Metaspace","replacement":"_"})", fuse = R"({"type":"Fuse"})",
                    fallback = R"({"type":"ByteFallback"})", bytes = R"({"type":"ByteLevel"})",
                    replace = R"({"type":"Replace","pattern":{"String":"a"},"content":"b"})";
  const auto strip = [](int start) {
    return R"({"type":"Strip","content":" ","start":)" + std::to_string(start) + R"(,"stop":0})";
  };
  CHECK(decoder_of(sequence("decoders", mark + "," + replace + "," + fallback + "," + fuse, 1, strip(1024)), decoder)
            .text == "");
  CHECK(decoder.dropped_first == "_");
  REQUIRE(decoder.replacements.size() == 2);
  CHECK(decoder.replacements[0].from == "_");
  CHECK(decoder.replacements[0].to == " ");
  CHECK(decoder.replacements[1].from == "a");
  CHECK(decoder.replacements[1].to == "b");
  CHECK(decoder.byte_fallback);
  CHECK_FALSE(decoder.byte_level);
  CHECK(decoder.stripped == " ");
  CHECK(decoder.max_stripped == 1024);
  TokenDecoder never;
  CHECK(decoder_of(R"({"type":"Metaspace","replacement":"_","prepend_scheme":"never"})", never).text == "");
  CHECK(never.dropped_first.empty());
  TokenDecoder spelt;
  CHECK(decoder_of(bytes, spelt).text == "");
  CHECK(spelt.byte_level);

  const auto refused_after = [&](const std::string& first, const std::string& second) {
    TokenDecoder any;
    return decoder_of(sequence("decoders", first, 1, second), any);
  };
  for (const std::string& first : {fuse, fallback, bytes}) {
    CHECK(refused_after(first, replace).says("'Replace' must stand before ByteLevel, ByteFallback and Fuse"));
    CHECK(refused_after(first, mark).says("'Metaspace' must stand before ByteLevel, ByteFallback and Fuse"));
    CHECK(refused_after(first, bytes).says("'ByteLevel' must stand before ByteLevel, ByteFallback and Fuse"));
    CHECK(refused_after(first, fallback).says("'ByteFallback' must stand before ByteLevel, ByteFallback and Fuse"));
  }
  CHECK(refused_after(replace, bytes).says("decoder 'ByteLevel' must not follow Replace or Metaspace"));
  CHECK(refused_after(replace, mark).says("decoder 'Metaspace' must stand first"));
  CHECK(refused_after(fallback, strip(1)).says("decoder 'Strip' must stand once, after Fuse"));
  CHECK(refused_after(fuse + "," + strip(1), strip(1)).says("decoder 'Strip' must stand once, after Fuse"));
  CHECK(refused_after(bytes, strip(1)).text == "");
  CHECK(refused_after(fuse, strip(1025)).says("1025"));
  CHECK(refused_after(fuse, strip(-1)).says("-1"));
  CHECK(refused_after(fuse, R"({"type":"Strip","content":" ","start":0,"stop":1})")
            .says("stripping the end of a text is not supported"));
  CHECK(refused_after(fuse, R"({"type":"Strip","content":"","start":1,"stop":0})")
            .says("expected one character, found ''"));
}

TEST_CASE("a frame has the ids of its template, before and after the text") {
  std::int32_t vocabulary = 10;
  const auto is_token = [&](std::int32_t id) { return id < vocabulary; };
  const auto read = [&](const std::string& json, Frame& frame) { return unread(json, frame, is_token); };
  const auto make = [](const std::string& single, const std::string& x_ids) {
    return R"({"type":"TemplateProcessing","single":[)" + single + R"(],"special_tokens":{"X":{"ids":[)" + x_ids +
           R"(]},"Y":{"ids":[9]}}})";
  };
  const std::string a = R"({"Sequence":{"id":"A"}})", x = R"({"SpecialToken":{"id":"X"}})",
                    y = R"({"SpecialToken":{"id":"Y"}})";
  Frame frame;
  CHECK(read(make(x + "," + a + "," + y + "," + x, "0,3"), frame).text == "");
  CHECK(frame.before == Ids{0, 3});
  CHECK(frame.after == Ids{9, 0, 3});
  CHECK(read(make(a, "0"), frame).says("a second component that adds tokens"));
  Frame after_only{{}, {1}};
  CHECK(read(make(a, "0"), after_only).says("a second component that adds tokens"));
  Frame bert;
  CHECK(read(R"({"type":"Sequence","processors":[{"type":"ByteLevel"},)"
             R"({"type":"BertProcessing","cls":["a",0],"sep":["b",9]}]})",
             bert)
            .text == "");
  CHECK(bert.before == Ids{0});
  CHECK(bert.after == Ids{9});
  Frame none;
  CHECK(read(R"({"type":"BertProcessing","cls":["a",0],"sep":["b",10]})", none)
            .says("id 10 is no token of this vocabulary"));
  CHECK(read(R"({"type":"BertProcessing","cls":["a",0,1],"sep":["b",1]})", none)
            .says("expected a pair of a token and its id"));
  CHECK(read(make(x + "," + a, "10"), none).says("id 10 of 'X' is no token of this vocabulary"));
  CHECK(none.before.empty());
  const std::string zeros = repeated("", 63, "", "0,") + "0";
  Frame full;
  CHECK(read(make(x + "," + a, zeros), full).text == "");
  CHECK(full.before.size() == 64);
  CHECK(read(make(x + "," + a, zeros + ",0"), none).says("more than 64 ids"));
  Frame many;
  CHECK(read(make(repeated("", 63, "", x + ",") + a, "0"), many).text == "");
  CHECK(many.before.size() == 63);
  CHECK(read(make(repeated("", 64, "", x + ",") + a, "0"), none).says("more than 64 pieces"));
  vocabulary = max_index;
  Frame largest;
  CHECK(read(make(a + "," + x, "2147483646"), largest).text == "");
}
