#include "headgate/analysis/window_logits.hpp"

#include "models/loading.hpp"
#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("the logits of a window are those of its tokens one by one, from the first that is asked for") {
  const auto model = load_model(HEADGATE_SOURCE_DIR "/examples/models/tales");
  Context ctx;
  const std::vector<std::int32_t> window = {0, 3272, 742, 11, 5, 9, 1000};
  Session session(model, {.context_size = 8, .rows_per_pass = 3, .all_logits = true});
  for (const std::size_t first : {0U, 2U, 3U, 6U, 7U}) {
    std::vector<std::vector<float>> seen(window.size());
    each_logits(session, window, first, ctx,
                [&](std::size_t i, std::span<const float> logits) { seen[i].assign(logits.begin(), logits.end()); });
    Session single(model, {.context_size = 8});
    for (std::size_t i = 0; i < window.size(); ++i) {
      throw_if_error(single.forward({&window[i], 1}, ctx));
      if (i < first) {
        CHECK(seen[i].empty());
      } else {
        CHECK(std::equal(seen[i].begin(), seen[i].end(), single.logits().begin(), single.logits().end()));
      }
    }
  }
  Session last_only(model, {.context_size = 8});
  CHECK_THROWS_AS(each_logits(last_only, window, 0, ctx, [](std::size_t, std::span<const float>) {}), Error);
}
