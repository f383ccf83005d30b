#include "headgate/models/lora_adapter.hpp"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "headgate/layers/linear.hpp"
#include "headgate/layers/routed_linear.hpp"
#include "headgate/routing/topk_softmax.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/reference_moe.hpp"
#include "support/scratch_folder.hpp"
#include "support/status.hpp"

using namespace headgate;
using reference::Matrix;

namespace {

const std::string adapters = HEADGATE_SOURCE_DIR "/tests/golden/peft/";

std::string text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
// A copy of the adapter "plain" with another config and other names or bytes of its tensors.
struct Changed {
  Changed() : config(nlohmann::json::parse(text_of(adapters + "plain/adapter_config.json"))) {
    weights = text_of(adapters + "plain/adapter_model.safetensors");
  }
  // Of the same length.
  void rename(const std::string& from, const std::string& to) {
    REQUIRE(from.size() == to.size());
    const std::size_t place = weights.find(from);
    REQUIRE(place != std::string::npos);
    weights.replace(place, from.size(), to);
  }
  std::string failure() const {
    const ScratchFolder folder;
    folder.write("adapter_config.json", config.dump());
    folder.write("adapter_model.safetensors", weights);
    try {
      LoraAdapter::open(folder.path());
      return "";
    } catch (const Error& error) {
      return std::string(error.what()).substr(folder.path().size() + 1);
    }
  }
  nlohmann::json config;
  std::string weights;
};

}  // namespace

TEST_CASE("adapters of PEFT give what its layers compute: scales, patterns, rank-stabilised, bfloat16") {
  const nlohmann::json cases = golden("peft");
  for (const auto& [name, modules] : cases.items()) {
    const LoraAdapter adapter = LoraAdapter::open(adapters + name);
    CHECK(adapter.modules().size() == modules.size());
    for (const auto& [key, wanted] : modules.items()) {
      CAPTURE(name, key);
      const LoraAdapter::Module& module = adapter.require(key);
      CHECK(module.rank == wanted["rank"].get<index_t>());
      CHECK(module.scale == Catch::Approx(wanted["scale"].get<float>()).epsilon(1e-6));
      const std::vector<float> weight = values(wanted["weight"]), bias = values(wanted["bias"]);
      const std::vector<float> hidden = values(wanted["hidden"]), y = values(wanted["y"]);
      const index_t tokens = static_cast<index_t>(hidden.size()) / module.in_size;
      Matrix out(tokens, module.out_size);
      Context ctx;
      throw_if_error(Linear<>({weight.data(), module.out_size, module.in_size}, bias)
                         .forward({hidden.data(), tokens, module.in_size}, out.view(), ctx));
      RoutingPlan plan;
      plan.clear(1);
      for (index_t t = 0; t < tokens; ++t) {
        throw_if_error(plan.append_row(std::vector<ExpertId>{0}, std::vector<float>{1.0f}));
      }
      const auto bank = lora_experts(std::span(&adapter, 1), key);
      throw_if_error(bank.apply(plan, {hidden.data(), tokens, module.in_size}, out.view(), ctx));
      for (std::size_t i = 0; i < y.size(); ++i) CHECK(out.values[i] == Catch::Approx(y[i]).margin(1e-5));
    }
  }
}

TEST_CASE("adapters of one model become experts of its projections") {
  std::vector<LoraAdapter> both;
  both.push_back(LoraAdapter::open(adapters + "plain"));
  both.push_back(LoraAdapter::open(adapters + "patterns"));
  const auto bank = lora_experts<Bf16>(both, "layers.1.q_proj");
  CHECK(bank.num_experts() == 2);
  CHECK(bank.rank(0) == 3);
  CHECK(bank.rank(1) == 5);
  CHECK(both[0].find("layers.1.up_proj") == nullptr);
  const std::span<const LoraAdapter> none;
  CHECK_THROWS_AS(lora_experts(none, "layers.1.q_proj"), Error);
  CHECK_THROWS_AS(lora_experts(both, "layers.1.up_proj"), Error);
}

TEST_CASE("adapters that are more than plain LoRA are refused by the name of what it is") {
  CHECK(Changed().failure().empty());
  const auto with = [](const char* key, const nlohmann::json& value) {
    Changed changed;
    changed.config[key] = value;
    return changed.failure();
  };
  for (const auto& [key, value] : std::vector<std::pair<const char*, nlohmann::json>>{
           {"peft_type", "LOHA"},
           {"use_dora", true},
           {"bias", "all"},
           {"lora_bias", true},
           {"modules_to_save", {"lm_head"}},
           {"trainable_token_indices", {1, 2}},
           {"alora_invocation_tokens", {5}},
           {"layer_replication", {{0, 1}}},
           {"target_parameters", {"experts.down_proj"}},
           {"use_qalora", true},
           {"init_lora_weights", "pissa"},
           {"init_lora_weights", "loftq"},
           {"arrow_config", {{"top_k", 2}}},
           {"a_setting_of_tomorrow", 0.5},
           {"r", 0},
           {"lora_alpha", "7"},
           {"rank_pattern", {{"(q|k)_proj", 3}}},
           {"alpha_pattern", {{"q_proj", "much"}}},
       }) {
    CAPTURE(key, value.dump());
    const std::string failure = with(key, value);
    CAPTURE(failure);
    CHECK(failure.find(key) != std::string::npos);
  }
  for (const std::string& failure : {with("r", 4), with("rank_pattern", {{"q_proj", 2}})}) {
    CAPTURE(failure);
    CHECK(failure.find("its rank is 3") != std::string::npos);
  }
  CHECK(with("fan_in_fan_out", true).empty());
  CHECK(with("lora_dropout", 0.1).empty());
  CHECK(with("init_lora_weights", "gaussian").empty());
  CHECK(with("a_setting_of_tomorrow", nullptr).empty());
  CHECK(with("alpha_pattern", {{"layers.0.q_proj", 2.5}}).empty());
  Changed changed;
  changed.config.erase("r");
  CHECK(changed.failure().find("the key is missing") != std::string::npos);
}

TEST_CASE("tensors of an adapter that are not pairs of low-rank matrices are refused by name") {
  const std::string stem = "base_model.model.layers.0.q_proj.";
  const auto renamed = [&](const std::string& from, const std::string& to) {
    Changed changed;
    changed.rename(from, to);
    return changed.failure();
  };
  CHECK(renamed(stem + "lora_A.weight", stem + "lora_B.waight").find("nothing else") != std::string::npos);
  CHECK(renamed(stem + "lora_A.weight", "base_model.model.layers.8.q_proj.lora_A.weight").find("lora_A is missing") !=
        std::string::npos);
  CHECK(renamed(stem + "lora_B.weight", "base_model.model.layers.8.q_proj.lora_B.weight").find("missing") !=
        std::string::npos);
  CHECK(renamed("[7,3]", "[3,7]").find("its rank 7 is not that of its lora_A, 3") != std::string::npos);
  CHECK(renamed("\"F32\",\"shape\":[3,10]", "\"I32\",\"shape\":[3,10]").find("expected type F32") != std::string::npos);
  Changed cut;
  cut.weights.resize(cut.weights.size() - 1);
  CHECK_FALSE(cut.failure().empty());

  const ScratchFolder folder;
  CHECK_THROWS_AS(LoraAdapter::open(folder.path()), Error);
  folder.write("adapter_config.json", text_of(adapters + "plain/adapter_config.json"));
  folder.write("adapter_model.bin", "PK");
  try {
    LoraAdapter::open(folder.path());
    FAIL("a pickle was read");
  } catch (const Error& error) {
    CHECK(std::string(error.what()).find("pickle") != std::string::npos);
  }
  CHECK_THROWS_AS(LoraAdapter::open(adapters + "plain/adapter_config.json"), Error);
}

TEST_CASE("an adapter that ComPEFT made small is read as the tensors it stands for") {
  const LoraAdapter whole = LoraAdapter::open(adapters + "plain");
  std::vector<NamedFloats> tensors;
  for (const LoraAdapter::Module& module : whole.modules()) {
    const std::string stem = "base_model.model." + module.name;
    tensors.push_back({stem + ".lora_A.weight", {module.rank, module.in_size}, module.a});
    tensors.push_back({stem + ".lora_B.weight", {module.out_size, module.rank}, module.b});
  }
  const std::vector<TernaryTensor> ternary = compress(tensors, 0.3, 1.0);
  const ScratchFolder folder;
  folder.write("adapter_config.json", text_of(adapters + "plain/adapter_config.json"));
  folder.write("adapter_model.compeft", compeft_file(ternary));
  const LoraAdapter read = LoraAdapter::open(folder.path());
  REQUIRE(read.modules().size() == whole.modules().size());
  for (std::size_t i = 0; i < read.modules().size(); ++i) {
    CHECK(read.modules()[i].name == whole.modules()[i].name);
    CHECK(read.modules()[i].scale == whole.modules()[i].scale);
    CHECK(read.modules()[i].a == ternary[2 * i].floats());
    CHECK(read.modules()[i].b == ternary[2 * i + 1].floats());
  }
  folder.write("adapter_model.compeft", compeft_file(std::span(ternary).first(1)));
  CHECK_THROWS_AS(LoraAdapter::open(folder.path()), Error);
}
