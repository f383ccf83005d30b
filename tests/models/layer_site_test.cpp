#include "headgate/models/layer_site.hpp"

#include "models/small_file.hpp"
#include "support/catch.hpp"

using namespace headgate;
using namespace models_test;

namespace {

struct Named {
  std::string_view type;
  int value;
};
constexpr Named names[] = {{"one", 1}, {"two", 2}};

}  // namespace

TEST_CASE("a site finds tensors behind its prefix") {
  const SmallFile file({counting("model.layers.3.mlp.gate.weight", {2, 5})});
  const LayerSite site{.source = file.source, .prefix = "model.layers.3.mlp."};
  CHECK(site.find("gate.weight", {2, 5}).rows() == 2);
  const Error error = io_test::error_of([&] { site.find("gate.bias", {2}); });
  CHECK(io_test::contains(error.what(), "model.layers.3.mlp.gate.bias"));
}

TEST_CASE("a type that no entry of a list has is refused with those that there are") {
  const Json json = parse_json(R"({"router":{"type":"two"},"other":{"type":"three"},"none":{}})", "config.json");
  const JsonObject config(json, "config.json");
  CHECK(find_named(config.get_object("router"), names, "the number").value == 2);
  const auto refused = [&](const char* key) {
    return std::string(io_test::error_of([&] { find_named(config.get_object(key), names, "the number"); }).what());
  };
  CHECK(io_test::contains(refused("other"), "the number \"three\" is not supported, known: one, two"));
  CHECK(io_test::contains(refused("none"), "none.type"));
}

TEST_CASE("a key that nobody has read is refused") {
  const Json json = parse_json(R"({"router":{"type":"two","more":1}})", "config.json");
  const JsonObject router = JsonObject(json, "config.json").get_object("router");
  router.get_string("type");
  CHECK(io_test::contains(io_test::error_of([&] { refuse_unread(router); }).what(), "router.more"));
}
