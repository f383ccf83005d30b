#include "headgate/models/parts/gqa_part.hpp"

#include "models/small_file.hpp"

using namespace headgate;
using namespace models_test;

namespace {

SmallFile attention_file() {
  return SmallFile({counting("a.q_proj.weight", {12, 5}), counting("a.k_proj.weight", {4, 5}),
                    counting("a.v_proj.weight", {4, 5}, "BF16"), counting("a.o_proj.weight", {5, 12}),
                    counting("a.q_proj.bias", {12}), counting("a.q_norm.weight", {4}), counting("a.k_norm.weight", {4}),
                    counting("a.sinks", {3})});
}
constexpr GqaShape three_heads{.hidden_size = 5, .num_heads = 3, .num_kv_heads = 1, .head_dim = 4, .scale = 0.5f};

}  // namespace

TEST_CASE("an attention has the tensors that its shape asks for, each in its format") {
  const SmallFile file = attention_file();
  const auto rope = std::make_shared<const Rope>(Rope::create(1e4, 4).value());
  GqaPart part = GqaPart::find(file.source, "a.", three_heads, rope);
  CHECK(part.words() == "3 heads of 4, 1 KV heads");
  Context ctx;
  CHECK(part.formats(Packer(ctx)).value == Bf16{});
  CHECK(part.formats(Packer(ctx)).query == F32{});
  WeightList weights;
  part.list_weights(weights);
  CHECK(weights.size() == 4);

  GqaShape shape = three_heads;
  shape.has_query_bias = true;
  shape.qk_norm = QkNorm::per_head;
  shape.has_sinks = true;
  shape.window = 6;
  part = GqaPart::find(file.source, "a.", shape, nullptr);
  CHECK(part.words() == "3 heads of 4, 1 KV heads, window 6, sinks, no positions");
  weights.clear();
  part.list_weights(weights);
  CHECK(weights.size() == 8);
  CHECK(part.pack(Packer(ctx)).rope() == nullptr);
  shape.has_output_bias = true;
  CHECK(io_test::error_of([&] { GqaPart::find(file.source, "a.", shape, nullptr); }).detail().field == "a.o_proj.bias");
}

TEST_CASE("a row reads the text before it, of a window its end, of regions those it chose") {
  const SmallFile file = attention_file();
  GqaShape shape = three_heads;
  const TextRead all = GqaPart::find(file.source, "a.", shape, nullptr).reads()(40);
  CHECK(all.positions == 40);
  CHECK(all.multiply_adds == 40 * 2 * 12);  // scores and sums of three heads of four
  const GqaPart part = GqaPart::find(file.source, "a.", shape, nullptr);
  const BilevelPart bilevel{part, 5, 2};
  CHECK(bilevel.reads()(40).positions == 15);
  CHECK(bilevel.reads()(40).multiply_adds == 15 * 2 * 12 + 8 * 12);
  CHECK(bilevel.reads()(9).positions == 9);
  shape.window = 6;
  const TextRead window = GqaPart::find(file.source, "a.", shape, nullptr).reads()(40);
  CHECK(window.positions == 6);
  CHECK(window.multiply_adds == 6 * 2 * 12);
  CHECK(GqaPart::find(file.source, "a.", shape, nullptr).reads()(4).positions == 4);
}

TEST_CASE("interleaved rotary pairs are put apart within each head of queries and keys, biases too") {
  const SmallFile file = attention_file();
  GqaShape shape = three_heads;
  shape.has_query_bias = true;
  const auto rope = std::make_shared<const Rope>(Rope::create(1e4, 4).value());
  const GqaPart part = GqaPart::find(file.source, "a.", shape, rope, {}, /*is_interleaved=*/true);
  CHECK(part.query_bias->floats() == std::vector<float>{0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11});
  CHECK(part.key.floats()[5] == 10.0f);   // the second row is the third of the file
  CHECK(part.value.floats()[5] == 5.0f);  // values do not turn
}
