// Checkpoints of every family, from folders and GGUF files, quantized to packed files: their weights are those that
// encoding and decoding make of the originals, and they are loaded and computed with as any other.
#include "headgate/models/quantize.hpp"

#include "headgate/models/checkpoint_documents.hpp"
#include "io/refusal.hpp"
#include "models/gguf_checkpoint.hpp"
#include "support/thread_executor.hpp"

using namespace headgate;
using namespace models_test;

namespace {

PackedType type_named(std::string_view name) {
  for (const PackedTypeName& known : packed_types) {
    if (known.name == name) return known.type;
  }
  FAIL("no type " << name);
  return std::nullopt;
}
std::string packed_bytes(const std::string& path, const QuantizeOptions& options, QuantizeReport* report = nullptr) {
  std::string bytes;
  const QuantizeReport found = quantize_model(path, options, [&](std::string_view more) { bytes += more; });
  CHECK(found.file_bytes == static_cast<std::int64_t>(bytes.size()));
  if (report != nullptr) *report = found;
  return bytes;
}
// The folder of a packed checkpoint.
class PackedFolder {
 public:
  PackedFolder(const std::string& path, const QuantizeOptions& options) {
    scratch_.write("model.safetensors", packed_bytes(path, options, &report));
    const TensorSource source = TensorSource::open(path);
    scratch_.write("config.json",
                   source.metadata() != nullptr ? gguf_config_text(source) : read_all(path + "/config.json"));
  }
  std::string path() const { return scratch_.path(); }

  QuantizeReport report;

 private:
  ScratchFolder scratch_;
};

// What a row becomes: of the type that is asked for, or of its like where it is no whole blocks.
std::vector<float> there_and_back(const std::vector<float>& x, DType type) {
  std::vector<float> out = x;
  if (type == DType::bf16) {
    for (float& value : out) value = static_cast<float>(bf16(value));
  }
  if (type == DType::i8) {
    const auto k = static_cast<index_t>(x.size());
    Panel16<Int8Rows> panel(1, k);
    std::vector<std::byte> row(as_size(Int8Rows::row_bytes(k)));
    Int8Rows::encode(x.data(), k, row.data());
    panel.set_row(0, static_cast<const std::byte*>(row.data()));
    panel.view().read_row(0, out.data());
  }
  if (type == DType::f16) {
    for (float& value : out) value = static_cast<float>(f16(value));
  }
  visit_blocks(type, [&]<class Blocks>(Blocks) {
    const auto size = as_size(Blocks::size);
    std::vector<std::byte> block(as_size(Blocks::bytes));
    for (std::size_t i = 0; i < x.size(); i += size) {
      encode_block<Blocks>(&x[i], nullptr, block.data());
      decode_blocks<Blocks>(block.data(), 0, Blocks::size, &out[i]);
    }
  });
  return out;
}

// The weights that a model reads.
struct StoredRows {
  std::string name;
  DType dtype;
  bool is_packed = false;
  index_t cols;
  std::vector<float> values;
};
std::vector<StoredRows> stored_rows(const std::string& path) {
  std::vector<StoredRows> all;
  detail::read_checkpoint<Families>(path, {Compute::f32}, [&](const Blueprint& blueprint, const auto&, const auto&) {
    for (const WeightUse& use : blueprint.weights()) {
      StoredRows rows{use.rows.name(), use.rows.dtype(), false, use.rows.cols(), use.rows.floats()};
      use.rows.for_each_tensor([&](const Tensor& tensor) { rows.is_packed = tensor.panels.has_value(); });
      all.push_back(std::move(rows));
    }
  });
  return all;
}
// Packed weights are expected(row, type before, type in the file), the others what they were. How many are packed.
template <class Expected>
std::size_t check_weights(const std::string& original, const std::string& packed, Expected expected) {
  const std::vector<StoredRows> before = stored_rows(original);
  const std::vector<StoredRows> after = stored_rows(packed);
  REQUIRE(before.size() == after.size());
  std::size_t packed_matrices = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    CAPTURE(i, before[i].name);
    REQUIRE(before[i].cols == after[i].cols);
    REQUIRE(before[i].values.size() == after[i].values.size());
    packed_matrices += std::size_t{after[i].is_packed};
    const auto cols = as_size(before[i].cols);
    bool same = true;
    for (std::size_t at = 0; at < before[i].values.size(); at += cols) {
      const std::vector<float> x(&before[i].values[at], &before[i].values[at] + cols);
      const std::vector<float> y(&after[i].values[at], &after[i].values[at] + cols);
      same = same && y == (after[i].is_packed ? expected(x, before[i].dtype, after[i].dtype) : x);
    }
    CHECK(same);
  }
  return packed_matrices;
}
std::vector<float> unchanged(const std::vector<float>& x, DType, DType) { return x; }
std::vector<float> encoded_or_kept(const std::vector<float>& x, DType before, DType after) {
  return before == after ? x : there_and_back(x, after);
}

std::vector<float> logits_of(const std::string& path, Compute compute, index_t threads,
                             const std::vector<std::int32_t>& text, index_t context_size = 0) {
  const std::shared_ptr<const Model> model = load_model(path, {.compute = compute});
  return Run(model, text, 5, threads, {}, context_size).logits;
}
std::vector<std::int32_t> some_text(const std::string& path, std::size_t length) {
  const index_t vocab_size = describe_model(path).config.vocab_size;
  std::vector<std::int32_t> text;
  for (std::size_t i = 0; i < length; ++i) {
    text.push_back(static_cast<std::int32_t>(splitmix64(5, i) % static_cast<std::uint64_t>(vocab_size)));
  }
  return text;
}

}  // namespace

TEST_CASE("a folder of every family, packed without loss, has its weights and computes the same bits") {
  for (const std::string& name : family_checkpoints()) {
    DYNAMIC_SECTION(name) {
      FamilyCheckpoint checkpoint(name);
      const std::string folder = checkpoint.write();
      const PackedFolder packed(folder, {});
      CHECK(check_weights(folder, packed.path(), unchanged) > 0);
      const std::vector<std::int32_t> text = checkpoint.prompt();
      const std::vector<float> wanted = logits_of(folder, Compute::f32, 1, text, checkpoint.context_size());
      for (const index_t threads : {1, 3}) {
        CHECK(logits_of(packed.path(), Compute::f32, threads, text, checkpoint.context_size()) == wanted);
      }
      for (const QuantizedTensor& tensor : packed.report.tensors) CHECK(tensor.error == 0.0);
      CHECK(describe_model(packed.path()).unused_tensors.empty());
    }
  }
}

TEST_CASE("the weights of every family, quantized, are those that encoding and decoding makes of them") {
  for (const std::string& name : family_checkpoints()) {
    DYNAMIC_SECTION(name) {
      FamilyCheckpoint checkpoint(name);
      const std::string folder = checkpoint.write();
      for (const char* const type : {"q4", "int8", "bf16", "f16"}) {
        CAPTURE(type);
        const PackedFolder packed(folder, {.types = PackedTypes::all(type_named(type))});
        check_weights(folder, packed.path(), encoded_or_kept);
        const std::vector<std::int32_t> text = checkpoint.prompt();
        for (const Compute compute : {Compute::f32, Compute::int8}) {
          const std::vector<float> one = logits_of(packed.path(), compute, 1, text, checkpoint.context_size());
          for (const float logit : one) REQUIRE(std::isfinite(logit));
          CHECK(logits_of(packed.path(), compute, 3, text, checkpoint.context_size()) == one);
        }
      }
    }
  }
}

TEST_CASE("a GGUF file of every family, packed without loss, has its weights and computes the same bits") {
  std::vector<std::string> names = gguf_recipes(/*is_wide=*/false);
  REQUIRE(names.size() >= 29);
  for (const std::string& name : names) {
    DYNAMIC_SECTION(name) {
      const ScratchFolder scratch;
      const std::string path = scratch.write("model.gguf", GgufCheckpoint(name).file());
      const PackedFolder packed(path, {});
      check_weights(path, packed.path(), unchanged);
      const std::vector<std::int32_t> text = some_text(path, 9);
      CHECK(logits_of(packed.path(), Compute::f32, 2, text) == logits_of(path, Compute::f32, 1, text));
    }
  }
}

TEST_CASE("quantized types of GGUF files keep their blocks in packed files, in both ways of computing") {
  const std::vector<std::string> names = gguf_recipes(/*is_wide=*/true);
  REQUIRE(names.size() == 13);
  for (const std::string& name : names) {
    DYNAMIC_SECTION(name) {
      const ScratchFolder scratch;
      const std::string path = scratch.write("mixed.gguf", GgufCheckpoint(name).file());
      const std::vector<std::int32_t> text = some_text(path, 9);
      const PackedFolder packed(path, {});
      check_weights(path, packed.path(), unchanged);
      for (const Compute compute : {Compute::f32, Compute::int8}) {
        CHECK(logits_of(packed.path(), compute, 2, text) == logits_of(path, compute, 1, text));
      }
    }
  }
}

TEST_CASE("wide models of every family are quantized, and loaded as the values that their blocks have") {
  // Each is quantized to three of the types, all types in turn.
  constexpr std::array types = {"q4", "q4m", "q5k", "q6k", "iq4", "iq4xs", "mxfp4", "q3k", "q2k"};
  const std::vector<std::string> names = gguf_recipes(/*is_wide=*/true);
  for (std::size_t n = 0; n < names.size(); ++n) {
    const std::string& name = names[n];
    DYNAMIC_SECTION(name) {
      const ScratchFolder scratch;
      const std::string path = scratch.write("mixed.gguf", GgufCheckpoint(name).file());
      const std::vector<std::int32_t> text = some_text(path, 9);
      for (std::size_t i = 3 * n; i < 3 * n + 3; ++i) {
        const char* const asked = types[i % types.size()];
        CAPTURE(asked);
        const PackedType type = type_named(asked);
        const PackedFolder packed(path, {.types = PackedTypes::all(type)});
        CHECK(check_weights(path, packed.path(), encoded_or_kept) > 0);
        for (const QuantizedTensor& tensor : packed.report.tensors) {
          CAPTURE(tensor.name);
          CHECK(tensor.after == (tensor.shape[tensor.shape.rank() - 1] % 256 == 0 ? *type : tensor.after));
          CHECK(tensor.relative_error() < (tensor.after == DType::q2_k ? 0.35 : 0.2));
        }
        const std::vector<float> one = logits_of(packed.path(), Compute::int8, 1, text);
        for (const float logit : one) REQUIRE(std::isfinite(logit));
        CHECK(logits_of(packed.path(), Compute::int8, 3, text) == one);
      }
    }
  }
}

TEST_CASE("a packed file is mapped whole, and counted so") {
  const std::string tales = HEADGATE_SOURCE_DIR "/examples/models/tales";
  for (const char* const type : {"q4", "q8", "int8", "bf16", "f16"}) {
    CAPTURE(type);
    const PackedFolder packed(tales, {.types = PackedTypes::all(type_named(type))});
    const ModelDescription description = describe_model(packed.path());
    std::int64_t panels = 0;
    for (const QuantizedTensor& tensor : packed.report.tensors) panels += tensor.bytes_after;
    CHECK(description.weights.mapped_bytes == panels);
    // Norms and routers, which are held in floats.
    CHECK(description.weights.packed_bytes < panels / 20);
    std::int64_t mapped = 0;
    load_model(packed.path(), {.progress = [&](std::int64_t done, std::int64_t) { mapped = done; }});
    CHECK(mapped <= packed.report.kept_bytes);
  }
}

TEST_CASE("the bytes of a packed file do not depend on the number of threads") {
  const std::string tales = HEADGATE_SOURCE_DIR "/examples/models/tales";
  PackedTypes types = PackedTypes::all(DType::q4_1);
  types[ModelPart::experts] = DType::mxfp4;
  types[ModelPart::head] = DType::q6_k;
  QuantizeReport first;
  const std::string one = packed_bytes(tales, {.types = types}, &first);
  for (const index_t n : {2, 3, 8}) {
    ThreadPool threads(n);
    QuantizeReport report;
    CHECK(packed_bytes(tales, {.types = types, .executor = threads}, &report) == one);
    for (std::size_t i = 0; i < report.tensors.size(); ++i) CHECK(report.tensors[i].error == first.tensors[i].error);
  }
  for (const QuantizedTensor& tensor : first.tensors) {
    CHECK(tensor.after == (tensor.part == ModelPart::experts ? DType::mxfp4
                           : tensor.part == ModelPart::head  ? DType::q6_k
                                                             : DType::q4_1));
  }
}

TEST_CASE("weights that no quantized type, or f16, can hold are refused with their tensor") {
  const std::string tales = HEADGATE_SOURCE_DIR "/examples/models/tales";
  const std::string name = "model.layers.0.self_attn.v_proj.weight";
  const TensorSource source = TensorSource::open(tales);
  const Tensor& tensor = *source.find(name);
  REQUIRE(tensor.dtype == DType::bf16);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity(), 1e6f}) {
    std::string file = read_all(tales + "/model.safetensors");
    const bf16 stored(bad);
    std::memcpy(&file[tensor.offset + 2 * as_size(tensor.row_size()) + 6], &stored, 2);
    const ScratchFolder scratch;
    scratch.write("model.safetensors", file);
    scratch.write("config.json", read_all(tales + "/config.json"));
    for (const DType type : {DType::q8_0, DType::mxfp4, DType::f16}) {
      const Error error = io_test::error_of([&] { packed_bytes(scratch.path(), {.types = PackedTypes::all(type)}); });
      CHECK(error.code() == ErrorCode::bad_file);
      CHECK(error.detail().field == name);
      CHECK(error.detail().what.find("element 3 of row 1 ") != std::string::npos);
    }
  }
}
