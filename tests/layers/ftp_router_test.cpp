#include "headgate/layers/ftp_router.hpp"

#include "headgate/core/thread_pool.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/status.hpp"

using namespace headgate;

namespace {

struct Numbers {
  explicit Numbers(unsigned seed)
      : w1(random_floats(std::size_t{11} * 4, 2.0f, seed)),
        b1(random_floats(11, 1.0f, seed + 1)),
        w2(random_floats(22, 1.0f, seed + 2)),
        b2(random_floats(2, 0.25f, seed + 3)) {}
  FtpRouter router() const { return FtpRouter::create({w1.data(), 11, 4}, b1, {w2.data(), 2, 11}, b2).value(); }
  std::vector<float> w1, b1, w2, b2;
};
using Kept = std::vector<std::uint8_t>;
Kept choose(const FtpRouter& router, std::span<const float> attention, float sparsity, FtpRouter::Form form) {
  Kept kept(attention.size());
  Context ctx;
  throw_if_error(router.choose(attention, sparsity, form, kept, ctx));
  return kept;
}

}  // namespace

TEST_CASE("paper_ FTP reads place, attention, rank and sparsity of a token") {
  const std::vector<float> attention{0.5f, 0.125f, 0.25f, 0.5f, 0.0f};
  std::vector<float> f(20);
  FtpRouter::read(attention, 0.3f, FtpRouter::Form::batch, {f.data(), 5, 4});
  CHECK(f == std::vector<float>{0,    0.5f, 0,     0.3f, 0.25f, 0.125f, 0.75f, 0.3f, 0.5f, 0.25f,
                                0.5f, 0.3f, 0.75f, 0.5f, 0.25f, 0.3f,   1,     0,    1,    0.3f});
  FtpRouter::read(attention, 0.3f, FtpRouter::Form::causal, {f.data(), 5, 4});
  CHECK(f == std::vector<float>{0,    0.5f, 0, 0.3f, 1,           0.125f, 1, 0.3f, 1, 0.25f,
                                0.5f, 0.3f, 1, 0.5f, 1.0f / 3.0f, 0.3f,   1, 0,    1, 0.3f});
}

TEST_CASE("paper_ FTP keeps a token where its network says so, in double as here") {
  for (const unsigned seed : {1u, 20u, 40u}) {
    const Numbers n(seed);
    const std::vector<float> attention = random_floats(23, 1.0f, seed + 9);
    for (const FtpRouter::Form form : {FtpRouter::Form::batch, FtpRouter::Form::causal}) {
      std::vector<float> f(std::size_t{23} * 4);
      FtpRouter::read(attention, 0.5f, form, {f.data(), 23, 4});
      const Kept kept = choose(n.router(), attention, 0.5f, form);
      for (std::size_t t = 0; t < 23; ++t) {
        double z[2] = {double{n.b2[0]}, double{n.b2[1]}};
        for (std::size_t r = 0; r < 11; ++r) {
          double sum = double{n.b1[r]};
          for (std::size_t i = 0; i < 4; ++i) sum += double{n.w1[4 * r + i]} * double{f[4 * t + i]};
          const double active = 0.5 * sum * (1.0 + std::erf(sum / std::sqrt(2.0)));
          for (std::size_t c = 0; c < 2; ++c) z[c] += double{n.w2[11 * c + r]} * active;
        }
        if (std::abs(z[1] - z[0]) > 1e-4) CHECK(kept[t] == (z[1] > z[0] ? 1 : 0));
      }
    }
  }
}

TEST_CASE("FTP keeps everything in a layer of sparsity zero, and its causal form does not look ahead") {
  const FtpRouter router = Numbers(3).router();
  const std::vector<float> attention = random_floats(23, 1.0f, 5);
  CHECK(choose(router, attention, 0.0f, FtpRouter::Form::batch) == Kept(23, 1));
  const Kept all = choose(router, attention, 0.7f, FtpRouter::Form::causal);
  for (const std::size_t length : {std::size_t{0}, std::size_t{1}, std::size_t{8}, std::size_t{22}}) {
    const Kept part = choose(router, std::span(attention).first(length), 0.7f, FtpRouter::Form::causal);
    CHECK(std::equal(part.begin(), part.end(), all.begin()));
  }
  ThreadPool pool(3);
  Context ctx(pool);
  Kept kept(23);
  throw_if_error(router.choose(attention, 0.7f, FtpRouter::Form::causal, kept, ctx));
  CHECK(kept == all);
}

TEST_CASE("FTP refuses what does not fit, and attention that is no number") {
  const Numbers n(1);
  const ConstRows w1(n.w1.data(), 11, 4);
  const ConstRows w2(n.w2.data(), 2, 11);
  CHECK(refused(FtpRouter::create({n.w1.data(), 11, 3}, n.b1, w2, n.b2)) ==
        "numbers that FTP reads of a token (got 3, allowed 4)");
  CHECK(refused(FtpRouter::create(w1, n.b1, {n.w2.data(), 1, 11}, n.b2)) == "choices of FTP (got 1, allowed 2)");
  CHECK(refused(FtpRouter::create(w1, n.b1, {n.w2.data(), 2, 10}, n.b2)) ==
        "columns of w2 against rows of w1 (got 10, allowed 11)");
  std::vector<float> attention(3, 0.5f);
  Kept kept(3);
  Context ctx;
  for (const float bad : {-0.1f, 1.5f, std::nanf("")}) {
    CHECK(n.router().choose(attention, bad, FtpRouter::Form::batch, kept, ctx).code == ErrorCode::usage);
  }
  CHECK(n.router().choose(attention, 0.5f, FtpRouter::Form::batch, std::span(kept).first(2), ctx).code ==
        ErrorCode::usage);
  attention[1] = std::numeric_limits<float>::infinity();
  const Status status = n.router().choose(attention, 0.5f, FtpRouter::Form::batch, kept, ctx);
  CHECK(status.code == ErrorCode::numeric);
  CHECK(status.token == 1);
}
