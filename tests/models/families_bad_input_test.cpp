// What every family makes of a damaged checkpoint: each of its tensors missing, of another shape or another type, each
// key of its config.json missing or of another value. Refused with file, field and value, or else the logits are those
// of the whole checkpoint or of the value that the key's absence means.
#include <cctype>
#include <map>
#include <optional>
#include <set>

#include "models/family_checkpoint.hpp"

using namespace headgate;
using namespace models_test;

namespace {

using io_test::WrittenTensor;

// What loading a folder and running a text end in.
struct Outcome {
  std::optional<Error> refusal;
  std::uint64_t bits = 0;

  std::string field() const { return refusal->detail().field; }
  friend bool operator==(const Outcome& a, const Outcome& b) { return !a.refusal && !b.refusal && a.bits == b.bits; }
};

// A golden checkpoint in one file, whose parts are replaced.
class Damaged {
 public:
  explicit Damaged(const std::string& name) : whole_(name), config_(whole_.config_text()), tensors_(whole_.tensors()) {
    write(tensors_);
    write(config_);
  }

  std::string path() const { return folder_.path(); }
  const std::string& config_text() const { return config_; }
  JsonObject config() const { return whole_.config(); }
  std::vector<std::string> keys() const { return whole_.config().keys(); }
  std::string model_type() const { return whole_.config().get_string("model_type"); }
  const std::vector<WrittenTensor>& tensors() const { return tensors_; }
  void write(const std::vector<WrittenTensor>& tensors) {
    folder_.write("model.safetensors", io_test::safetensors(tensors));
  }
  void write(const std::string& config) { folder_.write("config.json", config); }

  // The config with this value of a key, written as JSON; none: without the key.
  std::string with(const std::string& key, const std::string& value) const {
    std::string text = config_;
    const std::string quoted = "\n \"" + key + "\": ";
    if (const std::size_t first = text.find(quoted); first != text.npos) {
      std::size_t last = first + quoted.size();
      for (int depth = 0; depth > 0 || (text[last] != ',' && text[last] != '\n'); ++last) {
        depth += text[last] == '{' || text[last] == '[' ? 1 : text[last] == '}' || text[last] == ']' ? -1 : 0;
      }
      const bool is_last = text[last] == '\n';
      text.erase(is_last ? first - 1 : first, last - first + 1);
      if (is_last) text.insert(first - 1, "\n");
    }
    if (!value.empty()) text.insert(1, quoted + value + ",");
    return text;
  }

  Outcome run() const {
    Outcome outcome;
    const auto model = try_load_model(path());
    if (!model) {
      outcome.refusal = model.error();
      const std::string_view text = model.error().what();
      CHECK(text.size() <= 4096);
      CHECK(escaped(text, text.size()) == text);
      return outcome;
    }
    Session session(model.value(), {.context_size = 24, .rows_per_pass = 24, .all_logits = true});
    Context ctx;
    std::vector<std::int32_t> text = whole_.prompt();
    text.resize(std::min<std::size_t>(text.size(), 14));
    throw_if_error(session.forward(text, ctx));
    outcome.bits = hash_of(session.all_logits());
    return outcome;
  }

 private:
  FamilyCheckpoint whole_;
  std::string config_;
  std::vector<WrittenTensor> tensors_;
  ScratchFolder folder_;
};

// use(checkpoint, what it computes whole) for every checkpoint, or for one of each family.
template <class F>
void for_each_checkpoint(bool one_a_family, F&& use) {
  std::set<std::string> seen;
  for (const std::string& name : family_checkpoints()) {
    Damaged checkpoint(name);
    if (!seen.insert(checkpoint.model_type()).second && one_a_family) continue;
    INFO(name);
    const Outcome whole = checkpoint.run();
    REQUIRE(!whole.refusal);
    use(checkpoint, whole);
  }
  CHECK(seen.size() == 17);
}

bool is_one_of(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Two names of one tensor, of which the message may give the other.
bool is_alternative(const std::string& missing, const std::string& named) {
  const std::pair<std::string, std::string> pairs[] = {
      {"router.weight", "router.layer.weight"},
      {"mlp.gate.moe_statics.e_score_correction_bias", "mlp.moe_statics.e_score_correction_bias"}};
  for (const auto& [a, b] : pairs) {
    if (missing.ends_with(a) && named == missing.substr(0, missing.size() - a.size()) + b) return true;
  }
  return false;
}

// What the absence of a key means, as JSON; empty: the key is required or says nothing.
std::string default_of(const std::string& key, const std::string& model_type) {
  static const std::map<std::string, std::string> of_all = {
      {"attention_bias", "false"},
      {"mlp_bias", "false"},
      {"use_bias", "false"},
      {"conv_bias", "false"},
      {"qkv_bias", "true"},
      {"lm_head_bias", "false"},
      {"use_expert_bias", "true"},
      {"use_sliding_window", "false"},
      {"attention_multiplier", "1.0"},
      {"embedding_multiplier", "1.0"},
      {"residual_multiplier", "1.0"},
      {"logits_scaling", "1.0"},
      {"router_jitter_noise", "0.01"},
      {"swiglu_alpha", "1.702"},
      {"swiglu_limit", "7.0"},
      {"moe_norm_min", "1e-12"},
      {"topk_method", "\"greedy\""},
      {"shared_intermediate_size", "0"},
      {"routed_scaling_factor", "1.0"},
      {"rope_interleave", "true"},
      {"max_window_layers", "28"},
      {"clip_qkv", "null"},
      {"layer_rope_theta", "null"},
      {"residual", R"({"type":"plain"})"},
      {"experts", R"({"type":"glu"})"},
      {"token_gate", R"({"type":"causal","layers":[],"threshold":0,"predictor":false})"},
      {"rope_scaling", "null"}};
  if (key == "norm_topk_prob") {
    return is_one_of({"deepseek_v3", "glm4_moe_lite", "lfm2_moe", "mellum"}, model_type) ? "true" : "false";
  }
  if (key == "sliding_window") {
    if (model_type == "gpt_oss" || model_type == "granitemoe_swa") return "128";
    return is_one_of({"qwen2_moe", "qwen3_moe"}, model_type) ? "4096" : "null";
  }
  const auto found = of_all.find(key);
  return found == of_all.end() ? "" : found->second;
}
// By the rule of the class.
std::string default_layer_types(const std::string& model_type, std::size_t layers) {
  std::string list;
  for (std::size_t l = 0; l < layers; ++l) {
    const bool is_full = model_type == "gpt_oss" ? l % 2 != 0 : l % 4 == 0;
    list += std::string(l == 0 ? "[" : ", ") + (is_full ? "\"full_attention\"" : "\"sliding_attention\"");
  }
  return list + "]";
}

// Numbers and switches that a model may have otherwise, so that another value gives other logits.
bool may_differ(const std::string& key) {
  return is_one_of({"rope_theta", "routed_scaling_factor", "attention_multiplier", "embedding_multiplier",
                    "residual_multiplier", "logits_scaling", "swiglu_alpha", "swiglu_limit", "moe_norm_min", "clip_qkv",
                    "router_jitter_noise", "sliding_window", "n_shared_experts", "moe_num_shared_experts",
                    "shared_intermediate_size", "max_window_layers", "norm_topk_prob", "rope_interleave"},
                   key);
}

// Refused for this key, or by the name that stands for it.
bool names_key(const std::string& field, const std::string& key) {
  static const std::map<std::string, std::string> others = {{"num_local_experts", "num_experts"},
                                                            {"num_experts", "num_local_experts"},
                                                            {"rope_parameters", "rope_theta"},
                                                            {"head_dim", "num_attention_heads"},
                                                            {"mlp_layer_types", "first_k_dense_replace"},
                                                            {"layer_types", "sliding_window"},
                                                            {"use_sliding_window", "layer_types"},
                                                            {"sliding_window", "layer_types"}};
  if (field == key || field.starts_with(key + ".")) return true;
  const auto found = others.find(key);
  return found != others.end() && found->second == field;
}
bool is_tensor(const std::string& field) { return field.starts_with("model.") || field.starts_with("lm_head."); }

// Whether a key's absence is what another key is refused for.
bool is_missed(const std::string& field, const std::string& key) {
  return (key == "experts" && field == "router") || (key == "mlp_only_layers" && field == "token_gate.layers");
}

}  // namespace

TEST_CASE(
    "every tensor that a family reads is refused by name where it is missing, misshapen or of integers (A27, A42)") {
  for_each_checkpoint(/*one_a_family=*/false, [&](Damaged& checkpoint, const Outcome& whole) {
    const std::vector<std::string> unused = describe_model(checkpoint.path()).unused_tensors;
    for (std::size_t i = 0; i < checkpoint.tensors().size(); ++i) {
      const WrittenTensor own = checkpoint.tensors()[i];
      // Two experts of a layer stand for all.
      if (const std::size_t e = own.name.find(".experts."); e != own.name.npos && std::isdigit(own.name[e + 9])) {
        if (std::stoi(own.name.substr(e + 9)) > 1) continue;
      }
      const auto run_with = [&](const WrittenTensor& other) {
        std::vector<WrittenTensor> tensors = checkpoint.tensors();
        tensors[i] = other;
        checkpoint.write(tensors);
        return checkpoint.run();
      };
      INFO(own.name);
      const Json shape = parse_json(own.shape, "shape");
      std::int64_t count = 1;
      for (const double size : numbers(shape)) count *= static_cast<std::int64_t>(size);
      const bool is_vector = own.shape.find(',') == own.shape.npos;
      const std::size_t bytes = own.data.size() / static_cast<std::size_t>(count);
      const std::string integer = own.dtype == "I8" ? "U8" : "I" + std::to_string(8 * bytes);
      const Outcome missing = run_with({"x." + own.name, own.dtype, own.shape, own.data});
      const Outcome others[] = {
          run_with({own.name, own.dtype, is_vector ? "[1," + own.shape.substr(1) : "[" + std::to_string(count) + "]",
                    own.data}),
          run_with({own.name, own.dtype, "[0" + own.shape.substr(own.shape.find_first_of(",]")), ""}),
          run_with({own.name, integer, own.shape, own.data})};
      if (is_one_of(unused, own.name)) {
        for (const Outcome& outcome : others) CHECK(outcome == whole);
        CHECK(missing == whole);
        continue;
      }
      REQUIRE(missing.refusal);
      CHECK(missing.refusal->code() == ErrorCode::bad_file);
      // Scales that are missing are the fault of the weights that need them.
      if (!io_test::contains(missing.refusal->what(), own.name)) CHECK(is_alternative(own.name, missing.field()));
      for (const Outcome& outcome : others) {
        REQUIRE(outcome.refusal);
        INFO(outcome.refusal->what());
        CHECK(outcome.refusal->code() == ErrorCode::bad_file);
        CHECK(outcome.field() == own.name);
        CHECK(io_test::contains(outcome.refusal->detail().file, "model.safetensors"));
        CHECK(io_test::contains(outcome.refusal->detail().what, "found"));
      }
    }
  });
}

TEST_CASE("a tensor that nobody reads is listed and changes nothing, whatever it is") {
  for_each_checkpoint(/*one_a_family=*/true, [&](Damaged& checkpoint, const Outcome& whole) {
    std::vector<std::string> unused = describe_model(checkpoint.path()).unused_tensors;
    std::vector<WrittenTensor> tensors = checkpoint.tensors();
    for (const char* const name : {"model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.77.mlp.gate.weight",
                                   "model.layers.00.mlp.gate.weight", "mtp.norm.weight", "extra"}) {
      tensors.push_back({name, "I64", "[1]", "12345678"});
      unused.push_back(name);
    }
    checkpoint.write(tensors);
    CHECK(checkpoint.run() == whole);
    std::sort(unused.begin(), unused.end());
    CHECK(describe_model(checkpoint.path()).unused_tensors == unused);
  });
}

TEST_CASE("every key that a family reads is refused by name, or means what its absence does (D6, D7, D8)") {
  std::set<std::string> all;
  for (const std::string& name : family_checkpoints()) {
    for (const std::string& key : FamilyCheckpoint(name).config().keys()) all.insert(key);
  }
  for_each_checkpoint(/*one_a_family=*/false, [&](Damaged& checkpoint, const Outcome& whole) {
    const std::vector<std::string> keys = checkpoint.keys();
    const auto run_with = [&](const std::string& key, const std::string& value) {
      checkpoint.write(checkpoint.with(key, value));
      return checkpoint.run();
    };
    for (const std::string& key : keys) {
      INFO(key);
      const Json& own = *checkpoint.config().value(key);
      // Absent and null.
      for (const std::string value : {"", "null"}) {
        const Outcome outcome = run_with(key, value);
        INFO((value.empty() ? "absent" : value) << ": " << (outcome.refusal ? outcome.refusal->what() : "accepted"));
        if (outcome == whole) continue;
        if (outcome.refusal) {
          CHECK(outcome.refusal->code() == ErrorCode::bad_file);
          CHECK((names_key(outcome.field(), key) || is_tensor(outcome.field()) || is_missed(outcome.field(), key)));
          continue;
        }
        const bool lists_layers = key == "layer_types" || key == "mlp_layer_types";
        const std::string meant =
            lists_layers ? default_layer_types(checkpoint.model_type(), std::get<Json::Array>(own.value).size())
                         : default_of(key, checkpoint.model_type());
        REQUIRE(!meant.empty());
        CHECK(run_with(key, meant) == outcome);
      }
      if (own.is_null()) continue;
      // Of another kind, which nothing but an ignored key may be.
      const bool is_number =
          std::holds_alternative<std::int64_t>(own.value) || std::holds_alternative<double>(own.value);
      const std::pair<const char*, bool> kinds[] = {{"\"x\"", std::holds_alternative<std::string>(own.value)},
                                                    {"[[]]", false},
                                                    {"{\"x\": 0}", false},
                                                    {"true", std::holds_alternative<bool>(own.value)},
                                                    {"1.5", is_number}};
      for (const auto& [value, is_own] : kinds) {
        if (is_own) continue;
        const Outcome outcome = run_with(key, value);
        INFO(value << ": " << (outcome.refusal ? outcome.refusal->what() : "accepted"));
        if (outcome == whole) continue;
        REQUIRE(outcome.refusal);
        CHECK(outcome.refusal->code() == ErrorCode::bad_file);
        CHECK(io_test::contains(outcome.refusal->detail().file, "config.json"));
        CHECK(names_key(outcome.field(), key));
      }
      if (!is_number) continue;
      for (const std::string value : {"0", "-1", "4294967304", "1e400", "NaN"}) {
        const Outcome outcome = run_with(key, value);
        INFO(value << ": " << (outcome.refusal ? outcome.refusal->what() : "accepted"));
        if (outcome == whole) continue;
        if (!outcome.refusal) {
          CHECK(may_differ(key));
          continue;
        }
        const bool is_limit = key == "max_position_embeddings" && outcome.refusal->code() == ErrorCode::limit;
        CHECK((is_limit || outcome.refusal->code() == ErrorCode::bad_file));
        CHECK((names_key(outcome.field(), key) || is_tensor(outcome.field())));
      }
    }
  });
  // Keys of other families, too: nobody's, or refused by name.
  for_each_checkpoint(/*one_a_family=*/true, [&](Damaged& checkpoint, const Outcome& whole) {
    const std::vector<std::string> keys = checkpoint.keys();
    for (const std::string& key : all) {
      if (is_one_of(keys, key)) continue;
      for (const std::string value : {"null", "\"x\"", "0", "true", "1.5"}) {
        checkpoint.write(checkpoint.with(key, value));
        const Outcome outcome = checkpoint.run();
        INFO(key << " = " << value << ": " << (outcome.refusal ? outcome.refusal->what() : "accepted"));
        if (outcome == whole || may_differ(key)) continue;
        REQUIRE(outcome.refusal);
        CHECK(outcome.refusal->code() == ErrorCode::bad_file);
        CHECK((names_key(outcome.field(), key) || (value == "true" && is_tensor(outcome.field()))));
      }
    }
  });
}

TEST_CASE("a shard of any family that is missing or cut short is named (B9, B14)") {
  std::size_t shards = 0;
  for (const std::string& name : family_checkpoints()) {
    FamilyCheckpoint checkpoint(name);
    const std::string path = checkpoint.write();
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      const std::string shard = entry.path().filename().string();
      if (!shard.starts_with("model-") || !shard.ends_with(".safetensors")) continue;
      INFO(name << " " << shard);
      ++shards;
      const std::string bytes = read_all(entry.path().string());
      write_all(entry.path(), bytes.substr(0, bytes.size() - 1));
      const Error cut = io_test::error_of([&] { describe_model(path); });
      CHECK(cut.code() == ErrorCode::bad_file);
      CHECK(io_test::contains(cut.detail().file, shard));
      std::filesystem::remove(entry.path());
      const Error missing = io_test::error_of([&] { describe_model(path); });
      CHECK(missing.code() == ErrorCode::io);
      CHECK(io_test::contains(missing.detail().file, shard));
      write_all(entry.path(), bytes);
    }
    CHECK_NOTHROW(describe_model(path));
  }
  CHECK(shards >= 30);
}
