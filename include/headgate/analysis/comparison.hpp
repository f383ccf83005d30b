// Comparison: a table of things compared, some columns of words and then numbers with their 95 % intervals. What is
// printed, written as CSV or JSON and drawn comes from it, so that all say the same.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "headgate/analysis/bootstrap.hpp"

namespace headgate::inline HEADGATE_ABI {

struct ComparisonColumn {
  std::string key;      // in CSV and JSON
  std::string heading;  // for people
  int decimals = 3;
};

struct ComparisonRow {
  std::vector<std::string> labels;               // one a label column
  std::vector<Interval> values;                  // one a column
  std::vector<std::vector<std::int64_t>> loads;  // (layers, experts), for the pictures
};

struct Comparison {
  std::string title;
  std::string note;  // what the reader must know, a sentence or two
  std::vector<std::string> label_columns;
  std::vector<ComparisonColumn> columns;
  std::vector<ComparisonRow> rows;

  // The number as it is shown everywhere for people.
  std::string shown(std::size_t column, double value) const {
    return std::isnan(value) ? "-" : fmt::format("{:.{}f}", value, columns[column].decimals);
  }
  std::size_t column_of(std::string_view key) const {
    return static_cast<std::size_t>(
        std::find_if(columns.begin(), columns.end(), [&](const ComparisonColumn& c) { return c.key == key; }) -
        columns.begin());
  }

  // Aligned columns, words to the left and numbers to the right.
  std::string text() const {
    std::vector<std::vector<std::string>> cells(1, label_columns);
    for (const ComparisonColumn& column : columns) cells[0].push_back(column.heading);
    for (const ComparisonRow& row : rows) {
      cells.push_back(row.labels);
      for (std::size_t c = 0; c < columns.size(); ++c) cells.back().push_back(shown(c, row.values[c].value));
    }
    std::vector<std::size_t> widths(cells[0].size(), 0);
    for (const auto& row : cells) {
      for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
    }
    std::string out;
    for (const auto& row : cells) {
      for (std::size_t c = 0; c < row.size(); ++c) {
        const bool is_word = c < label_columns.size();
        out += c == 0 ? "" : "  ";
        out += is_word ? fmt::format("{:<{}}", row[c], widths[c]) : fmt::format("{:>{}}", row[c], widths[c]);
      }
      out.erase(out.find_last_not_of(' ') + 1);
      out += '\n';
    }
    return out;
  }

  // RFC 4180, with a line of names. Numbers are the shortest that read back the same; of each its interval.
  std::string csv() const {
    std::string out;
    for (const std::string& label : label_columns) out += quoted(label) + ',';
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const std::string& key = columns[c].key;
      out += fmt::format("{}{},{}_low,{}_high", c == 0 ? "" : ",", key, key, key);
    }
    out += "\r\n";
    for (const ComparisonRow& row : rows) {
      for (const std::string& label : row.labels) out += quoted(label) + ',';
      for (std::size_t c = 0; c < columns.size(); ++c) {
        const Interval& v = row.values[c];
        out += fmt::format("{}{},{},{}", c == 0 ? "" : ",", number(v.value), number(v.low), number(v.high));
      }
      out += "\r\n";
    }
    return out;
  }

 private:
  static std::string number(double value) { return std::isnan(value) ? "" : fmt::format("{}", value); }
  static std::string quoted(const std::string& word) {
    if (word.find_first_of(",\"\r\n") == std::string::npos) return word;
    std::string out = "\"";
    for (const char c : word) out += c == '"' ? std::string("\"\"") : std::string(1, c);
    return out + '"';
  }
};

}  // namespace headgate::inline HEADGATE_ABI
