#include "headgate/models/parts/mla_part.hpp"

#include "models/small_file.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("a latent attention reads its queries from the row or from latents of their own") {
  const SmallFile file({counting("a.q_proj.weight", {18, 5}), counting("a.q_a_proj.weight", {7, 5}),
                        counting("a.q_a_layernorm.weight", {7}), counting("a.q_b_proj.weight", {18, 7}),
                        counting("a.kv_a_proj_with_mqa.weight", {13, 5}), counting("a.kv_a_layernorm.weight", {9}),
                        counting("a.kv_b_proj.weight", {15, 9}, "BF16"), counting("a.o_proj.weight", {5, 9})});
  MlaShape shape{.hidden_size = 5,
                 .num_heads = 3,
                 .query_rank = 0,
                 .latent_size = 9,
                 .nope_dim = 2,
                 .rope_dim = 4,
                 .value_dim = 3,
                 .scale = 0.4f};
  const auto rope = std::make_shared<const Rope>(Rope::create(1e4, 4).value());
  const MlaPart direct = MlaPart::find(file.source, "a.", shape, rope, /*is_interleaved=*/true);
  CHECK(direct.words() == "latent attention, 3 heads, 9 + 4 a position");
  CHECK(!direct.query_down);
  // Of a head two rows without positions, then pairs, put apart.
  CHECK(direct.query.floats()[3 * 5] == 20.0f);
  CHECK(direct.latent.floats()[10 * 5] == 55.0f);
  WeightList weights;
  direct.list_weights(weights);
  CHECK(weights.size() == 5);
  const StateSize size{20, 4, 0};
  CHECK(direct.state()(size) == shape.state_bytes(size));
  CHECK(direct.reads()(20).positions == 20);
  CHECK(direct.reads()(20).multiply_adds == 20 * 3 * (13 + 9));  // keys, then latents alone
  Context ctx;
  CHECK(direct.pack(Packer(ctx)).hidden_size() == 5);

  shape.query_rank = 7;
  const MlaPart low_rank = MlaPart::find(file.source, "a.", shape, rope, /*is_interleaved=*/false);
  CHECK(low_rank.query.cols() == 7);
  CHECK(low_rank.query.floats()[3 * 7] == 21.0f);
  weights.clear();
  low_rank.list_weights(weights);
  CHECK(weights.size() == 7);
  shape.has_bias = true;
  CHECK(io_test::contains(
      io_test::error_of([&] { MlaPart::find(file.source, "a.", shape, rope, true); }).detail().field, ".bias"));
}
