#include "headgate/routing/stages/top_k.hpp"

#include "headgate/kernels/scalar.hpp"
#include "support/catch.hpp"
#include "support/status.hpp"

using namespace headgate;

TEST_CASE("TopK chooses the largest keys, best first, ties to the lower id, never a masked one") {
  constexpr float masked = -std::numeric_limits<float>::infinity();
  const std::vector<float> keys = {1.0f, 3.0f, masked, 3.0f, 2.0f};
  const auto chosen = [&](index_t k) {
    std::vector<ExpertId> ids(5, -1);
    ids.resize(as_size(TopK{k}.choose<Scalar>(keys, keys, ids)));
    return ids;
  };
  CHECK(chosen(1) == std::vector<ExpertId>{1});
  CHECK(chosen(3) == std::vector<ExpertId>{1, 3, 4});
  CHECK(chosen(5) == std::vector<ExpertId>{1, 3, 4, 0});
}

TEST_CASE("TopK says how many it chooses and what k may be") {
  CHECK(TopK{3}.min_k(2) == 2);
  CHECK(TopK{3}.max_k(7) == 3);
  CHECK(TopK{3}.with_k(5).k == 5);
  CHECK(TopK{3}.check(3).ok());
  CHECK(TopK{4}.check(3).found == 4);
  CHECK(TopK{0}.check(3).found == 0);
}

TEST_CASE("TopK says of k what is allowed, and takes both bounds") {
  CHECK(said(TopK{1}.check(1)) == "ok");
  CHECK(said(TopK{3}.check(3)) == "ok");
  CHECK(said(TopK{0}.check(3)) == "usage: k of top-k, at least (got 0, allowed 1)");
  CHECK(said(TopK{4}.check(3)) == "usage: k of top-k against experts (got 4, allowed 3)");
  CHECK(TopK{3}.max_k(3) == 3);
  CHECK(TopK{3}.min_k(7) == 3);
}
