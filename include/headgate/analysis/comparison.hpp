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

enum class Better : std::uint8_t { neither, lower, higher };

struct ComparisonColumn {
  std::string key;      // in CSV and JSON
  std::string heading;  // for people; may have two lines
  int decimals = 3;
  Better better = Better::neither;
  std::string meaning = {};  // with unit and range
  double unit = 1.0;         // what is shown for people is in it; CSV and JSON are not

  // On one line.
  std::string name() const {
    std::string line = heading;
    std::replace(line.begin(), line.end(), '\n', ' ');
    return line;
  }
  std::string explained() const {
    constexpr const char* ends[] = {"", "; lower is better", "; higher is better"};
    return meaning + ends[static_cast<std::size_t>(better)];
  }
};

// The words of a text on lines of at most `width` bytes.
inline std::string wrapped(std::string_view text, std::size_t width = 120) {
  std::string out;
  std::size_t used = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find(' ', begin), text.size());
    const bool fits = used + 1 + (end - begin) <= width;
    if (used > 0) out += fits ? ' ' : '\n';
    used = (used > 0 && fits ? used + 1 : 0) + (end - begin);
    out += text.substr(begin, end - begin);
    begin = end + 1;
  }
  return out + '\n';
}

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
    return std::isnan(value) ? "-" : fmt::format("{:.{}f}", value / columns[column].unit, columns[column].decimals);
  }
  // The first label column that is shown beneath the title: one that repeats it in every row is not.
  std::size_t first_label() const {
    const auto repeats = [&](const ComparisonRow& row) { return row.labels.front() == title; };
    return label_columns.size() > 1 && std::all_of(rows.begin(), rows.end(), repeats) ? 1 : 0;
  }
  std::size_t column_of(std::string_view key) const {
    return static_cast<std::size_t>(
        std::find_if(columns.begin(), columns.end(), [&](const ComparisonColumn& c) { return c.key == key; }) -
        columns.begin());
  }

  // Aligned columns, words to the left and numbers to the right. Columns that do not fit into `width` characters go
  // into further tables below, each with the rows' names, so that a terminal breaks no line.
  std::string text(std::size_t width = 120) const {
    std::string out;
    const std::size_t first = first_label();
    for (std::size_t c = 0; c < columns.size() || c == 0;) {
      std::vector<Lines> shown_columns;
      std::size_t used = 0;
      for (std::size_t i = first; i < (c == 0 ? label_columns.size() : first + 1); ++i) {
        shown_columns.push_back(label_lines(i));
        used += shown_columns.back().width + 2;
      }
      const std::size_t labels = shown_columns.size();
      for (; c < columns.size(); ++c) {
        Lines column = number_lines(c);
        if (shown_columns.size() > labels && used + column.width > width) break;
        used += column.width + 2;
        shown_columns.push_back(std::move(column));
      }
      out += (out.empty() ? "" : "\n") + joined(shown_columns, labels);
      if (columns.empty()) break;
    }
    return out;
  }
  // What each column means, a line each.
  std::string meanings() const {
    std::size_t longest = 0;
    for (const ComparisonColumn& column : columns) longest = std::max(longest, column.name().size());
    std::string out;
    for (const ComparisonColumn& column : columns) {
      if (!column.meaning.empty()) out += fmt::format("{:<{}}  {}\n", column.name(), longest, column.explained());
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
  // A column as it is printed: two lines of heading, the upper one perhaps empty, and a cell for each row.
  struct Lines {
    std::vector<std::string> cells;
    std::size_t width = 0;

    void add(std::string cell) {
      width = std::max(width, characters(cell));
      cells.push_back(std::move(cell));
    }
    // Of UTF-8, which a terminal mostly shows one to a place.
    static std::size_t characters(const std::string& cell) {
      return static_cast<std::size_t>(std::count_if(
          cell.begin(), cell.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
    }
  };
  Lines label_lines(std::size_t i) const {
    Lines lines;
    lines.add("");
    lines.add(label_columns[i]);
    for (const ComparisonRow& row : rows) lines.add(row.labels[i]);
    return lines;
  }
  Lines number_lines(std::size_t c) const {
    Lines lines;
    const std::string& heading = columns[c].heading;
    const std::size_t end = heading.find('\n');
    lines.add(end == std::string::npos ? "" : heading.substr(0, end));
    lines.add(end == std::string::npos ? heading : heading.substr(end + 1));
    for (const ComparisonRow& row : rows) lines.add(shown(c, row.values[c].value));
    return lines;
  }
  static std::string joined(const std::vector<Lines>& shown_columns, std::size_t labels) {
    std::string out;
    for (std::size_t line = 0; line < shown_columns.front().cells.size(); ++line) {
      std::string text;
      for (std::size_t c = 0; c < shown_columns.size(); ++c) {
        const std::string& cell = shown_columns[c].cells[line];
        const std::string space(shown_columns[c].width - Lines::characters(cell), ' ');
        text += c == 0 ? "" : "  ";
        text += c < labels ? cell + space : space + cell;
      }
      text.erase(text.find_last_not_of(' ') + 1);
      if (line > 0 || !text.empty()) out += text + '\n';  // mostly no heading has two lines
    }
    return out;
  }
  static std::string number(double value) { return std::isnan(value) ? "" : fmt::format("{}", value); }
  static std::string quoted(const std::string& word) {
    if (word.find_first_of(",\"\r\n") == std::string::npos) return word;
    std::string out = "\"";
    for (const char c : word) out += c == '"' ? std::string("\"\"") : std::string(1, c);
    return out + '"';
  }
};

}  // namespace headgate::inline HEADGATE_ABI
