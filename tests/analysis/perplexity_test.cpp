#include "headgate/analysis/perplexity.hpp"

#include "headgate/core/thread_pool.hpp"
#include "models/loading.hpp"
#include "support/catch.hpp"

using namespace headgate;

namespace {

std::vector<std::int32_t> some_tokens(std::size_t count) {
  std::vector<std::int32_t> tokens;
  for (std::size_t i = 0; i < count; ++i) tokens.push_back(static_cast<std::int32_t>((i * i * 7 + 13 * i) % 4096));
  return tokens;
}

}  // namespace

TEST_CASE("perplexity counts the tokens of the second half of each chunk, as an explicit loop does") {
  const auto model = load_model(HEADGATE_SOURCE_DIR "/examples/models/tales");
  Context ctx;
  for (const index_t context : {3, 8, 11}) {
    const std::vector<std::int32_t> tokens = some_tokens(as_size(context) * 3 + 2);
    Session single(model, {.context_size = context});
    std::vector<double> expected;
    double sum = 0.0;
    double squares = 0.0;
    for (index_t start = 0; start + context <= std::ssize(tokens); start += context) {
      throw_if_error(single.truncate(0));
      for (index_t i = 0; i + 1 < context; ++i) {
        const std::int32_t token = i == 0 ? 1 : tokens[as_size(start + i)];
        throw_if_error(single.forward({&token, 1}, ctx));
        if (i < context / 2) continue;
        const double loss = -LogSoftmax(single.logits())[tokens[as_size(start + i + 1)]];
        expected.push_back(loss);
        sum += loss;
        squares += loss * loss;
      }
    }
    const TextChunks text(tokens, context, 1);
    CHECK(text.size() == 3);
    for (const int threads : {1, 2, 3}) {
      for (const index_t rows : {1, 4, 64}) {
        ThreadPool pool(threads);
        Context threaded(pool);
        Session session(model, {.context_size = context, .rows_per_pass = rows, .all_logits = true});
        std::size_t called = 0;
        CHECK(token_losses(session, text, threaded, [&](std::size_t done, std::span<const double> so_far) {
                CHECK(done == ++called);
                CHECK(so_far.size() == done * text.counted());
              }) == expected);
        CHECK(called == 3);
      }
    }
    // The standard error as llama.cpp computes it.
    const auto count = static_cast<double>(expected.size());
    const double mean = sum / count;
    const Mean perplexity = Mean::of(expected).exp();
    CHECK(perplexity.value == Catch::Approx(std::exp(mean)));
    CHECK(perplexity.error ==
          Catch::Approx(std::exp(mean) * std::sqrt((squares / count - mean * mean) / (count - 1.0))));
  }
}

TEST_CASE("a text is cut into whole chunks, of which each begins with the first token where there is one") {
  const TextChunks text({9, 1, 2, 3, 4, 5, 6, 7}, 3, 0);
  CHECK(text.size() == 2);
  CHECK(std::vector(text.tokens().begin(), text.tokens().end()) == std::vector<std::int32_t>{0, 1, 2, 0, 4, 5});
  CHECK(TextChunks({9, 1, 2, 3, 4, 5}, 3, -1)[1].front() == 3);
  CHECK(TextChunks({9, 1, 2, 3, 4, 5}, 3, -1, 1).size() == 1);
  CHECK(TextChunks({9, 1, 2, 3, 4, 5}, 3, -1, 7).size() == 2);
  const auto code = [](std::vector<std::int32_t> tokens, index_t context, std::int64_t most) {
    try {
      const TextChunks chunks(std::move(tokens), context, -1, most);
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::ok;
  };
  CHECK(code({}, 3, -1) == ErrorCode::bad_file);
  CHECK(code({1}, 3, -1) == ErrorCode::bad_file);
  CHECK(code({1, 2, 3, 4, 5}, 3, -1) == ErrorCode::bad_file);
  CHECK(code({1, 2, 3, 4}, 2, -1) == ErrorCode::usage);
  CHECK(code({1, 2, 3, 4, 5, 6}, 3, 0) == ErrorCode::usage);
}
