#include "headgate/models/session_options.hpp"

#include <cmath>

#include "headgate/core/thread_pool.hpp"
#include "models/checkpoints.hpp"

using namespace headgate;
using namespace models_test;

namespace {

std::vector<float> logits_of(Session& session, std::span<const std::int32_t> tokens, index_t at_a_time,
                             index_t threads = 1) {
  ThreadPool pool(threads);
  Context ctx(pool);
  for (std::size_t i = 0; i < tokens.size(); i += as_size(at_a_time)) {
    throw_if_error(session.forward(tokens.subspan(i, std::min(as_size(at_a_time), tokens.size() - i)), ctx));
  }
  return {session.logits().begin(), session.logits().end()};
}
double divergence(const std::vector<float>& base, const std::vector<float>& other) {
  const auto log_sum = [](const std::vector<float>& logits) {
    double sum = 0.0;
    for (const float logit : logits) sum += std::exp(double(logit));
    return std::log(sum);
  };
  double kl = 0.0;
  for (std::size_t i = 0; i < base.size(); ++i) {
    const double p = double(base[i]) - log_sum(base);
    kl += std::exp(p) * (p - (double(other[i]) - log_sum(other)));
  }
  return kl;
}

}  // namespace

TEST_CASE("a session in fewer bits takes the bytes that the plan says, keeps every law, and says nearly the same") {
  const std::string folder = std::string(HEADGATE_SOURCE_DIR) + "/examples/models/tales";
  const auto model = load_model(folder);
  const ModelDescription description = describe_model(folder);
  std::vector<std::int32_t> tokens;
  for (index_t i = 0; i < 400; ++i) tokens.push_back((i * i * 7 + i) % model->vocab_size());
  std::vector<float> exact;
  std::int64_t bytes = 0;
  for (const auto& [type, bound] :
       {std::pair(CacheType::f32, 0.0), std::pair(CacheType::f16, 1e-5), std::pair(CacheType::q8_0, 5e-3)}) {
    INFO(name_of(type));
    const SessionOptions options{.context_size = 512, .cache_type = type};
    Session session(model, options);
    const std::vector<float> whole = logits_of(session, tokens, 400);
    if (type == CacheType::f32) exact = whole;
    CHECK(divergence(exact, whole) <= bound);
    CHECK((type == CacheType::f32) == (exact == whole));

    const auto state = model->make_state({512, 512, 16, type});
    std::int64_t held = 0;
    for (const AnyState& mixer : state.mixers) held += mixer.bytes();
    CHECK(description.memory(options).kv_cache == held);
    if (type == CacheType::f32) bytes = held;
    if (type == CacheType::f16) CHECK(2 * held == bytes);
    if (type == CacheType::q8_0) CHECK(double(held) / double(bytes) == Catch::Approx(34.0 / 128.0).epsilon(0.03));
    CHECK(description.text_bytes_read(512, type) == held);

    Session chunks(model, options);
    CHECK(logits_of(chunks, tokens, 37, 3) == whole);
    Session steps(model, options);
    CHECK(logits_of(steps, tokens, 1) == whole);
    throw_if_error(steps.truncate(123));
    Session fork = steps.fork();
    CHECK(logits_of(fork, std::span(tokens).subspan(123), 300) == whole);
  }
}

TEST_CASE("by default a session has the model's own context, passes of 512 rows and the last logits") {
  const Session session(load_model(tiny("tied_bf16")));
  CHECK(session.context_size() == 96);
  CHECK(SessionOptions{}.rows_per_pass == 512);
  CHECK(session.options().rows_per_pass == 96);  // no pass is longer than the context
  CHECK(!session.options().all_logits);
}
