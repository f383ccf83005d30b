#include "headgate/analysis/kl_base.hpp"

#include "models/loading.hpp"
#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

using namespace headgate;

namespace {

constexpr index_t vocab = 5;  // odd, so that rows are padded
const TextChunks& text() {
  static const TextChunks chunks({0, 1, 2, 3, 4, 0, 1, 2, 3, 4}, 5, -1);
  return chunks;
}
std::vector<float> logits_of(std::size_t n, float change = 0.0f) {
  std::vector<float> logits;
  for (std::size_t i = 0; i < vocab; ++i) logits.push_back(static_cast<float>((n * 3 + i * i * 5) % 7) * 0.37f);
  logits[2] += change;
  return logits;
}
std::string file_bytes() {
  std::string bytes = KlBase::header(text(), vocab);
  std::string row(KlBase::row_bytes(vocab), '\0');
  for (std::size_t n = 0; n < text().size() * text().counted(); ++n) {
    KlBase::put_row(n, logits_of(n), text()[n / text().counted()][3 + n % text().counted()], row);
    bytes += row;
  }
  return bytes;
}
std::int32_t token_of(std::size_t n) { return text()[n / text().counted()][3 + n % text().counted()]; }

}  // namespace

TEST_CASE("a saved distribution differs from itself by the rounding of 16 bits, and from others as the formula says") {
  const ScratchFolder folder;
  write_all(folder / "base", file_bytes());
  const KlBase base = KlBase::open((folder / "base").string());
  CHECK(base.vocab_size() == vocab);
  CHECK(std::equal(base.text().tokens().begin(), base.text().tokens().end(), text().tokens().begin()));
  for (std::size_t n = 0; n < 4; ++n) {
    const std::vector<float> own = logits_of(n);
    const KlBase::Difference same = base.difference(n, own, token_of(n));
    CHECK(std::fabs(same.divergence) < 1e-8);
    CHECK(same.same_top);
    CHECK(same.probability() == 0.0);
    const std::vector<float> other = logits_of(n, 1.5f);
    const LogSoftmax p(own);
    const LogSoftmax q(other);
    double expected = 0.0;
    for (std::int32_t i = 0; i < vocab; ++i) expected += std::exp(p[i]) * (p[i] - q[i]);
    const KlBase::Difference d = base.difference(n, other, token_of(n));
    CHECK(d.divergence == Catch::Approx(expected).margin(1e-4));
    CHECK(d.loss == -q[token_of(n)]);
    CHECK(d.base_loss == -p[token_of(n)]);
  }
}

TEST_CASE("a file of distributions with any byte changed, added or missing is refused") {
  const ScratchFolder folder;
  const std::string good = file_bytes();
  const std::string path = (folder / "base").string();
  const auto is_refused = [&](const std::string& bytes) {
    write_all(path, bytes);
    try {
      const KlBase base = KlBase::open(path);
      for (std::size_t n = 0; n < 4; ++n) {
        static_cast<void>(base.difference(n, logits_of(n), token_of(n)));
      }
    } catch (const Error& error) {
      return error.code() == ErrorCode::bad_file;
    }
    return false;
  };
  CHECK_FALSE(is_refused(good));
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x10);
    CAPTURE(i);
    CHECK(is_refused(bad));
  }
  for (std::size_t size = 0; size < good.size(); size += 3) CHECK(is_refused(good.substr(0, size)));
  CHECK(is_refused(good + '\0'));
  // Rows that changed places are no rows of this text.
  const std::size_t row = KlBase::row_bytes(vocab);
  CHECK(is_refused(good.substr(0, good.size() - 2 * row) + good.substr(good.size() - row) +
                   good.substr(good.size() - 2 * row, row)));
}

TEST_CASE("a comparison is means, percentiles and the share of equal most likely tokens") {
  const std::vector<KlBase::Difference> all = {
      {1.0, 1.0, 0.0, true}, {2.0, 1.0, 0.5, false}, {0.5, 1.0, 0.25, true}, {1.0, 2.0, 0.75, true}};
  const KlComparison c = KlComparison::of(all);
  CHECK(c.divergence.value == Catch::Approx(0.375));
  CHECK(c.same_top.value == 0.75);
  CHECK(c.loss_change.value == Catch::Approx(-0.125));
  double squares = 0.0;
  for (const KlBase::Difference& d : all) squares += std::pow(std::exp(-d.loss) - std::exp(-d.base_loss), 2);
  CHECK(c.probability_rms == Catch::Approx(std::sqrt(squares / 4)));
  CHECK(percentile(c.divergences, 0.0) == 0.0);
  CHECK(percentile(c.divergences, 0.5) == Catch::Approx(0.375));
  CHECK(percentile(c.divergences, 1.0) == 0.75);
}
