#include "headgate/analysis/report.hpp"

#include "analysis/markup.hpp"
#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("a report is well-formed, escapes what it is given, shows every number and needs nothing else") {
  const std::string bad = "<script>alert('x')</script>";
  Comparison table{bad, bad, {"model"}, {{"cost", bad, 1}, {"loss", "loss", 4}}, {}};
  table.rows.push_back({{bad}, {{1.25, 1, 2}, {3.14159, 3, 4}}, {{1, 5, 0}, {2, 2, 2}}});
  table.rows.push_back({{"other"}, {{7.5, 7, 8}, {2.71828, 2, 3}}, {{1, 1, 1}, {9, 0, 0}}});
  Report report(bad, {{"command", bad}});
  report.add_table(table);
  report.add_meanings(table);
  report.add_layers(bad, table.rows[0]);
  report.add_first_layer(table);
  report.add_load_curves(table);
  report.add_scatter(table, "cost", "loss");
  const std::string html = std::move(report).finish();
  CHECK(html.find("<script") == std::string::npos);
  CHECK(html.find("&lt;script&gt;") != std::string::npos);
  for (const char* word : {"http:", "https:", "src=", "url(", "@import"}) CHECK(html.find(word) == std::string::npos);
  for (const char* shown : {"3.1416", "2.7183", "3.0000<br/>4.0000"}) CHECK(html.find(shown) != std::string::npos);
  const std::size_t begin = html.find("<body>");
  CHECK(is_well_formed(html.substr(begin, html.find("</html>") - begin)));
  CHECK(html.find("prefers-color-scheme:dark") != std::string::npos);
}

TEST_CASE("pages show intervals and what the numbers mean, and no scatter of one row") {
  Comparison table{"in", "", {"input", "policy"}, {}, {}};
  const struct {
    const char* key;
    double value;
  } numbers[] = {{"ns_per_token", 700}, {"gini", 0.5}, {"weight_total_variation", 0.25}, {"agreement", 0.75}};
  table.rows.push_back({{"in", "one"}, {}, {{1, 2}}});
  for (const auto& number : numbers) {
    table.columns.push_back({number.key, number.key, 3, Better::lower, std::string("meaning of ") + number.key});
    table.rows[0].values.push_back({number.value, number.value / 2, number.value * 2});
  }
  const std::string one = policies_page({}, {table});
  CHECK(one.find("0.500<small>0.250<br/>1.000</small>") != std::string::npos);
  CHECK(one.find("meaning of gini; lower is better") != std::string::npos);
  CHECK(one.find("<circle") == std::string::npos);
  CHECK(one.find("gini against") == std::string::npos);
  CHECK(one.find(">in</td>") == std::string::npos);  // the title says it
  table.rows.push_back(table.rows[0]);
  table.rows[1].labels[1] = "two";
  for (Interval& value : table.rows[1].values) value.value *= 1.5;
  const std::string two = policies_page({}, {table});
  CHECK(two.find("gini against ns_per_token") != std::string::npos);
  CHECK(two.find("<circle") != std::string::npos);
}
