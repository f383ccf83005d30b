// Dense llama checkpoints, from folders and GGUF files, cut into experts: with all of them chosen the model is what it
// was, and with fewer the sum of those that are chosen.
#include "headgate/models/split_model.hpp"

#include "io/refusal.hpp"
#include "models/family_checkpoint.hpp"
#include "models/gguf_checkpoint.hpp"

using namespace headgate;
using namespace models_test;

namespace {

constexpr std::int32_t text[] = {3, 17, 60, 5, 99, 130, 2, 41, 77, 8, 64};

// The folder of a checkpoint that was cut.
class SplitFolder {
 public:
  SplitFolder(const std::string& path, const SplitOptions& options) {
    std::string bytes;
    report = split_model(path, options, [&](std::string_view more) { bytes += more; });
    CHECK(report.file_bytes == static_cast<std::int64_t>(bytes.size()));
    scratch_.write("model.safetensors", bytes);
    scratch_.write("config.json", report.config);
  }
  std::string path() const { return scratch_.path(); }

  SplitReport report;

 private:
  ScratchFolder scratch_;
};
std::shared_ptr<const Model> load(const std::string& path) { return load_model(path, {.compute = Compute::f32}); }
double difference(const std::shared_ptr<const Model>& a, const std::shared_ptr<const Model>& b) {
  const Run one(a, text, 11, 1);
  const Run other(b, text, 11, 1);
  return largest_difference(one.logits, std::vector<double>(other.logits.begin(), other.logits.end()));
}

}  // namespace

TEST_CASE("a dense checkpoint cut into experts that are all chosen is the dense model to 1e-6") {
  for (const char* const name : {"llama_f32", "llama_tied_bf16", "llama_dynamic_f16"}) {
    FamilyCheckpoint checkpoint(name);
    const std::string dense = checkpoint.write();
    const std::shared_ptr<const Model> model = load(dense);
    const index_t size = describe_model(dense).config.hidden_size;
    const Json json = parse_json(read_all(dense + "/config.json"), "config.json");
    const index_t width = JsonObject(json, "").get_index("intermediate_size", 1, 1 << 20);
    for (index_t experts = 1; experts <= width; ++experts) {
      if (width % experts != 0) continue;
      INFO(name << ", " << experts << " experts");
      const SplitFolder split(dense, {.num_experts = experts, .k = experts});
      CHECK(split.report.hidden_size == size);
      CHECK(split.report.expert_size * experts == split.report.dense_size);
      const ModelDescription description = describe_model(split.path());
      CHECK(description.config.model_type == "headgate_moe");
      CHECK(description.routed_layers == split.report.num_layers);
      CHECK(description.routing.num_experts == experts);
      CHECK(description.unused_tensors.empty());
      CHECK(difference(load(split.path()), model) < 1e-6);
    }
  }
}

TEST_CASE("a dense checkpoint cut into one expert has its very bits, in pieces and on threads") {
  FamilyCheckpoint checkpoint("llama_f32");
  const std::string dense = checkpoint.write();
  const SplitFolder split(dense, {.num_experts = 1, .k = 1});
  const Run expected(load(dense), text, 11, 1);
  const std::shared_ptr<const Model> model = load(split.path());
  for (const index_t piece : {1, 4, 11}) {
    for (const index_t threads : {1, 3}) CHECK(Run(model, text, piece, threads).logits == expected.logits);
  }
}

TEST_CASE("gates of zeros send every token to the first k experts, given ones to those with the largest logits") {
  FamilyCheckpoint checkpoint("llama_f32");
  const std::string dense = checkpoint.write();
  const auto routes = [&](const std::shared_ptr<const Model>& model) {
    std::vector<std::vector<ExpertId>> all;
    Run(model, text, 11, 1, [&](index_t, index_t, const RoutingPlan& plan) {
      for (index_t t = 0; t < plan.tokens(); ++t) {
        const std::span<const ExpertId> ids = plan.experts(t);
        all.emplace_back(ids.begin(), ids.end());
        for (const float w : plan.weights(t)) CHECK(w == 2.5f);
      }
    });
    return all;
  };
  const SplitFolder zero(dense, {.num_experts = 5, .k = 2, .weight = 2.5f});
  const std::shared_ptr<const Model> zero_model = load(zero.path());
  for (const std::vector<ExpertId>& ids : routes(zero_model)) CHECK(ids == std::vector<ExpertId>{0, 1});
  CHECK(difference(zero_model, load(dense)) > 1e-3);

  // Gates of ones and minus ones: the logits of experts 1 and 3 are the sum of the row, of the others its opposite.
  std::vector<float> gate(5 * 42);
  for (std::size_t i = 0; i < gate.size(); ++i) gate[i] = i / 42 % 2 == 1 ? 1.0f : -1.0f;
  std::vector<SafetensorsEntry> entries;
  std::string bytes;
  for (index_t l = 0; l < 3; ++l) {
    entries.push_back({"model.layers." + std::to_string(l) + ".mlp.gate.weight", DType::f32, {5, 42}, 5 * 42 * 4});
    bytes.append(reinterpret_cast<const char*>(gate.data()), gate.size() * sizeof(float));
  }
  ScratchFolder scratch;
  scratch.write("gates.safetensors", safetensors_header(entries) + bytes);
  const std::string gates = scratch / "gates.safetensors";
  const SplitFolder given(dense, {.num_experts = 5, .k = 2, .weight = 2.5f, .gates = gates});
  bool has_odd = false;
  for (const std::vector<ExpertId>& ids : routes(load(given.path()))) {
    const bool is_odd = ids[0] == 1;
    has_odd |= is_odd;
    CHECK(ids == (is_odd ? std::vector<ExpertId>{1, 3} : std::vector<ExpertId>{0, 2}));
  }
  CHECK(has_odd);
  // Gates of another number of experts are none.
  CHECK(io_test::error_of([&] { SplitFolder(dense, {.num_experts = 10, .k = 2, .gates = gates}); }).code() ==
        ErrorCode::bad_file);
}

TEST_CASE("a GGUF file is cut like its folder") {
  for (const char* const name : {"llama_f32", "llama_tied_bf16"}) {
    ScratchFolder scratch;
    scratch.write("model.gguf", GgufCheckpoint(name).file());
    const std::string file = scratch / "model.gguf";
    const index_t experts = std::string(name) == "llama_f32" ? 5 : 37;
    const SplitFolder split(file, {.num_experts = experts, .k = experts});
    CHECK(difference(load(split.path()), load(file)) < 1e-6);
  }
}

TEST_CASE("what cannot be cut into experts is refused by name") {
  FamilyCheckpoint checkpoint("llama_f32");
  const std::string dense = checkpoint.write();
  const auto refused = [&](const std::string& path, const SplitOptions& options) {
    const Error error = io_test::error_of([&] { split_model(path, options, [](std::string_view) {}); });
    return std::string(error.what());
  };
  CHECK(io_test::contains(refused(dense, {.num_experts = 4, .k = 1}), "channels that equal parts leave over"));
  CHECK(io_test::contains(refused(dense, {.num_experts = 0, .k = 1}), "parts of a network"));
  CHECK(io_test::contains(refused(dense, {.num_experts = 5, .k = 6}), "experts of a token"));
  CHECK(io_test::contains(refused(dense, {.num_experts = 5, .k = 0}), "experts of a token"));
  CHECK(io_test::contains(refused(dense, {.num_experts = 5, .k = 1, .weight = NAN}), "not finite"));
  CHECK(io_test::contains(refused(tiny("tied_bf16"), {.num_experts = 2, .k = 1}), "model_type"));
  Copy biased(dense);
  biased.set("mlp_bias", "true");
  CHECK_FALSE(refused(biased.path(), {.num_experts = 5, .k = 1}).empty());
}
