#include "headgate/attention/any_attention.hpp"

#include "headgate/attention/gqa.hpp"
#include "headgate/kernels/native.hpp"
#include "support/catch.hpp"

using namespace headgate;

namespace {

// Adds up the rows up to each row: the smallest attention, with a cache of its own.
struct RunningSum {
  struct Cache {
    std::vector<float> sums;  // (context_size), after each position
    Cache clone(index_t positions) const {
      Cache copy{std::vector<float>(sums.size())};
      std::copy_n(sums.begin(), positions, copy.sums.begin());
      return copy;
    }
  };
  index_t hidden_size() const noexcept { return 1; }
  std::int64_t weight_bytes() const noexcept { return 42; }
  Cache make_cache(index_t context_size) const { return {std::vector<float>(as_size(context_size))}; }
  Status forward(const AttentionInput& in, Cache& cache, Rows y, Context&) const {
    const auto context_size = static_cast<index_t>(cache.sums.size());
    if (Status status = check_attention(in, y, 1, 0, context_size); !status.ok()) return status;
    for (index_t t = 0; t < y.rows; ++t) {
      const index_t position = in.first_position + t;
      const float before = position == 0 ? 0.0f : cache.sums[as_size(position - 1)];
      cache.sums[as_size(position)] = before + in.hidden.row(t)[0];
      y.row(t)[0] = cache.sums[as_size(position)];
    }
    return Status::success();
  }
};
static_assert(Attention<RunningSum> && Attention<AnyAttention> && Attention<GroupedQueryAttention<Bf16>>);

float step(const AnyAttention& attention, AnyAttention::Cache& cache, index_t position, float x) {
  Context ctx;
  float y = 0.0f;
  throw_if_error(attention.forward({{&x, 1, 1}, position, {nullptr, 1, 0}, {nullptr, 1, 0}}, cache, {&y, 1, 1}, ctx));
  return y;
}

}  // namespace

TEST_CASE("an erased attention works as the concrete one, with a cache that clones") {
  const AnyAttention attention = RunningSum();
  CHECK(attention.hidden_size() == 1);
  CHECK(attention.weight_bytes() == 42);
  AnyAttention::Cache cache = attention.make_cache(4);
  CHECK(step(attention, cache, 0, 1.0f) == 1.0f);
  CHECK(step(attention, cache, 1, 2.0f) == 3.0f);
  AnyAttention::Cache fork = cache.clone(2);
  CHECK(step(attention, cache, 2, 4.0f) == 7.0f);
  CHECK(step(attention, fork, 2, 8.0f) == 11.0f);
  CHECK(step(attention, cache, 1, 5.0f) == 6.0f);  // written over: forgotten
}

TEST_CASE("an erased attention passes errors on and refuses the cache of another kind") {
  const AnyAttention attention = RunningSum();
  AnyAttention::Cache cache = attention.make_cache(1);
  Context ctx;
  float x = 1.0f;
  const AttentionInput in{{&x, 1, 1}, 1, {nullptr, 1, 0}, {nullptr, 1, 0}};
  CHECK(attention.forward(in, cache, {&x, 1, 1}, ctx).code == ErrorCode::limit);
  const AnyAttention other = GroupedQueryAttention<F32>(AttentionShape{4, 1, 1, 2});
  AnyAttention::Cache others = other.make_cache(1);
  CHECK(attention.forward(in, others, {&x, 1, 1}, ctx).code == ErrorCode::usage);
}
