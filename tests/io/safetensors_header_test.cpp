#include "headgate/io/safetensors_header.hpp"

#include "headgate/io/safetensors.hpp"
#include "io/safetensors_writer.hpp"
#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("a header and the data behind it are a safetensors file, whose data begins on a line") {
  for (std::size_t length = 1; length < 70; ++length) {
    const std::string name(length, 'n');
    const std::vector<SafetensorsEntry> entries = {
        {name, DType::u8, {64}, 64}, {"b\"\\\n", DType::f32, {2, 3}, 24}, {"scalar", DType::bf16, {}, 2}};
    const std::pair<std::string, std::string> metadata[] = {{"format", "pt"}, {"q", "{\"a\":\"b\"}"}};
    const std::string file = safetensors_header(entries, metadata) + std::string(64 + 24 + 2, '\1');
    const std::vector<Tensor> tensors = read_safetensors(io_test::bytes_of(file), "file");
    REQUIRE(tensors.size() == 3);
    for (const Tensor& tensor : tensors) {
      if (tensor.name != name) continue;
      CHECK(tensor.offset % 64 == 0);
      CHECK(tensor.shape == Shape{64});
    }
    CHECK(tensors[0].name == "b\"\\\n");
    CHECK(tensors[0].shape == Shape{2, 3});
  }
  CHECK(read_safetensors(io_test::bytes_of(safetensors_header({})), "file").empty());
}
