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
  CHECK(is_well_formed(scatter("two", {{"x", 0, 0}, {"y", 0, 1}}, "x", "y")));
  CHECK(scatter("none", {}, "x", "y").empty());
}

TEST_CASE("a load at the bound of a class belongs to the upper one") {
  CHECK(heat_class(1, 4) == 1);
  CHECK(heat_class(2, 4) == 2);
  CHECK(heat_class(4, 5) == 3);
  CHECK(heat_class(5, 4) == 4);
  CHECK(heat_class(8, 4) == 5);
  CHECK(heat_class(16, 4) == 6);
  CHECK(heat_class(15, 4) == 5);
  CHECK(heat_class(7, 4) == 4);
  CHECK(heat_class(99, 100) == 3);
  CHECK(heat_class(79, 100) == 2);
  CHECK(heat_class(49, 100) == 1);
  CHECK(heat_class(24, 100) == 0);
  CHECK(heat_class(5, -1.0) == 3);
}

TEST_CASE("a long label is cut between characters, a short one is not") {
  const std::string as(26, 'a');
  const std::string bs(9, 'b');
  CHECK(detail::shortened(as + "\xc3\xa9" + bs, 30) == as + "...");
  CHECK(detail::shortened(as + "b\xc3\xa9" + bs, 30) == as + "b...");
  CHECK(detail::shortened(as + "bbbb", 30) == as + "bbbb");
  CHECK(detail::shortened(as + "bbbbb", 30) == as + "b...");
  CHECK(detail::shortened("<b>", 30) == "&lt;b&gt;");
}

TEST_CASE("ticks are short, and an axis has room at both ends") {
  CHECK(detail::tick(0.0) == "0");
  for (const double v : detail::axis_of(-0.3, 0.3, 0, 100).ticks()) CHECK((v == 0.0 || std::abs(v) > 0.05));
  CHECK(detail::tick(0.25) == "0.25");
  CHECK(detail::tick(9999) == "9999");
  CHECK(detail::tick(10'000) == "10k");
  CHECK(detail::tick(-25'000) == "-25k");
  CHECK(detail::tick(6'200'000) == "6.2M");
  CHECK(detail::tick(999'900) == "999.9k");
  CHECK(detail::tick(1e9) == "1G");
  CHECK(detail::tick(5e15) == "5000T");
  const detail::Axis axis = detail::axis_of(0.0, 100.0, 50, 450);
  CHECK(axis.low == Catch::Approx(-6.0));
  CHECK(axis.high == Catch::Approx(106.0));
  CHECK(axis.place(axis.low) == 50);
  CHECK(axis.place(axis.high) == 450);
  CHECK(axis.place(50.0) == 250);
  const detail::Axis one = detail::axis_of(20.0, 20.0, 0, 100);
  CHECK(one.low == Catch::Approx(18.0));
  CHECK(one.high == Catch::Approx(22.0));
  const detail::Axis zero = detail::axis_of(0.0, 0.0, 0, 100);
  CHECK(zero.high > zero.low);
}

TEST_CASE("the load curve averages layers of any size of load, most loaded experts first") {
  const Curve curve = load_curve("two", {{1, 3}, {300, 100}});
  CHECK(curve.label == "two");
  CHECK(curve.x == std::vector<double>{0.0, 0.5, 1.0});
  CHECK(curve.y == std::vector<double>{0.0, 0.75, 1.0});
  CHECK(load_curve("none", {}).x == std::vector<double>{0.0});
  CHECK(load_curve("zero", {{0, 0}}).y == std::vector<double>{0.0, 0.0, 0.0});
}

TEST_CASE("a scatter of fewer than two places is no picture") {
  CHECK(scatter("one", {{"x", 1, 2}}, "x", "y").empty());
  CHECK(scatter("same", {{"x", 1, 2}, {"y", 1, 2}, {"z", std::nan(""), 3}}, "x", "y").empty());
}

TEST_CASE("points that coincide share one label") {
  const std::string svg = scatter(
      "s", {{"a", 1, 1}, {"b", 1, 1}, {"c", 5, 5}, {"d", 1, 1}, {"e", 1, 1}, {"f", 1, 1}, {"g", 5, 5}}, "x", "y");
  CHECK(svg.find(">1, 2, 4-6</text>") != std::string::npos);
  CHECK(svg.find(">3, 7</text>") != std::string::npos);
  const auto labels = [&](const std::string& numbers) {
    int count = 0;
    for (std::size_t begin = 0; begin < svg.size(); begin = svg.find('\n', begin) + 1) {
      const std::string line = svg.substr(begin, svg.find('\n', begin) - begin);
      count += line.starts_with("<text class=\"s\" x=") && line.ends_with(">" + numbers + "</text>") ? 1 : 0;
    }
    return count;
  };
  CHECK(labels("1, 2, 4-6") == 1);
  CHECK(labels("1") == 0);
  CHECK(svg.find("4. d</text>") != std::string::npos);  // the legend has every one
}

TEST_CASE("labels of near points do not cover each other") {
  std::vector<detail::Mark> marks;
  for (int i = 0; i < 5; ++i) marks.push_back({100 + 6 * i, 100, {std::size_t(i)}});
  std::vector<detail::LabelBox> boxes;
  for (const detail::Mark& mark : marks) boxes.push_back(detail::label_place(mark, 12, marks, boxes, 400));
  for (std::size_t i = 0; i < boxes.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) CHECK(!boxes[i].meets(boxes[j]));
  }
}

TEST_CASE("an axis is logarithmic where positive numbers are far apart") {
  const detail::Axis times = detail::axis_of(30, 20'000, 0, 300);
  CHECK(times.is_log);
  CHECK(times.ticks() == std::vector<double>{30, 100, 300, 1000, 3000, 10'000});
  CHECK(times.place(100) - times.place(30) == Catch::Approx(times.place(1000) - times.place(300)).margin(1));
  const detail::Axis shares = detail::axis_of(0, 1, 0, 300);
  CHECK(!shares.is_log);
  CHECK(shares.ticks().front() == 0.0);
  CHECK(shares.place(0.5) == 150);
}
