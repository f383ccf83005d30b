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

TEST_CASE("a table as wide as the terminal stays one, and one character more is two") {
  Comparison table{"t", "", {"model"}, {{"a", "alpha"}, {"b", "beta", 0}}, {}};
  table.rows.push_back({{"x"}, {{1.25, 1, 2}, {3, 3, 3}}, {}});
  CHECK(table.text(18) == "model  alpha  beta\nx      1.250     3\n");
  CHECK(table.text(17) == "model  alpha\nx      1.250\n\nmodel  beta\nx         3\n");
  CHECK(table.text(1) == table.text(17));  // a column at least
  table.columns.clear();
  CHECK(table.text() == "model\nx\n");
}

TEST_CASE("a label column is left out where all rows repeat the title in it") {
  Comparison table{"t", "", {"input", "policy"}, {}, {}};
  table.rows.push_back({{"t", "one"}, {}, {}});
  CHECK(table.first_label() == 1);
  CHECK(table.text() == "policy\none\n");
  table.rows.push_back({{"u", "two"}, {}, {}});
  CHECK(table.text() == "input  policy\nt      one\nu      two\n");
  Comparison single{"t", "", {"input"}, {}, {}};
  single.rows.push_back({{"t"}, {}, {}});
  CHECK(single.first_label() == 0);
}

TEST_CASE("a column says which numbers are better, its heading on one line") {
  const ComparisonColumn plain{"k", "two\nlines", 1, Better::higher, "what it is"};
  CHECK(plain.name() == "two lines");
  CHECK(plain.explained() == "what it is; higher is better");
  const ComparisonColumn by_default{"k", "h"};
  CHECK(by_default.decimals == 3);
  CHECK(by_default.unit == 1.0);
  CHECK(by_default.explained() == "");
  const Comparison table{"", "", {}, {plain, {"b", "b"}, {"c", "c", 0, Better::neither, "other"}}, {}};
  CHECK(table.meanings() == "two lines  what it is; higher is better\nc          other\n");
  CHECK(table.shown(1, 2.0) == "2.000");
  CHECK(table.shown(2, std::nan("")) == "-");
}

TEST_CASE("words of CSV are quoted for each character that needs it, and lines of a note are 120 wide") {
  Comparison table{"", "", {"a,b", "c\"d", "e\nf", "g\rh", "plain"}, {}, {}};
  CHECK(table.csv() == "\"a,b\",\"c\"\"d\",\"e\nf\",\"g\rh\",plain,\r\n");
  const std::string half(59, 'x');
  CHECK(wrapped(half + "y " + half) == half + "y " + half + "\n");
  CHECK(wrapped(half + "y " + half + "y") == half + "y\n" + half + "y\n");
}
