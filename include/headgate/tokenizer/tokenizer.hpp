// Tokenizer: text to token ids and back, as Hugging Face's tokenizer.json or the metadata of a GGUF file describes it.
// Immutable once loaded; any number of threads may use one. The model is BPE, byte-level or SentencePiece's; no family
// here needs a unigram model, and one is refused.
//
//   text -> added tokens -> normalizer -> added tokens -> pre-tokenizer -> BPE -> post-processor -> ids
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "headgate/core/error.hpp"
#include "headgate/io/mapped_file.hpp"
#include "headgate/tokenizer/gguf_tokenizer.hpp"
#include "headgate/tokenizer/token_decoder.hpp"
#include "headgate/tokenizer/tokenizer_json.hpp"

namespace headgate::inline HEADGATE_ABI {

inline constexpr std::size_t max_text_size = std::size_t{64} << 20;                 // bytes
inline constexpr std::uint64_t max_tokenizer_file_size = std::uint64_t{128} << 20;  // bytes

struct EncodeOptions {
  bool add_special_tokens = true;  // what the post-processor puts around a text
  bool parse_special = true;       // special tokens written in the text are those tokens; false: they are plain text
};

struct DecodeOptions {
  bool skip_special = true;
};

// A piece of a text whose other pieces may be somebody else's.
struct TextPiece {
  std::string_view text;
  bool is_token = false;  // this added token, if there is one of exactly this text; else text like any other
};

class Tokenizer {
 public:
  static Tokenizer from_file(const std::string& path) {
    return from_json(read_small_file(path, max_tokenizer_file_size), path);
  }
  // file: a name for errors.
  static Tokenizer from_json(std::string_view text, const std::string& file = "tokenizer.json") {
    return with_file(file, [&] { return Tokenizer(read_tokenizer_json(text, file)); });
  }
  // file: a name for errors.
  static Tokenizer from_gguf(const GgufVocabulary& vocabulary, const std::string& file = "vocabulary") {
    return with_file(file, [&] { return Tokenizer(make_gguf_tokenizer(vocabulary, file)); });
  }
  // Of a whole GGUF file, whose bytes the tokenizer does not need afterwards.
  static Tokenizer from_gguf(const GgufMetadata& metadata) {
    try {
      return from_gguf(GgufVocabulary::read(metadata), metadata.file());
    } catch (const Error& error) {
      if (error.detail().offset >= 0 || !metadata.has(error.detail().field)) throw;
      ErrorDetail detail = error.detail();
      detail.offset = metadata.find(detail.field)->offset;
      throw Error(error.code(), std::move(detail));
    }
  }

  explicit Tokenizer(TokenizerParts parts)
      : parts_(std::move(parts)),
        before_(parts_.added, /*normalized=*/false, parts_.normalizer),
        after_(parts_.added, /*normalized=*/true, parts_.normalizer) {
    for (const AddedToken& token : parts_.added) {
      added_.add(token.content, token.id);
      if (token.normalized) {
        std::string normalized = parts_.normalizer.apply(token.content);
        if (normalized != token.content) normalized_.emplace(token.id, std::move(normalized));
      }
      if (!token.special) continue;
      if (as_size(token.id) >= special_.size()) special_.resize(as_size(token.id) + 1);
      special_[as_size(token.id)] = true;
    }
  }

  // text: UTF-8, of at most max_text_size bytes. An empty text is legal. A byte or character that no token stands for
  // is an error that names it and its place; the reference leaves it out.
  std::vector<std::int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const {
    return encode(text, {}, options);
  }
  // The pieces as one text. Added tokens stand where a piece says so; special ones written in the other pieces are
  // plain text, whatever parse_special says. So what a user types cannot end a turn of a chat.
  std::vector<std::int32_t> encode(std::span<const TextPiece> pieces, const EncodeOptions& options = {}) const {
    std::string text;
    std::vector<AddedTokenFinder::Fixed> fixed;
    for (const TextPiece& piece : pieces) {
      const std::size_t begin = text.size();
      text += piece.text;
      if (!piece.is_token) continue;
      const auto same = [&](const AddedToken& token) { return token.content == piece.text; };
      const auto token = std::find_if(parts_.added.begin(), parts_.added.end(), same);
      if (token != parts_.added.end()) fixed.push_back({begin, text.size(), &*token});
    }
    return encode(text, fixed, {options.add_special_tokens, /*parse_special=*/false});
  }

  // An id without a token (a padding row of the embedding) adds no text.
  std::string decode(std::span<const std::int32_t> ids, const DecodeOptions& options = {}) const {
    TextAssembler assembler(parts_.decoder);
    std::string text;
    for (const std::int32_t id : ids) {
      if (const auto token = visible_text(id, options)) text += assembler.push(*token, is_added(id));
    }
    return text + assembler.finish();
  }

  // The token as the vocabulary spells it; nothing if there is none with this id.
  std::optional<std::string_view> token_text(std::int32_t id) const noexcept {
    const auto added = added_.text(id);
    return added ? added : parts_.bpe.vocabulary().text(id);
  }

  // The id of a token as the vocabulary spells it.
  std::optional<std::int32_t> id_of(std::string_view token) const noexcept {
    std::int32_t id = added_.find(token);
    if (id < 0) id = parts_.bpe.vocabulary().find(token);
    return id < 0 ? std::nullopt : std::optional(id);
  }

  bool is_special(std::int32_t id) const noexcept {
    return id >= 0 && as_size(id) < special_.size() && special_[as_size(id)];
  }

  // Whether the token is found in texts before anything else happens to them.
  bool is_added(std::int32_t id) const noexcept { return added_.text(id).has_value(); }

  // Tokens, added ones included. Ids need not be dense: a model needs max_id() + 1 embedding rows.
  std::int32_t vocab_size() const noexcept {
    std::int32_t size = parts_.bpe.vocabulary().size();
    for (const AddedToken& token : parts_.added) size += parts_.bpe.vocabulary().text(token.id) ? 0 : 1;
    return size;
  }
  std::int32_t max_id() const noexcept { return std::max(parts_.bpe.vocabulary().max_id(), added_.max_id()); }

  // What the decoder is given for an id: nothing if decoding does not show it, and, as in the reference, the normalized
  // text of an added token that is found in normalized text.
  std::optional<std::string_view> visible_text(std::int32_t id, const DecodeOptions& options) const {
    if (id < 0) {
      throw Error(ErrorCode::usage, {"", "ids", -1, "a token id must not be negative, found " + std::to_string(id)});
    }
    if (options.skip_special && is_special(id)) return std::nullopt;
    const auto normalized = normalized_.find(id);
    if (normalized != normalized_.end()) return normalized->second;
    return token_text(id);
  }
  const TokenDecoder& decoder() const noexcept { return parts_.decoder; }

 private:
  // What one call of encode works in.
  struct Call {
    std::string_view text;  // the user's
    MatchBudget budget;
    std::size_t room;
    Bpe::Scratch scratch;
  };

  std::vector<std::int32_t> encode(std::string_view text, std::span<const AddedTokenFinder::Fixed> fixed,
                                   const EncodeOptions& options) const {
    check(text);
    std::vector<std::int32_t> ids;
    if (options.add_special_tokens) ids = parts_.frame.before;
    Call call{text, MatchBudget::for_text(text.size()), Normalizer::room(text.size()), {}};
    for (const auto& part : before_.split(text, options.parse_special, fixed)) {
      if (part.id >= 0) {
        ids.push_back(part.id);
      } else {
        encode_part(text.substr(part.begin, part.end - part.begin), part.begin == 0, options.parse_special, call, ids);
      }
    }
    if (options.add_special_tokens) ids.insert(ids.end(), parts_.frame.after.begin(), parts_.frame.after.end());
    return ids;
  }

  // Errors of the parts name no file.
  template <class Make>
  static Tokenizer with_file(const std::string& file, Make make) {
    try {
      return make();
    } catch (const Error& error) {
      if (!error.detail().file.empty()) throw;
      ErrorDetail detail = error.detail();
      detail.file = file;
      throw Error(error.code(), std::move(detail));
    }
  }

  static void check(std::string_view text) {
    if (text.size() > max_text_size) {
      throw Error(ErrorCode::limit, {"", "text", -1,
                                     "a text of " + std::to_string(text.size()) + " bytes, at most " +
                                         std::to_string(max_text_size) + " are allowed"});
    }
    if (const std::size_t i = find_invalid_utf8(text); i != std::string_view::npos) {
      throw Error(ErrorCode::bad_file,
                  {"", "text", static_cast<std::int64_t>(i), "not UTF-8 (found " + escaped(text.substr(i, 4)) + ")"});
    }
  }

  void encode_part(std::string_view text, bool starts_input, bool parse_special, Call& call,
                   std::vector<std::int32_t>& ids) const {
    const std::string normalized = parts_.normalizer.apply(text, call.room, call.budget);
    for (const auto& part : after_.split(normalized, parse_special)) {
      if (part.id >= 0) {
        ids.push_back(part.id);
        continue;
      }
      const PieceList list = parts_.pre_tokenizer.split(normalized.substr(part.begin, part.end - part.begin),
                                                        starts_input && part.begin == 0, call.budget);
      for (const PieceList::Piece& piece : list.pieces) {
        const std::string_view unknown = parts_.bpe.encode(list.view(piece), call.scratch, ids);
        if (!unknown.empty()) refuse(unknown, call.text);
      }
    }
  }

  // Nothing stands for this character of the prepared text, which may spell a byte. Its place is where it, or the byte,
  // first stands in the text; none if only a normalizer wrote it.
  [[noreturn]] void refuse(std::string_view unknown, std::string_view text) const {
    const bool is_byte = parts_.pre_tokenizer.spells_bytes() || parts_.normalizer.spells_bytes();
    std::string bytes;
    if (is_byte) append_token_bytes(unknown, bytes);
    if (!is_byte) bytes = unknown;
    const std::size_t place = text.find(bytes);
    const std::string name = is_byte ? "the byte " + byte_token(static_cast<unsigned char>(bytes[0])).substr(1, 4)
                                     : "'" + escaped(bytes) + "'";
    throw Error(ErrorCode::bad_file,
                {"", "text", place == std::string_view::npos ? -1 : static_cast<std::int64_t>(place),
                 "no token for " + name + ", and no unk_token of the vocabulary to stand for it"});
  }

  TokenizerParts parts_;
  AddedTokenFinder before_;
  AddedTokenFinder after_;
  Vocabulary added_;
  std::map<std::int32_t, std::string> normalized_;  // added tokens that normalization changes
  std::vector<bool> special_;
};

// The text of tokens as they are generated: whole characters only, the rest held back until it is complete.
class StreamDecoder {
 public:
  // Outlives the decoder.
  explicit StreamDecoder(const Tokenizer& tokenizer, const DecodeOptions& options = {})
      : tokenizer_(&tokenizer), options_(options), assembler_(tokenizer.decoder()) {}
  explicit StreamDecoder(const Tokenizer&&, const DecodeOptions& = {}) = delete;

  // Tokens before those that are pushed, as a prompt: their text is not given out, and what only the first token of a
  // text loses, as SentencePiece's the space that it begins with, the next one keeps.
  void skip(std::span<const std::int32_t> ids) {
    for (const std::int32_t id : ids) push(id);
  }

  // The text that this token completes; often none.
  std::string push(std::int32_t id) {
    const auto token = tokenizer_->visible_text(id, options_);
    return token ? assembler_.push(*token, tokenizer_->is_added(id)) : std::string();
  }
  // At the end: what is still held back can no longer become a character and is U+FFFD.
  std::string finish() { return assembler_.finish(); }

 private:
  const Tokenizer* tokenizer_;
  DecodeOptions options_;
  TextAssembler assembler_;
};

}  // namespace headgate::inline HEADGATE_ABI
