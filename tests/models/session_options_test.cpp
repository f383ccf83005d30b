#include "headgate/models/session_options.hpp"

#include "models/checkpoints.hpp"

using namespace headgate;
using namespace models_test;

TEST_CASE("by default a session has the model's own context, passes of 512 rows and the last logits") {
  const Session session(load_model(tiny("tied_bf16")));
  CHECK(session.context_size() == 96);
  CHECK(SessionOptions{}.rows_per_pass == 512);
  CHECK(session.options().rows_per_pass == 96);  // no pass is longer than the context
  CHECK(!session.options().all_logits);
}
