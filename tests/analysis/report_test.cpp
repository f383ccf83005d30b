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
  report.add_table(table, true);
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
