#include "headgate/models/importance_matrix.hpp"

#include "io/gguf_writer.hpp"
#include "io/refusal.hpp"
#include "support/catch.hpp"

using namespace headgate;

namespace {

std::string floats(std::initializer_list<float> values) {
  std::string bytes;
  for (const float value : values) bytes += io_test::raw(value);
  return bytes;
}
io_test::GgufWriter started() {
  io_test::GgufWriter file;
  file.key("general.type", io_test::gguf_value("imatrix"));
  return file;
}
ErrorCode refusal_of(const io_test::GgufWriter& file, const std::string& name, std::int64_t part, index_t cols) {
  const io_test::ScratchFolder folder;
  const std::string path = folder.write("i.gguf", file.file());
  return io_test::error_of([&] { ImportanceMatrix::open(path).columns(name, part, cols); }).code();
}

}  // namespace

TEST_CASE("importance is the mean of the squares of what a column was multiplied with") {
  const io_test::ScratchFolder folder;
  io_test::GgufWriter file = started();
  file.tensor("blk.0.ffn_down_exps.weight.in_sum2", {3, 2}, 0, floats({2, 4, 6, 1, 0, 3}));
  file.tensor("blk.0.ffn_down_exps.weight.counts", {1, 2}, 0, floats({2, 0}));
  file.tensor("output.weight.in_sum2", {2, 1}, 0, floats({0, 0}));
  file.tensor("output.weight.counts", {1, 1}, 0, floats({5}));
  const ImportanceMatrix matrix = ImportanceMatrix::open(folder.write("i.gguf", file.file()));
  CHECK(matrix.columns("blk.0.ffn_down_exps.weight", 0, 3) == std::vector<float>{1, 2, 3});
  CHECK(matrix.columns("blk.0.ffn_down_exps.weight", 1, 3).empty());  // never chosen
  CHECK(matrix.columns("output.weight", 0, 2).empty());               // all zero: nothing to go by
  CHECK(matrix.columns("blk.1.ffn_down_exps.weight", 0, 3).empty());
}

TEST_CASE("importance that does not fit the matrix, or is no number, is refused") {
  io_test::GgufWriter file = started();
  file.tensor("a.in_sum2", {2, 1}, 0, floats({1, -1}));
  file.tensor("a.counts", {1, 1}, 0, floats({1}));
  file.tensor("b.in_sum2", {2, 1}, 0, floats({1, std::numeric_limits<float>::quiet_NaN()}));
  file.tensor("b.counts", {1, 2}, 0, floats({1, 1}));
  CHECK(refusal_of(file, "a", 0, 2) == ErrorCode::bad_file);
  CHECK(refusal_of(file, "a", 0, 3) == ErrorCode::bad_file);
  CHECK(refusal_of(file, "a", 1, 2) == ErrorCode::bad_file);
  CHECK(refusal_of(file, "b", 0, 2) == ErrorCode::bad_file);
  io_test::GgufWriter other;
  other.key("general.type", io_test::gguf_value("model"));
  other.tensor("a.in_sum2", {2, 1}, 0, floats({1, 1}));
  CHECK(refusal_of(other, "a", 0, 2) == ErrorCode::bad_file);
}

TEST_CASE("tensors of Hugging Face have the names of GGUF files") {
  const auto place = [](const char* name) {
    const std::optional<GgufPlace> found = ImportanceMatrix::place_of(name);
    return found ? found->name + " " + std::to_string(found->part) : "";
  };
  CHECK(place("model.embed_tokens.weight") == "token_embd.weight -1");
  CHECK(place("lm_head.weight") == "output.weight -1");
  CHECK(place("model.layers.12.self_attn.q_proj.weight") == "blk.12.attn_q.weight -1");
  CHECK(place("model.layers.3.mlp.experts.17.up_proj.weight") == "blk.3.ffn_up_exps.weight 17");
  CHECK(place("model.layers.3.block_sparse_moe.experts.0.w2.weight") == "blk.3.ffn_down_exps.weight 0");
  CHECK(place("model.layers.3.mlp.experts.gate_up_proj") == "blk.3.ffn_gate_exps.weight -1");
  CHECK(place("model.layers.3.block_sparse_moe.output_linear.weight") == "blk.3.ffn_down_exps.weight -1");
  CHECK(place("model.layers.3.mlp.shared_experts.down_proj.weight") == "blk.3.ffn_down_shexp.weight -1");
  CHECK(place("model.layers.3.mlp.experts.x.up_proj.weight").empty());
  CHECK(place("model.layers.3").empty());
  CHECK(place("model.layers.").empty());
  CHECK(place("something").empty());
}
