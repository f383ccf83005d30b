// What stands in GGUF files of models: keys and tensors that lie, other ways to write the same model (old and new
// names, splits, version 2), and what a file means where it does not say it. The numbers C18 to C41 are those of the
// catalogue of bad inputs.
#include <limits>

#include "models/gguf_checkpoint.hpp"

using namespace headgate;
using namespace models_test;
using io_test::gguf_array;
using io_test::gguf_value;
using io_test::raw;

namespace {

ModelDescription described(const std::string& bytes) {
  const ScratchFolder scratch;
  return describe_model(scratch.write("model.gguf", bytes));
}
ModelDescription described(const GgufCheckpoint& checkpoint) { return described(checkpoint.file()); }

// The code and the field for which a file is refused; of bad_file, unless it is accepted: "".
std::string refused(const std::string& bytes, ErrorCode code = ErrorCode::bad_file) {
  const ScratchFolder scratch;
  const std::string path = scratch.write("model.gguf", bytes);
  try {
    describe_model(path);
    return "";
  } catch (const Error& error) {
    INFO(error.what());
    CHECK(error.code() == code);
    CHECK(error.detail().file == path);
    CHECK(std::string_view(error.what()).size() <= 4096);
    return error.detail().field;
  }
}
std::string refused(const GgufCheckpoint& checkpoint, ErrorCode code = ErrorCode::bad_file) {
  return refused(checkpoint.file(), code);
}
std::string refused(GgufCheckpoint checkpoint, const std::string& key, const std::string& value,
                    ErrorCode code = ErrorCode::bad_file) {
  checkpoint.set(checkpoint.architecture() + "." + key, value);
  return refused(checkpoint, code);
}

std::uint64_t bits_of(const std::string& path) {
  const std::shared_ptr<const Model> model = load_model(path);
  std::vector<std::int32_t> text;
  for (std::size_t i = 0; i < 12; ++i) {
    text.push_back(static_cast<std::int32_t>(splitmix64(3, i) % static_cast<std::uint64_t>(model->vocab_size())));
  }
  return hash_of(Run(model, text, 5, 2).rows());
}
std::uint64_t bits_of(const GgufCheckpoint& checkpoint) {
  const ScratchFolder scratch;
  return bits_of(scratch.write("model.gguf", checkpoint.file()));
}

const std::string max_u32 = gguf_value(std::numeric_limits<std::uint32_t>::max());
const std::string zero = gguf_value(std::uint32_t{0});

// One of each architecture.
const char* const one_of_each[] = {
    "llama_f32",          "mixtral_f32",          "olmoe_f32",          "qwen2_moe_f32",
    "qwen3_moe_yarn_f32", "granitemoeshared_f32", "phimoe_window_bf16", "deepseek_v3_groups_bf16",
    "gpt_oss_mxfp4",      "ernie4_5_moe_f32",     "lfm2_moe_f32"};

}  // namespace

TEST_CASE("a GGUF file whose architecture is not one of the families is refused with the list, C18") {
  GgufCheckpoint checkpoint("llama_tied_bf16");
  const std::string key = "general.architecture";
  const std::string values[] = {"",
                                gguf_value(std::uint32_t{7}),
                                gguf_value("gpt2"),
                                gguf_value("%s%n%s"),
                                gguf_value(std::string(1 << 20, 'x')),
                                gguf_value(""),
                                gguf_value("llama\n")};
  for (const std::string& value : values) {
    checkpoint.set(key, value);
    CHECK(refused(checkpoint) == key);
  }
  checkpoint.set(key, gguf_value("mellum"));
  try {
    described(checkpoint);
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(
        io_test::contains(error.what(), "deepseek2, ernie4_5-moe, gpt-oss, granitemoe, lfm2moe, llama, olmoe, phimoe"));
  }
}

TEST_CASE("sizes of a GGUF file that no model has are refused by their keys, C19 C20 C21") {
  const std::string bad[] = {zero, max_u32, gguf_value("4"), gguf_array(4, 1, raw(std::uint32_t{1}))};
  for (const char* const name : one_of_each) {
    const GgufCheckpoint checkpoint(name);
    const std::string arch = checkpoint.architecture();
    for (const char* const key :
         {"block_count", "embedding_length", "attention.head_count", "attention.head_count_kv", "feed_forward_length",
          "expert_count", "expert_used_count", "expert_feed_forward_length", "rope.dimension_count"}) {
      const bool is_read = std::any_of(checkpoint.keys().begin(), checkpoint.keys().end(),
                                       [&](const auto& entry) { return entry.first == arch + "." + key; });
      const std::string_view text = key;
      if (!is_read || (arch == "deepseek2" && text == "attention.head_count_kv")) continue;  // of no meaning
      if (arch == "gpt-oss" && text == "feed_forward_length") continue;
      for (const std::string& value : bad) {
        if (text == "expert_count" && value == zero) continue;  // another family, or no experts
        INFO(name << " " << key);
        CHECK(!refused(checkpoint, key, value).empty());
      }
    }
    for (const char* const key : {"block_count", "embedding_length", "attention.head_count",
                                  "attention.layer_norm_rms_epsilon", "context_length"}) {
      INFO(name << " without " << key);
      CHECK(refused(checkpoint, key, "") == arch + "." + key);
    }
    CHECK(refused(checkpoint, "block_count", gguf_value(std::uint32_t{513})) == arch + ".block_count");
  }
  const GgufCheckpoint mixtral("mixtral_f32");
  CHECK(refused(mixtral, "expert_count", gguf_value(std::uint32_t{6})) == "blk.0.ffn_gate_inp.weight");
  CHECK(refused(mixtral, "expert_used_count", gguf_value(std::uint32_t{6})) == "llama.expert_used_count");
  CHECK(!refused(mixtral, "expert_count", zero).empty());
}

TEST_CASE("a GGUF file of more positions than are counted is a limit, C22") {
  CHECK(refused(GgufCheckpoint("llama_tied_bf16"), "context_length", max_u32, ErrorCode::limit) ==
        "llama.context_length");
}

TEST_CASE("an epsilon or a base of angles that is no number of the kind is refused by its key, C23") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const char* const name : one_of_each) {
    const GgufCheckpoint checkpoint(name);
    for (const char* const key : {"attention.layer_norm_rms_epsilon", "rope.freq_base"}) {
      INFO(name << " " << key);
      for (const float value : {nan, -1.0f, -nan, std::numeric_limits<float>::infinity(), 0.0f}) {
        CHECK(refused(checkpoint, key, gguf_value(value)) == checkpoint.architecture() + "." + key);
      }
    }
  }
}

TEST_CASE("a tensor of a GGUF file that is missing or of another shape is refused by its name, C41") {
  for (const char* const name : one_of_each) {
    const GgufCheckpoint whole(name);
    for (const GgufEntry& entry : whole.tensors) {
      INFO(name << " " << entry.name);
      if (entry.name.starts_with("output.") || entry.name.starts_with("rope_")) continue;  // have a meaning when absent
      GgufCheckpoint checkpoint = whole;
      checkpoint.remove(entry.name);
      CHECK(!refused(checkpoint).empty());
      checkpoint = whole;
      GgufEntry& changed = checkpoint.tensor(entry.name);
      if (changed.shape.size() == 2 && changed.shape[0] != changed.shape[1] && entry.type != "MXFP4") {
        std::swap(changed.shape[0], changed.shape[1]);
        CHECK(refused(checkpoint) == entry.name);
      }
      if (changed.shape.size() == 3) {
        changed.shape = {changed.shape[0] * changed.shape[1], changed.shape[2]};
        CHECK(refused(checkpoint) == entry.name);
        changed.shape = {1, changed.shape[0], changed.shape[1]};
        CHECK(refused(checkpoint) == entry.name);
        if (entry.shape[0] % 2 == 0) {  // as many elements, half the experts
          changed.shape = {entry.shape[0] / 2, 2 * entry.shape[1], entry.shape[2]};
          CHECK(refused(checkpoint) == entry.name);
        }
      }
    }
  }
}

TEST_CASE("a small GGUF file that speaks of many layers and experts costs nothing") {
  GgufCheckpoint checkpoint("mixtral_f32");
  checkpoint.set("llama.block_count", gguf_value(std::uint32_t{4096}));
  checkpoint.set("llama.expert_count", gguf_value(std::uint32_t{65536}));
  checkpoint.tensors.resize(1);
  CHECK(refused(checkpoint) == "llama.block_count");
}

TEST_CASE("a key of a GGUF file that changes what is computed and is not understood is refused by its name") {
  struct Case {
    const char* name;
    const char* key;
    std::string value;
  };
  const Case cases[] = {{"llama_f32", "attention.scale", gguf_value(0.5f)},
                        {"llama_f32", "attn_logit_softcapping", gguf_value(30.0f)},
                        {"olmoe_f32", "attention.sliding_window", gguf_value(std::uint32_t{7})},
                        {"qwen3_moe_yarn_f32", "expert_weights_scale", gguf_value(2.5f)},
                        {"qwen3_moe_yarn_f32", "expert_gating_func", gguf_value(std::uint32_t{2})},
                        {"qwen2_moe_f32", "expert_group_count", gguf_value(std::uint32_t{8})},
                        {"llama_f32", "attention.causal", gguf_value(false)},
                        {"lfm2_moe_f32", "expert_gating_func", gguf_value(std::uint32_t{1})},
                        {"ernie4_5_moe_f32", "expert_gating_func", gguf_value(std::uint32_t{2})},
                        {"gpt_oss_mxfp4", "expert_gating_func", gguf_value(std::uint32_t{1})},
                        {"gpt_oss_mxfp4", "swiglu_clamp_exp", gguf_array(6, 1, raw(5.0f))},
                        {"granitemoe_f32", "rope.scaling.finetuned", gguf_value(false)},
                        {"deepseek_v3_groups_bf16", "expert_gating_func", gguf_value(std::uint32_t{4})},
                        {"llama_tied_bf16", "rope.scaling.type", gguf_value("spiral")},
                        {"mixtral_f32", "rope.dimension_count", gguf_value(std::uint32_t{12})},
                        {"qwen3_moe_yarn_f32", "rope.scaling.yarn_log_multiplier", gguf_value(0.1f)}};
  for (const Case& one : cases) {
    INFO(one.name << " " << one.key);
    const GgufCheckpoint checkpoint(one.name);
    CHECK(refused(checkpoint, one.key, one.value) == checkpoint.architecture() + "." + one.key);
  }
}

TEST_CASE("a key of a GGUF file that nothing reads, or that says nothing, refuses no file and is listed") {
  GgufCheckpoint checkpoint("olmoe_f32");
  checkpoint.set("olmoe.tensor_data_layout", gguf_value("Meta AI original pth"));
  checkpoint.set("olmoe.expert_weights_scale", gguf_value(1.0f));
  checkpoint.set("olmoe.attention.sliding_window", zero);
  checkpoint.set("general.anything", gguf_value("x"));
  const std::vector<std::string> found = described(checkpoint).unknown_keys;
  CHECK(std::find(found.begin(), found.end(), "olmoe.tensor_data_layout") != found.end());
}

TEST_CASE("experts of GGUF files from before 2024, one by one, and of gate and up in one stack are the same model") {
  for (const char* const name : {"mixtral_f32", "qwen3_moe_yarn_f32", "granitemoe_f32"}) {
    INFO(name);
    const GgufCheckpoint whole(name);
    const std::uint64_t bits = bits_of(whole);
    GgufCheckpoint old = whole;
    old.tensors.clear();
    GgufCheckpoint fused = old;
    for (const GgufEntry& entry : whole.tensors) {
      const std::size_t middle = entry.name.find("_exps");
      if (middle == entry.name.npos) {
        old.tensors.push_back(entry);
        fused.tensors.push_back(entry);
        continue;
      }
      const std::size_t piece = entry.data.size() / static_cast<std::size_t>(entry.shape[0]);
      for (std::int64_t e = 0; e < entry.shape[0]; ++e) {
        old.tensors.push_back({entry.name.substr(0, middle) + "." + std::to_string(e) + entry.name.substr(middle + 5),
                               entry.type,
                               {entry.shape[1], entry.shape[2]},
                               entry.data.substr(static_cast<std::size_t>(e) * piece, piece)});
      }
      const std::string layer = entry.name.substr(0, entry.name.find("ffn_"));
      if (entry.name.find("ffn_down") != entry.name.npos) fused.tensors.push_back(entry);
      if (entry.name.find("ffn_gate") != entry.name.npos) {
        GgufCheckpoint other = whole;
        const GgufEntry& up = other.tensor(layer + "ffn_up_exps.weight");
        GgufEntry both{
            layer + "ffn_gate_up_exps.weight", entry.type, {entry.shape[0], 2 * entry.shape[1], entry.shape[2]}, {}};
        for (std::int64_t e = 0; e < entry.shape[0]; ++e) {
          both.data += entry.data.substr(static_cast<std::size_t>(e) * piece, piece);
          both.data += up.data.substr(static_cast<std::size_t>(e) * piece, piece);
        }
        fused.tensors.push_back(std::move(both));
      }
    }
    CHECK(bits_of(old) == bits);
    CHECK(bits_of(fused) == bits);
    const std::string lost = old.tensors.back().name;
    GgufCheckpoint fewer = old;
    const auto one = std::find_if(fewer.tensors.begin(), fewer.tensors.end(),
                                  [](const GgufEntry& e) { return e.name == "blk.0.ffn_up.3.weight"; });
    REQUIRE(one != fewer.tensors.end());
    fewer.tensors.erase(one);
    CHECK(refused(fewer) == "blk.0.ffn_up.3.weight");
  }
}

TEST_CASE("a split GGUF file and one of version 2 are the same model") {
  const GgufCheckpoint whole("qwen2_moe_bf16");
  const std::uint64_t bits = bits_of(whole);
  const ScratchFolder scratch;
  CHECK(bits_of(scratch.write("two.gguf", GgufCheckpoint::file_of(whole.keys(), whole.tensors, 2))) == bits);
  const std::size_t count = whole.tensors.size();
  std::string first;
  for (std::size_t i = 0; i < 3; ++i) {
    GgufCheckpoint::Keys keys = i == 0 ? whole.keys() : GgufCheckpoint::Keys{};
    keys.push_back({"split.no", raw(std::uint32_t{2}) + raw(static_cast<std::uint16_t>(i))});
    keys.push_back({"split.count", raw(std::uint32_t{2}) + raw(std::uint16_t{3})});
    keys.push_back({"split.tensors.count", gguf_value(static_cast<std::int32_t>(count))});
    const std::vector<GgufEntry> part(whole.tensors.begin() + static_cast<std::ptrdiff_t>(count * i / 3),
                                      whole.tensors.begin() + static_cast<std::ptrdiff_t>(count * (i + 1) / 3));
    const std::string name = "model-0000" + std::to_string(i + 1) + "-of-00003.gguf";
    const std::string path = scratch.write(name, GgufCheckpoint::file_of(keys, part));
    if (i == 0) first = path;
  }
  CHECK(bits_of(first) == bits);
}

TEST_CASE("a GGUF file without a head is tied") {
  GgufCheckpoint tied("mixtral_f32");
  GgufCheckpoint copy = tied;
  tied.remove("output.weight");
  copy.tensor("output.weight").data = copy.tensor("token_embd.weight").data;
  CHECK(bits_of(tied) == bits_of(copy));
}

TEST_CASE("keys of deepseek2 that older GGUF files do not have mean what the released models have") {
  // Without a word on scoring a bias of the selection says sigmoid, and its absence softmax.
  GgufCheckpoint v3("deepseek_v3_groups_bf16");
  CHECK(described(v3).config.model_type == "deepseek_v3");
  v3.set("deepseek2.expert_gating_func", "");
  CHECK(described(v3).config.model_type == "deepseek_v3");
  GgufCheckpoint v2("deepseek_v2_lite_f32");
  CHECK(described(v2).config.model_type == "deepseek_v2");
  // Groups are then those of 256 and 160 experts.
  CHECK(io_test::contains(described(v3).routing.router, "2 of 5 groups"));
  v3.set("deepseek2.expert_group_count", "");
  v3.set("deepseek2.expert_group_used_count", "");
  CHECK(!io_test::contains(described(v3).routing.router, "groups"));
  for (const std::int64_t experts : {256, 160}) {
    GgufCheckpoint many = experts == 256 ? v3 : v2;
    many.set("deepseek2.expert_count", gguf_value(static_cast<std::uint32_t>(experts)));
    for (GgufEntry& entry : many.tensors) {
      const bool is_stack = entry.name.find("_exps") != entry.name.npos;
      if (!is_stack && entry.name.find("ffn_gate_inp") == entry.name.npos &&
          entry.name.find("exp_probs_b") == entry.name.npos) {
        continue;
      }
      entry.data.resize(entry.data.size() / static_cast<std::size_t>(entry.shape[0]) *
                        static_cast<std::size_t>(experts));
      entry.shape[0] = experts;
    }
    INFO(experts);
    CHECK(io_test::contains(described(many).routing.router, experts == 256 ? "4 of 8 groups" : "3 of 8 groups"));
  }
}

TEST_CASE("a list of one number for every layer is that number") {
  GgufCheckpoint checkpoint("llama_f32");
  const std::string list = gguf_array(4, 3, raw(std::uint32_t{2}) + raw(std::uint32_t{2}) + raw(std::uint32_t{2}));
  const std::uint64_t bits = bits_of(checkpoint);
  checkpoint.set("llama.attention.head_count_kv", list);
  CHECK(bits_of(checkpoint) == bits);
}
