#include "headgate/models/decoder_tensors.hpp"

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

TEST_CASE("experts are found one by one") {
  std::vector<WrittenTensor> tensors;
  for (const std::string e : {"0.", "1."}) {
    tensors.push_back(matrix("x." + e + "gate_proj.weight", 3, 5));
    tensors.push_back(matrix("x." + e + "up_proj.weight", 3, 5));
    tensors.push_back(matrix("x." + e + "down_proj.weight", 5, 3));
  }
  const File file(tensors);
  const std::vector<GluTensors> experts = find_experts(file.source, "x.", 2, 3, 5);
  REQUIRE(experts.size() == 2);
  CHECK(experts[1].up.tensor->name == "x.1.up_proj.weight");
  CHECK(experts[1].up.rows == 3);
  CHECK(experts[1].up.cols() == 5);
  CHECK(experts[1].parameters() == 45);
  CHECK(io_test::error_of([&] { find_experts(file.source, "x.", 3, 3, 5); }).detail().field == "x.2.gate_proj.weight");
  CHECK(io_test::error_of([&] { find_experts(file.source, "x.", 2, 4, 5); }).detail().field == "x.0.gate_proj.weight");
}

TEST_CASE("stacked experts are parts of two tensors, gate rows before up rows") {
  const auto stack = [](const std::string& name, const std::string& shape, std::size_t count) {
    return WrittenTensor{name, "F32", shape, std::string(4 * count, '\0')};
  };
  const File file({stack("x.gate_up_proj", "[2,6,5]", 60), stack("x.down_proj", "[2,5,3]", 30)});
  const std::vector<GluTensors> experts = find_experts(file.source, "x.", 2, 3, 5);
  REQUIRE(experts.size() == 2);
  CHECK(experts[1].gate.first == 6);
  CHECK(experts[1].up.first == 9);
  CHECK(experts[1].down.first == 5);
  CHECK(experts[1].down.rows == 5);
  CHECK(experts[0].up.tensor == experts[0].gate.tensor);
  CHECK(io_test::error_of([&] { find_experts(file.source, "x.", 3, 3, 5); }).code() == ErrorCode::bad_file);
  CHECK(io_test::error_of([&] { find_experts(file.source, "x.", 2, 5, 3); }).detail().field == "x.gate_up_proj");
}

TEST_CASE("a tied head is the embedding unless the file holds another") {
  WrittenTensor other = matrix("other", 4, 2);
  other.data[5] = 'x';
  const File file({matrix("embedding", 4, 2), matrix("same", 4, 2), other, matrix("half", 4, 2, "BF16")});
  const Tensor& embedding = *file.source.find("embedding");
  CHECK(find_head(file.source, "none", embedding, true) == nullptr);
  CHECK(find_head(file.source, "same", embedding, true) == nullptr);
  CHECK(find_head(file.source, "other", embedding, true)->name == "other");
  CHECK(find_head(file.source, "half", embedding, true)->name == "half");
  CHECK(find_head(file.source, "same", embedding, false)->name == "same");
  CHECK(io_test::error_of([&] { find_head(file.source, "none", embedding, false); }).detail().field == "none");
}

TEST_CASE("weights are packed in bfloat16 where all of them are stored so, else in float32") {
  const File file({matrix("a", 1, 2, "BF16"), matrix("b", 1, 2, "BF16"), matrix("c", 1, 2), matrix("d", 1, 2, "F16")});
  const auto format = [&](std::initializer_list<const char*> names) {
    std::vector<GluTensors> experts;
    for (const char* name : names) {
      const Tensor& tensor = *file.source.find(name);
      experts.push_back({tensor, tensor, tensor});
    }
    return std::string(with_format(experts, [](auto found) { return decltype(found)::name(); }));
  };
  CHECK(format({"a", "b"}) == "bf16");
  CHECK(format({"a", "c"}) == "f32");
  CHECK(format({"d"}) == "f32");
  const Tensor* const a = file.source.find("a");
  const Tensor* const c = file.source.find("c");
  CHECK(std::string(with_format({a, a}, [](auto found) { return decltype(found)::name(); })) == "bf16");
  CHECK(std::string(with_format({a, c}, [](auto found) { return decltype(found)::name(); })) == "f32");
}

TEST_CASE("every tensor in use is named, optional ones only where they are") {
  const File file({matrix("a", 1, 2)});
  const Tensor& a = *file.source.find("a");
  DecoderTensors tensors;
  tensors.embedding = &a;
  tensors.layers.resize(2);
  tensors.layers[0].query = &a;
  tensors.layers[1].experts = {{a, a, a}};
  int count = 0;
  tensors.for_each([&](const Tensor& tensor) { count += &tensor == &a ? 1 : 100; });
  CHECK(count == 5);
  CHECK(!tensors.layers[0].is_sparse());
}
