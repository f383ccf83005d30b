// Every family against transformers, on tiny random checkpoints of odd shapes (golden/families): logits of every
// position, greedy tokens, the experts of every routed layer and their weights.
#include <map>

#include "models/family_checkpoint.hpp"

using namespace headgate;
using namespace models_test;

namespace {

// use(checkpoint, model) for every checkpoint that can be loaded, each in a section of its own.
template <class F>
void for_each_checkpoint(F&& use) {
  const std::vector<std::string> names = family_checkpoints();
  REQUIRE(names.size() >= 32);
  for (const std::string& name : names) {
    DYNAMIC_SECTION(name) {
      FamilyCheckpoint checkpoint(name);
      if (!checkpoint.has_family()) {
        WARN(name << " is left out: its family is not there yet");
        continue;
      }
      use(checkpoint, load_model(checkpoint.write(), {.compute = Compute::f32}));
    }
  }
}

}  // namespace

TEST_CASE("half precision in formulas is rounded to nearest even") {
  CHECK(half_bits(0.0f) == 0);
  CHECK(half_bits(-1.0f) == 0xbc00);
  CHECK(half_bits(65504.0f) == 0x7bff);
  CHECK(half_bits(1.0f + 0x1p-11f) == 0x3c00);      // a tie, to even
  CHECK(half_bits(1.0f + 3 * 0x1p-11f) == 0x3c02);  // a tie, to even
  CHECK(half_bits(2.0f - 0x1p-12f) == 0x4000);      // carries into the exponent
  CHECK(half_bits(0x1p-14f) == 0x0400);             // the smallest normal one
  CHECK(half_bits(0x1p-24f) == 1);
  CHECK(half_bits(0x1p-25f) == 0);
  CHECK(half_bits(0x1p-14f - 0x1p-25f) == 0x0400);
  for (std::uint32_t bits = 0; bits < 0x7c00; ++bits) {
    f16 half;
    half.bits = static_cast<std::uint16_t>(bits);
    REQUIRE(half_bits(static_cast<float>(half)) == bits);
  }
}

TEST_CASE("the formulas' source of bits is splitmix64") {
  CHECK(splitmix64(1234567, 0) == 6457827717110365317u);
  CHECK(splitmix64(1234567, 1) == 3203168211198807973u);
  CHECK(splitmix64(1234567, 4) == 16408922859458223821u);
}

TEST_CASE("formulas give the bytes that the reference computed with") {
  for (const std::string& name : family_checkpoints()) {
    INFO(name);
    FamilyCheckpoint checkpoint(name);
    checkpoint.write();
    CHECK(checkpoint.weights_hash() == std::stoull(checkpoint.expected().get_string("weights_hash"), nullptr, 16));
  }
}

TEST_CASE("every family has the logits and the greedy tokens of its reference") {
  for_each_checkpoint([](const FamilyCheckpoint& checkpoint, const std::shared_ptr<const Model>& model) {
    const std::vector<std::int32_t> prompt = checkpoint.prompt();
    const std::vector<std::int32_t> greedy = checkpoint.greedy();
    REQUIRE(greedy.size() == 96);
    CHECK(greedy_tokens(model, prompt, greedy.size(), checkpoint.context_size()) == greedy);

    std::vector<std::int32_t> text = prompt;
    text.insert(text.end(), greedy.begin(), greedy.end());
    const auto length = static_cast<index_t>(text.size());
    const Run run(model, text, length, 1, {}, checkpoint.context_size());
    const std::span<const Json> logits = checkpoint.expected().get_list("logits");
    REQUIRE(logits.size() == prompt.size());
    double worst = largest_difference(run.rows().row(length - 1), numbers(*checkpoint.expected().value("logits_last")));
    for (std::size_t i = 0; i < logits.size(); ++i) {
      worst = std::max(worst, largest_difference(run.rows().row(static_cast<index_t>(i)), numbers(logits[i])));
    }
    CHECK(worst < 1e-4);
    for (const index_t piece : {1, 7, length}) {
      for (const index_t threads : {1, 2, 3}) {
        INFO("pieces of " << piece << ", threads " << threads);
        CHECK(hash_of(Run(model, text, piece, threads, {}, checkpoint.context_size()).rows()) == hash_of(run.rows()));
      }
    }
  });
}

TEST_CASE("every family chooses the experts of its reference, in its order and with its weights") {
  for_each_checkpoint([](const FamilyCheckpoint& checkpoint, const std::shared_ptr<const Model>& model) {
    const std::vector<std::int32_t> prompt = checkpoint.prompt();
    using Row = std::pair<std::vector<std::int32_t>, std::vector<double>>;
    std::map<std::int64_t, std::vector<Row>> found;  // by layer
    const Run run(
        model, prompt, 7, 2,
        [&](index_t layer, index_t first_position, const RoutingPlan& plan) {
          std::vector<Row>& rows = found[layer];
          CHECK(first_position == static_cast<index_t>(rows.size()));
          for (index_t t = 0; t < plan.tokens(); ++t) {
            const auto experts = plan.experts(t);
            const auto weights = plan.weights(t);
            rows.push_back({{experts.begin(), experts.end()}, {weights.begin(), weights.end()}});
          }
        },
        checkpoint.context_size());

    const std::span<const Json> layers = checkpoint.expected().get_list("routes");
    CHECK(found.size() == layers.size());
    for (const Json& json : layers) {
      const JsonObject wanted(json, "expected.json");
      const std::int64_t layer = wanted.get_integer("layer", 0, 100);
      INFO("layer " << layer);
      const std::vector<Row>& rows = found[layer];
      REQUIRE(rows.size() == prompt.size());
      int wrong = 0;
      double worst = 0.0;
      for (std::size_t t = 0; t < rows.size(); ++t) {
        const auto& [experts, weights] = rows[t];
        if (experts != ids(wanted.get_list("experts")[t])) ++wrong;
        const std::vector<double> wanted_weights = numbers(wanted.get_list("weights")[t]);
        REQUIRE(weights.size() == wanted_weights.size());
        for (std::size_t i = 0; i < weights.size(); ++i) {
          worst = std::max(worst, std::abs(weights[i] - wanted_weights[i]) / std::max(1.0, wanted_weights[i]));
        }
      }
      CHECK(wrong == 0);
      CHECK(worst < 3e-5);  // both sides compute in float32, layer upon layer
    }
  });
}

// longrope and dynamic: the positions that the session may reach decide, so a text beyond the original length has the
// factors of its length at all positions, the same bits in one pass and token by token.
TEST_CASE("a text beyond the length that a model was trained for has the reference's logits of a whole pass") {
  for_each_checkpoint([](const FamilyCheckpoint& checkpoint, const std::shared_ptr<const Model>& model) {
    if (!checkpoint.expected().has("beyond")) return;
    const JsonObject beyond = checkpoint.expected().get_object("beyond");
    const std::vector<std::int32_t> text = ids(*beyond.value("tokens"));
    const std::vector<std::int32_t> positions = ids(*beyond.value("positions"));
    const auto length = static_cast<index_t>(text.size());
    const Run run(model, text, length, 1, {}, length);
    double worst = 0.0;
    for (std::size_t i = 0; i < positions.size(); ++i) {
      const std::vector<double> logits = numbers(beyond.get_list("logits")[i]);
      worst = std::max(worst, largest_difference(run.rows().row(positions[i]), logits));
    }
    CHECK(worst < 1e-4);
    CHECK(hash_of(Run(model, text, 1, 2, {}, length).rows()) == hash_of(run.rows()));
  });
}
