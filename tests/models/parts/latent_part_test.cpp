#include "headgate/models/parts/latent_part.hpp"

#include "models/parts/bank_part.hpp"
#include "support/catch.hpp"

using namespace headgate;
using namespace models_test;

namespace {

LatentPart latent(const SmallFile& file, index_t experts, index_t group_size) {
  LatentPart part{
      .shape = {.num_experts = experts, .group_size = group_size, .hidden_size = 5, .latent_size = 4, .ffn_size = 3},
      .groups = {},
      .experts = {}};
  const WeightRows shared = WeightRows::find(file.source, "shared", {4, 5});
  part.groups.assign(as_size(experts / group_size), {shared, shared});
  part.experts.assign(as_size(experts), {.gate = WeightRows::find(file.source, "in", {3, 4}),
                                         .up = WeightRows::find(file.source, "in", {3, 4}),
                                         .down = WeightRows::find(file.source, "out", {5, 3})});
  return part;
}

}  // namespace

TEST_CASE("latent experts count the projections of as many groups as a token's experts can be of") {
  for (const char* const dtype : {"F32", "BF16"}) {
    INFO(dtype);
    const SmallFile file(
        {counting("shared", {4, 5}, dtype), counting("in", {3, 4}, dtype), counting("out", {5, 3}, dtype)});
    LatentPart part = latent(file, 6, 2);
    part.experts_per_token = 2;
    CHECK(part.words() == "6 experts, 3 wide, behind 3 latent spaces of 4");
    const WeightCount count = count_of(part);
    CHECK(count.parameters == 3 * 40 + 6 * 39);
    CHECK(count.active_parameters == 2 * 40 + 2 * 39);
    CHECK((part.format() == AnyFormat(F32{})) == (std::string(dtype) == "F32"));
    // Twice the same expert, in two groups or in one.
    const auto y = outputs_of(part, 5, {0, 5}, {2, 3});
    const auto one = outputs_of(part, 5, {0}, {2});
    for (index_t i = 0; i < 5; ++i) CHECK(y.view().row(1)[as_size(i)] == Approx(2.0f * one.view().row(1)[as_size(i)]));
  }
}

TEST_CASE("matrices of two types are packed as floats") {
  const SmallFile file({counting("shared", {4, 5}, "BF16"), counting("in", {3, 4}), counting("out", {5, 3}, "BF16")});
  const LatentPart part = latent(file, 2, 2);
  CHECK(part.format() == AnyFormat(F32{}));
  CHECK(outputs_of(part, 5, {0}, {1}).values.size() == 10);
}
