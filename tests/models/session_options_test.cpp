#include "headgate/models/session_options.hpp"

#include <cmath>

#include "headgate/core/thread_pool.hpp"
#include "models/checkpoints.hpp"
#include "models/family_checkpoint.hpp"
#include "models/reference_run.hpp"

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

TEST_CASE("a bias of a text reaches the routers that read one, and that text alone") {
  FamilyCheckpoint checkpoint("headgate_moe_glider_f32");
  const auto model = load_model(checkpoint.write(), {.compute = Compute::f32});
  const JsonObject biased = checkpoint.expected().get_object("biased");
  std::vector<float> bias;
  for (const double value : numbers(*biased.value("bias"))) bias.push_back(static_cast<float>(value));
  const std::vector<std::int32_t> prompt = checkpoint.prompt();
  const std::vector<std::int32_t> greedy = ids(*biased.value("greedy"));
  std::vector<std::int32_t> text = prompt;
  text.insert(text.end(), greedy.begin(), greedy.end());
  const auto whole_text = [&](const std::vector<float>& of_text, index_t piece, index_t threads) {
    ThreadPool pool(threads);
    Context ctx(pool);
    Session session(model, {.rows_per_pass = piece, .all_logits = true, .sequence_bias = of_text});
    throw_if_error(session.forward(text, ctx));
    const ConstRows rows = session.all_logits();
    return std::vector<float>(rows.data, rows.data + std::int64_t{rows.rows} * rows.cols);
  };
  const std::vector<float> logits = whole_text(bias, 512, 1);
  const ConstRows rows(logits.data(), static_cast<index_t>(text.size()), model->vocab_size());
  const std::span<const Json> wanted = biased.get_list("logits");
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    CHECK(largest_difference(rows.row(static_cast<index_t>(i)), numbers(wanted[i])) < 1e-4);
  }
  for (std::size_t i = 0; i < greedy.size(); ++i) {
    const std::span<const float> row = rows.row(static_cast<index_t>(prompt.size() + i - 1));
    CHECK(std::max_element(row.begin(), row.end()) - row.begin() == greedy[i]);
  }
  for (const index_t piece : {1, 7}) {
    for (const index_t threads : {1, 3}) CHECK(whole_text(bias, piece, threads) == logits);
  }
  const std::vector<float> without = whole_text({}, 512, 1);
  CHECK(without != logits);
  CHECK(whole_text(std::vector<float>(bias.size(), 0.0f), 7, 2) == without);

  // Texts of one pass have their own, also those that have none, whichever comes first.
  std::vector<float> other(bias.rbegin(), bias.rend());
  const std::vector<float> of_other = whole_text(other, 512, 1);
  const auto last = [&](const std::vector<float>& all) {
    return std::vector<float>(all.end() - model->vocab_size(), all.end());
  };
  Context ctx;
  Session first(model), second(model, {.sequence_bias = bias}), third(model, {.sequence_bias = other});
  for (const std::size_t end : {std::size_t{3}, text.size()}) {
    std::vector<SessionTurn> turns;
    for (Session* const s : {&first, &second, &third}) {
      const auto done = as_size(s->position());
      turns.push_back({s, std::span(text).subspan(done, end - done)});
    }
    std::swap(turns[0], turns[end == 3 ? 1 : 2]);
    throw_if_error(Session::forward_together(turns, ctx));
  }
  const auto of = [](const Session& s) { return std::vector<float>(s.logits().begin(), s.logits().end()); };
  CHECK(of(first) == last(without));
  CHECK(of(second) == last(logits));
  CHECK(of(third) == last(of_other));
  Session fork = second.fork();
  throw_if_error(fork.truncate(2));
  throw_if_error(fork.forward(std::span(text).subspan(2), ctx));
  CHECK(of(fork) == last(logits));
}

TEST_CASE("a bias that no router reads, or that does not fit, is refused") {
  FamilyCheckpoint checkpoint("headgate_moe_glider_f32");
  const auto glider = load_model(checkpoint.write());
  const auto refused = [](const std::shared_ptr<const Model>& model, std::vector<float> bias) {
    const Error error = io_test::error_of([&] { Session(model, {.sequence_bias = std::move(bias)}); });
    CHECK(error.code() == ErrorCode::usage);
    CHECK(error.detail().field == "sequence_bias");
    return std::string(error.what());
  };
  CHECK(io_test::contains(refused(glider, {1.0f, 2.0f}), "expected 11 numbers for layer 0, found 2"));
  std::vector<float> bad(11, 0.0f);
  bad[4] = std::numeric_limits<float>::infinity();
  CHECK(io_test::contains(refused(glider, bad), "not finite"));
  const auto plain = load_model(tiny("tied_bf16"));
  CHECK(io_test::contains(refused(plain, std::vector<float>(5, 1.0f)), "no router of the model reads one"));
}
