#include "headgate/routing/stages/weigh.hpp"

#include <cmath>

#include "headgate/kernels/scalar.hpp"
#include "support/catch.hpp"
#include "support/status.hpp"

using namespace headgate;

namespace {

template <WeighStage W>
std::vector<float> weighed(const W& weigh, std::vector<float> scores) {
  std::vector<ExpertId> ids(scores.size());
  REQUIRE(weigh.template apply<Scalar>(ids, scores) == static_cast<index_t>(ids.size()));
  return scores;
}
constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();

}  // namespace

TEST_CASE("weights of every step, by hand") {
  CHECK(weighed(Keep{}, {0.5f, 0.25f}) == std::vector<float>{0.5f, 0.25f});
  CHECK(weighed(Renormalize{}, {0.375f, 0.125f}) == std::vector<float>{0.75f, 0.25f});
  CHECK(weighed(Renormalize{.add = 0.5f}, {0.375f, 0.125f}) == std::vector<float>{0.375f, 0.125f});
  CHECK(weighed(Renormalize{.at_least = 2.0f}, {0.5f, 0.25f}) == std::vector<float>{0.25f, 0.125f});
  CHECK(weighed(Renormalize{}, {0.25f}) == std::vector<float>{1.0f});
  CHECK(weighed(Renormalize{.keep_single = true}, {0.25f}) == std::vector<float>{0.25f});
  CHECK(weighed(Renormalize{.keep_single = true}, {0.375f, 0.125f}) == std::vector<float>{0.75f, 0.25f});
  CHECK(weighed(Renormalize{}, {0.0f, 0.0f, 0.0f, 0.0f}) == std::vector<float>(4, 0.25f));
  CHECK(weighed(Renormalize{.add = 1e-20f}, {0.0f, 0.0f}) == std::vector<float>(2, 0.0f));
  CHECK(weighed(EqualWeights{3.0f}, {0.1f, 0.2f}) == std::vector<float>(2, 3.0f));
  CHECK(weighed(EqualShares{}, {0.1f, -0.2f, 7.0f, 0.0f}) == std::vector<float>(4, 0.25f));
  CHECK(weighed(Scale{2.5f}, {0.5f, -1.0f}) == std::vector<float>{1.25f, -2.5f});
  CHECK(weighed(Then<Renormalize, Scale>{{.add = 1e-20f}, {2.5f}}, {0.375f, 0.125f}) ==
        std::vector<float>{1.875f, 0.625f});
  CHECK(weighed(SoftmaxOverSelected{}, {7.0f, 7.0f}) == std::vector<float>(2, 0.5f));
  const std::vector<float> sigmoid = weighed(SigmoidOverSelected{}, {2.0f, 0.0f});
  CHECK(sigmoid[0] == Catch::Approx(1.0 / (1.0 + std::exp(-2.0))).epsilon(1e-6));
  CHECK(sigmoid[1] == 0.5f);
}

TEST_CASE("every step takes an empty row") {
  CHECK(weighed(Keep{}, {}).empty());
  CHECK(weighed(Renormalize{}, {}).empty());
  CHECK(weighed(SoftmaxOverSelected{}, {}).empty());
  CHECK(weighed(SigmoidOverSelected{}, {}).empty());
  CHECK(weighed(EqualShares{}, {}).empty());
  CHECK(weighed(Then<EqualWeights, Scale>{{1.0f}, {2.0f}}, {}).empty());
}

TEST_CASE("steps say what their weights add up to") {
  const WeightSum softmax{RowSum::at_most_one};
  const WeightSum sigmoid{RowSum::free};
  CHECK(Keep{}.sum(softmax).kind == RowSum::at_most_one);
  CHECK(Renormalize{}.sum(sigmoid).kind == RowSum::one);
  CHECK(Renormalize{.add = 1e-6f}.sum(sigmoid).kind == RowSum::at_most_one);
  CHECK(Renormalize{.keep_single = true}.sum(softmax).kind == RowSum::at_most_one);
  CHECK(Renormalize{.keep_single = true}.sum(sigmoid).kind == RowSum::free);
  CHECK(SoftmaxOverSelected{}.sum(sigmoid).kind == RowSum::one);
  CHECK(SigmoidOverSelected{}.sum(sigmoid).kind == RowSum::free);
  CHECK(EqualShares{}.sum(sigmoid).kind == RowSum::one);
  CHECK(EqualWeights{1.0f}.sum(softmax).kind == RowSum::free);
  CHECK(Scale{2.0f}.sum(softmax).kind == RowSum::free);
  const WeightSum scaled = Then<Renormalize, Then<Scale, Scale>>{{}, {{2.0f}, {1.5f}}}.sum(sigmoid);
  CHECK(scaled.kind == RowSum::constant);
  CHECK(scaled.value == 3.0f);
}

TEST_CASE("steps that add scores up say so, and whether weights can be negative") {
  CHECK(Renormalize::needs_nonnegative_scores);
  CHECK_FALSE(Keep::needs_nonnegative_scores);
  CHECK(Then<Keep, Renormalize>::needs_nonnegative_scores);
  CHECK(Then<Scale, Renormalize>::needs_nonnegative_scores);
  CHECK_FALSE(Then<SigmoidOverSelected, Renormalize>::needs_nonnegative_scores);
  CHECK_FALSE(Then<SoftmaxOverSelected, Renormalize>::needs_nonnegative_scores);
  CHECK_FALSE(Keep::never_negative(false));
  CHECK(SigmoidOverSelected::never_negative(false));
  CHECK(Then<EqualWeights, SoftmaxOverSelected>::never_negative(false));
  CHECK_FALSE(Then<Renormalize, Scale>::never_negative(true));
  CHECK_FALSE(EqualWeights::never_negative(true));
}

TEST_CASE("steps refuse factors and epsilons that are not finite, and negative epsilons") {
  CHECK(Keep{}.check().ok());
  CHECK(SoftmaxOverSelected{}.check().ok());
  CHECK(SigmoidOverSelected{}.check().ok());
  CHECK(Renormalize{1e-20f, 1e-12f}.check().ok());
  CHECK_FALSE(Renormalize{.add = -1e-20f}.check().ok());
  CHECK_FALSE(Renormalize{.at_least = nan_value}.check().ok());
  CHECK_FALSE(EqualWeights{nan_value}.check().ok());
  CHECK(EqualWeights{1.0f}.check().ok());
  CHECK(Scale{-1.0f}.check().ok());
  CHECK_FALSE(Scale{std::numeric_limits<float>::infinity()}.check().ok());
  CHECK_FALSE(Then<Scale, Renormalize>{{nan_value}, {}}.check().ok());
  CHECK_FALSE(Then<Renormalize, Scale>{{}, {nan_value}}.check().ok());
}

TEST_CASE("steps say in words what they refuse, and take epsilons of 0") {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  CHECK(said(Renormalize{0.0f, 0.0f}.check()) == "ok");
  for (const Renormalize& bad : {Renormalize{.add = -1.0f}, Renormalize{.add = nan_value}, Renormalize{.add = infinity},
                                 Renormalize{.at_least = -1.0f}, Renormalize{.at_least = infinity}}) {
    CHECK(said(bad.check()) == "usage: epsilon of Renormalize is negative or not finite");
  }
  CHECK(said(Scale{nan_value}.check()) == "usage: factor of Scale is not finite");
  CHECK(said(EqualWeights{infinity}.check()) == "usage: value of EqualWeights is not finite");
  CHECK(said(Then<Scale, EqualWeights>{{nan_value}, {nan_value}}.check()) == "usage: factor of Scale is not finite");
}

TEST_CASE("Renormalize divides by a sum at its bound, and leaves negative sums alone") {
  CHECK(weighed(Renormalize{.at_least = 0.5f}, {0.375f, 0.125f}) == std::vector<float>{0.75f, 0.25f});
  CHECK(weighed(Renormalize{.add = 0.5f, .at_least = 2.0f}, {0.5f, 0.25f}) == std::vector<float>{0.25f, 0.125f});
  CHECK(weighed(Renormalize{.keep_single = true}, {0.25f, 0.25f, 0.5f}) == std::vector<float>{0.25f, 0.25f, 0.5f});
}

TEST_CASE("the sum of a scaled sum is free unless the first was known") {
  for (const RowSum kind : {RowSum::free, RowSum::at_most_one, RowSum::zero_or_one}) {
    CHECK(Scale{2.0f}.sum({kind}).kind == RowSum::free);
  }
  CHECK(Scale{2.0f}.sum({RowSum::one}).kind == RowSum::constant);
  CHECK(Scale{2.0f}.sum({RowSum::one}).value == 2.0f);
  CHECK(Scale{2.0f}.sum({RowSum::constant, 4.0f}).value == 8.0f);
}
