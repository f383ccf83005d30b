// headgate routers on the demo model.
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/program.hpp"
#include "cli/scratch_folder.hpp"
#include "support/catch.hpp"

namespace {

using Words = std::vector<std::string>;
using nlohmann::json;

cli::Result run_routers(const Words& more, const char* threads = "1") {
  Words words = {"routers", "-t", threads};
  words.insert(words.end(), more.begin(), more.end());
  cli::Result result = cli::run(words);
  CAPTURE(words, result.err);
  REQUIRE(result.code == 0);
  return result;
}

}  // namespace

TEST_CASE("headgate routers prints a table of the demo model, and JSON with the same numbers") {
  const std::string table = run_routers({}).out;
  const json document = json::parse(run_routers({"--json"}).out);
  REQUIRE(document.at("comparisons").size() == 1);
  const json& row = document["comparisons"][0]["rows"][0];
  const struct {
    const char* key;
    int decimals;
  } columns[] = {{"tokens", 0},
                 {"loss", 4},
                 {"mean_k", 3},
                 {"experts_per_token", 3},
                 {"weight_bytes_per_token", 3},
                 {"max_violation", 3},
                 {"variation", 3},
                 {"gini", 3},
                 {"jain", 3},
                 {"entropy_ratio", 3},
                 {"dead_experts", 0},
                 {"adjacent_overlap", 3},
                 {"overlap_by_chance", 3},
                 {"overlap_by_load", 3}};
  const std::string line = table.substr(table.find("\ntales") + 1);
  std::size_t place = 0;
  for (const auto& column : columns) {
    INFO(column.key);
    const json& v = row.at(column.key);
    const std::string shown = fmt::format(
        "  {:.{}f}", v.at("value").get<double>() / (column.key == std::string("weight_bytes_per_token") ? 1e6 : 1.0),
        column.decimals);
    place = line.find(shown, place);
    REQUIRE(place != std::string::npos);
    place += shown.size();
    CHECK(v.at("low").get<double>() <= v.at("high").get<double>());
  }
  // No line is too long for a terminal, and all that is printed is explained.
  for (std::size_t begin = 0; begin < table.size();) {
    const std::size_t end = table.find('\n', begin);
    CHECK(end - begin <= 120);
    begin = end + 1;
  }
  for (const json& column : document["comparisons"][0]["columns"]) {
    INFO(column.at("key").get<std::string>());
    CHECK(row.contains(column["key"].get<std::string>()));
    CHECK(table.find(column.at("meaning").get<std::string>()) != std::string::npos);
  }
  // The demo model knows such stories: far better than the 8.3 nats of a guess among 4096 tokens.
  CHECK(row["loss"]["value"].get<double>() > 1.0);
  CHECK(row["loss"]["value"].get<double>() < 4.0);
  CHECK(row["experts_per_token"]["value"] == 2.0);
  REQUIRE(row["layers"].size() == 6);
  for (const json& layer : row["layers"]) {
    std::int64_t entries = 0;
    for (const json& load : layer.at("loads")) entries += load.get<std::int64_t>();
    CHECK(entries == 2 * row["tokens"]["value"].get<std::int64_t>());
  }
}

TEST_CASE("headgate routers says the same for any number of threads, and writes CSV and a page") {
  const cli::ScratchFolder scratch;
  const std::string csv = (scratch / "out.csv").string();
  const std::string html = (scratch / "out.html").string();
  const std::filesystem::path named = scratch.model("<script>alert(1)<");
  const std::string out = run_routers({"-m", named.string(), "-m", cli::tales.string(), "-p",
                                       "The king and the fox. The end.", "--csv", csv, "--html", html})
                              .out;
  CHECK(
      run_routers({"-m", named.string(), "-m", cli::tales.string(), "-p", "The king and the fox. The end."}, "3").out ==
      out);
  const std::string lines = cli::read_all(csv);
  CHECK(std::count(lines.begin(), lines.end(), '\n') == 3);
  CHECK(lines.starts_with("model,router,attention,tokens,tokens_low,"));
  const std::string page = cli::read_all(html);
  CHECK(page.find("<script") == std::string::npos);
  CHECK(page.find("&lt;script&gt;") != std::string::npos);
  CHECK(page.find("<svg") != std::string::npos);
  CHECK(page.find("headgate routers -t 1 -m") != std::string::npos);
  CHECK(page.size() < 300'000);
}

TEST_CASE("headgate routers --policies compares policies on skewed logits, real counts and the model") {
  const cli::ScratchFolder scratch;
  std::string counts = "model,dataset,layer,expert,count\n";
  for (int e = 0; e < 8; ++e) counts += fmt::format("mix,book,0,{},{}\n", e, 10 + 30 * e);
  cli::write_all(scratch / "counts.csv", counts);
  const std::string html = (scratch / "out.html").string();
  const json document =
      json::parse(run_routers({"--policies", "--json", "--html", html, "-p", "The king and the fox went into the wood.",
                               "--counts", (scratch / "counts.csv").string()})
                      .out);
  const json& tables = document.at("comparisons");
  REQUIRE(tables.size() == 3);
  CHECK(tables[1]["title"] == "mix on book");
  for (const json& table : tables) {
    CHECK(table.at("rows").size() >= 20);
    for (const json& row : table["rows"]) {
      CHECK(row.at("ns_per_token").at("value").get<double>() > 0.0);
      if (row.at("policy") == "Mixtral") CHECK(row.at("agreement").at("value") == 1.0);
      if (row.at("policy") == "MiniMax-M2" && &table == &tables[0]) {
        CHECK(row.at("dead_experts").at("value") == 0.0);
      }
      CHECK(row.at("policy").get<std::string>().find("mask") == std::string::npos);
      CHECK(row.at("agreement").at("low").get<double>() <= row.at("agreement").at("high").get<double>());
    }
  }
  const std::string page = cli::read_all(html);
  CHECK(page.size() < 300'000);
  CHECK(page.find("<small>") != std::string::npos);  // intervals
}

TEST_CASE("headgate routers refuses what it cannot do") {
  CHECK(cli::run({"routers", "--counts", "x.csv"}).code == 2);
  CHECK(cli::run({"routers", "-p", ""}).code == 2);
  CHECK(cli::run({"routers", "-p", "a", "-f", "b"}).code == 2);
  CHECK(cli::run({"routers", "-c", "1"}).code == 2);
  CHECK(cli::run({"routers", "-c", "100000"}).code == 2);
  CHECK(cli::run({"routers", "--csv", "/nowhere/at/all.csv"}).code == 4);
  CHECK(cli::run({"routers", "-m", "/nowhere"}).code == 4);
}
