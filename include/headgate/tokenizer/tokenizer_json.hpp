// Reads a Hugging Face tokenizer.json. The vocabulary, the merges and the places of the added tokens are taken as they
// come; the components are small and are read as trees once the rest is known. Keys that only others use are ignored:
// truncation and padding, which serve batches and which transformers switches off for a text on its own, too.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "headgate/io/json.hpp"
#include "headgate/io/json_object.hpp"
#include "headgate/tokenizer/merge_list.hpp"
#include "headgate/tokenizer/tokenizer_components.hpp"
#include "headgate/tokenizer/tokenizer_parts.hpp"

namespace headgate::inline HEADGATE_ABI {

namespace detail {

class TokenizerReader final : public JsonHandler {
 public:
  explicit TokenizerReader(std::string_view text) : text_(text) {}

  TokenizerParts build() {
    const JsonObject model(model_, file(), "model");
    if (const std::string type = model.get_string("type", "BPE"); type != "BPE") {
      model.fail("type", "unknown type '" + escaped(type) + "' (known: BPE)");
    }
    if (vocabulary_.size() == 0) model.fail("vocab", "the vocabulary is missing or empty");
    if (!has_merges_) model.fail("merges", "the key is missing, expected a list of pairs");
    if (const Json* dropout = model.value("dropout"); dropout != nullptr && !dropout->is_null()) {
      if (model.get_number("dropout", 0, 1) > 0) model.fail("dropout", "makes tokens random (allowed: null, 0)");
    }
    for (const char* const key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      if (!model.get_string(key, "").empty()) model.fail(key, "is not supported (allowed: null, \"\")");
    }
    BpeOptions options;
    options.fuse_unknown = model.get_bool("fuse_unk", false);
    options.byte_fallback = model.get_bool("byte_fallback", false);
    options.ignore_merges = model.get_bool("ignore_merges", false);
    // As in the reference, an unk_token that is no token of the model, but an added one or none, stands for nothing.
    if (model.has("unk_token")) options.unknown = vocabulary_.find(model.get_string("unk_token"));
    const std::vector<Bpe::Merge> merges = merges_.resolve(vocabulary_, file());
    std::vector<AddedToken> added = read_added();

    std::vector<Normalizer::Step> normalizer;
    with_component("normalizer", [&](const JsonObject& json) { TokenizerComponents::read(json, normalizer); });
    std::vector<PreTokenizer::Step> pre_tokenizer;
    with_component("pre_tokenizer", [&](const JsonObject& json) { TokenizerComponents::read(json, pre_tokenizer); });
    const auto is_token = [&](std::int32_t id) {
      return vocabulary_.text(id) ||
             std::any_of(added.begin(), added.end(), [&](const AddedToken& token) { return token.id == id; });
    };
    Frame frame;
    with_component("post_processor", [&](const JsonObject& json) { TokenizerComponents::read(json, frame, is_token); });
    TokenDecoder decoder;
    bool joined = false;
    decoder.spaced =
        !with_component("decoder", [&](const JsonObject& json) { TokenizerComponents::read(json, decoder, joined); });
    return TokenizerParts{std::move(added),
                          Normalizer(std::move(normalizer)),
                          PreTokenizer(std::move(pre_tokenizer)),
                          Bpe(std::move(vocabulary_), merges, options),
                          std::move(frame),
                          std::move(decoder)};
  }

  void start_object() override { start(/*object=*/true); }
  void end_object() override { end(); }
  void start_array() override { start(/*object=*/false); }
  void end_array() override { end(); }

  void key(std::string_view name) override {
    if (depth_ == 1) top_ = name;
    if (depth_ == 2 && top_ == "model") member_ = name;
    if (!in_vocab()) return;
    token_ = name;
    if (vocabulary_.find(name) >= 0) fail(token_, "the key occurs twice in one object");
  }
  bool keeps_keys() const override { return in_vocab(); }

  void string(std::string_view value) override {
    if (in_merges() && depth_ == 3) return add_merge(value);
    if (in_merges() && depth_ == 4) return merges_.add_part(value);
    if (depth_ == 1 && top_ == "version" && value != "1.0") {
      fail("version", "unknown version '" + escaped(value) + "' (known: 1.0)");
    }
    scalar(std::string(value));
  }

  void number(std::int64_t value) override {
    if (!in_vocab()) return scalar(value);
    check_id(token_, value);
    if (vocabulary_.add(token_, static_cast<std::int32_t>(value)) == Vocabulary::Added::id_known) {
      fail("model.vocab", "id " + std::to_string(value) + " of token '" + escaped(token_) + "' is also that of '" +
                              escaped(*vocabulary_.text(static_cast<std::int32_t>(value))) + "'");
    }
  }
  void number(double value) override { scalar(value); }
  void boolean(bool value) override { scalar(value); }
  void null() override { scalar(std::monostate{}); }

 private:
  struct Slice {
    std::int64_t begin, end;  // in the file
  };

  bool in_vocab() const noexcept { return depth_ == 3 && top_ == "model" && member_ == "vocab"; }
  bool in_merges() const noexcept { return depth_ >= 3 && top_ == "model" && member_ == "merges"; }

  void start(bool object) {
    if (in_vocab()) refuse_id(object ? "an object" : "a list");
    if (in_merges() && (object || depth_ == 4)) refuse_merge(merge_number(), object ? "an object" : "a list in a list");
    if (in_merges()) merges_.start(offset());
    if (depth_ == 0 && !object) fail("", "expected an object, found a list");
    if (depth_ == 1 && top_ == "added_tokens" && object) fail("added_tokens", "expected a list, found an object");
    if (depth_ == 1 && top_ == "model" && !object) fail("model", "expected an object, found a list");
    if (depth_ == 2 && top_ == "model" && member_ == "vocab" && !object)
      fail("model.vocab", "expected an object, found a list");
    if (depth_ == 2 && top_ == "model" && member_ == "merges") {
      if (object) fail("model.merges", "expected a list, found an object");
      has_merges_ = true;
    }
    if (depth_ == 1 && top_ == "model") model_ = {Json::Object{}, offset()};
    if (depth_ == 1) slice_begin_ = offset();
    if (depth_ == 2 && top_ == "added_tokens") added_begin_ = offset();
    ++depth_;
  }

  void end() {
    --depth_;
    if (depth_ == 3 && in_merges() && merges_.parts() != 2)
      refuse_merge(merges_.size() - 1, "a list of " + std::to_string(merges_.parts()));
    if (depth_ == 2 && top_ == "added_tokens") add_added({added_begin_, offset() + 1});
    if (depth_ == 1 && top_ != "model" && top_ != "added_tokens") slices_[top_] = {slice_begin_, offset() + 1};
  }

  // Any value that is neither object nor list, where no other rule takes it.
  template <class T>
  void scalar(T value) {
    Json json{std::move(value), offset()};
    if (depth_ == 0) fail("", "expected an object, found " + json.describe());
    if (in_vocab()) refuse_id(json.describe());
    if (in_merges()) refuse_merge(merge_number(), json.describe());
    if (depth_ == 2 && top_ == "added_tokens") fail("added_tokens", "expected objects, found " + json.describe());
    if (depth_ == 2 && top_ == "model") {
      if (member_ == "vocab") fail("model.vocab", "expected an object, found " + json.describe());
      if (member_ == "merges") fail("model.merges", "expected a list, found " + json.describe());
      std::get<Json::Object>(model_.value).push_back({member_, offset(), std::move(json)});
      return;
    }
    const bool is_component = top_ == "model" || top_ == "normalizer" || top_ == "pre_tokenizer" ||
                              top_ == "post_processor" || top_ == "decoder";
    if (depth_ == 1 && is_component && (top_ == "model" || !json.is_null())) {
      fail(top_, "expected an object, found " + json.describe());
    }
    if (depth_ == 1 && top_ == "added_tokens" && !json.is_null())
      fail(top_, "expected a list, found " + json.describe());
    if (depth_ == 1 && top_ == "version" && !std::holds_alternative<std::string>(json.value)) {
      fail(top_, "expected \"1.0\", found " + json.describe());
    }
  }

  // Every token takes more than four bytes of the file, so that a table of ids is never larger than a few times the
  // file.
  void check_id(const std::string& token, std::int64_t id) const {
    const auto allowed = std::min<std::int64_t>(max_index, static_cast<std::int64_t>(text_.size() / 4) + 65536);
    if (id < 0 || id >= allowed) {
      fail("model.vocab", "token '" + escaped(token) + "' has id " + std::to_string(id) +
                              ", allowed in a file of this size: 0 to " + std::to_string(allowed - 1));
    }
  }

  [[noreturn]] void refuse_id(const std::string& found) const {
    fail("model.vocab", "the id of token '" + escaped(token_) + "' is not an integer, found " + found);
  }
  // Of the merge that a value belongs to: its parts have begun it already.
  std::size_t merge_number() const noexcept { return merges_.size() - (depth_ > 3 ? 1 : 0); }
  [[noreturn]] void refuse_merge(std::size_t number, const std::string& found) const {
    fail("model.merges", "merge " + std::to_string(number) + " is not a pair of tokens, found " + found);
  }

  void add_merge(std::string_view pair) {
    if (pair.starts_with("#version")) return;
    const std::size_t space = pair.find(' ');
    if (space == 0 || space >= pair.size() - 1 || pair.find(' ', space + 1) != std::string_view::npos) {
      refuse_merge(merges_.size(), "the string \"" + escaped(pair, 80) + "\"");
    }
    merges_.start(offset());
    merges_.add_part(pair.substr(0, space));
    merges_.add_part(pair.substr(space + 1));
  }

  void add_added(Slice slice) {
    added_slices_.push_back(slice);
    if (added_slices_.size() > max_added_tokens) {
      throw Error(ErrorCode::limit, {file(), "added_tokens", offset(),
                                     "more than " + std::to_string(max_added_tokens) + " added tokens"});
    }
  }

  // Ids are the file's. (The reference counts them anew behind the vocabulary, and warns where that differs.)
  std::vector<AddedToken> read_added() const {
    std::vector<AddedToken> tokens;
    Vocabulary known;
    std::size_t bytes = 0;
    for (const Slice& slice : added_slices_) {
      const Json tree = parse(slice);
      const JsonObject json(tree, file(), "added_tokens");
      AddedToken token;
      token.content = json.get_string("content");
      if (token.content.empty()) continue;  // never found in a text
      const std::int64_t id = json.get_integer("id", 0, max_index);
      check_id(token.content, id);
      token.id = static_cast<std::int32_t>(id);
      token.special = json.get_bool("special", false);
      token.normalized = json.get_bool("normalized", !token.special);
      token.strip_left = json.get_bool("lstrip", false);
      token.strip_right = json.get_bool("rstrip", false);
      token.single_word = json.get_bool("single_word", false);
      const std::int32_t model_id = vocabulary_.find(token.content);
      const auto model_text = vocabulary_.text(token.id);
      if ((model_id >= 0 && model_id != token.id) || (model_text && *model_text != token.content)) {
        json.fail("id", "token '" + escaped(token.content) + "' with id " + std::to_string(id) +
                            " contradicts the vocabulary, which has " +
                            (model_id >= 0 ? "id " + std::to_string(model_id) + " for it"
                                           : "'" + escaped(*model_text) + "' there"));
      }
      if (known.add(token.content, token.id) != Vocabulary::Added::yes) {
        json.fail("id", "token '" + escaped(token.content) + "' or its id " + std::to_string(id) + " occurs twice");
      }
      bytes += token.content.size();
      if (bytes > max_added_bytes) {
        throw Error(ErrorCode::limit, {file(), "added_tokens", slice.begin,
                                       "added tokens of more than " + std::to_string(max_added_bytes) + " bytes"});
      }
      tokens.push_back(std::move(token));
    }
    return tokens;
  }

  // Whether the component is there; null is not.
  template <class Read>
  bool with_component(const std::string& name, Read read) const {
    const auto found = slices_.find(name);
    if (found == slices_.end()) return false;
    const Json tree = parse(found->second);
    read(JsonObject(tree, file(), name));
    return true;
  }

  Json parse(Slice slice) const {
    return parse_json(text_.substr(as_size(slice.begin), as_size(slice.end - slice.begin)), file(), slice.begin);
  }

  std::string_view text_;
  int depth_ = 0;
  std::string top_;                  // the key at depth 1
  std::string member_;               // the key in model
  std::string token_;                // the key in vocab
  Json model_{std::monostate{}, 0};  // its scalars
  Vocabulary vocabulary_;
  bool has_merges_ = false;
  MergeList merges_;
  std::int64_t slice_begin_ = 0;
  std::int64_t added_begin_ = 0;
  std::vector<Slice> added_slices_;
  std::map<std::string, Slice> slices_;
};

}  // namespace detail

// text: the whole file. file: its name, for errors.
inline TokenizerParts read_tokenizer_json(std::string_view text, const std::string& file) {
  detail::TokenizerReader reader(text);
  parse_json(text, file, reader);
  return reader.build();
}

}  // namespace headgate::inline HEADGATE_ABI
