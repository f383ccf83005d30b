#include "headgate/analysis/policy_comparison.hpp"

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("all policies are compared, and the numbers are what the policies promise") {
  PolicyInput input = sampled_input("zipf", {zipf_popularity(16, 1), zipf_popularity(16, 2)}, 2, 32, 256, 9);
  input.expert_bytes = 1000;
  Context ctx;
  const Comparison table = compare_policies<Scalar>(input, {.seed = 3, .timing_rounds = 0}, ctx);
  std::size_t policies = 0;
  for_each_policy<Scalar>([&](const char*, unsigned, auto) { ++policies; });
  REQUIRE(table.rows.size() == policies);
  const auto value = [&](const char* policy, const char* key) {
    for (const ComparisonRow& row : table.rows) {
      if (row.labels[1] == policy) return row.values.at(table.column_of(key)).value;
    }
    FAIL("no policy " << policy);
    return 0.0;
  };
  for (const ComparisonRow& row : table.rows) {
    INFO(row.labels[1]);
    REQUIRE(row.values.size() == table.columns.size());
    REQUIRE(row.loads.size() == 2);
    double entries = 0;
    for (const auto& layer : row.loads) {
      for (const std::int64_t load : layer) entries += static_cast<double>(load);
    }
    CHECK(row.values[table.column_of("mean_k")].value == Catch::Approx(entries / (2 * 256)));
    CHECK(std::isnan(row.values[table.column_of("ns_per_token")].value));
  }
  CHECK(value("Mixtral", "agreement") == 1.0);
  CHECK(value("Granite", "agreement") == 1.0);
  CHECK(value("Mixtral", "weight_bytes_per_token") == 2000.0);
  CHECK(value("Switch", "agreement") == Catch::Approx(0.5));
  CHECK(value("Switch", "mean_k") == 1.0);
  CHECK(value("AdaMoE", "experts_per_token") < 2.0);
  CHECK(value("MoE++ of the code", "experts_per_token") < value("MoE++ of the code", "mean_k"));
  CHECK(value("ReMoE", "mean_k") == Catch::Approx(2.0).margin(0.05));
  // A balanced selection bias does what it is for.
  CHECK(value("Moonlight", "variation") < 0.5 * value("Mixtral", "variation"));
}
