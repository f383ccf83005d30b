#include "headgate/models/find_weights.hpp"

#include "io/refusal.hpp"
#include "io/safetensors_writer.hpp"

using namespace headgate;

namespace {

using io_test::WrittenTensor;

// F32 (rows, cols) of zeros.
WrittenTensor matrix(const std::string& name, int rows, int cols, const std::string& dtype = "F32") {
  const std::size_t size = dtype == "F32" ? 4 : 2;
  return {name, dtype, "[" + std::to_string(rows) + "," + std::to_string(cols) + "]",
          std::string(size * static_cast<std::size_t>(rows * cols), '\0')};
}

struct File {
  explicit File(const std::vector<WrittenTensor>& tensors)
      : source(TensorSource::open(folder.write("model.safetensors", io_test::safetensors(tensors)))) {}
  io_test::ScratchFolder folder;
  TensorSource source;
};

}  // namespace

std::string name_of(const WeightRows& rows) {
  std::string names;
  rows.for_each_tensor([&](const Tensor& tensor) { names += tensor.name; });
  return names;
}

TEST_CASE("experts are found one by one") {
  std::vector<WrittenTensor> tensors;
  for (const std::string e : {"0.", "1."}) {
    tensors.push_back(matrix("x." + e + "gate_proj.weight", 3, 5));
    tensors.push_back(matrix("x." + e + "up_proj.weight", 3, 5));
    tensors.push_back(matrix("x." + e + "down_proj.weight", 5, 3));
  }
  const File file(tensors);
  const ExpertsPart part = find_experts(file.source, "x.", 2, 1, 5, 3);
  REQUIRE(part.num_experts() == 2);
  CHECK(name_of(part.experts[1].up) == "x.1.up_proj.weight");
  CHECK(part.ffn_size() == 3);
  CHECK(part.hidden_size() == 5);
  CHECK(io_test::error_of([&] { find_experts(file.source, "x.", 3, 1, 5, 3); }).detail().field ==
        "x.2.gate_proj.weight");
  CHECK(io_test::error_of([&] { find_experts(file.source, "x.", 2, 1, 5, 4); }).detail().field ==
        "x.0.gate_proj.weight");
}

TEST_CASE("stacked experts are parts of two tensors, gate rows before up rows") {
  const auto stack = [](const std::string& name, const std::string& shape, std::size_t count) {
    std::string data;
    for (std::size_t i = 0; i < count; ++i) {
      const auto value = static_cast<float>(i);
      data.append(reinterpret_cast<const char*>(&value), 4);
    }
    return WrittenTensor{name, "F32", shape, data};
  };
  const File file({stack("x.gate_up_proj", "[2,6,5]", 60), stack("x.down_proj", "[2,5,3]", 30)});
  const ExpertsPart part = find_experts(file.source, "x.", 2, 1, 5, 3);
  REQUIRE(part.num_experts() == 2);
  CHECK(part.experts[1].gate->floats().front() == 30.0f);
  CHECK(part.experts[1].up.floats().front() == 45.0f);
  CHECK(part.experts[1].down.floats().front() == 15.0f);
  CHECK(part.experts[1].down.rows() == 5);
  CHECK(io_test::error_of([&] { find_experts(file.source, "x.", 3, 1, 5, 3); }).code() == ErrorCode::bad_file);
  CHECK(io_test::error_of([&] { find_experts(file.source, "x.", 2, 1, 3, 5); }).detail().field == "x.gate_up_proj");
}

TEST_CASE("a tied head is the embedding unless the file holds another") {
  WrittenTensor other = matrix("other", 4, 2);
  other.data[5] = 'x';
  const File file({matrix("embedding", 4, 2), matrix("same", 4, 2), other, matrix("half", 4, 2, "BF16")});
  const WeightRows embedding = WeightRows::find(file.source, "embedding", {4, 2});
  CHECK(!find_head(file.source, "none", embedding, true));
  CHECK(!find_head(file.source, "same", embedding, true));
  CHECK(name_of(find_head(file.source, "other", embedding, true).value()) == "other");
  CHECK(name_of(find_head(file.source, "half", embedding, true).value()) == "half");
  CHECK(name_of(find_head(file.source, "same", embedding, false).value()) == "same");
  CHECK(io_test::error_of([&] { find_head(file.source, "none", embedding, false); }).detail().field == "none");
}

TEST_CASE("each matrix is packed in the format that keeps its values, whatever stands beside it") {
  const File file({matrix("a", 1, 2, "BF16"), matrix("b", 1, 2), matrix("c", 1, 2, "F16")});
  const auto rows = [&](const char* name) { return WeightRows::find(file.source, name, {1, 2}); };
  const auto formats = [&](std::vector<ExpertRows> experts) {
    const GluFormats<AnyFormat> found = ExpertsPart{std::move(experts)}.formats();
    return std::string(found.gate.name()) + " " + found.up.name() + " " + found.down.name();
  };
  CHECK(formats({{rows("a"), rows("a"), rows("a")}}) == "bf16 bf16 bf16");
  CHECK(formats({{rows("a"), rows("a"), rows("b")}}) == "bf16 bf16 f32");
  CHECK(formats({{rows("c"), rows("a"), rows("a")}}) == "f16 bf16 bf16");
  CHECK(formats({{rows("a"), rows("a"), rows("a")}, {rows("a"), rows("b"), rows("a")}}) == "bf16 f32 bf16");
}
