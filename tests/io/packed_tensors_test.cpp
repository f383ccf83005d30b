#include "headgate/io/packed_tensors.hpp"

#include "headgate/io/safetensors.hpp"
#include "headgate/io/safetensors_header.hpp"
#include "io/refusal.hpp"
#include "io/safetensors_writer.hpp"

using namespace headgate;

namespace {

std::string file_of(const std::string& layout, const std::string& version, const std::string& tensors,
                    DType dtype = DType::u8) {
  const std::pair<std::string, std::string> metadata[] = {
      {"headgate.layout", layout}, {"headgate.version", version}, {"headgate.tensors", tensors}};
  const std::vector<SafetensorsEntry> entries = {{"a", dtype, {64}, 64u * static_cast<unsigned>(info(dtype).size)},
                                                 {"b", DType::u8, {3}, 3}};
  return safetensors_header(entries, metadata) + std::string(64 * static_cast<std::size_t>(info(dtype).size) + 3, '\0');
}
std::string refusal_of(const std::string& file) {
  const Error error = io_test::error_of([&] { read_safetensors(io_test::bytes_of(file), "file"); });
  CHECK(error.code() == ErrorCode::bad_file);
  return error.what();
}
const std::string good = R"({"a":{"type":"Q4_0","shape":[2,16,32],"run":16,"step":1}})";

}  // namespace

TEST_CASE("bytes that the metadata calls panels are a tensor of what they hold, others stay bytes") {
  const std::string file = file_of("panel16", "1", good);
  const std::vector<Tensor> tensors = read_safetensors(io_test::bytes_of(file), "file");
  REQUIRE(tensors.size() == 2);
  CHECK(tensors[0].dtype == DType::q4_0);
  CHECK(tensors[0].shape == Shape{2, 16, 32});
  REQUIRE(tensors[0].panels);
  CHECK(tensors[0].panels->run == 16);
  CHECK(tensors[0].panels->step == 1);
  CHECK(tensors[0].bytes.size() == 64);
  CHECK(tensors[1].dtype == DType::u8);
  CHECK_FALSE(tensors[1].panels);
  CHECK(R"({"a":)" + PackedTensors::entry(DType::q4_0, {2, 16, 32}, {16, 1}) + "}" == good);
  // They are read by who knows panels.
  std::vector<float> values(32);
  CHECK(io_test::error_of([&] { read_elements(tensors[0], 0, values); }).code() == ErrorCode::usage);
  CHECK(io_test::error_of([&] { tensors[0].slice(0); }).code() == ErrorCode::usage);
}

TEST_CASE("another layout or version of panels is refused by its name") {
  CHECK(refusal_of(file_of("panel32", "1", good)).find("layout \"panel32\", known is \"panel16\"") !=
        std::string::npos);
  CHECK(refusal_of(file_of("panel16", "2", good)).find("version \"2\", known is \"1\"") != std::string::npos);
  CHECK(refusal_of(file_of("panel16", "", good)).find("version \"\"") != std::string::npos);
}

TEST_CASE("entries of panels that are none are refused with their names") {
  for (const auto& [text, words] : {std::pair{"[]", "headgate.tensors"},
                                    {"{\"a\":1}", "a"},
                                    {"{\"a\":{}}", "type"},
                                    {R"({"a":{"type":"Q4_0","shape":[],"run":1,"step":1}})", "shape"},
                                    {R"({"a":{"type":"Q4_0","shape":[1,1,1,1,1,1,1,1,1],"run":1,"step":1}})", "shape"},
                                    {R"({"a":{"type":"Q4_0","shape":[0],"run":1,"step":1}})", "shape"},
                                    {R"({"a":{"type":"Q4_0","shape":[4294967296],"run":1,"step":1}})", "shape"},
                                    {R"({"a":{"type":"Q4_0","shape":[32],"run":0,"step":1}})", "run"},
                                    {R"({"a":{"type":"Q4_0","shape":[32],"run":1,"step":-1}})", "step"},
                                    {R"({"a":{"type":"Q4_0","shape":[32],"step":1}})", "run"},
                                    {R"({"a":{"type":4,"shape":[32],"run":1,"step":1}})", "type"},
                                    {"{", "headgate.tensors"},
                                    {"", "headgate.tensors"}}) {
    CAPTURE(text);
    CHECK(refusal_of(file_of("panel16", "1", text)).find(words) != std::string::npos);
  }
}

TEST_CASE("panels of an unknown type, or of a tensor that is no bytes, are refused by who needs them alone") {
  const auto opaque_of = [](const std::string& file) {
    return read_safetensors(io_test::bytes_of(file), "file")[0].opaque;
  };
  CHECK(opaque_of(file_of("panel16", "1", R"({"a":{"type":"Q9_Z","shape":[32],"run":1,"step":1}})")).find("Q9_Z") !=
        std::string::npos);
  CHECK(opaque_of(file_of("panel16", "1", good, DType::f32)).find("no U8") != std::string::npos);
  CHECK(opaque_of(file_of("panel16", "1", R"({"absent":{"type":"Q4_0","shape":[32],"run":1,"step":1}})")).empty());
}
