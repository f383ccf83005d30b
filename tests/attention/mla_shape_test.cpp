#include "headgate/attention/mla_shape.hpp"

#include "support/catch.hpp"
#include "support/status.hpp"

using namespace headgate;

namespace {

const MlaShape good{.hidden_size = 40,
                    .num_heads = 3,
                    .latent_size = 20,
                    .nope_dim = 14,
                    .rope_dim = 10,
                    .value_dim = 12,
                    .scale = 1.0f};

}  // namespace

TEST_CASE("a latent attention's shape is taken at its bounds, and beyond them the bound is named") {
  const auto refusal = [](auto change) {
    MlaShape shape = good;
    change(shape);
    return said(shape.check());
  };
  CHECK(refusal([](MlaShape&) {}) == "ok");
  CHECK(refusal([](MlaShape& s) { s.query_rank = 0; }) == "ok");
  CHECK(refusal([](MlaShape& s) { s.rope_dim = 0; }) == "ok");
  CHECK(refusal([](MlaShape& s) { s.hidden_size = 0; }) == "usage: hidden_size, at least (got 0, allowed 1)");
  CHECK(refusal([](MlaShape& s) { s.hidden_size = 2000000; }) == "usage: hidden_size (got 2000000, allowed 1048576)");
  CHECK(refusal([](MlaShape& s) { s.num_heads = 0; }) == "usage: attention heads, at least (got 0, allowed 1)");
  CHECK(refusal([](MlaShape& s) { s.num_heads = 4097; }) == "usage: attention heads (got 4097, allowed 4096)");
  CHECK(refusal([](MlaShape& s) { s.query_rank = -1; }) == "usage: q_lora_rank, at least (got -1, allowed 0)");
  CHECK(refusal([](MlaShape& s) { s.latent_size = 0; }) == "usage: kv_lora_rank, at least (got 0, allowed 1)");
  CHECK(refusal([](MlaShape& s) { s.nope_dim = 0; }) == "usage: qk_nope_head_dim, at least (got 0, allowed 1)");
  CHECK(refusal([](MlaShape& s) { s.rope_dim = -2; }) == "usage: qk_rope_head_dim, at least (got -2, allowed 0)");
  CHECK(refusal([](MlaShape& s) { s.value_dim = 0; }) == "usage: v_head_dim, at least (got 0, allowed 1)");
  CHECK(refusal([](MlaShape& s) {
          s.num_heads = 4096;
          s.value_dim = 1 << 19;
        }) == "usage: channels of all heads (got 2147483648, allowed 1073741823)");
  CHECK(refusal([](MlaShape& s) { s.scale = 0.0f; }) == "usage: scale of an attention is not a positive number");
  CHECK(refusal([](MlaShape& s) { s.norm_epsilon = -1.0f; }) ==
        "usage: epsilon of a norm is not a finite number from 0 on");
  CHECK(MlaShape::default_scale(192, 64) == 0.0625f);
}

TEST_CASE("what a position holds of latent attention follows from its latents, not from the heads") {
  MlaShape wide = good;
  wide.num_heads = 64;
  wide.value_dim = wide.nope_dim = 128;
  CHECK(wide.state_bytes({1000, 1, 0}) == good.state_bytes({1000, 1, 0}));
  wide.latent_size = 48;
  CHECK(wide.state_bytes({1024, 1, 0}) == 4 * 1024 * (2 * 48 + 10));
  CHECK(wide.state_bytes({1024, 1, 0, CacheType::f16}) == 2 * 1024 * (2 * 48 + 10));
  // A pass takes as much, whatever the context.
  CHECK(wide.scratch_floats({1, 1, 1024, 1}) == wide.scratch_floats({1, 1, 512, 1}));
}
