// Packed files, as quantize_model writes them, that are cut short or changed: refused by name, or read without harm.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "headgate/models/checkpoint_documents.hpp"
#include "headgate/models/quantize.hpp"
#include "headgate/models/session.hpp"
#include "io/refusal.hpp"
#include "models/gguf_checkpoint.hpp"
#include "models/loading.hpp"

using namespace headgate;
using namespace models_test;

namespace {

// A checkpoint with matrices of several types in panels, and the folder that its variants are written into.
class Packed {
 public:
  Packed() {
    const ScratchFolder scratch;
    const std::string path = scratch.write("model.gguf", GgufCheckpoint(gguf_recipes(/*is_wide=*/true).front()).file());
    PackedTypes types = PackedTypes::all(DType::q4_0);
    types[ModelPart::experts] = DType::mxfp4;
    types[ModelPart::attention] = DType::q6_k;
    types[ModelPart::head] = DType::f16;
    quantize_model(path, {.types = types}, [this](std::string_view more) { file += more; });
    folder_.write("config.json", gguf_config_text(TensorSource::open(path)));
    for (std::size_t i = 0; i < 8; ++i) header_size |= std::size_t{static_cast<unsigned char>(file[i])} << (8 * i);
  }
  std::string header() const { return file.substr(8, header_size); }
  // The same weights behind another header.
  std::string with_header(const std::string& header) const {
    return io_test::safetensors(header, file.substr(8 + header_size));
  }
  std::shared_ptr<const Model> load(const std::string& bytes, Compute compute = Compute::int8) const {
    folder_.write("model.safetensors", bytes);
    return load_model(folder_.path(), {.compute = compute});
  }
  Error refusal_of(const std::string& bytes) const {
    return io_test::error_of([&] { load(bytes); });
  }

  std::string file;
  std::size_t header_size = 0;

 private:
  ScratchFolder folder_;
};

// Loads and runs, or says why not. Whether it ran.
bool survives(const Packed& packed, const std::string& bytes, Compute compute) {
  try {
    const std::shared_ptr<const Model> model = packed.load(bytes, compute);
    Context ctx;
    Session session(model, {.context_size = 8});
    const std::int32_t tokens[] = {1, 0, 2};
    const Status status = session.forward(tokens, ctx);
    CHECK((status.ok() || status.code == ErrorCode::numeric));
    return true;
  } catch (const Error& error) {
    CHECK((error.code() == ErrorCode::bad_file || error.code() == ErrorCode::limit));
    CHECK(std::string_view(error.what()).size() <= 4096);
    return false;
  }
}

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  const std::size_t at = text.find(what);
  REQUIRE(at != std::string::npos);
  return text.replace(at, what.size(), with);
}

}  // namespace

TEST_CASE("a packed file that is cut short is refused, wherever") {
  const Packed packed;
  std::vector<std::size_t> lengths = {
      0, 1, 7, 8, 9, packed.header_size, packed.header_size + 8, packed.file.size() - 1};
  for (std::uint64_t i = 0; i < 40; ++i) {
    lengths.push_back(splitmix64(1, i) % (packed.header_size + 8));
    lengths.push_back(splitmix64(2, i) % packed.file.size());
  }
  for (const std::size_t length : lengths) {
    CAPTURE(length);
    CHECK(packed.refusal_of(packed.file.substr(0, length)).code() == ErrorCode::bad_file);
  }
  CHECK(packed.refusal_of(packed.file + "x").code() == ErrorCode::bad_file);
}

TEST_CASE("a packed file with bytes changed is refused or computed with, and harms nothing") {
  const Packed packed;
  int refused = 0;
  int ran = 0;
  for (std::uint64_t i = 0; i < 300; ++i) {
    CAPTURE(i);
    std::string bytes = packed.file;
    const bool is_header = i % 4 != 0;
    for (std::uint64_t change = 0; change <= i % 3; ++change) {
      const std::uint64_t random = splitmix64(3 + change, i);
      const std::size_t at = is_header ? random % (packed.header_size + 8)
                                       : packed.header_size + 8 + random % (bytes.size() - packed.header_size - 8);
      // Digits become digits, which says something else and not nothing.
      char& byte = bytes[at];
      byte =
          byte >= '0' && byte <= '9' ? static_cast<char>('0' + (random >> 40) % 10) : static_cast<char>(random >> 40);
    }
    (survives(packed, bytes, i % 2 == 0 ? Compute::int8 : Compute::f32) ? ran : refused) += 1;
  }
  CHECK(refused > 100);
  CHECK(ran > 75);
}

TEST_CASE("metadata of panels that does not fit their bytes is refused with the tensor") {
  const Packed packed;
  const std::string header = packed.header();
  const std::size_t entries = header.find("headgate.tensors");
  REQUIRE(entries != std::string::npos);
  const std::size_t key = header.find("{\\\"", entries) + 3;
  const std::string name = header.substr(key, header.find('\\', key) - key);
  const std::string tail = header.substr(key);
  const std::string entry = tail.substr(0, tail.find('}') + 1);
  const auto member = [&](const std::string& word) {
    const std::size_t at = entry.find(word);
    REQUIRE(at != std::string::npos);
    return entry.substr(at, entry.find_first_of(",}", at) - at);
  };
  const std::string run = member("run");
  const std::string step = member("step");
  const std::string type = member("type");
  const std::string rows = member("shape");
  CAPTURE(name, entry);
  for (const auto& [what, with] : {std::pair<std::string, std::string>{run, "run\\\":7"},
                                   {run, run + "0"},
                                   {run, "run\\\":2147483647"},
                                   {step, "step\\\":5"},
                                   {step, "step\\\":2147483647"},
                                   {type, "type\\\":\\\"F32\\\""},
                                   {type, "type\\\":\\\"Q2_K\\\""},
                                   {type, "type\\\":\\\"Q9_Z\\\""},
                                   {type, "type\\\":\\\"U8\\\""},
                                   {rows, rows + "0"},
                                   {rows, "shape\\\":[1"},
                                   {rows, "shape\\\":[2147483647"}}) {
    CAPTURE(what, with);
    const Error error = packed.refusal_of(packed.with_header(replaced(header, entry, replaced(entry, what, with))));
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK(error.detail().field.find(name) != std::string::npos);
  }
  // Bytes that nothing calls panels are no weights.
  const Error nameless = packed.refusal_of(packed.with_header(replaced(header, name + "\\\":{", "nobody\\\":{")));
  CHECK(nameless.code() == ErrorCode::bad_file);
  CHECK(nameless.detail().field.find(name) != std::string::npos);
}

TEST_CASE("panels that begin on no line of 64 bytes are copied, and compute the same bits") {
  const Packed packed;
  const std::int32_t tokens[] = {1, 0, 2, 1};
  const auto logits = [&](const std::string& bytes) { return Run(packed.load(bytes), tokens, 3, 2, {}, 8).logits; };
  const std::vector<float> wanted = logits(packed.file);
  for (const std::size_t spaces : {1u, 8u, 63u}) {
    CHECK(logits(packed.with_header(packed.header() + std::string(spaces, ' '))) == wanted);
  }
}
