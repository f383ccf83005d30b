#include "headgate/models/scratch_count.hpp"

#include "models/plain_blueprint.hpp"

using namespace headgate;
using namespace models_test;

namespace {

// What rounding to whole lines adds at most, and what is noted of each text. Mixers count twice, for a layer may run
// twice.
constexpr std::int64_t lines(std::int64_t ropes, std::int64_t mixers, std::int64_t texts = 1) {
  return 64 * (40 + 2 * ropes + 4 * mixers) + ScratchCount::text_bytes * texts;
}

}  // namespace

TEST_CASE("scratch of a pass is counted frame by frame") {
  // One layer of two operations, of which the second takes more.
  Blueprint blueprint = plain_blueprint(8);
  const auto need = [](std::int64_t per_row) {
    return [per_row](const PassSize& pass) { return per_row * pass.rows + pass.threads; };
  };
  blueprint.layers = {{plain_step(need(10)), plain_step(need(20))}};
  const PassSize pass{3, 1, 10, 2};
  // Rows between layers and their ids, two in a layer, 3 * 20 + 2 of the operation, two pointers and a text of each of
  // two mixers.
  const ScratchCount count = ScratchCount::of(blueprint);
  CHECK(count.bytes(pass, 1, 100) == 4 * (24 + 12 + 48 + 62 + 8) + lines(0, 2));
  // Logits of all rows of wide states: the head's two buffers are less than a layer.
  CHECK(count.bytes(pass, 3, 100) == count.bytes(pass, 1, 100));
  // Of several texts they are gathered, vocab_size each.
  CHECK(count.bytes({3, 3, 10, 2}, 3, 100) == 4 * (24 + 12 + 48 + 3 * 108) + lines(0, 2, 3));
}

TEST_CASE("branches side by side and routers that read other rows hold more rows in a layer") {
  const auto none = [](const PassSize&) { return std::int64_t{0}; };
  const auto rows_of = [&](const LayerPlan& layer) {
    Blueprint blueprint = plain_blueprint(16);
    blueprint.layers = {layer};
    const std::size_t mixers = layer.front().branches.size();
    const std::size_t bytes = ScratchCount::of(blueprint).bytes({1, 1, 1, 1}, 1, 1);
    return (bytes - as_size(lines(0, static_cast<std::int64_t>(mixers)))) / 4 - 4 - 4 * mixers;
  };
  CHECK(rows_of({plain_step(none)}) == 3 * 16);
  StepPlan two = plain_step(none);
  two.branches.push_back(two.branches.front());
  CHECK(rows_of({two}) == 4 * 16);
  StepPlan apart = plain_step(none);
  apart.branches.front().router_reads = BranchPlan::RouterReads::layer_input;
  CHECK(rows_of({apart}) == 5 * 16);
  StepPlan late = plain_step(none);
  late.is_late = true;
  CHECK(rows_of({late}) == 4 * 16);
}
