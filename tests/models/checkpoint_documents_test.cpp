// config.json and vocabulary of GGUF files. That models compute the same with them: quantize_test.cpp.
#include "headgate/models/checkpoint_documents.hpp"

#include "headgate/tokenizer/load_chat_format.hpp"
#include "headgate/tokenizer/load_tokenizer.hpp"
#include "io/gguf_writer.hpp"
#include "io/refusal.hpp"
#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("the vocabulary of a GGUF file stands beside a packed model, and is the same tokenizer") {
  io_test::GgufWriter file;
  const auto strings = [](std::initializer_list<const char*> texts) {
    std::string bytes;
    for (const char* const text : texts) bytes += io_test::gguf_string(text);
    return io_test::gguf_array(8, texts.size(), bytes);
  };
  file.key("general.architecture", io_test::gguf_value("llama"));
  file.key("split.count", io_test::gguf_value(std::int32_t{2}));
  file.key("tokenizer.ggml.model", io_test::gguf_value("gpt2"));
  file.key("tokenizer.ggml.pre", io_test::gguf_value("gpt-2"));
  file.key("tokenizer.ggml.tokens", strings({"a", "b", "ab", "<eos>"}));
  file.key("tokenizer.ggml.token_type",
           io_test::gguf_array(5, 4, io_test::raw(1) + io_test::raw(1) + io_test::raw(1) + io_test::raw(3)));
  file.key("tokenizer.ggml.merges", strings({"a b"}));
  file.key("tokenizer.ggml.eos_token_id", io_test::gguf_value(std::uint32_t{3}));
  file.key("tokenizer.chat_template", io_test::gguf_value("{{ '<|im_start|>' }}"));
  file.key("llama.block_count", io_test::gguf_value(std::uint32_t{1}));
  const io_test::ScratchFolder folder;
  const std::string path = folder.write("one.gguf", file.file());
  const MappedFile mapped = MappedFile::open(path);
  GgufFile read = read_gguf(mapped.bytes(), path);
  CHECK(read.metadata.has("split.count"));

  // As the source of a file that is not split would have it.
  io_test::GgufWriter whole;
  const std::string bytes = [&] {
    std::string text = file.file();
    const std::string key = io_test::gguf_string("split.count");
    text.replace(text.find(key), key.size(), io_test::gguf_string("split_count"));
    return text;
  }();
  const TensorSource source = TensorSource::open(folder.write("whole.gguf", bytes));
  folder.write("tokenizer.gguf", gguf_vocabulary(source));
  const TensorSource vocabulary = TensorSource::open((folder / "tokenizer.gguf").string());
  CHECK(vocabulary.tensors().empty());
  CHECK_FALSE(vocabulary.metadata()->has("split_count"));
  CHECK_FALSE(vocabulary.metadata()->has("llama.block_count"));
  CHECK(tokenizer_file(folder.path()) == folder.path() + "/tokenizer.gguf");
  CHECK(load_tokenizer(folder.path()).encode("abba") ==
        load_tokenizer((folder / "whole.gguf").string()).encode("abba"));
  CHECK(read_chat_source(folder.path()).jinja == "{{ '<|im_start|>' }}");
  folder.write("tokenizer.json", "{}");  // stands above it
  CHECK(tokenizer_file(folder.path()) == folder.path() + "/tokenizer.json");
}
