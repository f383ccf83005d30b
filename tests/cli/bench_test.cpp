// headgate bench: rows in llama-bench's vocabulary, and the limits of the machine beside them.
#include <algorithm>
#include <cmath>
#include <csignal>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/program.hpp"
#include "cli/scratch_folder.hpp"
#include "support/catch.hpp"

namespace {

using Words = std::vector<std::string>;
using nlohmann::ordered_json;

const Words quick = {"bench", "-p", "3", "-n", "2", "-r", "1", "-t", "1"};

Words with(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}
ordered_json rows_of(const Words& words, const cli::Launch& launch = {}) {
  const cli::Result result = cli::run(words, launch);
  INFO(result.err);
  REQUIRE(result.code == 0);
  return ordered_json::parse(result.out);
}
// The cells of a line, without blanks around them.
Words cells(const std::string& line, char between) {
  Words found;
  for (std::size_t first = 0; first <= line.size();) {
    const std::size_t end = std::min(line.find(between, first), line.size());
    const std::string cell = line.substr(first, end - first);
    const std::size_t begin = cell.find_first_not_of(' ');
    found.push_back(begin == cell.npos ? "" : cell.substr(begin, cell.find_last_not_of(' ') - begin + 1));
    first = end + 1;
  }
  return found;
}
Words lines_of(const std::string& text) {
  Words lines = cells(text, '\n');
  REQUIRE(lines.back().empty());
  lines.pop_back();
  return lines;
}

}  // namespace

TEST_CASE("headgate bench measures each prompt, continuation, depth and number of threads, beside the limits") {
  const ordered_json rows = rows_of(
      {"bench", "-p", "8,3", "-n", "2", "-d", "0,5", "-r", "2", "-t", "1,2", "-b", "4", "-ub", "3", "-o", "json"});
  const Words tests = {"pp8", "pp3", "tg2", "pp8 @ d5", "pp3 @ d5", "tg2 @ d5"};
  REQUIRE(rows.size() == 2 * tests.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const ordered_json& row = rows[i];
    CAPTURE(row.dump());
    CHECK(row.at("test") == tests[i % tests.size()]);
    CHECK(row.at("threads") == (i < tests.size() ? 1 : 2));
    const auto number = [&](const char* key) { return row.at(key).get<double>(); };
    for (const char* const key :
         {"avg_ts", "bytes_per_token", "ops_per_token", "limit_gb_s", "limit_gop_s", "limit_ts", "share_of_limit"}) {
      CHECK(number(key) > 0.0);
    }
    double sum = 0.0;
    for (const double rate : row.at("samples_ts")) sum += rate;
    CHECK(row.at("samples_ts").size() == 2);
    CHECK(number("avg_ts") == Catch::Approx(sum / 2));
    CHECK(number("stddev_ts") >= 0.0);
    CHECK(number("share_of_limit") < 20.0);  // the caches hold this model, and the limit is memory's
    CHECK(number("share_of_limit") == Catch::Approx(number("avg_ts") / number("limit_ts")));
    const double by_reading = 1e9 * number("limit_gb_s") / number("bytes_per_token");
    const double by_multiplying = 1e9 * number("limit_gop_s") / number("ops_per_token");
    const bool is_prompt = row.at("test").get<std::string>().starts_with("pp");
    CHECK(number("limit_ts") == Catch::Approx(is_prompt ? std::min(by_reading, by_multiplying) : by_reading));
  }
}

TEST_CASE("headgate bench counts what a token reads: the weights, and of the cache what lies before it") {
  const ordered_json model = ordered_json::parse(cli::run({"inspect", "--json"}).out);
  const double weights = model.at("bytes_per_token").get<double>();
  const double position = model.at("kv_cache_bytes").get<double>() / model.at("context").get<double>();
  const ordered_json rows = rows_of(with(quick, {"-d", "0,160", "--json"}));
  REQUIRE(rows.size() == 4);
  // Two tokens read 1 and 2 positions, of panels of 16 some more; behind 160 others 161 and 162.
  const auto read = [&](const ordered_json& row) { return row.at("bytes_per_token").get<double>() - weights; };
  CHECK(read(rows[1]) >= position);
  CHECK(read(rows[1]) <= 16 * position);
  CHECK(read(rows[3]) >= 161 * position);
  CHECK(read(rows[3]) <= 176 * position);
  const ordered_json halves = rows_of(with(quick, {"-d", "160", "--cache-type", "f16", "--json"}));
  CHECK(halves[1].at("cache_type") == "f16");
  CHECK(read(halves[1]) < 0.6 * read(rows[3]));
  // Rows of a prompt share what they read.
  CHECK(rows[0].at("bytes_per_token").get<double>() < weights);
  CHECK(rows[0].at("bytes_per_token").get<double>() > weights / 3);
  // All active weights but those of the head, which one of three rows meets, and a little attention.
  const double active = model.at("active_parameters").get<double>();
  const double head = model.at("vocab_size").get<double>() * model.at("hidden_size").get<double>();
  CHECK(rows[0].at("ops_per_token").get<double>() == Catch::Approx(2 * (active - head * 2 / 3)).epsilon(0.01));
  CHECK(rows[1].at("ops_per_token").get<double>() == Catch::Approx(2 * active).epsilon(0.01));
}

TEST_CASE("headgate bench prints the same columns as Markdown, as CSV and as JSON") {
  const cli::ScratchFolder folder;
  const std::string model = folder.model("a, \"b\" model").string();
  const Words words = with(quick, {"-m", model, "-m", model});
  Words names;
  const ordered_json rows = rows_of(with(words, {"-o", "json"}));
  REQUIRE(rows.size() == 4);  // two models, two tests
  for (const auto& [name, value] : rows[0].items()) {
    if (name != "samples_ts") names.push_back(name);
  }
  CHECK(rows[0].at("model") == model);

  const Words markdown = lines_of(cli::run(words).out);
  REQUIRE(markdown.size() == 6);
  Words header = cells(markdown[0], '|');
  CHECK((header.front().empty() && header.back().empty()));
  CHECK(Words(header.begin() + 1, header.end() - 1) == names);
  CHECK(markdown[1].starts_with("| --- |"));
  for (std::size_t i = 2; i < markdown.size(); ++i) {
    const Words row = cells(markdown[i], '|');
    REQUIRE(row.size() == names.size() + 2);
    const auto place = std::find(names.begin(), names.end(), "test") - names.begin();
    CHECK(row[1] == model);
    CHECK(row[static_cast<std::size_t>(place) + 1] == (i % 2 == 0 ? "pp3" : "tg2"));
  }

  const Words csv = lines_of(cli::run(with(words, {"--output", "csv"})).out);
  REQUIRE(csv.size() == 5);
  CHECK(cells(csv[0], ',') == names);
  std::string quoted = model;
  for (std::size_t at = 0; (at = quoted.find('"', at)) != quoted.npos; at += 2) quoted.insert(at, 1, '"');
  CHECK(csv[1].starts_with("\"" + quoted + "\",BF16,1,"));
}

TEST_CASE("headgate bench measures the limits of the kernels that run") {
  const std::string used = rows_of(with(quick, {"--json"}))[0].at("kernels");
  for (const std::string& isa : {used, std::string("scalar")}) {
    const ordered_json rows = rows_of(with(quick, {"--json"}), {.environment = {"HEADGATE_ISA=" + isa}});
    CHECK(rows[0].at("kernels") == isa);
    CHECK(rows[0].at("limit_gop_s").get<double>() > 0.0);
  }
}

TEST_CASE("headgate bench refuses what it cannot measure") {
  const auto refused = [](const Words& words, const std::string& part) {
    CAPTURE(words);
    const cli::Result result = cli::run(with({"bench"}, words));
    CHECK(result.code == 2);
    CHECK(result.out.empty());
    CHECK(result.err.find(part) != std::string::npos);
  };
  for (const char* const flag : {"-p", "-n", "-d", "-t"}) {
    for (const char* const text : {"", "x", "1,", ",1", "1,,2", "1;2", "1 ,2", "-2", "99999999999"}) {
      refused({std::string(flag) + "=" + text}, flag);
    }
  }
  refused({"-p", "0", "-n", "0"}, "nothing to measure");
  refused({"-r", "0"}, "-r");
  refused({"-b", "0"}, "-b");
  refused({"-o", "yaml"}, "'yaml', allowed are md, csv and json");
  refused({"--compute", "int8"}, "--compute");  // the demo model's weights are not quantized
}

TEST_CASE("a signal ends headgate bench with its number, and the rows so far stay") {
  const Words words = {"bench", "-p", "1", "-n", "900", "-d", "0,1,2,3,4,5,6,7,8,9", "-r", "2", "-t", "1"};
  cli::Launch launch;
  launch.on_output = [](pid_t pid, std::string_view out) {
    if (out.find("pp1") != out.npos) ::kill(pid, SIGINT);
    return true;
  };
  const cli::Result result = cli::run(words, launch);
  CHECK(result.code == 130);
  const std::size_t lines = lines_of(result.out).size();
  CHECK(lines >= 3);
  CHECK(lines < 22);
  const std::string line = "'" + std::string(HEADGATE_PROGRAM) +
                           "' bench -p 1 -n 900 -d 0,1,2,3,4,5,6,7,8,9 -r 9 -t 1 --json & sleep 1.5; kill -TERM $!; "
                           "wait $!";
  const cli::Result json = cli::run({"-c", line}, {.program = "/bin/sh"});
  CHECK(json.code == 143);
  if (!json.out.empty()) CHECK(ordered_json::parse(json.out).size() < 20);  // empty: it was still loading
}
