// Pictures as inline SVG: no script, no font of their own, colours by the classes of analysis/report.hpp's style sheet,
// so that they are light or dark as the page is. Every text from outside is escaped. Coordinates are in pixels.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "headgate/analysis/escaped_xml.hpp"
#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

// A row of a heat map: loads of the experts, and a word on the right.
struct HeatRow {
  std::string label;
  std::vector<std::int64_t> loads;
  std::string remark;
};

// Loads against their mean, in seven classes around 1: h0 below a quarter, h3 from 0.8 to 1.25, h6 above 4.
inline int heat_class(std::int64_t load, double mean) {
  constexpr double bounds[] = {0.25, 0.5, 0.8, 1.25, 2.0, 4.0};
  if (mean <= 0.0) return 3;
  int heat = 0;
  while (heat < 6 && static_cast<double>(load) / mean >= bounds[heat]) ++heat;
  return heat;
}

namespace detail {

inline std::string svg_open(int width, int height, std::string_view label) {
  return fmt::format("<svg viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" role=\"img\" aria-label=\"{2}\">\n",
                     width, height, escaped_xml(label));
}
// At most max_size bytes of the label, cut between characters of UTF-8.
inline std::string shortened(const std::string& label, std::size_t max_size) {
  if (label.size() <= max_size) return escaped_xml(label);
  std::size_t end = max_size - 3;
  while (end > 0 && (static_cast<unsigned char>(label[end]) & 0xC0) == 0x80) --end;
  return escaped_xml(label.substr(0, end)) + "...";
}

}  // namespace detail

// Rows x experts. All cells of one colour are one path of broad strokes (17 pixels), neighbours one stroke: short.
inline std::string heat_map(std::string_view label, const std::vector<HeatRow>& rows,
                            const std::string& remark_heading) {
  std::size_t experts = 1;
  std::size_t longest = 4;
  for (const HeatRow& row : rows) {
    experts = std::max(experts, row.loads.size());
    longest = std::max(longest, std::min<std::size_t>(row.label.size(), 30));
  }
  const int cell_width = std::clamp(640 / static_cast<int>(experts), 4, 36);
  constexpr int cell_height = 18;
  const int left = static_cast<int>(longest) * 7 + 12;
  const int right = left + cell_width * static_cast<int>(experts);
  const int height = 26 + cell_height * static_cast<int>(rows.size()) + 34;
  std::string paths[7];
  std::string words =
      fmt::format("<text class=\"s\" x=\"{}\" y=\"16\">{}</text>\n", right + 8, escaped_xml(remark_heading));
  words += fmt::format(
      "<text class=\"s\" x=\"{}\" y=\"16\">expert 0</text><text class=\"s e\" x=\"{}\" y=\"16\">{}</text>\n", left,
      right, experts - 1);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const HeatRow& row = rows[r];
    const int y = 24 + cell_height * static_cast<int>(r);
    double total = 0;
    for (const std::int64_t load : row.loads) total += static_cast<double>(load);
    const double mean = row.loads.empty() ? 0.0 : total / static_cast<double>(row.loads.size());
    for (std::size_t e = 0; e < row.loads.size();) {
      const int heat = heat_class(row.loads[e], mean);
      std::size_t end = e + 1;
      while (end < row.loads.size() && heat_class(row.loads[end], mean) == heat) ++end;
      paths[heat] += fmt::format("M{} {}h{}", left + cell_width * static_cast<int>(e), y + cell_height / 2,
                                 cell_width * static_cast<int>(end - e));
      e = end;
    }
    words += fmt::format("<text class=\"e\" x=\"{}\" y=\"{}\">{}</text><text x=\"{}\" y=\"{}\">{}</text>\n", left - 6,
                         y + 13, detail::shortened(row.label, 30), right + 8, y + 13, escaped_xml(row.remark));
  }
  std::string svg = detail::svg_open(right + 80, height, label);
  for (int h = 0; h < 7; ++h) {
    if (!paths[h].empty()) svg += fmt::format("<path class=\"h{}\" d=\"{}\"/>\n", h, paths[h]);
  }
  constexpr const char* legend[] = {"&lt; 1/4", "&lt; 1/2", "&lt; 0.8", "even", "&gt; 1.25", "&gt; 2", "&gt; 4"};
  for (int h = 0; h < 7; ++h) {
    svg += fmt::format("<path class=\"h{}\" d=\"M{} {}h14\"/><text class=\"s\" x=\"{}\" y=\"{}\">{}</text>\n", h,
                       left + 72 * h, height - 14, left + 72 * h + 18, height - 10, legend[h]);
  }
  return svg + words + "</svg>\n";
}

struct Curve {
  std::string label;
  std::vector<double> x;
  std::vector<double> y;
};

// The share of all tokens that the most loaded part of the experts takes, from 0 to 1: the Lorenz curve turned round, a
// straight line for equal loads. Averaged over layers, which have the same number of experts.
inline Curve load_curve(std::string label, const std::vector<std::vector<std::int64_t>>& loads) {
  Curve curve{std::move(label), {0.0}, {0.0}};
  const std::size_t experts = loads.empty() ? 0 : loads.front().size();
  std::vector<double> share(experts, 0.0);
  double counted = 0;
  for (std::vector<std::int64_t> layer : loads) {
    std::sort(layer.rbegin(), layer.rend());
    double total = 0;
    for (const std::int64_t load : layer) total += static_cast<double>(load);
    if (!(total > 0)) continue;
    ++counted;
    for (std::size_t e = 0; e < experts; ++e) share[e] += static_cast<double>(layer[e]) / total;
  }
  for (std::size_t e = 0; e < experts; ++e) {
    curve.x.push_back(static_cast<double>(e + 1) / static_cast<double>(experts));
    curve.y.push_back(curve.y.back() + (counted > 0 ? share[e] / counted : 0.0));
  }
  return curve;
}

namespace detail {

struct Axis {
  double low, high;  // their logarithms where it is logarithmic
  int from, to;      // pixels
  bool is_log = false;
  int place(double value) const {
    const double v = is_log ? std::log10(value) : value;
    return from + static_cast<int>(std::lround((v - low) / (high - low) * static_cast<double>(to - from)));
  }
  // Round numbers, about four; of a logarithmic axis powers of ten and three times them.
  std::vector<double> ticks() const {
    std::vector<double> values;
    if (is_log) {
      for (double power = std::floor(low); power <= high; power += 1) {
        for (const double v : {std::pow(10.0, power), 3.0 * std::pow(10.0, power)}) {
          if (std::log10(v) >= low && std::log10(v) <= high) values.push_back(v);
        }
      }
      return values;
    }
    const double power = std::pow(10.0, std::floor(std::log10((high - low) / 4.0)));
    const double part = (high - low) / 4.0 / power;
    const double step = power * (part < 2 ? 1 : part < 5 ? 2 : 5);
    for (double v = std::ceil(low / step) * step; v <= high; v += step)
      values.push_back(std::abs(v) < step * 1e-6 ? 0.0 : v);
    return values;
  }
};
// A number of a tick, short: 6.2M for 6,200,000.
inline std::string tick(double value) {
  constexpr const char* units[] = {"", "k", "M", "G", "T"};
  double size = std::abs(value);
  int unit = 0;
  for (; unit < 4 && size >= (unit == 0 ? 10'000.0 : 1000.0); ++unit) {
    size /= 1000.0;
    value /= 1000.0;
  }
  return fmt::format("{:.4g}{}", value, units[unit]);
}
// Logarithmic where positive numbers differ by more than a factor of 30.
inline Axis axis_of(double low, double high, int from, int to) {
  const bool is_log = low > 0 && high > 30 * low;
  if (is_log) low = std::log10(low), high = std::log10(high);
  const double margin = high > low ? 0.06 * (high - low) : std::max(std::abs(low) * 0.1, 1e-9);
  return {low - margin, high + margin, from, to, is_log};
}
// Frame, ticks and the names of both axes.
inline std::string frame(const Axis& x, const Axis& y, std::string_view x_name, std::string_view y_name) {
  std::string out;
  for (const double v : x.ticks()) {
    out += fmt::format("<path class=\"g\" d=\"M{0} {1}V{2}\"/><text class=\"s m\" x=\"{0}\" y=\"{3}\">{4}</text>\n",
                       x.place(v), y.from, y.to, y.from + 15, tick(v));
  }
  for (const double v : y.ticks()) {
    out += fmt::format("<path class=\"g\" d=\"M{0} {1}H{2}\"/><text class=\"s e\" x=\"{3}\" y=\"{4}\">{5}</text>\n",
                       x.from, y.place(v), x.to, x.from - 5, y.place(v) + 4, tick(v));
  }
  const auto kind = [](const Axis& axis) { return axis.is_log ? " (logarithmic)" : ""; };
  out += fmt::format(
      "<text class=\"s m\" x=\"{}\" y=\"{}\">{}{}</text><text class=\"s\" x=\"4\" y=\"{}\">{}{}</text>\n",
      (x.from + x.to) / 2, y.from + 32, escaped_xml(x_name), kind(x), y.to - 8, escaped_xml(y_name), kind(y));
  return out;
}

}  // namespace detail

// Lines with a legend; at most 8 can be told apart.
inline std::string line_chart(std::string_view label, const std::vector<Curve>& curves, std::string_view x_name,
                              std::string_view y_name) {
  const detail::Axis x{0.0, 1.0, 50, 390};
  const detail::Axis y{0.0, 1.0, 320, 24};
  std::string svg = detail::svg_open(680, 360, label) + detail::frame(x, y, x_name, y_name);
  svg += fmt::format("<path class=\"d\" d=\"M{} {}L{} {}\"/>\n", x.place(0), y.place(0), x.place(1), y.place(1));
  for (std::size_t c = 0; c < curves.size(); ++c) {
    std::string points;
    for (std::size_t i = 0; i < curves[c].x.size(); ++i) {
      points += fmt::format("{}{} {}", i == 0 ? "M" : "L", x.place(curves[c].x[i]), y.place(curves[c].y[i]));
    }
    svg += fmt::format(
        "<path class=\"l c{}\" d=\"{}\"/><path class=\"l c{}\" d=\"M410 {}h18\"/><text x=\"434\" y=\"{}\">{}</text>\n",
        c % 8, points, c % 8, 40 + 20 * c, 44 + 20 * c, detail::shortened(curves[c].label, 34));
  }
  return svg + "</svg>\n";
}

struct Point {
  std::string label;
  double x, y;
};

namespace detail {

// Points whose circles cover each other: one label for all.
struct Mark {
  int x, y;                         // of the first
  std::vector<std::size_t> points;  // their numbers from 1, ascending

  bool covers(int px, int py) const { return std::abs(px - x) <= 4 && std::abs(py - y) <= 4; }
  // 1-3, 7
  std::string label() const {
    std::string out;
    for (std::size_t i = 0; i < points.size();) {
      std::size_t end = i + 1;
      while (end < points.size() && points[end] == points[end - 1] + 1) ++end;
      out += fmt::format("{}{}", out.empty() ? "" : ", ", points[i]);
      if (end > i + 1) out += fmt::format("{}{}", end > i + 2 ? "-" : ", ", points[end - 1]);
      i = end;
    }
    return out;
  }
};

// Where a label stands: its left end, its base line, its size (characters of 6 pixels).
struct LabelBox {
  int x, y, width;
  bool meets(const LabelBox& other) const {
    return x < other.x + other.width && other.x < x + width && std::abs(y - other.y) < 11;
  }
  bool covers(const Mark& mark) const {
    return mark.x + 4 > x && mark.x - 4 < x + width && mark.y + 4 > y - 9 && mark.y - 4 < y;
  }
};
// The first place around its mark where a label covers nothing; beside it, if there is none.
inline LabelBox label_place(const Mark& mark, int width, const std::vector<Mark>& marks,
                            const std::vector<LabelBox>& taken, int right_end) {
  const LabelBox beside{mark.x + 6, mark.y - 4, width};
  for (const int down : {-4, 12, 4, -16, 24, -28, 36}) {
    for (const int x : {mark.x + 6, mark.x - 6 - width, mark.x - width / 2}) {
      const LabelBox box{x, mark.y + down, width};
      const auto meets = [&](const LabelBox& other) { return box.meets(other); };
      const auto covers = [&](const Mark& other) { return box.covers(other); };
      if (x >= 2 && x + width <= right_end && std::none_of(taken.begin(), taken.end(), meets) &&
          std::none_of(marks.begin(), marks.end(), covers)) {
        return box;
      }
    }
  }
  return beside;
}

}  // namespace detail

// Points with numbers, and what the numbers mean on the right; points that coincide share one label. Empty if fewer
// than two places are drawn: nothing could be compared. Points that are not finite are left out.
inline std::string scatter(std::string_view label, const std::vector<Point>& points, std::string_view x_name,
                           std::string_view y_name) {
  std::vector<Point> drawn;
  for (const Point& p : points) {
    if (std::isfinite(p.x) && std::isfinite(p.y)) drawn.push_back(p);
  }
  if (drawn.empty()) return {};
  const auto [x_low, x_high] =
      std::minmax_element(drawn.begin(), drawn.end(), [](const Point& a, const Point& b) { return a.x < b.x; });
  const auto [y_low, y_high] =
      std::minmax_element(drawn.begin(), drawn.end(), [](const Point& a, const Point& b) { return a.y < b.y; });
  if (!(x_low->x < x_high->x) && !(y_low->y < y_high->y)) return {};
  const int height = std::max(360, 40 + 16 * static_cast<int>(drawn.size()));
  constexpr int right = 430;
  const detail::Axis x = detail::axis_of(x_low->x, x_high->x, 70, right);
  const detail::Axis y = detail::axis_of(y_low->y, y_high->y, height - 42, 24);
  std::string svg = detail::svg_open(690, height, label) + detail::frame(x, y, x_name, y_name);
  std::vector<detail::Mark> marks;
  for (std::size_t i = 0; i < drawn.size(); ++i) {
    const int px = x.place(drawn[i].x);
    const int py = y.place(drawn[i].y);
    svg += fmt::format(
        "<circle class=\"p\" cx=\"{}\" cy=\"{}\" r=\"4\"/><text class=\"s\" x=\"446\" y=\"{}\">{}. {}</text>\n", px, py,
        32 + 16 * i, i + 1, detail::shortened(drawn[i].label, 36));
    const auto mark = std::find_if(marks.begin(), marks.end(), [&](const detail::Mark& m) { return m.covers(px, py); });
    if (mark != marks.end()) {
      mark->points.push_back(i + 1);
    } else {
      marks.push_back({px, py, {i + 1}});
    }
  }
  std::vector<detail::LabelBox> boxes;
  for (const detail::Mark& mark : marks) {
    const std::string numbers = mark.label();
    boxes.push_back(detail::label_place(mark, 6 * static_cast<int>(numbers.size()), marks, boxes, right + 10));
    svg += fmt::format("<text class=\"s\" x=\"{}\" y=\"{}\">{}</text>\n", boxes.back().x, boxes.back().y, numbers);
  }
  return svg + "</svg>\n";
}

}  // namespace headgate::inline HEADGATE_ABI
