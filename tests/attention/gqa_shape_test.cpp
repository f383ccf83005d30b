#include "headgate/attention/gqa_shape.hpp"

#include "support/catch.hpp"
#include "support/status.hpp"

using namespace headgate;

TEST_CASE("an attention's shape is taken at its bounds, and beyond them the bound is named") {
  const GqaShape good{.hidden_size = 1, .num_heads = 1, .num_kv_heads = 1, .head_dim = 1, .scale = 1.0f};
  CHECK(good.norm_epsilon == 1e-6f);
  const auto with = [&](auto change) {
    GqaShape shape = good;
    change(shape);
    return said(shape.check());
  };
  CHECK(with([](GqaShape&) {}) == "ok");
  CHECK(with([](GqaShape& s) { s.hidden_size = 0; }) == "usage: hidden_size, at least (got 0, allowed 1)");
  CHECK(with([](GqaShape& s) { s.num_heads = 0; }) == "usage: attention heads, at least (got 0, allowed 1)");
  CHECK(with([](GqaShape& s) { s.num_kv_heads = 0; }) == "usage: KV heads, at least (got 0, allowed 1)");
  CHECK(with([](GqaShape& s) { s.num_kv_heads = -2; }) == "usage: KV heads, at least (got -2, allowed 1)");
  CHECK(with([](GqaShape& s) {
          s.num_heads = 5;
          s.num_kv_heads = 3;
        }) == "usage: attention heads left over by KV heads (got 2, allowed 0)");
  CHECK(with([](GqaShape& s) { s.head_dim = 0; }) == "usage: head_dim, at least (got 0, allowed 1)");
  CHECK(with([](GqaShape& s) { s.head_dim = 7; }) == "ok");
  CHECK(with([](GqaShape& s) { s.hidden_size = 1 << 20; }) == "ok");
  CHECK(with([](GqaShape& s) { s.hidden_size = (1 << 20) + 1; }) ==
        "usage: hidden_size (got 1048577, allowed 1048576)");
  CHECK(with([](GqaShape& s) { s.num_heads = 1 << 20; }) == "ok");
  CHECK(with([](GqaShape& s) {
          s.num_heads = 1 << 20;
          s.head_dim = 2;
        }) == "usage: attention heads times head_dim (got 2097152, allowed 1048576)");
  CHECK(with([](GqaShape& s) { s.window = -1; }) == "usage: window of an attention, at least (got -1, allowed 0)");
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const float bad : {0.0f, -1.0f, infinity, nan}) {
    CHECK(with([&](GqaShape& s) { s.scale = bad; }) == "usage: scale of an attention is not a positive number");
  }
  for (const float bad : {-1.0f, infinity, nan}) {
    CHECK(with([&](GqaShape& s) { s.clip = bad; }) == "usage: clip of an attention is not a number from 0 on");
    CHECK(with([&](GqaShape& s) { s.norm_epsilon = bad; }) ==
          "usage: epsilon of a norm is not a finite number from 0 on");
  }
  CHECK(with([](GqaShape& s) { s.norm_epsilon = 0.0f; }) == "ok");
  CHECK(said(GqaShape{}.check()) == "usage: hidden_size, at least (got 0, allowed 1)");
}

TEST_CASE("a window bounds what a text holds, and no text's length what a pass takes") {
  GqaShape shape{.hidden_size = 64, .num_heads = 6, .num_kv_heads = 2, .head_dim = 24, .scale = 1.0f, .window = 128};
  const auto held = [&](index_t context) { return shape.state_bytes({context, 16, 32}); };
  const auto taken = [&](std::int64_t positions) { return shape.scratch_floats({16, 1, positions, 2}); };
  CHECK(held(1 << 10) == held(1 << 28));
  CHECK(held(1 << 28) == KvCache::bytes({127 + 32 + 15 + 16, 16, 0}, 2, 24));
  CHECK(taken(1 << 10) == taken(1 << 28));
  CHECK(held(100) == KvCache::bytes({100, 16, 0}, 2, 24));
  shape.window = 0;
  CHECK(held(1 << 11) == 2 * held(1 << 10));
  CHECK(taken(1 << 28) == taken(1 << 10));
}
