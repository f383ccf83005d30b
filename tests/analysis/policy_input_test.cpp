#include "headgate/analysis/policy_input.hpp"

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("the first choice of sampled logits follows the popularity it was made for") {
  const std::vector<double> p = {0.5, 0.25, 0.15, 0.07, 0.03};
  const PolicyInput input = sampled_input("p", {p}, 2, 24, 4000, 5);
  std::vector<double> first(p.size(), 0.0);
  std::int64_t above = 0;
  for (index_t t = 0; t < input.tokens; ++t) {
    const PolicyParameters& of = input.layers[0].parameters;
    index_t best = 0;
    float best_logit = 0;
    for (index_t e = 0; e < 5; ++e) {
      const float z = of.gate_bias[as_size(e)] + Scalar::dot(of.gate.data() + e * 24, input.hidden(0).row_data(t), 24);
      above += z > 0 ? 1 : 0;
      if (e == 0 || z > best_logit) best = e, best_logit = z;
    }
    first[as_size(best)] += 1.0 / input.tokens;
  }
  for (std::size_t e = 0; e < p.size(); ++e) CHECK(first[e] == Catch::Approx(p[e]).margin(0.03));
  CHECK(static_cast<double>(above) / input.tokens == Catch::Approx(2.0).margin(0.01));  // k logits above 0
}

TEST_CASE("Zipf's law falls with the rank and stands in a random order") {
  std::vector<double> p = zipf_popularity(7, 3);
  CHECK(p != zipf_popularity(7, 4));
  std::sort(p.rbegin(), p.rend());
  for (std::size_t i = 0; i < p.size(); ++i) CHECK(p[i] == 1.0 / static_cast<double>(i + 1));
}

TEST_CASE("routing counts are read strictly") {
  const std::string head = "model,dataset,layer,expert,count\n";
  const auto counts =
      parse_routing_counts(head + "a,b,0,0,5\r\na,b,0,1,7\na,b,3,0,1\na,b,3,1,0\nc,b,0,0,1\nc,b,0,1,1", "f");
  REQUIRE(counts.size() == 2);
  CHECK(counts[0].name == "a on b");
  CHECK(counts[0].layers == std::vector<std::string>{"0", "3"});
  CHECK(counts[0].popularity == std::vector<std::vector<double>>{{5, 7}, {1, 0}});
  for (const char* bad : {"a,b,0,0\n", "a,b,0,0,5,6\n", "a,b,0,1,5\n", "a,b,0,0,x\n", "a,b,0,0,-1\n", "a,b,0,0,5\n", "",
                          "a,b,0,0,0\na,b,0,1,0\n", "a,b,0,0,1\na,b,0,1,1\na,b,1,0,1\n"}) {
    INFO(bad);
    CHECK_THROWS_AS(parse_routing_counts(head + bad, "f"), Error);
  }
  CHECK_THROWS_AS(parse_routing_counts("layer,count\n", "f"), Error);
}

TEST_CASE("routing counts are refused with the line and what was wrong in it") {
  const std::string head = "model,dataset,layer,expert,count\n";
  const auto refused = [&](const std::string& rows) {
    try {
      parse_routing_counts(rows, "f");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::bad_file);
      CHECK(error.detail().offset == -1);
      return std::string(error.what());
    }
    return std::string("read");
  };
  CHECK(refused(head + "a,b,0,0,1\n\na,b,0,1,0\n") == "read");
  CHECK(refused("layer,count\n") == "f: line 1: expected the columns model,dataset,layer,expert,count");
  CHECK(refused(head + "a,b,0,0\n") == "f: line 2: expected 5 fields");
  CHECK(refused(head + "a,b,0,0,1,2\n") == "f: line 2: expected 5 fields");
  CHECK(refused(head + "a,b,0,0,1\na,b,0,1,-1\n") == "f: line 3: expected a count, found '-1'");
  CHECK(refused(head + "a,b,0,0,1x\n") == "f: line 2: expected a count, found '1x'");
  CHECK(refused(head + "a,b,0,0,\n") == "f: line 2: expected a count, found ''");
  CHECK(refused(head + "a,b,0,1,1\n") == "f: line 2: experts do not stand in order from 0");
  CHECK(refused(head + "a,b,0,0,1\n") ==
        "f: line 2: the layers of a on b need the same number of experts, 2 or more, and a count");
  CHECK(refused(head) == "f: line 1: no counts");
}

TEST_CASE("the constant of centred logits leaves k of them above 0 in all, also where that is every one") {
  PolicyInput input = sampled_input("p", {zipf_popularity(4, 1), zipf_popularity(4, 2)}, 4, 8, 3, 6);
  REQUIRE(input.layers.size() == 2);
  CHECK(input.name == "p");
  CHECK(input.tokens == 3);
  REQUIRE(input.token_ids.size() == 3);
  for (const std::int32_t id : input.token_ids) CHECK((id >= 0 && id < 8));
  for (std::size_t l = 0; l < 2; ++l) {
    const PolicyParameters& p = input.layers[l].parameters;
    int above = 0;
    float lowest = 1.0f;
    for (index_t t = 0; t < 3; ++t) {
      for (index_t e = 0; e < 4; ++e) {
        const float z = p.gate_bias[as_size(e)] + Scalar::dot(p.gate.data() + e * 8, input.hidden(l).row_data(t), 8);
        above += z > 1e-6f ? 1 : 0;
        lowest = z < lowest ? z : lowest;
      }
    }
    CHECK(above == 11);  // the lowest of all is 0
    CHECK(std::abs(lowest) < 1e-6f);
    // Rows of the gate are orthonormal.
    for (index_t a = 0; a < 4; ++a) {
      for (index_t b = 0; b < 4; ++b) {
        CHECK(Scalar::dot(p.gate.data() + a * 8, p.gate.data() + b * 8, 8) ==
              Catch::Approx(a == b ? 1.0 : 0.0).margin(1e-6));
      }
    }
  }
}
