#include "headgate/models/parts/experts_part.hpp"

#include "io/gguf_writer.hpp"
#include "kernels/kernel_cases.hpp"
#include "kernels/random_rows.hpp"
#include "models/small_file.hpp"

using namespace headgate;
using namespace models_test;

namespace {

struct Halves {
  static constexpr DType dtype = DType::f16;
  static constexpr index_t size = 1;
  static constexpr index_t bytes = 2;
};

// Stacks of gate, up and down of so many experts in a GGUF file; the types are ggml's numbers.
template <class Up, class Down>
struct QuantizedBank {
  QuantizedBank(index_t experts, index_t ffn, index_t hidden, std::uint32_t up_type, std::uint32_t down_type) {
    io_test::GgufWriter writer;
    const auto add = [&]<class Blocks>(Blocks, const char* name, index_t rows, index_t cols, std::uint32_t type,
                                       unsigned seed) {
      const std::vector<std::byte> bytes = random_rows<Blocks>(experts * rows, cols, seed);
      writer.tensor(name, {as_size(cols), as_size(rows), as_size(experts)}, type,
                    {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    };
    add(Up{}, "gate", ffn, hidden, up_type, 1);
    add(Up{}, "up", ffn, hidden, up_type, 2);
    add(Down{}, "down", hidden, ffn, down_type, 3);
    folder.write("bank.gguf", writer.file());
    source = TensorSource::open(folder / "bank.gguf");
    const auto find = [&](const char* name, index_t e, index_t rows, index_t cols) {
      return WeightRows::find(source, name, {experts, rows, cols}).part(e * rows, rows);
    };
    for (index_t e = 0; e < experts; ++e) {
      part.experts.push_back({find("gate", e, ffn, hidden), find("up", e, ffn, hidden), find("down", e, hidden, ffn)});
    }
    part.experts_per_token = 2;
  }
  // Of floats that were decoded before.
  AnyExperts decoded() const {
    GluExperts<F32> bank(part.shape());
    for (ExpertId e = 0; e < part.num_experts(); ++e) {
      const ExpertRows& expert = part.experts[as_size(e)];
      const std::vector<float> values[] = {expert.gate->floats(), expert.up.floats(), expert.down.floats()};
      const index_t ffn = part.ffn_size();
      const index_t hidden = part.hidden_size();
      throw_if_error(
          bank.set_expert(e, {ConstRows(values[0].data(), ffn, hidden), ConstRows(values[1].data(), ffn, hidden),
                              ConstRows(values[2].data(), hidden, ffn)}));
    }
    return bank;
  }
  std::vector<float> output(const AnyExperts& bank, index_t tokens) const {
    const index_t hidden = part.hidden_size();
    RoutingPlan plan;
    plan.clear(part.num_experts());
    for (index_t t = 0; t < tokens; ++t) {
      const ExpertId experts[] = {t % part.num_experts(), (t + 2) % part.num_experts()};
      const float weights[] = {0.75f, 0.5f};
      throw_if_error(plan.append_row(experts, weights));
    }
    const std::vector<float> x = random_floats(tokens * hidden, 9);
    std::vector<float> y(x.size());
    Context ctx;
    throw_if_error(bank.apply(plan, ConstRows(x.data(), tokens, hidden), Rows(y.data(), tokens, hidden), ctx));
    return y;
  }

  io_test::ScratchFolder folder;
  TensorSource source;
  ExpertsPart part;
};

template <class Up, class Down>
void check_bank(const QuantizedBank<Up, Down>& bank, bool is_mapped) {
  CHECK(bank.part.is_mapped() == is_mapped);
  WeightList weights;
  bank.part.list_weights(weights);
  for (const WeightUse& use : weights) CHECK(use.is_mapped == is_mapped);
  Context ctx;
  const Packer seeing(ctx);
  const AnyExperts seen = bank.part.pack(seeing);
  CHECK(seeing.kept().empty() == !is_mapped);
  Packer copying(ctx);
  copying.copy_all();
  const AnyExperts copied = bank.part.pack(copying);
  CHECK(copying.kept().empty());
  const AnyExperts decoded = bank.decoded();
  for (const index_t tokens : {1, 2, 37}) {
    const std::vector<float> expected = bank.output(decoded, tokens);
    CHECK(same_bits(bank.output(seen, tokens), expected));
    CHECK(same_bits(bank.output(copied, tokens), expected));
  }
}

}  // namespace

TEST_CASE("a bank of Q4_K and Q6_K in a mapped file has the bits of a copied one, and of its decoded floats") {
  check_bank(QuantizedBank<blocks::Q4_K, blocks::Q6_K>(5, 256, 512, 12, 14), true);
  check_bank(QuantizedBank<blocks::Q8_0, blocks::Q5_0>(3, 32, 64, 8, 6), true);
}

TEST_CASE("a bank with halves, of any width, is packed, with the same bits") {
  check_bank(QuantizedBank<Halves, Halves>(11, 24, 14, 1, 1), false);
  check_bank(QuantizedBank<blocks::Q4_0, Halves>(5, 24, 32, 2, 1), false);
  check_bank(QuantizedBank<blocks::Q4_0, Halves>(3, 7, 32, 2, 1), false);
}

TEST_CASE("a bank counts the experts that a token chooses as active, and an unrouted one as no expert") {
  const SmallFile file({counting("up", {3, 5}), counting("down", {5, 3}), counting("bias", {3}), counting("out", {5})});
  const auto find = [&](const char* name, const Shape& shape) { return WeightRows::find(file.source, name, shape); };
  const ExpertRows expert{.gate = std::nullopt,
                          .up = find("up", {3, 5}),
                          .down = find("down", {5, 3}),
                          .up_bias = find("bias", {3}),
                          .down_bias = find("out", {5})};
  ExpertsPart part{{expert, expert, expert}};
  part.experts_per_token = 2;
  const GluShape shape = part.shape();
  CHECK(shape.num_experts == 3);
  CHECK(shape.hidden_size == 5);
  CHECK(shape.ffn_size == 3);
  CHECK(!shape.gated);
  CHECK(shape.has_bias);
  WeightList weights;
  part.list_weights(weights);
  REQUIRE(weights.size() == 3 * 4);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    CHECK(weights[i].expert == static_cast<index_t>(i / 4));
    CHECK(weights[i].is_active == (i < 8));
    CHECK(weights[i].is_read == weights[i].is_active);
  }
  part.is_routed = false;
  weights.clear();
  part.list_weights(weights);
  CHECK(weights[0].expert == -1);
  Context ctx;
  CHECK(part.pack(Packer(ctx)).num_experts() == 3);
  // More chosen than there are take no more memory.
  const PassSize pass{7, 1, 7, 2};
  part.experts_per_token = 3;
  const std::int64_t all = part.scratch()(pass);
  part.experts_per_token = 9;
  CHECK(part.scratch()(pass) == all);
}
