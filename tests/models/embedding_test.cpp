#include "headgate/models/embedding.hpp"

#include "headgate/kernels/native.hpp"
#include "support/catch.hpp"

using namespace headgate;

namespace {

float weight(index_t token, index_t i) { return static_cast<float>(token * 8 + i) * 0.25f; }  // exact in bfloat16

Embedding table(AnyFormat format, index_t vocab_size, index_t hidden_size) {
  Linear<AnyFormat> linear(vocab_size, hidden_size, /*has_bias=*/false, format);
  std::vector<float> row(as_size(hidden_size));
  for (index_t t = 0; t < vocab_size; ++t) {
    for (index_t i = 0; i < hidden_size; ++i) row[as_size(i)] = weight(t, i);
    linear.set_row(t, row.data());
  }
  return Embedding(std::move(linear));
}

void check(const Embedding& embedding) {
  CHECK(embedding.vocab_size() == 19);
  CHECK(embedding.hidden_size() == 5);
  const std::int32_t tokens[] = {18, 0, 16, 15, 18};
  std::vector<float> x(5 * 5);
  embedding.read(tokens, {x.data(), 5, 5});
  for (index_t t = 0; t < 5; ++t) {
    for (index_t i = 0; i < 5; ++i) CHECK(x[as_size(t * 5 + i)] == weight(tokens[t], i));
  }
  embedding.read({}, {x.data(), 0, 5});
  // As a head, the same table gives the product with every row.
  const float unit[] = {0.0f, 0.0f, 1.0f, 0.0f, 0.0f};
  std::vector<float> logits(19);
  Context ctx;
  REQUIRE(embedding.forward({unit, 1, 5}, {logits.data(), 1, 19}, ctx).ok());
  for (index_t t = 0; t < 19; ++t) CHECK(logits[as_size(t)] == weight(t, 2));
  CHECK(!embedding.forward({unit, 1, 4}, {logits.data(), 1, 19}, ctx).ok());
}

}  // namespace

TEST_CASE("an embedding is read by token and is a head, in either format") {
  check(table(F32{}, 19, 5));
  check(table(Bf16{}, 19, 5));
  CHECK(table(F32{}, 19, 5).bytes() == 2 * 64 * 5);
  CHECK(table(Bf16{}, 19, 5).bytes() == 2 * 64 * 3);
}
