// KlBase: the distributions that a model gave for the counted tokens of a text, in a file, and how another model's
// differ from them. Probabilities are kept in 16 bits each: ln p = low + scale * q, normalised again when read, so that
// a model compared with itself has a divergence of about scale^2 / 24, 1e-8.
//
// The file, little-endian: "HGKLBASE", u32 version 1, u32 vocabulary, u32 context, u32 chunks, u64 check of all that
// stands before the rows; i32 tokens[chunks * context], padded to 8 bytes; then a row for each counted token: u64
// check, f64 loss, f32 low, f32 scale, i32 most likely token, i32 token, u16 q[vocabulary], padded. Its size follows
// from the numbers; a check takes in the place of the row. No byte can change without being noticed.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "headgate/analysis/perplexity.hpp"
#include "headgate/io/bytes.hpp"
#include "headgate/io/mapped_file.hpp"

namespace headgate::inline HEADGATE_ABI {

namespace detail {

struct KlHeader {
  char magic[8];
  std::uint32_t version, vocab_size, context, chunks;
  std::uint64_t check;
};
struct KlRow {
  std::uint64_t check;
  double loss;
  float low, scale;
  std::int32_t top, token;
};
static_assert(sizeof(KlHeader) == 32 && sizeof(KlRow) == 32);
inline constexpr std::string_view kl_magic = "HGKLBASE";

// FNV-1a by words of 8 bytes: each step is a bijection, so that one changed word always changes it.
inline std::uint64_t kl_check(std::uint64_t seed, std::span<const std::byte> bytes) noexcept {
  std::uint64_t h = 0xcbf29ce484222325U ^ seed;
  for (std::size_t i = 0; i + 8 <= bytes.size(); i += 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data() + i, 8);
    h = (h ^ word) * 0x100000001b3U;
  }
  return h;
}
inline std::uint64_t padded8(std::uint64_t bytes) noexcept { return (bytes + 7) / 8 * 8; }
inline std::int32_t most_likely(std::span<const float> logits) noexcept {
  return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace detail

class KlBase {
 public:
  // What a file begins with, for tokens of a text.
  static std::string header(const TextChunks& text, index_t vocab_size) {
    detail::KlHeader h{{},
                       1,
                       static_cast<std::uint32_t>(vocab_size),
                       static_cast<std::uint32_t>(text.context()),
                       static_cast<std::uint32_t>(text.size()),
                       0};
    std::copy(detail::kl_magic.begin(), detail::kl_magic.end(), h.magic);
    const std::span<const std::int32_t> tokens = text.tokens();
    std::string bytes(sizeof h + detail::padded8(tokens.size_bytes()), '\0');
    std::memcpy(bytes.data(), &h, sizeof h);
    std::memcpy(bytes.data() + sizeof h, tokens.data(), tokens.size_bytes());
    h.check = detail::kl_check(0, std::as_bytes(std::span(bytes)));
    std::memcpy(bytes.data(), &h, sizeof h);
    return bytes;
  }
  static std::uint64_t row_bytes(std::uint64_t vocab_size) {
    return sizeof(detail::KlRow) + detail::padded8(2 * vocab_size);
  }
  // Writes row n into `out` (row_bytes) and returns the token's loss. The logits are finite.
  static double put_row(std::size_t n, std::span<const float> logits, std::int32_t token, std::span<char> out) {
    const LogSoftmax logprobs(logits);
    const auto [least, largest] = std::minmax_element(logits.begin(), logits.end());
    detail::KlRow row{0,
                      -logprobs[token],
                      static_cast<float>(logprobs[static_cast<std::int32_t>(least - logits.begin())]),
                      static_cast<float>((double{*largest} - double{*least}) / 65535.0),
                      detail::most_likely(logits),
                      token};
    std::fill(out.begin(), out.end(), '\0');
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const double steps = row.scale > 0.0f ? (double{logits[i]} - double{*least}) / double{row.scale} : 0.0;
      const auto q = static_cast<std::uint16_t>(std::clamp(std::round(steps), 0.0, 65535.0));
      std::memcpy(out.data() + sizeof row + 2 * i, &q, 2);
    }
    std::memcpy(out.data(), &row, sizeof row);
    row.check = detail::kl_check(n + 1, std::as_bytes(std::span<const char>(out)).subspan(8));
    std::memcpy(out.data(), &row.check, 8);
    return row.loss;
  }

  // Throws Error: io; bad_file where it is no such file, or is not as it was written. Rows are checked as they are
  // read.
  static KlBase open(const std::string& path) { return KlBase(MappedFile::open(path)); }

  const TextChunks& text() const noexcept { return text_; }
  index_t vocab_size() const noexcept { return vocab_size_; }

  // One counted token in both models.
  struct Difference {
    double loss = 0.0;
    double base_loss = 0.0;
    double divergence = 0.0;  // sum_i p_i (ln p_i - ln q_i), p of the base
    bool same_top = false;
    double probability() const { return std::exp(-loss) - std::exp(-base_loss); }
  };
  // Row n against the logits of a model. Throws bad_file where the row has changed.
  Difference difference(std::size_t n, std::span<const float> logits, std::int32_t token) const {
    const std::uint64_t size = row_bytes(static_cast<std::uint64_t>(vocab_size_));
    const std::uint64_t offset = rows_ + n * size;
    const std::span<const std::byte> bytes = file_.bytes().subspan(offset, size);
    detail::KlRow row;
    std::memcpy(&row, bytes.data(), sizeof row);
    if (row.check != detail::kl_check(n + 1, bytes.subspan(8)) || row.token != token) {
      throw Error(ErrorCode::bad_file,
                  {file_.path(), "row " + std::to_string(n), static_cast<std::int64_t>(offset), "has changed"});
    }
    const LogSoftmax logprobs(logits);
    const auto base = [&](std::size_t i) {
      std::uint16_t q;
      std::memcpy(&q, bytes.data() + sizeof row + 2 * i, 2);
      return double{row.low} + double{row.scale} * q;
    };
    double total = 0.0;
    double sum = 0.0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const double ln_p = base(i);
      const double p = std::exp(ln_p);
      total += p;
      sum += p * (ln_p - logprobs[static_cast<std::int32_t>(i)]);
    }
    return {-logprobs[token], row.loss, sum / total - std::log(total), row.top == detail::most_likely(logits)};
  }

 private:
  explicit KlBase(MappedFile file)
      : file_(std::move(file)), text_(read_text()), rows_(sizeof(detail::KlHeader) + token_bytes()) {}

  std::uint64_t token_bytes() const { return detail::padded8(text_.tokens().size_bytes()); }
  TextChunks read_text() {
    Bytes in(file_.bytes(), file_.path());
    if (in.take_text(8, "magic") != detail::kl_magic) in.fail("magic", "is no file of distributions (--kl-base)");
    const std::uint32_t version = in.take_u32("version");
    if (version != 1) in.fail("version", "got " + std::to_string(version) + ", allowed is 1");
    const std::uint64_t vocab = in.take_u32("vocabulary");
    const std::uint64_t context = in.take_u32("context");
    const std::uint64_t chunks = in.take_u32("chunks");
    const std::uint64_t check = in.take_u64("check");
    constexpr auto most = static_cast<std::uint64_t>(max_index);
    if (vocab < 1 || vocab > most || context < 3 || context > most || chunks < 1 || chunks > most) {
      in.fail("sizes", "vocabulary, context or chunks is out of range");
    }
    // The largest of these products is below 2^31 * 2^31 * 2^33: checked.
    const std::uint64_t tokens = chunks * context;
    const auto rows = checked_multiply(chunks * (context - 1 - context / 2), row_bytes(vocab));
    const auto size = rows ? checked_add(*rows, sizeof(detail::KlHeader) + detail::padded8(4 * tokens)) : std::nullopt;
    if (!size || *size != file_.bytes().size()) {
      in.fail("sizes", "do not fit the file of " + std::to_string(file_.bytes().size()) + " bytes");
    }
    const std::uint64_t head = sizeof(detail::KlHeader) + detail::padded8(4 * tokens);
    std::string copy(file_.text().substr(0, head));
    std::fill_n(copy.begin() + 24, 8, '\0');
    if (check != detail::kl_check(0, std::as_bytes(std::span(copy)))) in.fail("check", "the tokens have changed");
    std::vector<std::int32_t> ids(tokens);
    std::memcpy(ids.data(), copy.data() + sizeof(detail::KlHeader), 4 * tokens);
    vocab_size_ = static_cast<index_t>(vocab);
    return TextChunks::whole(std::move(ids), static_cast<index_t>(context));
  }

  MappedFile file_;
  index_t vocab_size_ = 0;
  TextChunks text_;
  std::uint64_t rows_;  // where they begin
};

// The value below which this share of sorted values lies, linear between neighbours.
inline double percentile(std::span<const double> sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

// How a model's predictions differ from those of a base, over all counted tokens.
struct KlComparison {
  Mean loss, base_loss, loss_change;  // nats; e^ them: perplexities and their ratio
  Mean divergence;                    // nats
  Mean same_top;                      // share of tokens whose most likely token is the base's
  Mean probability_change;            // of the text's token: p - p of the base
  double probability_rms = 0.0;
  std::vector<double> divergences, probability_changes;  // sorted, one a token

  static KlComparison of(std::span<const KlBase::Difference> all) {
    const auto each = [&](auto value) {
      std::vector<double> values(all.size());
      std::transform(all.begin(), all.end(), values.begin(), value);
      return values;
    };
    using D = const KlBase::Difference&;
    KlComparison c;
    c.loss = Mean::of(each([](D d) { return d.loss; }));
    c.base_loss = Mean::of(each([](D d) { return d.base_loss; }));
    c.loss_change = Mean::of(each([](D d) { return d.loss - d.base_loss; }));
    c.same_top = Mean::of(each([](D d) { return d.same_top ? 1.0 : 0.0; }));
    c.divergences = each([](D d) { return d.divergence; });
    c.divergence = Mean::of(c.divergences);
    c.probability_changes = each([](D d) { return d.probability(); });
    c.probability_change = Mean::of(c.probability_changes);
    c.probability_rms = std::sqrt(Mean::of(each([](D d) { return d.probability() * d.probability(); })).value);
    std::sort(c.divergences.begin(), c.divergences.end());
    std::sort(c.probability_changes.begin(), c.probability_changes.end());
    return c;
  }
};

// The session's model on the text of the base. Throws Error: bad_file for another vocabulary or a changed row; what
// Session::forward says.
inline KlComparison compare(Session& session, const KlBase& base, Context& ctx, const OnChunk& on_chunk = {}) {
  if (session.model().vocab_size() != base.vocab_size()) {
    throw Error(ErrorCode::bad_file, {"", "vocabulary", -1,
                                      "of the base has " + std::to_string(base.vocab_size()) + " tokens, the model's " +
                                          std::to_string(session.model().vocab_size())});
  }
  std::vector<KlBase::Difference> all(base.text().size() * base.text().counted());
  score_chunks(
      session, base.text(), ctx,
      [&](std::size_t n, std::span<const float> logits, std::int32_t token) {
        return (all[n] = base.difference(n, logits, token)).loss;
      },
      on_chunk);
  return KlComparison::of(all);
}

}  // namespace headgate::inline HEADGATE_ABI
