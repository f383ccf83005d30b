#include "headgate/kernels/simd/top_k.hpp"

#include <numeric>

#include "headgate/kernels/scalar.hpp"
#include "kernels/kernel_cases.hpp"
#include "support/catch.hpp"

using namespace headgate;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

std::vector<index_t> sorted(const std::vector<float>& keys, index_t k) {
  std::vector<index_t> order(keys.size());
  std::iota(order.begin(), order.end(), 0);
  std::erase_if(order, [&](index_t i) { return keys[as_size(i)] == -infinity; });
  std::stable_sort(order.begin(), order.end(),
                   [&](index_t a, index_t b) { return keys[as_size(a)] > keys[as_size(b)]; });
  if (static_cast<index_t>(order.size()) > k) order.resize(as_size(k));
  return order;
}

template <class Backend>
std::vector<index_t> chosen(const std::vector<float>& keys, index_t k, index_t shift) {
  const auto n = static_cast<index_t>(keys.size());
  std::vector<index_t> order(as_size(k) + 2, -7);
  const index_t count = Backend::top_k(Input(keys, shift).data(), n, k, order.data());
  const bool guarded = order[as_size(k)] == -7 && order[as_size(k) + 1] == -7;
  order.resize(guarded ? as_size(count) : 0);
  return order;
}

}  // namespace

TEMPLATE_TEST_CASE("the k best come out as a stable sort orders them", "", Scalar, HEADGATE_SIMD_BACKENDS) {
  std::mt19937 engine(1);
  for (const index_t n : lengths()) {
    for (const index_t k : {1, 2, 3, 8, 40}) {
      std::vector<float> keys = random_floats(n, static_cast<unsigned>(n + k));
      CAPTURE(n, k);
      CHECK(chosen<TestType>(keys, k, n % 3) == sorted(keys, k));
      // Many ties, zeros of both signs, and keys that may not be chosen.
      const float values[] = {1.0f, 0.0f, -0.0f, -1.0f, -infinity, infinity};
      for (float& key : keys) key = values[engine() % 6];
      CHECK(chosen<TestType>(keys, k, n % 3) == sorted(keys, k));
    }
  }
}

TEMPLATE_TEST_CASE("equal keys keep the lower index, and minus infinity is never chosen", "", Scalar,
                   HEADGATE_SIMD_BACKENDS) {
  CHECK(chosen<TestType>(std::vector<float>(65, 0.5f), 3, 1) == std::vector<index_t>{0, 1, 2});
  CHECK(chosen<TestType>(std::vector<float>(65, -infinity), 3, 1).empty());
  std::vector<float> keys(64, -infinity);
  keys[63] = -3e38f;
  keys[40] = -3e38f;
  CHECK(chosen<TestType>(keys, 8, 0) == std::vector<index_t>{40, 63});
  CHECK(chosen<TestType>({}, 4, 0).empty());
  CHECK(chosen<TestType>({1.0f, 2.0f}, 0, 0).empty());
  CHECK(chosen<TestType>({1e-45f, 0.0f, 3e-45f}, 3, 0) == std::vector<index_t>{2, 0, 1});
}
