#include "headgate/analysis/policy_comparison.hpp"

#include "support/catch.hpp"

using namespace headgate;

namespace {

// As an outsider writes one: every token goes to one expert.
class OneExpertRouter {
 public:
  using State = NoState;
  OneExpertRouter(index_t num_experts, index_t hidden_size, ExpertId expert)
      : num_experts_(num_experts), hidden_size_(hidden_size), expert_(expert) {}
  index_t num_experts() const noexcept { return num_experts_; }
  index_t hidden_size() const noexcept { return hidden_size_; }
  RouterTraits traits() const noexcept { return {.k_min = 1, .k_max = 1}; }
  Status route(const RouterInput& in, State&, RoutingPlan& plan, Context&) const {
    plan.clear(num_experts_);
    const float weight = 0.5f;
    for (index_t t = 0; t < in.hidden.rows; ++t) {
      if (Status status = plan.append_row({&expert_, 1}, {&weight, 1}); !status.ok()) return status;
    }
    return Status::success();
  }

 private:
  index_t num_experts_;
  index_t hidden_size_;
  ExpertId expert_;
};

PolicyInput zipf_input() {
  PolicyInput input = sampled_input("zipf", {zipf_popularity(16, 1), zipf_popularity(16, 2)}, 2, 32, 256, 9);
  input.expert_bytes = 1000;
  return input;
}

}  // namespace

TEST_CASE("all policies are compared, and the numbers are what the policies promise") {
  Context ctx;
  const Comparison table = compare_policies(zipf_input(), all_policies<Scalar>(), {.seed = 3, .timing_rounds = 0}, ctx);
  REQUIRE(table.rows.size() == all_policies<Scalar>().size());
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
  // A bias and nothing else tells MiniMax-M2 from plain top-k: no expert is out of reach.
  CHECK(value("MiniMax-M2", "dead_experts") == 0);
  CHECK(value("MiniMax-M2", "variation") == value("Moonlight", "variation"));
  CHECK(value("top-p, at most k", "dead_experts") <= value("Switch", "dead_experts"));
  CHECK(value("top-p, at most k", "mean_k") <= 2.0);
  // Variants of top-k softmax choose the same experts and weigh them differently.
  CHECK(value("Qwen3-MoE", "weight_distance") == 0.0);
  CHECK(value("Granite", "weight_distance") == Catch::Approx(0.0).margin(1e-6));
  CHECK(value("OLMoE", "weight_total_variation") ==
        Catch::Approx(0.0).margin(1e-6));  // the same shares of a smaller sum
  CHECK(value("OLMoE", "weight_sum") < 0.95);
  CHECK(value("OLMoE", "weight_distance") == Catch::Approx(1.0 - value("OLMoE", "weight_sum")).epsilon(1e-5));
  CHECK(value("FactorLLM", "agreement") == 1.0);
  CHECK(value("FactorLLM", "weight_total_variation") > 0.05);
  CHECK(value("FactorLLM", "weight_sum") == 16.0);  // E / k each
  CHECK(value("Moonlight", "weight_sum") == Catch::Approx(2.446));
  // Chance: two of 16 experts against two.
  CHECK(value("Mixtral", "overlap_by_chance") == Catch::Approx(2.0 / 16));
  CHECK(value("Mixtral", "agreement_by_chance") == Catch::Approx(28.0 / 120 / 3 + 1.0 / 120));
  CHECK(value("hash", "agreement") == Catch::Approx(value("hash", "agreement_by_load")).margin(0.05));
  // Tokens of the input are independent: their neighbours overlap as far as experts are popular.
  CHECK(value("Mixtral", "adjacent_overlap") == Catch::Approx(value("Mixtral", "overlap_by_load")).margin(0.05));
  CHECK(value("Mixtral", "overlap_by_load") > 1.5 * value("Mixtral", "overlap_by_chance"));
  // What is random says so.
  for (const ComparisonRow& row : table.rows) {
    if (row.labels[1] == "RMoE") CHECK(row.labels[2] == "projection, cell");
    if (row.labels[1] == "Mixtral") CHECK(row.labels[2] == "-");
  }
}

TEST_CASE("a policy of one's own is compared in a line, with any reference") {
  Policies policies = all_policies<Scalar>();
  policies.resize(3);
  policies.push_back({"always 5", no_law,
                      [](const PolicyParameters& p) { return OneExpertRouter(p.num_experts, p.hidden_size, 5); },
                      "everything"});
  Context ctx;
  const Comparison table = compare_policies(zipf_input(), policies, {.timing_rounds = 2}, ctx);
  REQUIRE(table.rows.size() == 4);
  const ComparisonRow& own = table.rows.back();
  const auto value = [&](const char* key) { return own.values.at(table.column_of(key)).value; };
  CHECK(own.labels == std::vector<std::string>{"zipf", "always 5", "everything"});
  CHECK(value("max_violation") == 15.0);
  CHECK(value("dead_experts") == 30);
  CHECK(value("adjacent_overlap") == 1.0);
  CHECK(value("overlap_by_load") == 1.0);
  CHECK(value("weight_sum") == 0.5);
  CHECK(value("ns_per_token") > 0.0);

  const Comparison other =
      compare_policies(zipf_input(), {policies.back()}, {.timing_rounds = 0, .reference = "always 5"}, ctx);
  CHECK(other.rows.front().values[other.column_of("agreement")].value == 1.0);
  CHECK(other.note.find("Compared with always 5") != std::string::npos);
  CHECK_THROWS_AS(compare_policies(zipf_input(), {policies.back()}, {.timing_rounds = 0}, ctx), Error);
}
