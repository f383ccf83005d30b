// Where the program looks for a model that nobody named.
#define HEADGATE_INSTALLED_MODEL_DIR "../nowhere/installed"
#define HEADGATE_DEMO_MODEL_DIR "/nowhere/built"
#include "../../examples/cli/model_path.hpp"

#include <string>

#include "cli/program.hpp"
#include "cli/scratch_folder.hpp"
#include "support/catch.hpp"

TEST_CASE("a demo model that is in neither place is an error that names both") {
  try {
    model_folder(std::nullopt);
    FAIL("found a model");
  } catch (const headgate::Error& error) {
    CHECK(error.code() == headgate::ErrorCode::io);
    CHECK(std::string(error.what()).find("/nowhere/installed") != std::string::npos);
    CHECK(std::string(error.what()).find("/nowhere/built") != std::string::npos);
  }
}

TEST_CASE("a program below a prefix takes the demo model of that prefix") {
  const cli::ScratchFolder prefix;
  std::filesystem::create_directories(prefix / "bin");
  std::filesystem::create_directories(prefix / "share/headgate/models");
  std::filesystem::copy_file(HEADGATE_PROGRAM, prefix / "bin/headgate");
  prefix.model("share/headgate/models/tales");
  // By whatever name it is called: a link elsewhere leads to the same program.
  std::filesystem::create_symlink(prefix / "bin/headgate", prefix / "link");
  const cli::Result result = cli::run({"inspect"}, {.program = prefix / "link"});
  CHECK(result.code == 0);
  CHECK(result.out.find((prefix / "share/headgate/models/tales").string()) != std::string::npos);
}
