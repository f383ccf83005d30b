// benchmarks/peers/pair.py: headgate bench beside a llama-bench, here one that says always the same.
#include <string>
#include <vector>

#include "cli/program.hpp"
#include "cli/scratch_folder.hpp"
#include "support/catch.hpp"

namespace {

cli::Result pair(const std::string& peer) {
  cli::Launch launch;
  launch.program = "/usr/bin/env";
  return cli::run(
      {"python3", HEADGATE_SOURCE_DIR "/benchmarks/peers/pair.py", "-m", cli::tales.string(), "-p", "3", "-n", "2",
       "-d", "0,4", "-t", "1", "--rounds", "1", "--headgate", HEADGATE_PROGRAM, "--llama-bench", peer},
      launch);
}

}  // namespace

TEST_CASE("pair.py sets the rows of headgate bench against a peer's of the same name") {
  const cli::ScratchFolder folder;
  const std::string asked = (folder / "asked").string();
  const std::string peer = folder.write("llama-bench", "#!/bin/sh\necho \"$*\" >>'" + asked +
                                                           "'\n"
                                                           "echo '[{\"n_prompt\": 3, \"n_gen\": 0, \"avg_ts\": 0.5},"
                                                           "{\"n_prompt\": 0, \"n_gen\": 2, \"n_depth\": 4, "
                                                           "\"avg_ts\": 1e9}]'\n");
  std::filesystem::permissions(peer, std::filesystem::perms::owner_all);
  const cli::Result result = pair(peer);
  INFO(result.out << result.err);
  CHECK(result.code == 0);
  CHECK(result.out.find("| pp3 | ") != std::string::npos);
  CHECK(result.out.find(" | 0.50 | ") != std::string::npos);
  CHECK(result.out.find("| tg2 @ d4 | ") != std::string::npos);
  CHECK(result.out.find(" | 1000000000.00 | 0.000 | 0.000 to 0.000 | ") != std::string::npos);
  CHECK(result.out.find("| tg2 |") == std::string::npos);  // the peer has none
  // A B B A
  const std::string line = "-m " + cli::tales.string() + " -p 3 -n 2 -d 0,4 -t 1 -r 1 -o json\n";
  CHECK(cli::read_all(asked) == line + line);
}

TEST_CASE("pair.py names a peer that is not there, and fails without any") {
  const cli::ScratchFolder folder;
  const cli::Result result = pair((folder / "absent").string());
  CHECK(result.code == 1);
  CHECK(result.out.starts_with("skipped llama-bench: "));
}
