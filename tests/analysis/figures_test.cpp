#include "headgate/analysis/figures.hpp"

#include "analysis/markup.hpp"
#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("loads fall into classes around their mean") {
  CHECK(heat_class(10, 10.0) == 3);
  CHECK(heat_class(0, 10.0) == 0);
  CHECK(heat_class(41, 10.0) == 6);
  CHECK(heat_class(0, 0.0) == 3);
}

TEST_CASE("the load curve rises to 1, straight for equal loads, and skips a layer of no tokens") {
  const Curve even = load_curve("even", {{3, 3, 3, 3}, {0, 0, 0, 0}});
  CHECK(even.y == std::vector<double>{0.0, 0.25, 0.5, 0.75, 1.0});
  const Curve skew = load_curve("skew", {{1, 6, 3, 0}});
  CHECK(skew.y[1] == Catch::Approx(0.6));
  CHECK(skew.y[4] == Catch::Approx(1.0));
}

TEST_CASE("pictures are well-formed, whatever their labels") {
  const std::string bad = "<script>alert(1)</script>&\"";
  CHECK(is_well_formed(heat_map(bad, {{bad, {1, 2, 30}, bad}, {"none", {}, ""}, {"zero", {0, 0, 0}, "-"}}, bad)));
  CHECK(is_well_formed(line_chart(bad, {load_curve(bad, {{1, 2}}), load_curve("", {})}, bad, bad)));
  CHECK(is_well_formed(scatter(bad, {{bad, 1, 2}, {"x", 3, 4}, {"nan", std::nan(""), 1}}, bad, bad)));
  CHECK(is_well_formed(scatter("one", {{"x", 0, 0}}, "x", "y")));
  CHECK(scatter("none", {}, "x", "y").empty());
}
