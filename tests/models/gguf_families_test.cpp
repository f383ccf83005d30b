// Every family that GGUF knows, from a folder and from a GGUF file: the same bits. The files are those that the gguf
// package wrote (golden/gguf), made again here.
#include <array>
#include <map>

#include "headgate/io/json_text.hpp"
#include "models/gguf_checkpoint.hpp"

using namespace headgate;
using namespace models_test;

namespace {

// What config.json says otherwise, as make_gguf.py has it: objects are merged.
Json merged(const Json& json, const Json& more) {
  const auto* const changes = std::get_if<Json::Object>(&more.value);
  if (changes == nullptr) return more;
  Json out = json;
  auto& members = std::get<Json::Object>(out.value);
  for (const JsonMember& change : *changes) {
    const auto place =
        std::find_if(members.begin(), members.end(), [&](const JsonMember& m) { return m.key == change.key; });
    if (place == members.end()) {
      members.push_back(change);
    } else {
      place->value = merged(place->value, change.value);
    }
  }
  return out;
}

// Logits and routes of a text.
struct Computed {
  Computed(const std::shared_ptr<const Model>& model, const std::vector<std::int32_t>& text, index_t threads,
           index_t context_size)
      : run(
            model, text, 7, threads,
            [&](index_t layer, index_t, const RoutingPlan& plan) {
              for (index_t t = 0; t < plan.tokens(); ++t) {
                for (const std::int32_t expert : plan.experts(t)) routes[layer].push_back(expert);
                for (const float weight : plan.weights(t)) weights.push_back(weight);
              }
            },
            context_size) {}
  bool operator==(const Computed& other) const {
    return hash_of(run.rows()) == hash_of(other.run.rows()) && routes == other.routes && weights == other.weights;
  }

  std::map<index_t, std::vector<std::int32_t>> routes;
  std::vector<float> weights;
  Run run;
};

double largest_difference_of(const Run& a, const Run& b) {
  double worst = 0.0;
  for (std::size_t i = 0; i < a.logits.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(a.logits[i]) - static_cast<double>(b.logits[i])));
  }
  return worst;
}

std::vector<std::int32_t> text_of(index_t vocab_size, std::size_t length) {
  std::vector<std::int32_t> text;
  for (std::size_t i = 0; i < length; ++i) {
    text.push_back(static_cast<std::int32_t>(splitmix64(5, i) % static_cast<std::uint64_t>(vocab_size)));
  }
  return text;
}

// As F32, whatever types there were.
std::vector<GgufEntry> dequantized(const std::vector<GgufEntry>& tensors, const std::string& path) {
  const TensorSource source = TensorSource::open(path);
  std::vector<GgufEntry> out;
  for (const GgufEntry& entry : tensors) {
    const Tensor& tensor = *source.find(entry.name);
    std::vector<float> values(static_cast<std::size_t>(tensor.shape.elements()));
    source.read(tensor, 0, values);
    out.push_back({entry.name, "F32", entry.shape, {}});
    out.back().data.assign(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  }
  return out;
}

}  // namespace

TEST_CASE("every family has the same bits from a GGUF file as from its folder") {
  const std::vector<std::string> names = gguf_recipes(/*is_wide=*/false);
  REQUIRE(names.size() >= 29);
  for (const std::string& name : names) {
    DYNAMIC_SECTION(name) {
      const GgufCheckpoint recipe(name);
      const ScratchFolder scratch;
      const std::string path = scratch.write("model.gguf", recipe.file());
      CHECK(fnv(recipe.file()) == recipe.expected_hash());

      FamilyCheckpoint checkpoint(name);
      const std::string folder = checkpoint.write();
      const Copy copy(folder);
      const Json config = read_json(folder + "/config.json");
      const_cast<Copy&>(copy).write("config.json", json_text(merged(config, *recipe.recipe().value("config"))));
      const std::shared_ptr<const Model> of_folder = load_model(copy.path());
      const std::shared_ptr<const Model> of_file = load_model(path, {.compute = Compute::f32});

      std::vector<std::int32_t> text = checkpoint.prompt();
      const std::vector<std::int32_t> greedy = checkpoint.greedy();
      text.insert(text.end(), greedy.begin(), greedy.begin() + 40);
      for (const index_t threads : {1, 3}) {
        const Computed wanted(of_folder, text, threads, checkpoint.context_size());
        const Computed found(of_file, text, threads, checkpoint.context_size());
        if (name == "llama_f32") {
          // Its angles come from divisors that are rounded to float32, not from llama3's formula in double.
          CHECK(largest_difference_of(wanted.run, found.run) < 1e-3);
        } else {
          CHECK(found == wanted);
        }
      }
      const ModelDescription description = describe_model(path);
      CHECK(description.unused_tensors.empty());
    }
  }
}

TEST_CASE("every family computes with the quantised types of a mixed GGUF file what it computes with their values") {
  const std::vector<std::string> names = gguf_recipes(/*is_wide=*/true);
  REQUIRE(names.size() == 13);
  for (const std::string& name : names) {
    DYNAMIC_SECTION(name) {
      const GgufCheckpoint recipe(name);
      const ScratchFolder scratch;
      const std::string bytes = recipe.file();
      CHECK(fnv(bytes) == recipe.expected_hash());
      const std::string path = scratch.write("mixed.gguf", bytes);
      const std::string plain =
          scratch.write("plain.gguf", GgufCheckpoint::file_of(recipe.keys(), dequantized(recipe.tensors, path)));
      const std::shared_ptr<const Model> mixed = load_model(path, {.compute = Compute::f32});
      const std::shared_ptr<const Model> floats = load_model(plain);
      const std::vector<std::int32_t> text = text_of(mixed->vocab_size(), 9);
      const Computed wanted(floats, text, 1, 0);
      for (const float logit : wanted.run.logits) REQUIRE(std::isfinite(logit));
      for (const index_t threads : {1, 3}) CHECK(Computed(mixed, text, threads, 0) == wanted);
      CHECK(describe_model(path).unused_tensors.empty());
      CHECK(describe_model(path, Compute::f32).weights.compute == Compute::f32);
      CHECK(describe_model(path).weights.compute == Compute::int8);
      // Whole numbers in place of floats: nearly the same, and the same for any threads and cut of the text.
      const std::shared_ptr<const Model> packed = load_model(path);
      const Computed rounded(packed, text, 1, 0);
      CHECK(rounded.run.logits != wanted.run.logits);
      CHECK(similarity(rounded.run.logits, wanted.run.logits) > 0.99);
      for (const index_t threads : {2, 3}) CHECK(Computed(packed, text, threads, 0) == rounded);
    }
  }
}
