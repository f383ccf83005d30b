#include "headgate/models/rope_config.hpp"

#include "headgate/io/json.hpp"
#include "io/refusal.hpp"
#include "support/golden.hpp"

using namespace headgate;

namespace {

const RopeQuestion plain_question{.head_dim = 24, .max_position_embeddings = 128};

template <class Read>
auto with_json(const std::string& text, Read&& read) {
  const Json json = parse_json(text, "config.json");
  const JsonObject object(json, "config.json");
  return read(object);
}
RopeSettings read(const std::string& text, const RopeQuestion& question = plain_question) {
  return with_json(text, [&](const JsonObject& json) { return read_rope(json, question); });
}
// The field that is refused.
std::string refused(const std::string& text, const RopeQuestion& question = plain_question) {
  const Error error = io_test::error_of([&] { read(text, question); });
  CHECK(error.code() == ErrorCode::bad_file);
  CHECK(error.detail().file == "config.json");
  return error.detail().field;
}
// rope_scaling beside a theta, as transformers 4 writes it.
std::string scaling(const std::string& object) { return "{\"rope_theta\": 500, \"rope_scaling\": " + object + "}"; }

const std::string yarn = "{\"rope_type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 32}";

}  // namespace

TEST_CASE("the rotary settings of a file mean the angles of transformers, in either spelling") {
  for (const auto& vector : golden("rope")) {
    INFO(vector["name"].get<std::string>());
    const RopeQuestion question{.head_dim = vector["head_dim"],
                                .max_position_embeddings = vector["max_position_embeddings"],
                                .may_be_partial = true};
    nlohmann::json parameters = vector["rope_parameters"];
    const RopeSettings settings = read(nlohmann::json{{"rope_parameters", parameters}}.dump(), question);
    const Rope rope = Rope::create(settings).value();
    const auto expected = values<double>(vector["inverse_frequencies"]);
    REQUIRE(rope.half() == static_cast<index_t>(expected.size()));
    for (index_t i = 0; i < rope.half(); ++i) {
      CHECK(std::abs(rope.frequency(i, vector["context"]) / expected[as_size(i)] - 1.0) < 1e-13);
    }
    CHECK(std::abs(rope.attention_factor(vector["context"]) / vector["attention_factor"].get<double>() - 1.0) < 1e-13);

    nlohmann::json old = {{"rope_theta", parameters["rope_theta"]}};
    parameters.erase("rope_theta");
    for (const char* const outside : {"partial_rotary_factor", "original_max_position_embeddings"}) {
      if (parameters.contains(outside)) old[outside] = parameters[outside];
      parameters.erase(outside);
    }
    parameters["type"] = parameters["rope_type"];
    parameters.erase("rope_type");
    old["rope_scaling"] = parameters;
    CHECK(read(old.dump(), question) == settings);
  }
}

TEST_CASE("rope_theta is read where transformers 4 and where transformers 5 write it") {
  const auto theta = [](const std::string& text) { return read(text).theta; };
  CHECK(theta("{\"rope_theta\": 500}") == 500.0);
  CHECK(theta("{\"rope_theta\": 1e6, \"rope_scaling\": null}") == 1e6);
  CHECK(theta("{\"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 1e4}}") == 1e4);
  CHECK(theta("{\"rope_theta\": 2.0, \"rope_parameters\": {\"rope_theta\": 2}}") == 2.0);
  CHECK(theta("{\"rope_scaling\": {\"rope_type\": \"default\", \"rope_theta\": 7}}") == 7.0);
  CHECK(theta("{\"rope_theta\": 7, \"rope_parameters\": {}}") == 7.0);
  CHECK(theta("{\"rope_theta\": 1}") == 1.0);
  CHECK(theta("{\"rope_theta\": 1e15}") == 1e15);
  CHECK(refused("{}") == "rope_theta");
  CHECK(refused("{\"rope_theta\": 2, \"rope_parameters\": {\"rope_theta\": 3}}") == "rope_theta");
  CHECK(refused("{\"rope_scaling\": {\"rope_theta\": 2}, \"rope_parameters\": {\"rope_theta\": 3}}") == "rope_theta");
  CHECK(refused("{\"rope_theta\": 0.5}") == "rope_theta");
  CHECK(refused("{\"rope_theta\": 1.1e15}") == "rope_theta");
  CHECK(refused("{\"rope_scaling\": {\"rope_theta\": 0.5}}") == "rope_scaling.rope_theta");

  RopeQuestion question = plain_question;
  question.default_theta = 1e6;
  CHECK(read("{}", question).theta == 1e6);
  CHECK(read("{\"rope_theta\": 5}", question).theta == 5.0);
}

TEST_CASE("rotary settings that say nothing, or say default, are the plain rotation") {
  for (const char* const neutral :
       {"null", "{}", "{\"type\": \"default\"}", "{\"rope_type\": \"default\"}",
        "{\"rope_type\": null, \"type\": null}", "{\"rope_type\": \"default\", \"mrope_section\": [1]}",
        "{\"factor\": 1}", "{\"rope_theta\": 500.0}", "{\"attention_factor\": null}",
        "{\"partial_rotary_factor\": 1.0}"}) {
    INFO(neutral);
    CHECK(read(scaling(neutral)) == RopeSettings{.theta = 500.0, .rotary_dim = 24});
    // What contexts they had does not matter to them.
    CHECK(read("{\"rope_theta\": 500, \"original_max_position_embeddings\": 4, \"rope_parameters\": " +
               std::string(neutral) + "}") == RopeSettings{.theta = 500.0, .rotary_dim = 24});
  }
  CHECK(refused(scaling("{\"factor\": 2}")) == "rope_scaling.factor");
  CHECK(refused(scaling("{\"factor\": 0}")) == "rope_scaling.factor");
  CHECK(refused(scaling("{\"beta_fast\": 32}")) == "rope_scaling.beta_fast");
  CHECK(refused(scaling("\"default\"")) == "rope_scaling");
}

TEST_CASE("what two places say of rotary positions must agree") {
  CHECK(read("{\"rope_theta\": 500, \"rope_scaling\": " + yarn + ", \"rope_parameters\": " + yarn + "}") ==
        read(scaling(yarn)));
  CHECK(read("{\"rope_scaling\": " + yarn + ", \"rope_parameters\": {\"rope_theta\": 500}}") == read(scaling(yarn)));
  // Set as model cards say, in a file of transformers 5.
  CHECK(refused("{\"rope_scaling\": " + yarn +
                ", \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 5}}") == "rope_parameters");
  CHECK(refused(scaling("{\"type\": \"linear\", \"rope_type\": \"yarn\", \"factor\": 2}")) == "rope_scaling.type");
  CHECK(refused("{\"rope_theta\": 5, \"original_max_position_embeddings\": 64, \"rope_scaling\": " + yarn + "}") ==
        "rope_scaling.original_max_position_embeddings");
  CHECK(refused("{\"rope_theta\": 5, \"partial_rotary_factor\": 0.5, \"rope_scaling\": {\"partial_rotary_factor\": 1}}",
                {.head_dim = 24, .max_position_embeddings = 64, .may_be_partial = true}) == "partial_rotary_factor");
}

TEST_CASE("a kind of rotary positions that is not known is refused, and so is a key that its kind does not read") {
  const Error error = io_test::error_of([] { read(scaling("{\"type\": \"su\", \"factor\": 2}")); });
  CHECK(error.detail().field == "rope_scaling.type");
  CHECK(error.detail().what ==
        "the kind \"su\" is not supported, known: \"default\", \"linear\", \"dynamic\", \"llama3\", \"yarn\", "
        "\"longrope\"");
  CHECK(refused(scaling("{\"rope_type\": \"proportional\"}")) == "rope_scaling.rope_type");
  CHECK(refused(scaling("{\"rope_type\": 3}")) == "rope_scaling.rope_type");
  CHECK(refused(scaling("{\"rope_type\": \"linear\", \"factor\": 2, \"beta_fast\": 32}")) == "rope_scaling.beta_fast");
  CHECK(refused(scaling("{\"rope_type\": \"dynamic\", \"factor\": 2, \"alpha\": 1000}")) == "rope_scaling.alpha");
  CHECK(refused(scaling("{\"rope_type\": \"yarn\", \"factor\": 2, \"attn_factor\": 1}")) == "rope_scaling.attn_factor");
  CHECK(read(scaling("{\"rope_type\": \"yarn\", \"factor\": 2, \"attn_factor\": null}")).factor == 2.0);
}

TEST_CASE("settings of a kind of rotary positions that are missing, of another type or out of range are refused") {
  const auto field = [](const std::string& object) {
    const std::string found = refused(scaling(object));
    REQUIRE(found.starts_with("rope_scaling."));
    return found.substr(13);
  };
  for (const char* const kind : {"linear", "dynamic", "llama3", "yarn", "longrope"}) {
    const std::string begin = "{\"rope_type\": \"" + std::string(kind) + "\"";
    CHECK(field(begin + "}") == "factor");
    for (const char* const factor : {"0.5", "0", "-1", "1e7", "\"2\"", "true", "[]", "{}", "1e400"}) {
      INFO(kind << " " << factor);
      const std::string text = scaling(begin + ", \"factor\": " + factor + "}");
      const Error error = io_test::error_of([&] { read(text); });
      CHECK(error.code() == ErrorCode::bad_file);
    }
  }
  CHECK(field("{\"rope_type\": \"dynamic\", \"factor\": 2, \"original_max_position_embeddings\": 64}") ==
        "original_max_position_embeddings");
  CHECK(read(scaling("{\"rope_type\": \"dynamic\", \"factor\": 2, \"original_max_position_embeddings\": 128}"))
            .original_context == 128);
  const std::string llama = "{\"rope_type\": \"llama3\", \"factor\": 2, \"original_max_position_embeddings\": 32, ";
  CHECK(field(llama + "\"high_freq_factor\": 4}") == "low_freq_factor");
  CHECK(field(llama + "\"low_freq_factor\": 1}") == "high_freq_factor");
  CHECK(field(llama + "\"low_freq_factor\": 4, \"high_freq_factor\": 4}") == "high_freq_factor");
  for (const char* const bad :
       {"\"beta_fast\": 0", "\"beta_slow\": -1", "\"beta_fast\": 0.5", "\"truncate\": 0", "\"attention_factor\": 0",
        "\"mscale\": -1", "\"mscale_all_dim\": \"1\"", "\"original_max_position_embeddings\": 0",
        "\"original_max_position_embeddings\": 3000000000"}) {
    const std::string text(bad);
    CHECK(field("{\"rope_type\": \"yarn\", \"factor\": 2, " + text + "}") == text.substr(1, text.find('"', 1) - 1));
  }
  const std::string longrope = "{\"rope_type\": \"longrope\", \"factor\": 2, ";
  const std::string twelve = "[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]";
  CHECK(field(longrope + "\"long_factor\": " + twelve + "}") == "short_factor");
  CHECK(field(longrope + "\"short_factor\": " + twelve + "}") == "long_factor");
  CHECK(field(longrope + "\"short_factor\": [1], \"long_factor\": " + twelve + "}") == "short_factor");
  CHECK(field(longrope + "\"short_factor\": 1, \"long_factor\": " + twelve + "}") == "short_factor");
  CHECK(field(longrope + "\"short_factor\": " + twelve + ", \"long_factor\": [1, null]}") == "long_factor");
  CHECK(field(longrope + "\"short_factor\": " + twelve + ", \"long_factor\": [0, 1]}") == "long_factor");
  CHECK(refused("{\"rope_theta\": 1, \"rope_scaling\": " + yarn + "}") == "rope_scaling.rope_theta");
}

TEST_CASE("a part of the channels turns only in families that know of it, and an even number of them") {
  RopeQuestion question = plain_question;
  CHECK(refused("{\"rope_theta\": 5, \"partial_rotary_factor\": 0.5}") == "partial_rotary_factor");
  CHECK(refused(
            "{\"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 5, \"partial_rotary_factor\": 0.5}}") ==
        "rope_parameters.partial_rotary_factor");
  question.may_be_partial = true;
  CHECK(read("{\"rope_theta\": 5, \"partial_rotary_factor\": 0.5}", question).rotary_dim == 12);
  CHECK(read("{\"rope_theta\": 5, \"rope_parameters\": {\"partial_rotary_factor\": 0.25}}", question).rotary_dim == 6);
  CHECK(read("{\"rope_theta\": 5, \"partial_rotary_factor\": 0.6}", question).rotary_dim == 14);  // of 14.4
  for (const char* const bad : {"0", "0.05", "0.3", "1.5", "-1", "\"0.5\""}) {                    // 0.3: 7 channels
    CHECK(refused("{\"rope_theta\": 5, \"partial_rotary_factor\": " + std::string(bad) + "}", question) ==
          "partial_rotary_factor");
  }
}

TEST_CASE("layer types have rotary settings of their own, or all the same") {
  const std::string both =
      "\"rope_parameters\": {\"full_attention\": {\"rope_type\": \"yarn\", \"rope_theta\": 5e5, "
      "\"factor\": 4, \"original_max_position_embeddings\": 32, \"truncate\": false}, "
      "\"sliding_attention\": {\"rope_type\": \"default\"}}";
  RopeQuestion full = plain_question;
  full.layer_type = "full_attention";
  RopeQuestion sliding = plain_question;
  sliding.layer_type = "sliding_attention";
  const std::string text = "{\"rope_theta\": 1e4, " + both + "}";
  CHECK(read(text, full).kind == RopeKind::yarn);
  CHECK(read(text, full).theta == 5e5);
  CHECK_FALSE(read(text, full).truncate);
  CHECK(read(text, sliding) == RopeSettings{.theta = 1e4, .rotary_dim = 24});
  CHECK(refused("{" + both + "}", sliding) == "rope_theta");
  CHECK(refused(text) == "rope_parameters");
  full.layer_type = "linear_attention";
  CHECK(refused(text, full) == "rope_parameters.linear_attention");
  CHECK(refused("{\"rope_theta\": 1, \"rope_parameters\": {\"full_attention\": {}, \"sliding_attention\": null}}",
                sliding) == "rope_parameters.sliding_attention");
  CHECK(refused("{\"rope_theta\": 1, \"rope_parameters\": {\"full_attention\": {}, \"sliding_attention\": "
                "{\"rope_type\": \"linear\"}}}",
                sliding) == "rope_parameters.sliding_attention.factor");
  CHECK(read(scaling(yarn), sliding) == read(scaling(yarn)));
}

TEST_CASE("layer_rope_theta gives each layer its theta, or no rotary positions") {
  const auto layers = [](const std::string& text) {
    return with_json(text, [](const JsonObject& json) { return read_layer_ropes(json, plain_question, 3); });
  };
  const RopeSettings all{.theta = 500.0, .rotary_dim = 24};
  CHECK(layers("{\"rope_theta\": 500}") == std::vector<std::optional<RopeSettings>>(3, all));
  CHECK(layers("{\"rope_theta\": 500, \"layer_rope_theta\": null}") ==
        std::vector<std::optional<RopeSettings>>(3, all));
  const auto listed = layers("{\"layer_rope_theta\": [500, 0, 1e6]}");
  CHECK(listed[0] == all);
  CHECK_FALSE(listed[1]);
  CHECK(listed[2]->theta == 1e6);
  CHECK(layers("{\"rope_theta\": 7, \"layer_rope_theta\": [0, 0.0, 500]}")[2] == all);
  for (const char* const bad : {"[1, 2]", "[1, 2, 3, 4]", "[1, 2, 0.5]", "[1, 2, -1]", "[1, 2, null]", "500", "[]"}) {
    const Error error =
        io_test::error_of([&] { layers("{\"rope_theta\": 7, \"layer_rope_theta\": " + std::string(bad) + "}"); });
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(error.detail().field == "layer_rope_theta");
  }
  CHECK(layers("{\"rope_scaling\": " + yarn + ", \"layer_rope_theta\": [2, 0, 2]}")[0]->kind == RopeKind::yarn);
  CHECK(io_test::error_of([&] { layers("{\"rope_scaling\": " + yarn + ", \"layer_rope_theta\": [2, 0, 1]}"); })
            .detail()
            .field == "layer_rope_theta");
}
