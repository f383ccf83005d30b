#include "../../examples/cli/progress.hpp"

#include "support/catch.hpp"

TEST_CASE("a line of progress says the share that is done and the time that is left") {
  CHECK(Progress::line("perplexity", 0, 4, 0.0, "") == "perplexity 0 %");
  CHECK(Progress::line("perplexity", 1, 4, 10.0, "PPL = 3") == "perplexity 25 %, 0:30 left, PPL = 3");
  CHECK(Progress::line("loading", 4, 4, 10.0, "") == "loading 100 %, 0:00 left");
  CHECK(Progress::line("loading", 0, 0, 0.0, "") == "loading 100 %, 0:00 left");
  CHECK(Progress::time_text(59.6) == "1:00");
  CHECK(Progress::time_text(3599.0) == "59:59");
  CHECK(Progress::time_text(3723.0) == "1:02:03");
}
