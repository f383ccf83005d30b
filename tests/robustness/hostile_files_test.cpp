// Files of a kilobyte that speak of more than there is, and weights that are no numbers.
#include "robustness/hole_checkpoints.hpp"

#include <chrono>
#include <cstdint>
#include <memory>

#include "headgate/models/session.hpp"
#include "io/refusal.hpp"
#include "models/loading.hpp"

using namespace headgate;
using namespace robustness;

namespace {

// GGUF headers of less than 1 KB that speak of more than there is. They all begin as a model's file does.
std::vector<std::string> hostile_gguf() {
  const auto begun = [] {
    io_test::GgufWriter writer;
    writer.key("general.architecture", gguf_value("llama"));
    return writer;
  };
  std::vector<std::string> files;
  for (const std::uint64_t count : {std::uint64_t{1} << 20, std::uint64_t{1} << 31, std::uint64_t{1} << 32,
                                    std::uint64_t{1} << 60, std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    const std::string raw = io_test::raw(count);
    for (const bool of_keys : {true, false}) {  // C4, C5
      io_test::GgufWriter writer = begun();
      (of_keys ? writer.more_keys : writer.more_tensors) = static_cast<std::int64_t>(count);
      files.push_back(writer.file());
    }
    files.push_back(begun().raw_key(raw + "key").file());  // C7
    for (const std::uint32_t type : {0u, 5u, 8u, 10u}) {   // C13, C14
      files.push_back(begun()
                          .raw_key(io_test::gguf_string("tokenizer.ggml.tokens") + io_test::raw(std::uint32_t{9}) +
                                   io_test::raw(type) + raw)
                          .file());
    }
    files.push_back(begun().raw_key(io_test::gguf_string("k") + io_test::raw(std::uint32_t{8}) + raw).file());
    for (const std::uint32_t type : {0u, 2u, 8u, 14u}) {  // C31 to C34
      for (const std::string& sizes : {io_test::raw(std::uint32_t{1}) + raw,
                                       io_test::raw(std::uint32_t{2}) + raw + io_test::raw(std::uint64_t{1} << 31)}) {
        files.push_back(
            begun()
                .raw_tensor(
                    io_test::gguf_string("token_embd.weight") + sizes + io_test::raw(type) + std::string(8, '\0'), "")
                .file());
      }
    }
    files.push_back(begun().raw_tensor(raw + "name", "").file());  // C29
  }
  for (const char* const key : {"block_count", "embedding_length", "expert_count", "attention.head_count",
                                "feed_forward_length", "vocab_size"}) {  // C19 to C21
    io_test::GgufWriter writer = begun();
    for (const char* const other : {"block_count", "embedding_length", "expert_count", "attention.head_count",
                                    "feed_forward_length", "vocab_size"}) {
      writer.key("llama." + std::string(other), gguf_value(std::uint32_t{other == key ? 4096u : 64u}));
    }
    writer.key("llama.context_length", gguf_value(std::uint32_t{64}));
    writer.key("llama.attention.layer_norm_rms_epsilon", gguf_value(1e-5f)).tensor("x", {1}, 0, "1234");
    files.push_back(writer.file());
  }
  return files;
}

std::vector<std::string> hostile_safetensors() {
  std::vector<std::string> files;
  for (const char* const count : {"1048576", "2147483648", "4294967296", "9223372036854775807"}) {
    const std::string number = count;
    for (const std::string& sizes : {"[" + number + "]", "[" + number + "," + number + "]", "[1," + number + "]"}) {
      for (const std::string& offsets : {"[0," + number + "]", std::string("[0,4]")}) {
        files.push_back(io_test::safetensors("{\"model.embed_tokens.weight\":{\"dtype\":\"BF16\",\"shape\":" + sizes +
                                                 ",\"data_offsets\":" + offsets + "}}",
                                             "1234"));
      }
    }
    files.push_back(io_test::little_endian(std::stoull(number)) + "{}");
  }
  files.push_back(io_test::safetensors(std::string(900, '['), ""));
  files.push_back(io_test::safetensors("{\"a\":" + std::string(900, '{'), ""));
  return files;
}

void check_cheap(const std::string& path, const std::string& which) {
  CAPTURE(which);
#if defined(__linux__) && !HEADGATE_SANITIZED
  Peak peak;
  const bool can_tell = peak.begin();
#endif
  const auto start = std::chrono::steady_clock::now();
  const Error error = io_test::error_of([&] { load_model(path); });
  CAPTURE(error.what());
  CHECK(error.code() == ErrorCode::bad_file);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(HEADGATE_SANITIZED ? 10 : 1));
#if defined(__linux__) && !HEADGATE_SANITIZED
  if (can_tell) CHECK(peak.grown() < 64 * mib);
#endif
}

}  // namespace

TEST_CASE("a hostile file of a kilobyte costs less than 64 MiB and a second") {
  const ScratchFolder folder;
  const std::vector<std::string> gguf = hostile_gguf();
  CHECK(gguf.size() > 90);
  for (std::size_t i = 0; i < gguf.size(); ++i) {
    REQUIRE(gguf[i].size() <= 1024);
    check_cheap(folder.write("model.gguf", gguf[i]), "GGUF " + std::to_string(i));
  }
  const ScratchFolder model;
  safetensors_of_holes(model, {});
  const std::vector<std::string> tensors = hostile_safetensors();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    REQUIRE(tensors[i].size() <= 1024);
    model.write("model.safetensors", tensors[i]);
    check_cheap(model.path(), "safetensors " + std::to_string(i));
  }
}

// C42
TEST_CASE("a quantised weight or a router that is not a number is an error of numbers with its layer") {
  const ScratchFolder folder;
  const std::string path = (folder / "model.gguf").string();
  const std::string one_nan = io_test::raw(std::uint32_t{0x7fc00000});
  const std::string half_nan = io_test::raw(std::uint16_t{0x7e00});
  const std::string half_infinity = io_test::raw(std::uint16_t{0xfc00});
  struct Case {
    const char* tensor;
    std::string bytes;  // of its first element, or the scale of its first block
  };
  for (const Case& c : {Case{"blk.1.ffn_gate_inp.weight", one_nan}, Case{"blk.1.attn_q.weight", half_nan},
                        Case{"blk.1.attn_output.weight", half_infinity}, Case{"blk.1.ffn_down_exps.weight", half_nan},
                        Case{"blk.1.ffn_up_exps.weight", half_infinity}, Case{"blk.1.attn_norm.weight", one_nan}}) {
    CAPTURE(c.tensor);
    gguf_of_holes(path, {});
    const std::uint64_t place = TensorSource::open(path).find(c.tensor)->offset;
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(place));
    file << c.bytes << std::flush;
    Session session(load_model(path));
    Context ctx;
    const std::int32_t tokens[] = {1, 2};
    const Status status = session.forward(tokens, ctx);
    CHECK(status.code == ErrorCode::numeric);
    CHECK(status.layer >= 1);
    CHECK(session.position() == 0);
  }
}
