#include "headgate/models/families.hpp"

#include "headgate/io/json.hpp"
#include "io/refusal.hpp"

using namespace headgate;

namespace {

struct Left {
  static constexpr std::string_view model_type = "left";
};
struct Right {
  static constexpr std::string_view model_type = "right";
};
using Both = FamilyList<Left, Right>;

std::string_view visited(const std::string& config) {
  const Json json = parse_json(config, "config.json");
  std::string_view name;
  Both::visit(JsonObject(json, "config.json"), [&](auto family) { name = family.model_type; });
  return name;
}

}  // namespace

TEST_CASE("model_type names the family") {
  CHECK(visited("{\"model_type\": \"left\"}") == "left");
  CHECK(visited("{\"model_type\": \"right\"}") == "right");
}

TEST_CASE("an unknown family is refused with those that are known") {
  const Error error = io_test::error_of([] { visited("{\"model_type\": \"middle\"}"); });
  CHECK(error.code() == ErrorCode::bad_file);
  CHECK(std::string_view(error.what()) ==
        "config.json: model_type at byte 15: the family \"middle\" is not supported, known: left, right");
  CHECK(io_test::error_of([] { visited("{}"); }).detail().field == "model_type");
  CHECK(io_test::error_of([] { visited("{\"model_type\": 3}"); }).detail().field == "model_type");
}
