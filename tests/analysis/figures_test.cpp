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

TEST_CASE("a heat map stands where its sizes say") {
  CHECK(heat_map("loads", {{"one", {1, 1, 6, 0}, "r"}, {"longer", {2, 2}, ""}}, "max") ==
        R"(<svg viewBox="0 0 278 96" width="278" height="96" role="img" aria-label="loads">)"
        "\n"
        R"(<path class="h0" d="M162 33h36"/>)"
        "\n"
        R"(<path class="h2" d="M54 33h72"/>)"
        "\n"
        R"(<path class="h3" d="M54 51h72"/>)"
        "\n"
        R"(<path class="h5" d="M126 33h36"/>)"
        "\n"
        R"(<path class="h0" d="M54 82h14"/><text class="s" x="72" y="86">&lt; 1/4</text>)"
        "\n"
        R"(<path class="h1" d="M126 82h14"/><text class="s" x="144" y="86">&lt; 1/2</text>)"
        "\n"
        R"(<path class="h2" d="M198 82h14"/><text class="s" x="216" y="86">&lt; 0.8</text>)"
        "\n"
        R"(<path class="h3" d="M270 82h14"/><text class="s" x="288" y="86">even</text>)"
        "\n"
        R"(<path class="h4" d="M342 82h14"/><text class="s" x="360" y="86">&gt; 1.25</text>)"
        "\n"
        R"(<path class="h5" d="M414 82h14"/><text class="s" x="432" y="86">&gt; 2</text>)"
        "\n"
        R"(<path class="h6" d="M486 82h14"/><text class="s" x="504" y="86">&gt; 4</text>)"
        "\n"
        R"(<text class="s" x="206" y="16">max</text>)"
        "\n"
        R"(<text class="s" x="54" y="16">expert 0</text><text class="s e" x="198" y="16">3</text>)"
        "\n"
        R"(<text class="e" x="48" y="37">one</text><text x="206" y="37">r</text>)"
        "\n"
        R"(<text class="e" x="48" y="55">longer</text><text x="206" y="55"></text>)"
        "\n"
        R"(</svg>)"
        "\n");
}

TEST_CASE("a heat map is as wide as its experts and its longest label, within bounds") {
  const auto size = [](const std::string& label, std::size_t experts, std::size_t rows) {
    const std::string svg =
        heat_map("", std::vector<HeatRow>(rows, {label, std::vector<std::int64_t>(experts, 1), ""}), "");
    return svg.substr(14, svg.find('"', 14) - 14);
  };
  CHECK(size("", 0, 0) == "0 0 156 60");
  CHECK(size("", 200, 1) == "0 0 920 78");                   // 40 + 200 * 4 + 80
  CHECK(size("abcde", 20, 2) == "0 0 767 96");               // 47 + 20 * 32 + 80
  CHECK(size(std::string(29, 'a'), 18, 1) == "0 0 925 78");  // 215 + 18 * 35 + 80
  CHECK(size(std::string(40, 'a'), 17, 1) == "0 0 914 78");  // 222 + 17 * 36 + 80
}

TEST_CASE("lines stand where their numbers say, their names below each other") {
  CHECK(
      line_chart("curves", {{"a", {0.0, 0.5, 1.0}, {0.0, 0.75, 1.0}}, {"b", {0.0, 1.0}, {0.0, 1.0}}}, "part",
                 "share") ==
      R"(<svg viewBox="0 0 680 360" width="680" height="360" role="img" aria-label="curves">)"
      "\n"
      R"(<path class="g" d="M50 320V24"/><text class="s m" x="50" y="335">0</text>)"
      "\n"
      R"(<path class="g" d="M118 320V24"/><text class="s m" x="118" y="335">0.2</text>)"
      "\n"
      R"(<path class="g" d="M186 320V24"/><text class="s m" x="186" y="335">0.4</text>)"
      "\n"
      R"(<path class="g" d="M254 320V24"/><text class="s m" x="254" y="335">0.6</text>)"
      "\n"
      R"(<path class="g" d="M322 320V24"/><text class="s m" x="322" y="335">0.8</text>)"
      "\n"
      R"(<path class="g" d="M390 320V24"/><text class="s m" x="390" y="335">1</text>)"
      "\n"
      R"(<path class="g" d="M50 320H390"/><text class="s e" x="45" y="324">0</text>)"
      "\n"
      R"(<path class="g" d="M50 261H390"/><text class="s e" x="45" y="265">0.2</text>)"
      "\n"
      R"(<path class="g" d="M50 202H390"/><text class="s e" x="45" y="206">0.4</text>)"
      "\n"
      R"(<path class="g" d="M50 142H390"/><text class="s e" x="45" y="146">0.6</text>)"
      "\n"
      R"(<path class="g" d="M50 83H390"/><text class="s e" x="45" y="87">0.8</text>)"
      "\n"
      R"(<path class="g" d="M50 24H390"/><text class="s e" x="45" y="28">1</text>)"
      "\n"
      R"(<text class="s m" x="220" y="352">part</text><text class="s" x="4" y="16">share</text>)"
      "\n"
      R"(<path class="d" d="M50 320L390 24"/>)"
      "\n"
      R"(<path class="l c0" d="M50 320L220 98L390 24"/><path class="l c0" d="M410 40h18"/><text x="434" y="44">a</text>)"
      "\n"
      R"(<path class="l c1" d="M50 320L390 24"/><path class="l c1" d="M410 60h18"/><text x="434" y="64">b</text>)"
      "\n"
      R"(</svg>)"
      "\n");
  const std::string nine = line_chart("", std::vector<Curve>(9, {std::string(35, 'x'), {0.0}, {0.0}}), "", "");
  CHECK(nine.find("<path class=\"l c7\" d=\"M410 180h18\"/>") != std::string::npos);
  CHECK(nine.find("<path class=\"l c0\" d=\"M410 200h18\"/>") != std::string::npos);
  CHECK(nine.find(">" + std::string(31, 'x') + "...<") != std::string::npos);
}

TEST_CASE("points stand where their numbers say, with their number beside them") {
  CHECK(scatter("points", {{"a", 0, 0}, {"none", std::nan(""), 1}, {"b", 10, 100}}, "cost", "gain") ==
        R"(<svg viewBox="0 0 690 360" width="690" height="360" role="img" aria-label="points">)"
        "\n"
        R"(<path class="g" d="M89 318V24"/><text class="s m" x="89" y="333">0</text>)"
        "\n"
        R"(<path class="g" d="M154 318V24"/><text class="s m" x="154" y="333">2</text>)"
        "\n"
        R"(<path class="g" d="M218 318V24"/><text class="s m" x="218" y="333">4</text>)"
        "\n"
        R"(<path class="g" d="M282 318V24"/><text class="s m" x="282" y="333">6</text>)"
        "\n"
        R"(<path class="g" d="M346 318V24"/><text class="s m" x="346" y="333">8</text>)"
        "\n"
        R"(<path class="g" d="M411 318V24"/><text class="s m" x="411" y="333">10</text>)"
        "\n"
        R"(<path class="g" d="M70 302H430"/><text class="s e" x="65" y="306">0</text>)"
        "\n"
        R"(<path class="g" d="M70 250H430"/><text class="s e" x="65" y="254">20</text>)"
        "\n"
        R"(<path class="g" d="M70 197H430"/><text class="s e" x="65" y="201">40</text>)"
        "\n"
        R"(<path class="g" d="M70 145H430"/><text class="s e" x="65" y="149">60</text>)"
        "\n"
        R"(<path class="g" d="M70 92H430"/><text class="s e" x="65" y="96">80</text>)"
        "\n"
        R"(<path class="g" d="M70 40H430"/><text class="s e" x="65" y="44">100</text>)"
        "\n"
        R"(<text class="s m" x="250" y="350">cost</text><text class="s" x="4" y="16">gain</text>)"
        "\n"
        R"(<circle class="p" cx="89" cy="302" r="4"/><text class="s" x="446" y="32">1. a</text>)"
        "\n"
        R"(<circle class="p" cx="411" cy="40" r="4"/><text class="s" x="446" y="48">2. b</text>)"
        "\n"
        R"(<text class="s" x="95" y="298">1</text>)"
        "\n"
        R"(<text class="s" x="417" y="36">2</text>)"
        "\n"
        R"(</svg>)"
        "\n");
  const std::string far = scatter("", {{std::string(37, 'x'), 1, 1}, {"", 1000, 1}}, "c", "g");
  CHECK(far.find(">c (logarithmic)</text>") != std::string::npos);
  CHECK(far.find(">g</text>") != std::string::npos);
  CHECK(far.find(">1. " + std::string(33, 'x') + "...<") != std::string::npos);
  std::vector<Point> points;
  for (int i = 0; i < 21; ++i) points.push_back({"", 1.0 * i, 0});
  CHECK(scatter("", points, "", "").starts_with("<svg viewBox=\"0 0 690 376\""));
  points.pop_back();
  CHECK(scatter("", points, "", "").starts_with("<svg viewBox=\"0 0 690 360\""));
}

TEST_CASE("marks and labels meet up to their edges") {
  const detail::Mark mark{100, 100, {1}};
  CHECK(mark.covers(104, 96));
  CHECK(mark.covers(96, 104));
  CHECK_FALSE(mark.covers(105, 100));
  CHECK_FALSE(mark.covers(100, 95));
  const detail::LabelBox box{10, 50, 10};
  CHECK(box.meets({19, 50, 5}));
  CHECK_FALSE(box.meets({20, 50, 5}));
  CHECK(box.meets({6, 60, 5}));
  CHECK_FALSE(box.meets({5, 50, 5}));
  CHECK_FALSE(box.meets({10, 61, 10}));
  CHECK(box.covers({7, 45, {}}));
  CHECK_FALSE(box.covers({6, 45, {}}));
  CHECK(box.covers({23, 45, {}}));
  CHECK_FALSE(box.covers({24, 45, {}}));
  CHECK(box.covers({15, 38, {}}));
  CHECK_FALSE(box.covers({15, 37, {}}));
  CHECK(box.covers({15, 53, {}}));
  CHECK_FALSE(box.covers({15, 54, {}}));
}

TEST_CASE("a label goes to the right, the left, the middle, then higher and lower, and beside if nothing is free") {
  const auto place = [](int x, int right_end, const std::vector<detail::LabelBox>& taken) {
    const detail::Mark mark{x, 100, {1}};
    const detail::LabelBox box = detail::label_place(mark, 12, {mark}, taken, right_end);
    CHECK(box.width == 12);
    return std::pair(box.x, box.y);
  };
  CHECK(place(100, 118, {}) == std::pair(106, 96));
  CHECK(place(100, 117, {}) == std::pair(82, 96));
  CHECK(place(20, 30, {}) == std::pair(2, 96));
  CHECK(place(19, 30, {}) == std::pair(13, 96));
  std::vector<detail::LabelBox> taken;
  for (const int y : {96, 112, 84, 124, 72, 136}) {
    CHECK(place(100, 400, taken) == std::pair(106, y));
    taken.push_back({0, y, 400});
  }
  CHECK(place(100, 400, taken) == std::pair(106, 96));
  CHECK(place(100, 400, {{0, 90, 400}, {0, 118, 400}}) == std::pair(106, 104));
  // Where another mark is, no label is.
  const std::vector<detail::Mark> marks = {{100, 100, {1}}, {110, 98, {2}}};
  CHECK(detail::label_place(marks[0], 12, marks, {}, 400).x == 82);
}

TEST_CASE("ticks are one, two or five times a power of ten apart") {
  const auto ticks = [](double low, double high) { return detail::Axis{low, high, 0, 100}.ticks(); };
  CHECK(ticks(0, 4) == std::vector<double>{0, 1, 2, 3, 4});
  CHECK(ticks(0, 7.9) == std::vector<double>{0, 1, 2, 3, 4, 5, 6, 7});
  CHECK(ticks(0, 8) == std::vector<double>{0, 2, 4, 6, 8});
  CHECK(ticks(0, 20) == std::vector<double>{0, 5, 10, 15, 20});
  CHECK(ticks(11, 50) == std::vector<double>{15, 20, 25, 30, 35, 40, 45, 50});
  CHECK(ticks(-4, 0) == std::vector<double>{-4, -3, -2, -1, 0});
  CHECK_FALSE(detail::axis_of(1, 30, 0, 100).is_log);
  CHECK(detail::axis_of(1, 31, 0, 100).is_log);
  CHECK_FALSE(detail::axis_of(0, 31, 0, 100).is_log);
  CHECK(detail::Axis{1.0, 3.0, 0, 100, true}.ticks() == std::vector<double>{10, 30, 100, 300, 1000});
  CHECK(detail::axis_of(1, 100, 0, 100).low == Catch::Approx(-0.12));
  CHECK(detail::axis_of(-20, -20, 0, 100).low == Catch::Approx(-22.0));
  CHECK(detail::axis_of(0, 0, 0, 100).high == Catch::Approx(1e-9));
  CHECK(detail::tick(9'999.0) == "9999");
  CHECK(detail::tick(999'000) == "999k");
  CHECK(detail::tick(1'000'000) == "1M");
  CHECK(detail::tick(-1'500'000'000'000.0) == "-1.5T");
}
