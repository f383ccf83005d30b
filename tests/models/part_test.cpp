#include "headgate/models/part.hpp"

#include "headgate/models/parts/moe_part.hpp"
#include "models/plain_blueprint.hpp"

using namespace headgate;
using namespace models_test;

namespace {

// What a part may know beside the least.
struct Knowing : PlainPart {
  std::shared_ptr<const Rope> rope = std::make_shared<const Rope>(Rope::create(1e4, 14).value());
  RoutingSummary summary{11, 3, "by heart"};

  StateNeed state() const {
    return [](const StateSize& size) { return std::int64_t{2} * size.context_size; };
  }
  ReadCount reads() const {
    return [](index_t length) { return TextRead{length / 2, 10}; };
  }
  const RoutingSummary& routing() const noexcept { return summary; }
  const WeightRows* linear_gate() const noexcept { return nullptr; }
};

}  // namespace

TEST_CASE("a part that knows no state, rotary positions or routes has none") {
  const AnyPart<DecoderBlock::Dense> part = PlainPart{[](const PassSize& pass) { return 3 * pass.rows; }};
  CHECK(part.words() == "plain");
  CHECK(!part.state());
  CHECK(!part.reads());
  CHECK(part.rope() == nullptr);
  CHECK(part.routing() == nullptr);
  CHECK(part.linear_gate() == nullptr);
  CHECK(part.scratch()({5, 1, 5, 1}) == 15);
  WeightList weights;
  part.list_weights(weights);
  CHECK(weights.empty());
}

TEST_CASE("what a part knows is asked of it through its erased form, and copies share it") {
  const AnyPart<DecoderBlock::Dense> part = Knowing{};
  const AnyPart<DecoderBlock::Dense> copy = part;
  CHECK(copy.state()({24, 1, 0}) == 48);
  CHECK(copy.reads()(24).positions == 12);
  CHECK(copy.reads()(24).multiply_adds == 10);
  REQUIRE(copy.rope() != nullptr);
  CHECK(copy.rope() == part.rope());
  CHECK(copy.rope()->half() == 7);
  REQUIRE(copy.routing() != nullptr);
  CHECK(copy.routing()->num_experts == 11);
}
