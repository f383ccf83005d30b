// The report of `headgate routers`: one HTML page that needs nothing else. No script, no network; pictures are inline
// SVG (analysis/figures.hpp), each with a table; light or dark as the reader's system is. All text from outside is
// escaped.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "headgate/analysis/comparison.hpp"
#include "headgate/analysis/figures.hpp"
#include "headgate/analysis/load_stats.hpp"

namespace headgate::inline HEADGATE_ABI {

// Where the numbers come from: name and value.
using ReportFacts = std::vector<std::pair<std::string, std::string>>;

class Report {
 public:
  Report(std::string_view title, const ReportFacts& facts) {
    html_ = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n";
    html_ += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n";
    html_ +=
        fmt::format("<title>{0}</title>\n<style>{1}</style>\n</head>\n<body>\n<h1>{0}</h1>\n<table class=\"facts\">\n",
                    escaped_xml(title), style);
    for (const auto& [name, value] : facts) {
      html_ += fmt::format("<tr><th>{}</th><td>{}</td></tr>\n", escaped_xml(name), escaped_xml(value));
    }
    html_ += "</table>\n";
  }

  // The table of a comparison, 95 % intervals below the numbers, without a first column that repeats its title.
  void add_table(const Comparison& table) {
    heading(table.title, table.note);
    html_ += "<div class=\"wide\"><table>\n<tr>";
    const std::size_t first = table.first_label();
    for (std::size_t i = first; i < table.label_columns.size(); ++i) {
      html_ += fmt::format("<th class=\"w\">{}</th>", escaped_xml(table.label_columns[i]));
    }
    for (const ComparisonColumn& column : table.columns) html_ += fmt::format("<th>{}</th>", two_lines(column.heading));
    html_ += "</tr>\n";
    for (const ComparisonRow& row : table.rows) {
      html_ += "<tr>";
      for (std::size_t i = first; i < row.labels.size(); ++i) {
        html_ += fmt::format("<td class=\"w\">{}</td>", escaped_xml(row.labels[i]));
      }
      for (std::size_t c = 0; c < table.columns.size(); ++c) {
        const Interval& v = row.values[c];
        html_ += "<td>" + table.shown(c, v.value);
        if (v.low < v.high) {
          html_ += fmt::format("<small>{}<br/>{}</small>", table.shown(c, v.low), table.shown(c, v.high));
        }
        html_ += "</td>";
      }
      html_ += "</tr>\n";
    }
    html_ += "</table></div>\n";
  }

  // What the columns of a table mean.
  void add_meanings(const Comparison& table) {
    heading("What the numbers mean",
            "E is the number of experts of a layer. Small numbers below a number are its 95 % interval: where it would "
            "likely be for another text of the same kind (bootstrap over blocks of neighbouring tokens; of times, over "
            "rounds). Numbers are means over layers unless their line says otherwise.");
    html_ += "<div class=\"wide\"><table class=\"facts\">\n";
    for (const ComparisonColumn& column : table.columns) {
      html_ +=
          fmt::format("<tr><th>{}</th><td>{}</td></tr>\n", escaped_xml(column.name()), escaped_xml(column.explained()));
    }
    html_ += "</table></div>\n";
  }

  // Layers x experts of one row, with a table of the same layers.
  void add_layers(const std::string& name, const ComparisonRow& row) {
    std::vector<HeatRow> rows;
    std::string table =
        "<div class=\"wide\"><table>\n<tr><th>layer</th><th>entries</th><th>MaxVio</th><th>CV</th><th>Gini</th>"
        "<th>Jain</th><th>entropy</th><th>dead</th></tr>\n";
    for (std::size_t l = 0; l < row.loads.size(); ++l) {
      const LoadStats s = LoadStats::of(row.loads[l]);
      rows.push_back({fmt::format("layer {}", l), row.loads[l], fmt::format("{:.2f}", s.max_violation)});
      table += fmt::format(
          "<tr><td>{}</td><td>{}</td><td>{:.4f}</td><td>{:.4f}</td><td>{:.4f}</td><td>{:.4f}</td><td>{:.4f}</td>"
          "<td>{}</td></tr>\n",
          l, s.total, s.max_violation, s.variation, s.gini, s.jain, s.entropy_ratio, s.dead);
    }
    heading("Load of the experts: " + name,
            "Tokens of an expert against the mean of its layer; layers counted from the "
            "first that has experts.");
    figure(heat_map("expert loads by layer of " + name, rows, "MaxVio"), table + "</table></div>\n");
  }

  // Rows x experts of the first layer, for a comparison with too many rows for a picture each.
  void add_first_layer(const Comparison& table) {
    std::vector<HeatRow> rows;
    std::string numbers =
        "<div class=\"wide\"><table>\n<tr><th class=\"w\"></th><th>MaxVio</th><th>CV</th><th>dead</th></tr>\n";
    for (const ComparisonRow& row : table.rows) {
      const LoadStats s = LoadStats::of(row.loads.front());
      const std::string& label = row.labels[table.first_label()];
      rows.push_back({label, row.loads.front(), fmt::format("{:.2f}", s.max_violation)});
      numbers += fmt::format("<tr><td class=\"w\">{}</td><td>{:.4f}</td><td>{:.4f}</td><td>{}</td></tr>\n",
                             escaped_xml(label), s.max_violation, s.variation, s.dead);
    }
    heading("Load of the experts: " + table.title, "First layer; tokens of an expert against the mean.");
    figure(heat_map("expert loads by row of " + table.title, rows, "MaxVio"), numbers + "</table></div>\n");
  }

  // Sorted load curves of at most 8 rows; the table says what the most loaded part takes.
  void add_load_curves(const Comparison& table) {
    std::vector<Curve> curves;
    std::string rows =
        "<div class=\"wide\"><table>\n<tr><th class=\"w\"></th><th>busiest 1/8</th><th>busiest 1/4</th><th>busiest "
        "1/2</th>"
        "</tr>\n";
    for (const ComparisonRow& row : table.rows) {
      if (curves.size() == 8) break;
      curves.push_back(load_curve(row.labels.front(), row.loads));
      const Curve& curve = curves.back();
      const auto share = [&](std::size_t part) { return curve.y[(curve.y.size() - 1) / part]; };
      rows += fmt::format("<tr><td class=\"w\">{}</td><td>{:.4f}</td><td>{:.4f}</td><td>{:.4f}</td></tr>\n",
                          escaped_xml(curve.label), share(8), share(4), share(2));
    }
    heading("Sorted loads",
            "The share of tokens that the busiest part of the experts takes, mean over layers. The straight "
            "line is perfect balance.");
    figure(line_chart("sorted loads", curves, "part of the experts, busiest first", "share of tokens"),
           rows + "</table></div>\n");
  }

  // Two columns of a comparison against each other; nothing where fewer than two points differ.
  void add_scatter(const Comparison& table, std::string_view x_key, std::string_view y_key) {
    const std::size_t x = table.column_of(x_key);
    const std::size_t y = table.column_of(y_key);
    const auto in_unit = [&](std::size_t c, const ComparisonRow& row) {
      return row.values[c].value / table.columns[c].unit;
    };
    std::vector<Point> points;
    std::string rows =
        fmt::format("<div class=\"wide\"><table>\n<tr><th class=\"w\"></th><th>{}</th><th>{}</th></tr>\n",
                    escaped_xml(table.columns[x].name()), escaped_xml(table.columns[y].name()));
    for (const ComparisonRow& row : table.rows) {
      const std::string& label = row.labels[table.first_label()];
      points.push_back({label, in_unit(x, row), in_unit(y, row)});
      rows += fmt::format("<tr><td class=\"w\">{}</td><td>{}</td><td>{}</td></tr>\n", escaped_xml(label),
                          table.shown(x, row.values[x].value), table.shown(y, row.values[y].value));
    }
    const std::string title = table.columns[y].name() + " against " + table.columns[x].name();
    const std::string picture = scatter(title, points, table.columns[x].name(), table.columns[y].name());
    if (picture.empty()) return;
    heading(title + ": " + table.title, "A circle for each row; rows that coincide share one label.");
    figure(picture, rows + "</table></div>\n");
  }

  void add_note(std::string_view text) { html_ += fmt::format("<p>{}</p>\n", escaped_xml(text)); }

  std::size_t size() const noexcept { return html_.size(); }  // bytes so far
  std::string finish() && { return std::move(html_) + "</body>\n</html>\n"; }

 private:
  void heading(std::string_view title, std::string_view note) {
    html_ += fmt::format("<h2>{}</h2>\n", escaped_xml(title));
    if (!note.empty()) html_ += fmt::format("<p>{}</p>\n", escaped_xml(note));
  }
  static std::string two_lines(const std::string& text) {
    std::string out = escaped_xml(text);
    if (const std::size_t end = out.find('\n'); end != std::string::npos) out.replace(end, 1, "<br/>");
    return out;
  }
  void figure(const std::string& svg, const std::string& table) {
    html_ += "<div class=\"pair\"><div class=\"wide\">" + svg + "</div>\n" + table + "</div>\n";
  }

  // h0 ... h6: loads around the mean, cold to hot. c0 ... c7: curves. Chosen to be told apart with red-green blindness.
  static constexpr std::string_view style =
      ":root{color-scheme:light "
      "dark;--b:#fff;--f:#1b1b1f;--q:#5f6068;--r:#dcdce2;--h0:#2166ac;--h1:#6da7d1;--h2:#c3dcec;"
      "--h3:#eceaf0;--h4:#fbcfae;--h5:#e8855a;--h6:#b2182b;--p:#2166ac}"
      "@media(prefers-color-scheme:dark){:root{--b:#17181c;--f:#e6e6ea;--q:#a0a1ab;--r:#34353d;--h0:#4a9be8;--h1:#"
      "3270ac;"
      "--h2:#264a6d;--h3:#2c2d35;--h4:#6b4130;--h5:#b5613d;--h6:#ff7d64;--p:#7fb8ee}}"
      "body{background:var(--b);color:var(--f);font:15px/1.45 system-ui,sans-serif;max-width:1400px;margin:2rem auto;"
      "padding:0 1rem}h1{font-size:1.6rem}h2{font-size:1.15rem;margin:2.2rem 0 .4rem}p{color:var(--q);margin:.2rem 0 "
      ".7rem;"
      "max-width:80ch}.wide{overflow-x:auto}.pair{display:flex;flex-wrap:wrap;gap:.6rem "
      "1.5rem;align-items:flex-start}table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}"
      "th,td{padding:.22rem .55rem;text-align:right;border-bottom:1px solid "
      "var(--r);white-space:nowrap;vertical-align:top}"
      "th{color:var(--q);font-weight:600;vertical-align:bottom}.w,.facts th,.facts td{text-align:left}.facts "
      "td{white-space:normal;overflow-wrap:"
      "anywhere}td.w:first-child{position:sticky;left:0;background:var(--b)}"
      "small{display:block;color:var(--q);font-size:10.5px}"
      "svg text{fill:var(--f);font:12px system-ui,sans-serif}svg "
      ".s{fill:var(--q);font-size:11px}.e{text-anchor:end}.m{text-"
      "anchor:middle}.g{stroke:var(--r);fill:none}.d{stroke:var(--q);stroke-dasharray:4 "
      "4;fill:none}.l{fill:none;stroke-"
      "width:2}.p{fill:var(--p)}svg "
      "[class^=h]{stroke-width:17}.h0{stroke:var(--h0)}.h1{stroke:var(--h1)}.h2{stroke:var(--h2)}.h3{stroke:var(--h3)}."
      "h4{stroke:"
      "var(--h4)}.h5{stroke:var(--h5)}.h6{stroke:var(--h6)}.c0{stroke:#0072b2}.c1{stroke:#d55e00}.c2{stroke:#009e73}."
      "c3{stroke:"
      "#cc79a7}.c4{stroke:#e69f00}.c5{stroke:#56b4e9}.c6{stroke:#8a6fd1}.c7{stroke:#8c8c8c}";

  std::string html_;
};

// A page stays below 300 kB, which loads at once: a comparison adds no more than 90.
inline constexpr std::size_t max_page_bytes = 210'000;

// The page of models (analysis/text_run.hpp) compared.
inline std::string models_page(const ReportFacts& facts, const Comparison& models) {
  Report report("Models compared by their routing", facts);
  report.add_table(models);
  report.add_meanings(models);
  for (const ComparisonRow& row : models.rows) {
    if (report.size() > max_page_bytes) {
      report.add_note("More models are left out, to keep this page small.");
      break;
    }
    report.add_layers(row.labels.front(), row);
  }
  report.add_load_curves(models);
  report.add_scatter(models, "weight_bytes_per_token", "loss");
  report.add_scatter(models, "weight_bytes_per_token", "max_violation");
  return std::move(report).finish();
}
// The page of policies (analysis/policy_comparison.hpp) compared on one input or several.
inline std::string policies_page(const ReportFacts& facts, const std::vector<Comparison>& tables) {
  Report report("Router policies compared", facts);
  for (const Comparison& table : tables) {
    if (report.size() > max_page_bytes) {
      report.add_note("More comparisons are left out, to keep this page small; --csv and --json have them all.");
      break;
    }
    report.add_table(table);
    if (&table == &tables.front()) report.add_meanings(table);
    report.add_first_layer(table);
    report.add_scatter(table, "ns_per_token", "gini");
    report.add_scatter(table, "weight_total_variation", "agreement");
  }
  return std::move(report).finish();
}

}  // namespace headgate::inline HEADGATE_ABI
