// Files that the program writes are there whole or not at all, whatever fails on the way.
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "cli/program.hpp"
#include "cli/scratch_folder.hpp"
#include "support/catch.hpp"

namespace {

using Words = std::vector<std::string>;
using std::filesystem::path;

// A command that writes `file`.
struct Writer {
  const char* name;
  Words words;
};
std::vector<Writer> writers(const std::string& file) {
  return {{"trace", {"generate", "-p", "Once upon a time", "--temp", "0", "-n", "250", "-t", "1", "--trace", file}},
          {"csv", {"routers", "-p", "The king and the fox.", "-t", "1", "--csv", file}},
          {"html", {"routers", "-p", "The king and the fox.", "-t", "1", "--html", file}},
          {"kl",
           {"perplexity", "-p", "The king and the fox went into the wide world, and there was a golden horse.", "-c",
            "8", "-t", "1", "--kl-base", file}}};
}
std::vector<std::string> names_in(const path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

void check_io(const cli::Result& result, const std::string& file, const std::string& reason) {
  CAPTURE(result.err);
  CHECK(result.code == 4);
  CHECK_FALSE(result.killed);
  CHECK(result.err.find("headgate: error: " + file + ": ") != std::string::npos);
  CHECK(result.err.find(reason) != std::string::npos);
}

}  // namespace

TEST_CASE("an output takes the place of an older one when it is finished, and keeps its mode and links") {
  const cli::ScratchFolder folder;
  for (const Writer& writer : writers(folder / "out")) {
    if (writer.name == std::string("kl")) continue;  // a file that is there is compared with
    CAPTURE(writer.name);
    const path out = folder / "out";
    std::filesystem::remove(out);
    REQUIRE(cli::run(writer.words).code == 0);
    const std::string whole = cli::read_all(out);
    CHECK(whole.size() > 100);
    cli::write_all(folder / "kept", "old");
    using std::filesystem::perms;
    const perms mode = perms::owner_read | perms::owner_write | perms::group_read;
    std::filesystem::permissions(folder / "kept", mode);
    std::filesystem::remove(out);
    std::filesystem::create_symlink("kept", out);
    REQUIRE(cli::run(writer.words).code == 0);
    CHECK(std::filesystem::is_symlink(out));
    CHECK(std::filesystem::status(folder / "kept").permissions() == mode);
    const std::string again = cli::read_all(folder / "kept");
    CHECK(again.size() > 100);
    if (writer.name == std::string("trace")) CHECK(again == whole);
    CHECK(names_in(folder.path()) == Words{"kept", "out"});
    std::filesystem::remove(folder / "kept");
  }
}

TEST_CASE("outputs that are devices or pipes are written as they are") {
  const cli::ScratchFolder folder;
  for (const Writer& writer : writers("/dev/stdout")) {
    if (writer.name == std::string("kl")) continue;
    CAPTURE(writer.name);
    const cli::Result result = cli::run(writer.words);
    CHECK(result.code == 0);
    CHECK(result.out.size() > 200);
  }
  for (const Writer& writer : writers("/dev/full")) {
    CAPTURE(writer.name);
    CHECK(cli::run(writer.words).code == 4);  // G10
  }
  CHECK(std::filesystem::exists("/dev/full"));
}

// I20, I22, I2: where no file can be written the model is not even looked at.
TEST_CASE("an output that cannot be written is an error before the model is read") {
  const cli::ScratchFolder folder;
  std::filesystem::create_directory(folder / "is a folder");
  std::filesystem::create_symlink("loop", folder / "loop");
  std::filesystem::create_symlink("nowhere/at all", folder / "dangling");
  for (const std::string& file :
       Words{folder / "none" / "out", folder / "is a folder", folder / "loop", folder / "dangling",
             std::string(5000, 'x'), folder / std::string(300, 'y'), ""}) {
    for (Writer& writer : writers(file)) {
      CAPTURE(writer.name, file.substr(0, 100));
      writer.words.insert(writer.words.end(), {"-m", folder / "absent"});
      const cli::Result result = cli::run(writer.words);
      CAPTURE(result.err);
      CHECK(result.code == 4);
      CHECK(result.out.empty());
      CHECK(result.err.find("absent") == std::string::npos);
      CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
    }
  }
  CHECK(names_in(folder.path()) == Words{"dangling", "is a folder", "loop"});
}

// L5, L6: a signal while a trace is written leaves the trace so far, whole lines; one during the load leaves nothing.
TEST_CASE("a signal leaves a whole file or none") {
  for (const int signal : {SIGINT, SIGTERM}) {
    const cli::ScratchFolder folder;
    bool sent = false;
    const cli::Launch launch = {.on_output = [&](pid_t pid, std::string_view out) {
      if (!sent && out.size() > 20) ::kill(pid, signal);
      sent = sent || out.size() > 20;
      return true;
    }};
    const cli::Result result = cli::run(
        {"generate", "-p", "Once upon a time", "-n", "-1", "-c", "8000", "--ignore-eos", "--trace", folder / "trace"},
        launch);
    CHECK(result.code == 128 + signal);
    CHECK(names_in(folder.path()) == Words{"trace"});
    CHECK(cli::read_all(folder / "trace").ends_with("]}\n"));
  }
}

// I24
TEST_CASE("of two writers of one output one wins whole") {
  const cli::ScratchFolder folder;
  const std::string file = folder / "trace";
  const auto words = [&](const char* text) {
    return std::string(HEADGATE_PROGRAM) + " generate -p " + text + " --temp 0 -n 60 -t 1 --trace '" + file + "'";
  };
  const auto shell = [](const std::string& command) {
    return cli::run({"-c", command + " >/dev/null 2>&1"}, {.program = "/bin/sh"}).code;
  };
  REQUIRE(shell(words("Once")) == 0);
  const std::string first = cli::read_all(file);
  REQUIRE(shell(words("Twice")) == 0);
  const std::string second = cli::read_all(file);
  REQUIRE(first != second);
  for (int i = 0; i < 5; ++i) {
    REQUIRE(shell("(" + words("Once") + ") & (" + words("Twice") + ") & wait") == 0);
    const std::string found = cli::read_all(file);
    CHECK((found == first || found == second));
    CHECK(names_in(folder.path()) == Words{"trace"});
  }
}

TEST_CASE("two reports of one name are a misuse") {
  const cli::ScratchFolder folder;
  const std::string file = folder / "out";
  const cli::Result result = cli::run({"routers", "-p", "The king.", "--csv", file, "--html", file});
  CHECK(result.code == 2);
  CHECK(names_in(folder.path()).empty());
}

// I17 by a limit that needs no privileges: a file may not grow beyond some blocks of 512 bytes.
TEST_CASE("an output that may not grow is an error, and what stood there stays") {
  const cli::ScratchFolder folder;
  const std::string file = folder / "trace";
  cli::write_all(file, "old");
  for (const char* const blocks : {"0", "1", "40"}) {
    const cli::Result result = cli::run({"-c", "ulimit -f " + std::string(blocks) + "; exec " + HEADGATE_PROGRAM +
                                                   " generate -p Once --temp 0 -n 60 --trace '" + file + "'"},
                                        {.program = "/bin/sh"});
    check_io(result, file, "File too large");
    CHECK(cli::read_all(file) == "old");
    CHECK(names_in(folder.path()) == Words{"trace"});
  }
}

#if defined(HEADGATE_FAILING_CALLS)
namespace {

cli::Launch failing(const std::string& plan) {
  return {.environment = {"LD_PRELOAD=" HEADGATE_FAILING_CALLS, "HEADGATE_FAIL=" + plan}};
}

}  // namespace

// I17 a full disk at each write, I18 close, I19 rename across devices, I20 a read-only file system.
TEST_CASE("whichever call fails while an output is written, the old file stays and nothing else is left") {
  struct Fault {
    const char* call;
    int error;
  };
  const cli::ScratchFolder folder;
  const std::string file = folder / "out";
  for (const Writer& writer : writers(file)) {
    const bool has_old = writer.name != std::string("kl");
    for (const Fault fault :
         {Fault{"create", EROFS}, Fault{"create", ENOSPC}, Fault{"write", ENOSPC}, Fault{"write", EIO},
          Fault{"fsync", EIO}, Fault{"close", ENOSPC}, Fault{"rename", EXDEV}}) {
      int struck = 0;
      for (int n = 1;; ++n) {
        CAPTURE(writer.name, fault.call, fault.error, n);
        std::filesystem::remove(file);
        if (has_old) cli::write_all(file, "old");
        const cli::Result result =
            cli::run(writer.words, failing(fault.call + (" " + std::to_string(n)) + " " + std::to_string(fault.error)));
        if (result.code == 0) {
          CHECK(cli::read_all(file).size() > 100);
          if (n > 3) break;  // what is closed before has not been written
          continue;
        }
        ++struck;
        check_io(result, file, std::strerror(fault.error));
        CHECK(names_in(folder.path()) == (has_old ? Words{"out"} : Words{}));
        if (has_old) CHECK(cli::read_all(file) == "old");
        REQUIRE(n < 100);
      }
      CHECK(struck >= 1);
    }
  }
}

// L5: a trace so far is kept, whole lines; reports and distributions are whole or not there.
TEST_CASE("Ctrl-C at any call of an output leaves a whole file or what stood there, and nothing else") {
  const cli::ScratchFolder folder;
  const std::string file = folder / "out";
  for (const Writer& writer : writers(file)) {
    for (const char* const call : {"create", "write", "fsync", "rename"}) {
      int struck = 0;
      for (int n = 1;; ++n) {
        CAPTURE(writer.name, call, n);
        std::filesystem::remove(file);
        const cli::Result result = cli::run(writer.words, failing(call + (" " + std::to_string(n)) + " 0"));
        CAPTURE(result.err);
        if (result.code == 0) {  // it came after the work
          CHECK(names_in(folder.path()) == Words{"out"});
          break;
        }
        ++struck;
        CHECK(result.code == 130);
        CHECK_FALSE(result.killed);
        const std::vector<std::string> names = names_in(folder.path());
        CHECK((names.empty() || names == Words{"out"}));
        if (!names.empty()) {
          CHECK(writer.name == std::string("trace"));
          const std::string lines = cli::read_all(file);
          CHECK((lines.empty() || lines.ends_with("]}\n")));
        }
        REQUIRE(n < 100);
      }
      CHECK((struck >= 1 || call == std::string("fsync") || call == std::string("rename")));
    }
  }
}

// L5
TEST_CASE("Ctrl-C while a model is loaded ends the program at once") {
  int struck = 0;
  for (int n = 1; n < 50; ++n) {
    const cli::Result result =
        cli::run({"generate", "-p", "Once", "-n", "1", "-t", "1"}, failing("read " + std::to_string(n) + " 0"));
    CAPTURE(n, result.err);
    if (result.code == 0) continue;
    ++struck;
    CHECK(result.code == 130);
    CHECK_FALSE(result.killed);
    CHECK(result.out.empty());
  }
  CHECK(struck >= 3);
}

// I15, I16: in every file that is read and every one that is written.
TEST_CASE("calls that are interrupted or move one byte at a time change nothing") {
  const cli::ScratchFolder folder;
  const std::string file = folder / "out";
  const Words words = {"generate", "-p", "Once", "--temp", "0", "-n", "3", "-t", "1", "--trace", file};
  const std::string out = cli::run(words).out;
  const std::string trace = cli::read_all(file);
  std::filesystem::remove(file);
  const cli::Result result = cli::run(words, failing("short 0 0"));
  CAPTURE(result.err);
  CHECK(result.code == 0);
  CHECK(result.out == out);
  CHECK(cli::read_all(file) == trace);
}

// I14: what is read and not mapped.
TEST_CASE("a read that fails is an error of input with its file") {
  int struck = 0;
  for (int n = 1; n < 50; ++n) {
    const cli::Result result =
        cli::run({"generate", "-p", "Once", "-n", "1", "-t", "1"}, failing("read " + std::to_string(n) + " 5"));
    if (result.code == 0) continue;  // of the runtime's own: processors, /proc
    CAPTURE(n, result.err);
    ++struck;
    CHECK(result.code == 4);
    CHECK(result.err.find(".json: cannot read: Input/output error") != std::string::npos);
  }
  CHECK(struck >= 3);
}
#endif
