#include "headgate/routing/stages/select.hpp"

#include "headgate/routing/stages/top_k.hpp"
#include "headgate/routing/stages/top_p.hpp"
#include "support/catch.hpp"

namespace {

struct NoLimits {
  static constexpr bool needs_nonnegative_scores = false;
};

}  // namespace

TEST_CASE("a select stage is told from a struct that only looks like one") {
  CHECK(headgate::SelectStage<headgate::TopK>);
  CHECK(headgate::SelectStage<headgate::TopP>);
  CHECK_FALSE(headgate::SelectStage<NoLimits>);
}
