#include "headgate/layers/dr_llm_router.hpp"

#include "headgate/core/thread_pool.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/random.hpp"
#include "support/status.hpp"

using namespace headgate;

namespace {

// Numbers of a router of layers.
struct Numbers {
  std::vector<float> w1, b1, w2, b2;
  DrLlmWeights weights(index_t hidden) const {
    const auto inner = static_cast<index_t>(b1.size());
    return {{w1.data(), inner, hidden}, b1, {w2.data(), static_cast<index_t>(b2.size()), inner}, b2};
  }
};
Numbers random_numbers(index_t hidden, index_t inner, unsigned seed) {
  return {random_floats(as_size(hidden) * as_size(inner), 1.0f, seed), random_floats(as_size(inner), 1.0f, seed + 1),
          random_floats(as_size(3 * inner), 1.0f, seed + 2), random_floats(3, 1.0f, seed + 3)};
}
std::vector<float> score(const DrLlmRouter<>& router, index_t layer, ConstRows x) {
  Context ctx;
  std::array<float, 3> z{};
  throw_if_error(router.score(layer, x, z, ctx));
  return {z.begin(), z.end()};
}

}  // namespace

TEST_CASE("Dr.LLM's own routers score and choose as here") {
  for (const auto& c : golden("dr_llm")) {
    const auto tokens = c["tokens"].get<index_t>();
    std::vector<Numbers> numbers;
    for (const auto& r : c["routers"]) {
      numbers.push_back({values(r["linear1.weight"]), values(r["linear1.bias"]), values(r["linear2.weight"]),
                         values(r["linear2.bias"])});
    }
    std::vector<DrLlmWeights> layers;
    for (const Numbers& n : numbers) layers.push_back(n.weights(12));
    const auto router = DrLlmRouter<>::create(layers).value();
    CHECK(router.num_layers() == 5);
    Context ctx;
    for (index_t l = 0; l < router.num_layers(); ++l) {
      const std::vector<float> x = values(c["x"][as_size(l)]);
      const ConstRows rows(x.data(), tokens, 12);
      const std::vector<float> z = score(router, l, rows);
      const std::vector<double> expected = values<double>(c["scores"][as_size(l)]);
      for (std::size_t i = 0; i < 3; ++i) CHECK(z[i] == Catch::Approx(expected[i]).margin(1e-5).epsilon(1e-5));
      index_t runs = -1;
      REQUIRE(router(l, rows, runs, ctx).ok());
      CHECK(runs == c["choices"][as_size(l)].get<index_t>());
    }
  }
}

TEST_CASE("windows have equally many rows, and what is left over at the end is not read") {
  const Numbers numbers = random_numbers(24, 11, 3);
  const DrLlmWeights weights = numbers.weights(24);
  const auto router = DrLlmRouter<>::create({&weights, 1}, 4).value();
  CHECK(router.windows() == 4);
  CHECK(router.hidden_size() == 24);
  std::vector<float> x = random_floats(std::size_t{11} * 24, 1.0f, 9);
  const std::vector<float> z = score(router, 0, {x.data(), 11, 24});
  CHECK(score(router, 0, {x.data(), 8, 24}) == z);
  x[std::size_t{7} * 24] += 4.0f;
  CHECK(score(router, 0, {x.data(), 11, 24}) != z);
  CHECK(score(router, 0, {x.data(), 3, 24}) ==
        score(DrLlmRouter<>::create({&weights, 1}, 3).value(), 0, {x.data(), 3, 24}));
}

TEST_CASE("scores of a router of layers have the same bits on any number of threads") {
  const Numbers numbers = random_numbers(24, 37, 3);
  const DrLlmWeights weights = numbers.weights(24);
  const auto router = DrLlmRouter<>::create({&weights, 1}).value();
  const std::vector<float> x = random_floats(std::size_t{29} * 24, 1.0f, 9);
  const std::vector<float> alone = score(router, 0, {x.data(), 29, 24});
  ThreadPool pool(3);
  Context ctx(pool);
  std::array<float, 3> z{};
  throw_if_error(router.score(0, {x.data(), 29, 24}, z, ctx));
  CHECK(std::vector<float>(z.begin(), z.end()) == alone);
}

TEST_CASE("a router of layers refuses what does not fit, and scores that are no numbers") {
  const Numbers numbers = random_numbers(24, 11, 3);
  const DrLlmWeights weights = numbers.weights(24);
  CHECK(refused(DrLlmRouter<>::create({})) == "layers that a router of layers knows, at least (got 0, allowed 1)");
  CHECK(refused(DrLlmRouter<>::create({&weights, 1}, 0)) ==
        "windows of a router of layers, at least (got 0, allowed 1)");
  DrLlmWeights bad = weights;
  bad.linear2 = {numbers.w2.data(), 2, 11};
  CHECK(refused(DrLlmRouter<>::create({&bad, 1})) == "choices of a router of layers (got 2, allowed 3)");
  bad = weights;
  bad.linear2 = {numbers.w2.data(), 3, 10};
  CHECK(refused(DrLlmRouter<>::create({&bad, 1})) == "columns of linear2 against rows of linear1 (got 10, allowed 11)");
  bad = weights;
  bad.bias1 = bad.bias1.first(10);
  CHECK(refused(DrLlmRouter<>::create({&bad, 1})) == "size of the bias against rows (got 10, allowed 11)");
  const DrLlmWeights two[] = {weights, random_numbers(22, 11, 3).weights(22)};
  CHECK(refused(DrLlmRouter<>::create(two)) == "width of a router of layers (got 22, allowed 24)");

  const auto router = DrLlmRouter<>::create({&weights, 1}).value();
  std::vector<float> x(std::size_t{2} * 24);
  Context ctx;
  index_t runs = 0;
  CHECK(router(1, {x.data(), 2, 24}, runs, ctx).code == ErrorCode::usage);
  CHECK(router(0, {x.data(), 0, 24}, runs, ctx).code == ErrorCode::usage);
  CHECK(router(0, {x.data(), 2, 12}, runs, ctx).code == ErrorCode::usage);
  x[5] = std::numeric_limits<float>::infinity();
  CHECK(router(0, {x.data(), 2, 24}, runs, ctx).code == ErrorCode::numeric);
}
