#include "headgate/experts/glu_experts.hpp"

#include "headgate/kernels/native.hpp"
#include "headgate/kernels/scalar.hpp"
#include "kernels/random_rows.hpp"
#include "support/applied.hpp"
#include "support/catch.hpp"
#include "support/reference_moe.hpp"
#include "support/rounded_tile.hpp"
#include "support/status.hpp"
#include "support/thread_executor.hpp"

using namespace headgate;
using reference::applied;
using reference::Matrix;

namespace {

GluShape shape_of(index_t num_experts, index_t hidden_size, index_t ffn_size, Activation activation = {}) {
  return {num_experts, hidden_size, ffn_size, activation, true, false};
}
Matrix random_rows(index_t rows, index_t cols, unsigned seed) {
  std::mt19937 rng(seed);
  return Matrix::random(rows, cols, 1.5f, rng);
}
// Rows [first, first + count) of a plan.
RoutingPlan part_of(const RoutingPlan& plan, index_t first, index_t count) {
  RoutingPlan part;
  part.clear(plan.num_experts());
  for (index_t t = first; t < first + count; ++t) throw_if_error(part.append_row(plan.experts(t), plan.weights(t)));
  return part;
}
const auto ragged = [](index_t t) { return t % 4; };  // rows of 0 to 3 experts

}  // namespace

TEMPLATE_TEST_CASE("a bank of every shape and activation agrees with six lines in double", "", Scalar, NativeBackend) {
  const Activation activations[] = {{ActivationKind::silu},
                                    {ActivationKind::gelu},
                                    {ActivationKind::gelu_tanh},
                                    {ActivationKind::relu},
                                    {ActivationKind::relu2},
                                    {ActivationKind::clamped_swiglu},
                                    {ActivationKind::clamped_swiglu, 1.0f, 0.5f}};
  const struct {
    index_t hidden, ffn, experts, tokens;
  } sizes[] = {{26, 37, 5, 9}, {16, 32, 7, 41}, {1, 1, 3, 5}, {33, 16, 4, 1}};
  for (const Activation activation : activations) {
    for (const bool gated : {true, false}) {
      if (!gated && activation.kind == ActivationKind::clamped_swiglu) continue;
      for (const bool has_bias : {false, true}) {
        for (const auto& size : sizes) {
          const GluShape shape{size.experts, size.hidden, size.ffn, activation, gated, has_bias};
          INFO("activation " << static_cast<int>(activation.kind) << " gated " << gated << " bias " << has_bias
                             << " hidden " << size.hidden);
          reference::Bank plain(shape, 7);
          const Matrix x = random_rows(size.tokens, size.hidden, 8);
          const RoutingPlan plan = reference::random_plan(size.tokens, size.experts, ragged, 9);
          const GluExperts<F32, TestType> f32(shape, plain.matrices());
          CHECK(reference::worst(plain.layer(plan, x.view()), applied(f32, plan, x).view()) <= 1.0);
          const GluExperts<Bf16, TestType> bf16(shape, plain.matrices());
          plain.round_to_bf16();
          CHECK(reference::worst(plain.layer(plan, x.view()), applied(bf16, plan, x).view()) <= 1.0);
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("the output of a bank has the same bits for any threads, batch and chunk", "", Scalar,
                   NativeBackend) {
  const index_t tokens = 64;
  const GluShape shape = {5, 26, 37, {}, true, true};
  const reference::Bank plain(shape, 1);
  const GluExperts<F32, TestType> f32(shape, plain.matrices());
  const GluExperts<Bf16, TestType> bf16(shape, plain.matrices());
  const Matrix x = random_rows(tokens, 26, 2);
  const RoutingPlan plan = reference::random_plan(tokens, 5, [](index_t t) { return t % 6; }, 3);
  const Matrix expected_f32 = applied(f32, plan, x);
  const Matrix expected_bf16 = applied(bf16, plan, x);
  for (const index_t threads : {1, 2, 3, 8}) {
    ThreadExecutor executor(threads);
    Context ctx(executor);
    for (const index_t batch : {1, 2, 7, 32, 64}) {
      Matrix y_f32(tokens, 26);
      Matrix y_bf16(tokens, 26);
      for (index_t first = 0; first < tokens; first += batch) {
        const index_t count = std::min(batch, tokens - first);
        const RoutingPlan part = part_of(plan, first, count);
        const ConstRows in = ConstRows(x.view()).middle_rows(first, count);
        REQUIRE(f32.apply(part, in, y_f32.view().middle_rows(first, count), ctx).ok());
        REQUIRE(bf16.apply(part, in, y_bf16.view().middle_rows(first, count), ctx).ok());
      }
      INFO("threads " << threads << " batch " << batch);
      CHECK(y_f32 == expected_f32);
      CHECK(y_bf16 == expected_bf16);
    }
  }
}

TEST_CASE("a batch too large for the scratch memory is computed in parts, with the same bits") {
  const index_t tokens = 700;
  const index_t hidden = 4096;  // a row and its activations are 16 KiB, so 1,400 entries are two parts
  const GluShape shape = shape_of(3, hidden, 2);
  const reference::Bank plain(shape, 4);
  const GluExperts<F32, NativeBackend> bank(shape, plain.matrices());
  const Matrix x = random_rows(tokens, hidden, 5);
  const RoutingPlan plan = reference::random_plan(tokens, 3, [](index_t) { return 2; }, 6);
  Context ctx;
  const Matrix whole = applied(bank, plan, x, ctx);
  CHECK(ctx.workspace.capacity() < std::size_t{40} << 20);
  Matrix y(tokens, hidden);
  for (index_t t = 0; t < tokens; t += 100) {
    REQUIRE(
        bank.apply(part_of(plan, t, 100), ConstRows(x.view()).middle_rows(t, 100), y.view().middle_rows(t, 100), ctx)
            .ok());
  }
  CHECK(y == whole);
}

TEST_CASE("a bank adds to y, reads strided rows and leaves what lies between them") {
  const GluShape shape = shape_of(3, 26, 37);
  const reference::Bank plain(shape, 10);
  const GluExperts<F32, Scalar> bank(shape, plain.matrices());
  const RoutingPlan plan = reference::random_plan(6, 3, [](index_t) { return 1; }, 11);
  const Matrix x = random_rows(6, 26, 12);
  const Matrix expected = applied(bank, plan, x);
  Matrix wide_x(6, 31, 9.0f);
  Matrix wide_y(6, 29, 1.0f);
  for (index_t t = 0; t < 6; ++t) std::copy_n(x.view().row_data(t), 26, wide_x.view().row_data(t));
  Context ctx;
  REQUIRE(bank.apply(plan, {wide_x.values.data(), 6, 26, 31}, {wide_y.values.data(), 6, 26, 29}, ctx).ok());
  for (index_t t = 0; t < 6; ++t) {
    for (index_t c = 0; c < 29; ++c) {
      const float y = wide_y.view().row_data(t)[c];
      if (c >= 26) CHECK(y == 1.0f);
      if (c < 26) CHECK(y == Catch::Approx(1.0 + static_cast<double>(expected.view().row_data(t)[c])).margin(1e-5));
    }
  }
}

TEST_CASE("a token without experts gets exactly zero and its row is not read") {
  const GluShape shape = shape_of(3, 26, 37);
  const GluExperts<F32, Scalar> bank(shape, reference::Bank(shape, 13).matrices());
  Matrix x = random_rows(8, 26, 14);
  for (float& value : x.view().row(4)) value = NAN;  // rows 0 and 4 are empty
  const Matrix y = applied(bank, reference::random_plan(8, 3, ragged, 15), x);
  for (index_t t : {0, 4}) {
    for (const float value : ConstRows(y.view()).row(t)) CHECK(std::bit_cast<std::uint32_t>(value) == 0u);
  }
}

TEST_CASE("no tokens, no entries and no experts are legal") {
  const GluShape shape = shape_of(3, 26, 37);
  const GluExperts<F32, Scalar> bank(shape, reference::Bank(shape, 16).matrices());
  RoutingPlan plan;
  plan.clear(3);
  CHECK(applied(bank, plan, Matrix(0, 26)).values.empty());
  CHECK(applied(bank, RoutingPlan(), Matrix(0, 26)).values.empty());
  const auto none = [](index_t) { return 0; };
  CHECK(applied(bank, reference::random_plan(4, 3, none, 1), random_rows(4, 26, 2)) == Matrix(4, 26));
  const GluExperts<F32, Scalar> no_experts(shape_of(0, 26, 37));
  CHECK(no_experts.bytes() == 0);
  CHECK(applied(no_experts, reference::random_plan(4, 0, none, 1), random_rows(4, 26, 2)) == Matrix(4, 26));
}

TEST_CASE("a feed-forward network split into experts that all run is the whole network (P11)") {
  const index_t ffn = 48;
  const GluShape whole_shape = shape_of(1, 26, ffn);
  const reference::Bank whole(whole_shape, 17);
  GluExperts<F32, Scalar> split(shape_of(3, 26, ffn / 3));
  for (index_t r = 0; r < ffn; ++r) {
    split.set_gate_row(r / 16, r % 16, whole.gate[0].view().row_data(r));
    split.set_up_row(r / 16, r % 16, whole.up[0].view().row_data(r));
  }
  for (index_t e = 0; e < 3; ++e) {
    for (index_t r = 0; r < 26; ++r) split.set_down_row(e, r, whole.down[0].view().row_data(r) + 16 * e);
  }
  RoutingPlan all;
  RoutingPlan one;
  all.clear(3);
  one.clear(1);
  const Matrix x = random_rows(5, 26, 18);
  const ExpertId ids[] = {2, 0, 1};
  const float ones[] = {1.0f, 1.0f, 1.0f};
  for (index_t t = 0; t < 5; ++t) {
    REQUIRE(all.append_row(ids, ones).ok());
    REQUIRE(one.append_row(std::span(ids).subspan(1, 1), std::span(ones).first(1)).ok());
  }
  CHECK(reference::worst(whole.layer(one, x.view()), applied(split, all, x).view()) <= 1.0);
}

TEST_CASE("the order of selection changes no bit: experts are added in ascending id (P19)") {
  const GluShape shape = shape_of(4, 26, 37);
  const GluExperts<F32, Scalar> bank(shape, reference::Bank(shape, 19).matrices());
  const ExpertId one_way[] = {0, 1, 3};
  const ExpertId other_way[] = {3, 0, 1};
  const float weights[] = {0.1f, 0.7f, 0.2f};
  const float other_weights[] = {0.2f, 0.1f, 0.7f};
  RoutingPlan a;
  RoutingPlan b;
  a.clear(4);
  b.clear(4);
  REQUIRE(a.append_row(one_way, weights).ok());
  REQUIRE(b.append_row(other_way, other_weights).ok());
  const Matrix x = random_rows(1, 26, 20);
  CHECK(applied(bank, a, x) == applied(bank, b, x));
}

TEST_CASE("any plan through scalar and native kernels agrees to rounding (P15)") {
  const GluShape shape = shape_of(6, 40, 56);
  const reference::Bank plain(shape, 21);
  const Matrix x = random_rows(37, 40, 22);
  const RoutingPlan plan = reference::random_plan(37, 6, [](index_t t) { return t % 7; }, 23);
  const Matrix scalar = applied(GluExperts<F32, Scalar>(shape, plain.matrices()), plan, x);
  const Matrix native = applied(GluExperts<F32, NativeBackend>(shape, plain.matrices()), plan, x);
  for (std::size_t i = 0; i < scalar.values.size(); ++i) {
    CHECK(native.values[i] == Catch::Approx(static_cast<double>(scalar.values[i])).epsilon(1e-5).margin(1e-5));
  }
}

TEST_CASE("a bank says how many bytes an expert costs") {
  // 3 blocks of gate and up, 2 panels of down; the last line of an odd bf16 row is whole.
  CHECK(GluExperts<F32, Scalar>(shape_of(5, 26, 37)).expert_bytes() == 64 * (6 * 26 + 2 * 37));
  CHECK(GluExperts<Bf16, Scalar>(shape_of(5, 26, 37)).expert_bytes() == 64 * (6 * 13 + 2 * 19));
  CHECK(GluExperts<F32, Scalar>(GluShape{5, 26, 37, {}, true, true}).bytes() ==
        5 * (64 * (6 * 26 + 2 * 37) + 4 * 16 * (6 + 2)));
  CHECK(GluExperts<F32, Scalar>(GluShape{5, 26, 37, {}, false, false}).expert_bytes() == 64 * (3 * 26 + 2 * 37));
}

TEST_CASE("a bank that cannot exist is refused, with what was found and what is allowed") {
  using Bank = GluExperts<F32, Scalar>;
  const auto message = [](const GluShape& shape) {
    const Expected<Bank> bank = Bank::create(shape);
    REQUIRE(!bank);
    return std::string(bank.error().what());
  };
  CHECK(message(shape_of(-1, 26, 37)) == "num_experts, at least (got -1, allowed 0)");
  CHECK(message(shape_of(3, 0, 37)) == "hidden_size, at least (got 0, allowed 1)");
  CHECK(message(shape_of(3, -5, 37)) == "hidden_size, at least (got -5, allowed 1)");
  CHECK(message(shape_of(3, 26, 0)) == "ffn_size, at least (got 0, allowed 1)");
  CHECK(message(shape_of(3, 26, 1 << 30)) == "ffn_size, at most (got 1073741824, allowed 536870912)");
  CHECK(message(shape_of(2000000000, 1 << 29, 1 << 29)).find("TiB of expert weights") == 0);
  CHECK(message({3, 26, 37, {ActivationKind::clamped_swiglu}, false, false}).find("clamped_swiglu") !=
        std::string::npos);
  CHECK_THROWS_AS(Bank(shape_of(3, 26, 0)), Error);
}

TEST_CASE("matrices that do not fit a bank are refused and change nothing") {
  const GluShape shape{2, 26, 37, {}, true, true};
  const reference::Bank plain(shape, 24);
  GluExperts<F32, Scalar> bank(shape, plain.matrices());
  const Matrix x = random_rows(4, 26, 25);
  const RoutingPlan plan = reference::random_plan(4, 2, [](index_t) { return 2; }, 26);
  const Matrix before = applied(bank, plan, x);
  const auto refused = [&](auto change) {
    GluMatrices m = plain.matrices(0);
    change(m);
    const Status status = bank.set_expert(1, m);
    CHECK(status.code == ErrorCode::usage);
    CHECK(status.expert == 1);
    return std::string(status.what);
  };
  CHECK(refused([](GluMatrices& m) { m.gate.rows = 36; }) == "rows of gate");
  CHECK(refused([](GluMatrices& m) { m.gate.cols = 25; }) == "width of gate");
  CHECK(refused([](GluMatrices& m) { m.up.rows = 38; }) == "rows of up");
  CHECK(refused([](GluMatrices& m) { m.up.cols = 37; }) == "width of up");
  CHECK(refused([](GluMatrices& m) { m.down.rows = 37; }) == "rows of down");
  CHECK(refused([](GluMatrices& m) { m.down.cols = 0; }) == "width of down");
  CHECK(refused([](GluMatrices& m) { m.gate_bias = {}; }) == "size of the gate bias");
  CHECK(refused([](GluMatrices& m) { m.up_bias = {}; }) == "size of the up bias");
  CHECK(refused([](GluMatrices& m) { m.down_bias = {}; }) == "size of the down bias");
  CHECK(bank.set_expert(2, plain.matrices(0)).found == 2);
  CHECK(bank.set_expert(-1, plain.matrices(0)).found == -1);
  CHECK(applied(bank, plan, x) == before);
  const std::vector<GluMatrices> three(3, plain.matrices(0));
  CHECK_THROWS_AS((GluExperts<F32, Scalar>(shape, three)), Error);
}

TEST_CASE("apply checks shapes, plan and numbers, and names token and expert") {
  const GluShape shape = shape_of(3, 26, 37);
  reference::Bank plain(shape, 27);
  GluExperts<F32, Scalar> bank(shape, plain.matrices());
  const RoutingPlan plan = reference::random_plan(4, 3, [](index_t) { return 3; }, 28);
  const Matrix x = random_rows(4, 26, 29);
  Matrix y(4, 26);
  Context ctx;
  const auto code = [&](const RoutingPlan& p, ConstRows in, Rows out) { return bank.apply(p, in, out, ctx).code; };
  CHECK(code(plan, {x.values.data(), 3, 26}, y.view()) == ErrorCode::usage);
  CHECK(code(plan, x.view(), {y.values.data(), 3, 26}) == ErrorCode::usage);
  CHECK(code(plan, {x.values.data(), 4, 25}, y.view()) == ErrorCode::usage);
  CHECK(code(plan, x.view(), {y.values.data(), 4, 25}) == ErrorCode::usage);
  CHECK(code(reference::random_plan(4, 4, [](index_t) { return 1; }, 1), x.view(), y.view()) == ErrorCode::usage);

  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    Matrix broken = x;
    broken.view().row_data(2)[25] = bad;
    const Status status = bank.apply(plan, broken.view(), y.view(), ctx);
    CHECK(status.code == ErrorCode::numeric);
    CHECK(std::string(status.what) == "input of an expert is not finite");
    CHECK(status.token == 2);
  }
  // Expert 1 overflows: the first of its tokens is named, whatever the threads.
  for (float& value : plain.down[1].values) value = 3e38f;
  REQUIRE(bank.set_expert(1, plain.matrices(1)).ok());
  for (const index_t threads : {1, 3}) {
    ThreadExecutor executor(threads);
    Context several(executor);
    const Status status = bank.apply(plan, x.view(), y.view(), several);
    CHECK(status.code == ErrorCode::numeric);
    CHECK(status.expert == 1);
    CHECK(status.token == 0);
  }
}

TEST_CASE("after the first call of a size a bank allocates nothing") {
  const GluShape shape = shape_of(5, 26, 37);
  const GluExperts<F32, Scalar> bank(shape, reference::Bank(shape, 30).matrices());
  const RoutingPlan plan = reference::random_plan(40, 5, ragged, 31);
  const Matrix x = random_rows(40, 26, 32);
  Context ctx;
  applied(bank, plan, x, ctx);
  const std::size_t capacity = ctx.workspace.capacity();
  CHECK(capacity > 0);
  for (int i = 0; i < 3; ++i) applied(bank, plan, x, ctx);
  CHECK(ctx.workspace.capacity() == capacity);
}

TEST_CASE("what overflows in the second part of a large batch is named by its own token and expert") {
  const index_t tokens = 1100;
  const index_t hidden = 4096;  // 1,024 entries or less are one part
  for (const index_t num_experts : {1, 2}) {
    const GluShape shape = shape_of(num_experts, hidden, 2);
    GluExperts<F32, NativeBackend> bank(shape);
    const std::vector<float> ones(as_size(hidden), 1.0f);
    for (index_t e = 0; e < num_experts; ++e) {
      for (index_t r = 0; r < 2; ++r) {
        bank.set_gate_row(e, r, ones.data());
        bank.set_up_row(e, r, ones.data());
      }
      for (index_t r = 0; r < hidden; ++r) bank.set_down_row(e, r, ones.data());
    }
    RoutingPlan plan;
    plan.clear(num_experts);
    const float weight = 1.0f;
    for (index_t t = 0; t < tokens; ++t) {
      const ExpertId id = t < tokens / 2 ? 0 : num_experts - 1;
      REQUIRE(plan.append_row({&id, 1}, {&weight, 1}).ok());
    }
    Matrix x(tokens, hidden, 1e-3f);
    x.values.back() = 1e30f;
    for (const index_t threads : {1, 3}) {
      ThreadExecutor executor(threads);
      Context ctx(executor);
      Matrix y(tokens, hidden);
      const Status status = bank.apply(plan, x.view(), y.view(), ctx);
      CHECK(status.code == ErrorCode::numeric);
      CHECK(status.token == tokens - 1);
      CHECK(status.expert == num_experts - 1);
    }
  }
}

TEST_CASE("of a row that is not finite the first chosen expert is named, and what does not fit is said") {
  const GluShape shape = shape_of(3, 26, 37);
  const GluExperts<F32, Scalar> bank(shape, reference::Bank(shape, 40).matrices());
  RoutingPlan plan;
  plan.clear(3);
  const ExpertId ids[] = {2, 0, 1};
  const float weights[] = {0.5f, 0.25f, 0.25f};
  REQUIRE(plan.append_row({}, {}).ok());
  REQUIRE(plan.append_row(ids, weights).ok());
  Matrix x(2, 26, 1.0f);
  Matrix y(2, 26);
  Context ctx;
  const auto outcome = [&](ConstRows in, Rows out) { return said(bank.apply(plan, in, out, ctx)); };
  CHECK(outcome(x.view(), y.view()) == "ok");
  CHECK(outcome({x.values.data(), 1, 26}, y.view()) ==
        "usage: rows of x against tokens of the plan (got 1, allowed 2)");
  CHECK(outcome(x.view(), {y.values.data(), 1, 26}) ==
        "usage: rows of y against tokens of the plan (got 1, allowed 2)");
  CHECK(outcome({x.values.data(), 2, 25}, y.view()) == "usage: width of x against hidden_size (got 25, allowed 26)");
  CHECK(outcome(x.view(), {y.values.data(), 2, 25}) == "usage: width of y against hidden_size (got 25, allowed 26)");
  x.values.back() = INFINITY;
  CHECK(outcome(x.view(), y.view()) == "numeric: input of an expert is not finite, token 1, expert 2");
  x.values[0] = NAN;  // of a row that no expert sees
  CHECK(outcome(x.view(), y.view()) == "numeric: input of an expert is not finite, token 1, expert 2");
}

TEST_CASE("a bank's shape is taken at its bounds, beyond them the bound is said") {
  const auto outcome = [](const GluShape& shape) { return said(GluLayout<F32>{shape}.check()); };
  constexpr index_t most = 1 << 29;
  CHECK(outcome(shape_of(0, 1, 1)) == "ok");
  CHECK(outcome(shape_of(0, most, most)) == "ok");
  CHECK(outcome(shape_of(-1, 1, 1)) == "usage: num_experts, at least (got -1, allowed 0)");
  CHECK(outcome(shape_of(1, 0, 1)) == "usage: hidden_size, at least (got 0, allowed 1)");
  CHECK(outcome(shape_of(1, most + 1, 1)) == "usage: hidden_size, at most (got 536870913, allowed 536870912)");
  CHECK(outcome(shape_of(1, 1, 0)) == "usage: ffn_size, at least (got 0, allowed 1)");
  CHECK(outcome(shape_of(1, 1, most + 1)) == "usage: ffn_size, at most (got 536870913, allowed 536870912)");
  CHECK(outcome({1, 1, 1, {ActivationKind::clamped_swiglu}, true, false}) == "ok");
  CHECK(outcome({1, 1, 1, {ActivationKind::clamped_swiglu}, false, false}) ==
        "usage: gate matrices of an expert with clamped_swiglu (got 0, allowed 1)");
  // 3 matrices of 2^29 x 2^29 floats are 3 * 2^60 bytes an expert.
  CHECK(outcome(shape_of(1, most, most)) == "ok");
  CHECK(outcome(shape_of(2, most, most)) == "limit: TiB of expert weights (got 6291456, allowed 4194304)");

  const GluShape shape{2, 26, 37, {}, true, true};
  const reference::Bank plain(shape, 24);
  const auto fits = [&](ExpertId e, auto change) {
    GluMatrices m = plain.matrices(0);
    change(m);
    return said(GluLayout<F32>{shape}.check(e, m));
  };
  const auto as_it_is = [](GluMatrices&) {};
  CHECK(fits(0, as_it_is) == "ok");
  CHECK(fits(1, as_it_is) == "ok");
  CHECK(fits(2, as_it_is) == "usage: expert id (got 2, allowed 1)");
  CHECK(fits(-1, as_it_is) == "usage: expert id (got -1, allowed 1)");
  CHECK(fits(1, [](GluMatrices& m) { m.gate.rows = 36; }) == "usage: rows of gate (got 36, allowed 37), expert 1");
  CHECK(fits(1, [](GluMatrices& m) { m.gate.cols = 25; }) == "usage: width of gate (got 25, allowed 26), expert 1");
  CHECK(fits(1, [](GluMatrices& m) { m.up.rows = 38; }) == "usage: rows of up (got 38, allowed 37), expert 1");
  CHECK(fits(1, [](GluMatrices& m) { m.up.cols = 37; }) == "usage: width of up (got 37, allowed 26), expert 1");
  CHECK(fits(1, [](GluMatrices& m) { m.down.rows = 37; }) == "usage: rows of down (got 37, allowed 26), expert 1");
  CHECK(fits(1, [](GluMatrices& m) { m.down.cols = 0; }) == "usage: width of down (got 0, allowed 37), expert 1");
  CHECK(fits(1, [](GluMatrices& m) { m.gate_bias = {}; }) ==
        "usage: size of the gate bias (got 0, allowed 37), expert 1");
  CHECK(fits(1, [](GluMatrices& m) { m.up_bias = {}; }) == "usage: size of the up bias (got 0, allowed 37), expert 1");
  CHECK(fits(1, [](GluMatrices& m) { m.down_bias = {}; }) ==
        "usage: size of the down bias (got 0, allowed 26), expert 1");
  const GluShape ungated{1, 26, 37, {}, false, false};
  GluMatrices m = reference::Bank(ungated, 1).matrices(0);
  CHECK(said(GluLayout<F32>{ungated}.check(0, m)) == "ok");
  m.gate = m.up;
  CHECK(said(GluLayout<F32>{ungated}.check(0, m)) == "usage: rows of gate (got 37, allowed 0), expert 0");
}

TEST_CASE("a bank of many rows an expert and wide weights agrees with six lines in double") {
  // Several tiles, blocks smaller than the weights, and experts without rows between.
  const GluShape shape = shape_of(4, 300, 500);
  const reference::Bank plain(shape, 41);
  const Matrix x = random_rows(60, 300, 42);
  RoutingPlan plan;
  plan.clear(4);
  const float weights[] = {0.75f, 0.25f};
  for (index_t t = 0; t < 60; ++t) {
    const ExpertId ids[] = {t < 40 ? 3 : 1, t < 40 ? 1 : 3};
    REQUIRE(plan.append_row(ids, std::span(weights)).ok());
  }
  const GluExperts<F32, NativeBackend> bank(shape, plain.matrices());
  const Matrix y = applied(bank, plan, x);
  CHECK(reference::worst(plain.layer(plan, x.view()), y.view()) <= 1.0);
  for (const index_t threads : {2, 7}) {
    ThreadExecutor executor(threads);
    Context ctx(executor);
    CHECK(applied(bank, plan, x, ctx) == y);
  }
}

TEST_CASE("a shape of a bank is gated and without biases unless it says otherwise") {
  const GluShape shape;
  CHECK(shape.num_experts == 0);
  CHECK(shape.hidden_size == 0);
  CHECK(shape.ffn_size == 0);
  CHECK(shape.gated);
  CHECK_FALSE(shape.has_bias);
  CHECK(shape.activation.kind == ActivationKind::silu);
  // A row of x and one of h, which is padded; 16 MiB of them, but a whole tile.
  CHECK(shape_of(1, 26, 37).floats_per_entry() == 26 + 48);
  CHECK(shape_of(1, 26, 32).floats_per_entry() == 26 + 32);
  CHECK(shape_of(1, 4080, 16).entries_at_a_time() == 1024);
  CHECK(shape_of(1, 1 << 29, 1).entries_at_a_time() == F32Tile::max_rows);
  CHECK(shape.entries_at_a_time() == 1 << 22);
}

TEST_CASE("a bank refuses each matrix of an expert, and rows, without data") {
  const GluShape shape = shape_of(2, 26, 37);
  const reference::Bank plain(shape, 43);
  GluExperts<F32, Scalar> bank(shape, plain.matrices());
  const auto outcome = [&](auto change) {
    GluMatrices m = plain.matrices(0);
    change(m);
    return said(bank.set_expert(1, m));
  };
  CHECK(outcome([](GluMatrices&) {}) == "ok");
  CHECK(outcome([](GluMatrices& m) { m.gate.data = nullptr; }) == "usage: rows of a matrix without data, expert 1");
  CHECK(outcome([](GluMatrices& m) { m.up.data = nullptr; }) == "usage: rows of a matrix without data, expert 1");
  CHECK(outcome([](GluMatrices& m) { m.down.data = nullptr; }) == "usage: rows of a matrix without data, expert 1");
  const RoutingPlan plan = reference::random_plan(3, 2, [](index_t) { return 1; }, 44);
  Matrix x(3, 26, 1.0f);
  Context ctx;
  CHECK(said(bank.apply(plan, {nullptr, 3, 26}, x.view(), ctx)) == "usage: rows of a matrix without data");
  CHECK(said(bank.apply(plan, x.view(), {nullptr, 3, 26}, ctx)) == "usage: rows of a matrix without data");
  CHECK(said(bank.apply(plan, x.view(), x.view(), ctx)) == "usage: output that overlaps its input");
}

TEMPLATE_TEST_CASE("a bank whose format was chosen at run time has the bits of that format", "", F32, Bf16) {
  for (const bool gated : {true, false}) {
    for (const bool has_bias : {false, true}) {
      const GluShape shape{5, 26, 37, {}, gated, has_bias};
      const reference::Bank plain(shape, 50);
      const GluExperts<TestType> known(shape, plain.matrices());
      const GluExperts<AnyFormat> chosen(shape, plain.matrices(), {TestType{}, TestType{}, TestType{}});
      CHECK(chosen.bytes() == known.bytes());
      for (const index_t tokens : {1, 2, 40}) {
        const Matrix x = random_rows(tokens, 26, 51);
        const RoutingPlan plan = reference::random_plan(tokens, 5, ragged, 52);
        CHECK(applied(chosen, plan, x) == applied(known, plan, x));
      }
    }
  }
}

TEMPLATE_TEST_CASE("each matrix of a bank has its own format, and none becomes another", "", Scalar, NativeBackend) {
  const auto round = [](std::vector<Matrix>& matrices) {
    for (Matrix& matrix : matrices) {
      for (float& value : matrix.values) value = static_cast<float>(bf16(value));
    }
  };
  for (unsigned mixture = 0; mixture < 8; ++mixture) {
    const auto format = [&](unsigned bit) { return (mixture >> bit & 1u) != 0 ? AnyFormat(Bf16{}) : AnyFormat(F32{}); };
    const GluFormats<AnyFormat> formats{format(0), format(1), format(2)};
    for (const bool gated : {true, false}) {
      for (const bool has_bias : {false, true}) {
        const Activation activation{gated ? ActivationKind::clamped_swiglu : ActivationKind::relu2, 1.5f, 2.0f};
        const GluShape shape{5, 26, 279, activation, gated, has_bias};  // 18 blocks: more than a kernel call takes
        reference::Bank plain(shape, 53);
        const GluExperts<AnyFormat, TestType> bank(shape, plain.matrices(), formats);
        // Of what each format holds the bank of floats makes the same bits.
        if (formats.gate == Bf16{}) round(plain.gate);
        if (formats.up == Bf16{}) round(plain.up);
        if (formats.down == Bf16{}) round(plain.down);
        const GluExperts<F32, TestType> expected(shape, plain.matrices());
        const Matrix x = random_rows(41, 26, 54);
        const RoutingPlan plan = reference::random_plan(41, 5, ragged, 55);
        const Matrix y = applied(expected, plan, x);
        INFO("formats " << mixture << " gated " << gated << " bias " << has_bias);
        for (const index_t threads : {1, 3}) {
          ThreadExecutor executor(threads);
          Context ctx(executor);
          CHECK(applied(bank, plan, x, ctx) == y);
        }
        const Matrix first = random_rows(1, 26, 56);
        const RoutingPlan one = reference::random_plan(1, 5, [](index_t) { return 3; }, 57);
        CHECK(applied(bank, one, first) == applied(expected, one, first));
      }
    }
  }
}

TEST_CASE("a bank of mixed formats costs what its matrices cost") {
  using Bank = GluExperts<AnyFormat, Scalar>;
  // 3 blocks of gate and up, 2 panels of down; the last line of an odd bf16 row is whole.
  const GluShape shape = shape_of(5, 27, 37);
  CHECK(Bank(shape, {F32{}, F32{}, F32{}}).expert_bytes() == GluExperts<F32, Scalar>(shape).expert_bytes());
  CHECK(Bank(shape, {Bf16{}, F32{}, Bf16{}}).expert_bytes() == 64 * (3 * 14 + 3 * 27 + 2 * 19));
  CHECK(Bank(shape, {F32{}, Bf16{}, F32{}}).expert_bytes() == 64 * (3 * 27 + 3 * 14 + 2 * 37));
  const Bank bank(shape, {F32{}, Bf16{}, F32{}});
  CHECK(bank.formats().gate == F32{});
  CHECK(bank.formats().up == Bf16{});
  CHECK(bank.formats().down == F32{});
  // Without a gate its format says nothing.
  const GluShape plain{5, 27, 37, {}, false, false};
  CHECK(Bank(plain, {F32{}, Bf16{}, Bf16{}}).expert_bytes() == GluExperts<Bf16, Scalar>(plain).expert_bytes());
}

TEST_CASE("a bank packs rows and activations to whatever tile its format asks for") {
  for (const index_t hidden : {26, 27}) {
    const GluShape shape{3, hidden, 37, {}, true, true};
    const reference::Bank plain(shape, 58);
    const GluExperts<RoundedBf16, RoundedBackend> bank(shape, plain.matrices());
    const Matrix x = random_rows(23, hidden, 59);
    const RoutingPlan plan = reference::random_plan(23, 3, [](index_t t) { return t % 3; }, 60);
    // The same expert by expert, with x and h rounded before each product.
    const auto rounded = [](std::vector<float> values) {
      for (float& value : values) value = static_cast<float>(bf16(value));
      return values;
    };
    const auto times = [&](const Matrix& weights, const std::vector<float>& in, const std::vector<float>& bias) {
      const Panel16<Bf16> packed(weights.view());
      Context ctx;
      std::vector<float> out(as_size(weights.rows));
      product<Scalar>(packed.view(), {in.data(), 1, weights.cols}, {out.data(), 1, weights.rows}, ctx);
      Scalar::axpy(1.0f, bias.data(), weights.rows, out.data());
      return out;
    };
    Matrix expected(23, hidden);
    for (index_t t = 0; t < 23; ++t) {
      std::vector<ExpertId> ascending(plan.experts(t).begin(), plan.experts(t).end());
      std::sort(ascending.begin(), ascending.end());
      for (const ExpertId e : ascending) {
        const auto entry = std::find(plan.experts(t).begin(), plan.experts(t).end(), e) - plan.experts(t).begin();
        const std::vector<float> in = rounded({x.view().row(t).begin(), x.view().row(t).end()});
        std::vector<float> h = times(plain.gate[as_size(e)], in, plain.gate_bias[as_size(e)]);
        const std::vector<float> up = times(plain.up[as_size(e)], in, plain.up_bias[as_size(e)]);
        Scalar::glu(shape.activation, h.data(), up.data(), 37, h.data());
        const std::vector<float> out = times(plain.down[as_size(e)], rounded(h), plain.down_bias[as_size(e)]);
        Scalar::axpy(plan.weights(t)[static_cast<std::size_t>(entry)], out.data(), hidden, expected.view().row_data(t));
      }
    }
    for (const index_t threads : {1, 2, 3}) {
      ThreadExecutor executor(threads);
      Context ctx(executor);
      CHECK(applied(bank, plan, x, ctx) == expected);
    }
  }
}

namespace {

// A matrix of random weights in a format, and how its rows are given to a bank.
struct RandomWeights {
  Panel16<AnyFormat> packed;
  std::vector<std::byte> bytes;
  std::vector<float> floats;
  std::int64_t row_bytes = 0;

  RandomWeights(index_t rows, index_t cols, AnyFormat format, unsigned seed) : packed(rows, cols, format) {
    if (format.packs_floats()) {
      floats = random_rows(rows, cols, seed).values;
    } else {
      format.visit([&](auto known) {
        if constexpr (requires { typename decltype(known)::Blocks; }) {
          using Blocks = typename decltype(known)::Blocks;
          if constexpr (Blocks::size > 1) {
            bytes = headgate::random_rows<Blocks>(rows, cols, seed);
            row_bytes = RowBlocks<Blocks>::row_bytes(cols);
          }
        }
      });
    }
    for (index_t r = 0; r < rows; ++r) packed.set_row(r, row(r));
  }
  WeightRow row(index_t r) const {
    if (!floats.empty()) return floats.data() + std::int64_t{r} * packed.cols();
    return bytes.data() + r * row_bytes;
  }
  std::vector<float> times(const std::vector<float>& x) const {
    Context ctx;
    std::vector<float> y(as_size(packed.rows()));
    product<Scalar>(packed.view(), {x.data(), 1, packed.cols()}, {y.data(), 1, packed.rows()}, ctx);
    return y;
  }
};

}  // namespace

TEMPLATE_TEST_CASE("a bank of quantized blocks has the bits of a product each, whatever each matrix is multiplied with",
                   "", Scalar, NativeBackend) {
  const struct {
    index_t hidden;
    index_t ffn;
    bool gated;
    GluFormats<AnyFormat> formats;
  } banks[] = {
      {96, 160, true, {PanelBlocks<blocks::Q4_0>{}, PanelBlocks<blocks::Q4_0>{}, PanelBlocks<blocks::Q5_1>{}}},
      {64, 96, true, {PanelBlocks<blocks::MXFP4>{}, PanelBlocks<blocks::Q8_0>{}, PanelBlocks<blocks::IQ4_NL>{}}},
      {256, 512, true, {PanelBlocks<blocks::Q4_K>{}, PanelBlocks<blocks::Q4_K>{}, PanelBlocks<blocks::Q6_K>{}}},
      {32, 544, true, {PanelBlocks<blocks::Q4_1>{}, PanelBlocks<blocks::Q4_1>{}, PanelBlocks<blocks::Q4_1>{}}},
      {64, 37, true, {PanelBlocks<blocks::Q5_0>{}, PanelBlocks<blocks::Q5_0>{}, Bf16{}}},
      {37, 96, true, {F32{}, Bf16{}, PanelBlocks<blocks::Q8_0>{}}},
      {64, 96, false, {F32{}, PanelBlocks<blocks::Q8_0>{}, PanelBlocks<blocks::Q4_0>{}}},
      {64, 96, true, {RowBlocks<blocks::Q8_0>{}, RowBlocks<blocks::Q4_0>{}, PanelBlocks<blocks::Q4_0>{}}},
  };
  for (const auto& b : banks) {
    INFO("formats " << b.formats.up.name() << ", " << b.formats.down.name());
    const GluShape shape{3, b.hidden, b.ffn, {}, b.gated, false};
    GluExperts<AnyFormat, TestType> bank(shape, b.formats);
    std::vector<RandomWeights> gate;
    std::vector<RandomWeights> up;
    std::vector<RandomWeights> down;
    for (ExpertId e = 0; e < 3; ++e) {
      const auto seed = static_cast<unsigned>(10 * e);
      gate.emplace_back(b.ffn, b.hidden, b.formats.gate, seed + 1);
      up.emplace_back(b.ffn, b.hidden, b.formats.up, seed + 2);
      down.emplace_back(b.hidden, b.ffn, b.formats.down, seed + 3);
      for (index_t r = 0; r < b.ffn; ++r) {
        if (b.gated) bank.set_gate_row(e, r, gate.back().row(r));
        bank.set_up_row(e, r, up.back().row(r));
      }
      for (index_t r = 0; r < b.hidden; ++r) bank.set_down_row(e, r, down.back().row(r));
    }
    const Matrix x = random_rows(29, b.hidden, 59);
    const RoutingPlan plan = reference::random_plan(29, 3, [](index_t t) { return t % 4; }, 60);
    Matrix expected(29, b.hidden);
    for (index_t t = 0; t < 29; ++t) {
      std::vector<ExpertId> ascending(plan.experts(t).begin(), plan.experts(t).end());
      std::sort(ascending.begin(), ascending.end());
      for (const ExpertId e : ascending) {
        const auto entry = std::find(plan.experts(t).begin(), plan.experts(t).end(), e) - plan.experts(t).begin();
        const std::vector<float> in(x.view().row(t).begin(), x.view().row(t).end());
        std::vector<float> h = up[as_size(e)].times(in);
        // As the backend computes it, 16 numbers at a time.
        if (b.gated) {
          TestType::glu(shape.activation, gate[as_size(e)].times(in).data(), h.data(), b.ffn, h.data());
        } else {
          TestType::activate(shape.activation, h.data(), b.ffn, h.data());
        }
        const std::vector<float> out = down[as_size(e)].times(h);
        Scalar::axpy(plan.weights(t)[static_cast<std::size_t>(entry)], out.data(), b.hidden,
                     expected.view().row_data(t));
      }
    }
    for (const index_t threads : {1, 2, 3}) {
      ThreadExecutor executor(threads);
      Context ctx(executor);
      CHECK(applied(bank, plan, x, ctx) == expected);
    }
    for (const index_t t : {2, 3}) {  // alone: other tiles
      Matrix one(1, b.hidden);
      one.values.assign(x.view().row(t).begin(), x.view().row(t).end());
      const Matrix y = applied(bank, part_of(plan, t, 1), one);
      CHECK(std::equal(y.values.begin(), y.values.end(), expected.view().row(t).begin()));
    }
  }
}

TEST_CASE("gate and up that would read different tiles are refused") {
  using Bank = GluExperts<AnyFormat, Scalar>;
  CHECK(refused(Bank::create(shape_of(2, 64, 64), {F32{}, PanelBlocks<blocks::Q4_0>{}, PanelBlocks<blocks::Q4_0>{}})) ==
        "gate and up are multiplied with activations of different formats");
  CHECK(refused(Bank::create({2, 64, 64, {}, false, false}, {F32{}, PanelBlocks<blocks::Q4_0>{}, F32{}})) == "made");
}
