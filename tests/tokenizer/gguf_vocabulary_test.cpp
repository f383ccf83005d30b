#include "headgate/tokenizer/gguf_vocabulary.hpp"

#include "support/catch.hpp"
#include "tokenizer/gguf_text.hpp"

using namespace headgate;

TEST_CASE("what metadata says of a vocabulary is read, and what it does not say is left open") {
  const GgufText text = GgufText::pieces();
  const std::string bytes = gguf_file(text.vocabulary)
                                .key("tokenizer.ggml.add_bos_token", io_test::gguf_value(false))
                                .key("tokenizer.ggml.eot_token_id", io_test::gguf_value(std::uint32_t{264}))
                                .key("general.architecture", io_test::gguf_value("phimoe"))
                                .file();
  const GgufFile file = read_gguf(std::as_bytes(std::span(bytes)), "m.gguf");
  const GgufVocabulary read = GgufVocabulary::read(file.metadata);
  CHECK(read.model == "llama");
  CHECK(read.pre.empty());
  CHECK(read.tokens == text.vocabulary.tokens);
  CHECK(read.scores == text.vocabulary.scores);
  CHECK(read.types == text.vocabulary.types);
  CHECK(read.merges.empty());
  CHECK(read.add_bos == false);
  CHECK_FALSE(read.add_eos);
  CHECK_FALSE(read.add_space_prefix);
  CHECK(read.eot_id == 264);
  CHECK_FALSE(read.bos_id);
  CHECK(read.strips_after_control);
}
