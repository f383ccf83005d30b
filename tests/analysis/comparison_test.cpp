#include "headgate/analysis/comparison.hpp"

#include "headgate/analysis/routing_columns.hpp"
#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("a comparison prints aligned columns and quotes its CSV") {
  const double none = std::nan("");
  Comparison table{"t", "", {"model"}, {{"a", "alpha", 2}, {"b", "b", 0}}, {}};
  table.rows.push_back({{"x, \"y\""}, {{1.25, 1, 2}, {3, 3, 3}}, {}});
  table.rows.push_back({{"z"}, {{none, none, none}, {12345, 1, 2}}, {}});
  CHECK(table.text() == "model   alpha      b\nx, \"y\"   1.25      3\nz           -  12345\n");
  CHECK(table.csv() == "model,a,a_low,a_high,b,b_low,b_high\r\n\"x, \"\"y\"\"\",1.25,1,2,3,3,3\r\nz,,,,12345,1,2\r\n");
  CHECK(table.column_of("b") == 1);
  CHECK(table.column_of("c") == 2);
}

TEST_CASE("columns that a terminal cannot hold go into a table below, and no line is broken") {
  Comparison table{"in", "", {"input", "policy", "random part"}, {}, {}};
  table.rows.push_back({{"in", "one", "-"}, {}, {}});
  table.rows.push_back({{"in", "another", "cell"}, {}, {}});
  for (int c = 0; c < 9; ++c) {
    table.columns.push_back({fmt::format("c{}", c), c == 8 ? "two\nlines" : fmt::format("column {}", c), 1});
    for (ComparisonRow& row : table.rows) row.values.push_back({1.0 * c, 0, 0});
  }
  CHECK(table.first_label() == 1);  // the title says what the input is
  const std::string text = table.text(60);
  CHECK(text.substr(0, text.find("\n\n")) ==
        "policy   random part  column 0  column 1  column 2  column 3\n"
        "one      -                 0.0       1.0       2.0       3.0\n"
        "another  cell              0.0       1.0       2.0       3.0");
  CHECK(text.substr(text.find("\n\n") + 2) ==
        "                                                   two\n"
        "policy   column 4  column 5  column 6  column 7  lines\n"
        "one           4.0       5.0       6.0       7.0    8.0\n"
        "another       4.0       5.0       6.0       7.0    8.0\n");
  table.rows[1].labels[0] = "elsewhere";
  CHECK(table.first_label() == 0);
}

TEST_CASE("numbers are shown in the unit of their column, and files have them as they are") {
  Comparison table{"t", "", {"model"}, {{"bytes", "MB", 1, Better::lower, "weights read, in 10^6 bytes", 1e6}}, {}};
  table.rows.push_back({{"é"}, {{18'700'000, 1, 2}}, {}});
  CHECK(table.text() == "model    MB\né      18.7\n");
  CHECK(table.csv() == "model,bytes,bytes_low,bytes_high\r\né,18700000,1,2\r\n");
  CHECK(table.meanings() == "MB  weights read, in 10^6 bytes; lower is better\n");
}

TEST_CASE("a note is wrapped between words") {
  CHECK(wrapped("one two three", 7) == "one two\nthree\n");
  CHECK(wrapped("one two three", 6) == "one\ntwo\nthree\n");
  CHECK(wrapped("", 5) == "\n");
  CHECK(wrapped("unbreakable a", 4) == "unbreakable\na\n");
}

TEST_CASE("every column of the comparisons says what it means") {
  for (const auto& columns : {cost_columns(), balance_columns(), overlap_columns(), likeness_columns()}) {
    for (const ComparisonColumn& column : columns) {
      INFO(column.key);
      CHECK(column.meaning.size() > 10);
    }
  }
  CHECK(cost_columns().size() == cost_values({}, {}).size());
  CHECK(balance_columns().size() == balance_values({}).size());
  CHECK(overlap_columns().size() == overlap_values({}).size());
  CHECK(likeness_columns().size() == likeness_values({}).size());
}
