#include "headgate/tokenizer/load_tokenizer.hpp"

#include "support/catch.hpp"
#include "support/scratch_folder.hpp"
#include "tokenizer/gguf_text.hpp"
#include "tokenizer/refusal.hpp"

using namespace headgate;
using Ids = std::vector<std::int32_t>;

TEST_CASE("load_tokenizer takes a folder, its tokenizer.json or a GGUF file") {
  const std::string folder = HEADGATE_SOURCE_DIR "/examples/models/tales";
  const Ids expected = Tokenizer::from_file(folder + "/tokenizer.json").encode("Once upon a time");
  CHECK(load_tokenizer(folder).encode("Once upon a time") == expected);
  CHECK(load_tokenizer(folder + "/tokenizer.json").encode("Once upon a time") == expected);
  CHECK(tokenizer_file(folder) == folder + "/tokenizer.json");
  CHECK(refusal_of([&] { load_tokenizer(folder + "/no such file"); }).code == ErrorCode::io);
  const Refusal none = refusal_of([&] { load_tokenizer(folder + "/model.safetensors"); });
  CHECK(none.code == ErrorCode::bad_file);
  CHECK(none.says("holds no tokenizer"));
  const ScratchFolder scratch;
  const std::string file = scratch.write("v.gguf", gguf_file(GgufText::bytes().vocabulary).file());
  CHECK(load_tokenizer(file).encode("the") == Ids{257});
  CHECK(tokenizer_file(file) == file);
  CHECK(refusal_of([&] { load_tokenizer(scratch.write("note", "x")); }).says("holds no tokenizer"));
  std::filesystem::copy_file(folder + "/model.safetensors", scratch / "weights.gguf");
  CHECK(refusal_of([&] { load_tokenizer((scratch / "weights.gguf").string()); }).code == ErrorCode::bad_file);
}
