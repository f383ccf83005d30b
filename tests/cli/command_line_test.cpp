// What is typed wrongly ends in exit code 2 and one line that names the flag and what is allowed, before any model is
// read.
#include "cli/program.hpp"

#include <cstdio>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/scratch_folder.hpp"
#include "support/catch.hpp"

namespace {

using Words = std::vector<std::string>;

void check_one_line(const cli::Result& result) {
  CHECK(result.err.starts_with("headgate: error: "));
  CHECK(result.err.size() <= 4096);
  CHECK(result.err.find('\n') == result.err.size() - 1);
  for (const char c : result.err.substr(0, result.err.size() - 1)) CHECK((c >= 0x20 && c < 0x7f));
}

void check_usage(const Words& words, const std::string& part) {
  CAPTURE(words);
  const cli::Result result = cli::run(words);
  CHECK(result.code == 2);
  CHECK(result.out.empty());
  CAPTURE(result.err);
  CHECK(result.err.find(part) != std::string::npos);
  check_one_line(result);
}

}  // namespace

// G1
TEST_CASE("an unknown word, a missing value and a flag given twice are usage errors with a suggestion") {
  check_usage({}, "generate, chat, inspect, perplexity, bench, quantize, split, routers and tokenize");
  check_usage({"genrate"}, "did you mean generate?");
  check_usage({"generate", "--temprature", "1"}, "did you mean --temperature?");
  check_usage({"xyzzy"}, "see --help");
  check_usage({"generate", "-n"}, "--max-tokens");
  check_usage({"generate", "-p", "a", "-t", "1", "-t", "2"}, "--threads");
  check_usage({"generate", "--json=false", "-p", "a", "word"}, "'word'");
  check_usage({"generate", "inspect"}, "'inspect'");
  check_usage({"inspect", "-p", "a"}, "'-p'");
}

// G2, G4, G5
TEST_CASE("a number that is not wholly a number in range is a usage error") {
  const char* const wrong_counts[] = {
      "-3", "100000000000000000000", "4.5", "1e3", "0x10", "", " 4", "4x", "+4", "1,000", "\xD9\xA4", "nan", "4 "};
  for (const std::string flag : {"-n", "-c", "-t", "-b", "-ub", "--logprobs", "--top-k", "--repeat-last-n"}) {
    for (const char* const text : wrong_counts) {
      check_usage({"generate", "-p", "a", flag, text}, flag == "-ub" ? "--ubatch-size" : flag);
    }
  }
  for (const std::string flag : {"-b", "-ub", "--logprobs"}) check_usage({"generate", "-p", "a", flag, "0"}, "from 1");
  check_usage({"generate", "-p", "a", "-c", "-1"}, "-c");
  check_usage({"generate", "-p", "a", "--repeat-last-n", "-2"}, "--repeat-last-n");
  check_usage({"routers", "-c", "1"}, "allowed is 0 or an integer from 2");
  check_usage({"generate", "-p", "a", "--predict", "x"}, "-n");
  check_usage({"generate", "-p", "a", "-t", "-4"}, "1 to 1024");
  check_usage({"generate", "-p", "a", "-t", "100000"}, "1 to 1024");
  check_usage({"generate", "-p", "a", "-c", "-8"}, "-c");
  for (const char* const text : {"-1", "nan", "inf", "0,7", "1e400", "", "x", " 1"}) {
    check_usage({"generate", "-p", "a", "--temp", text}, "--temp");
    check_usage({"generate", "-p", "a", "--top-p", text}, "--top-p");
    check_usage({"generate", "-p", "a", "--min-p", text}, "--min-p");
    check_usage({"generate", "-p", "a", "--repeat-penalty", text}, "--repeat-penalty");
  }
  check_usage({"generate", "-p", "a", "--top-p", "0"}, "--top-p");
  check_usage({"generate", "-p", "a", "--top-p", "2"}, "--top-p");
  check_usage({"generate", "-p", "a", "--repeat-penalty", "0"}, "--repeat-penalty");
  check_usage({"generate", "-p", "a", "--top-k", "-5"}, "--top-k");
  for (const char* const text : {"abc", "18446744073709551616", "-2", "-1 ", ""}) {
    check_usage({"generate", "-p", "a", "-s", text}, "--seed");
  }
}

// F1, G1
TEST_CASE("exactly one prompt is wanted, and it has a token") {
  check_usage({"generate"}, "-p");
  check_usage({"tokenize"}, "-p");
  // A text of nothing is no prompt where the tokenizer puts no token in front of it.
  const cli::ScratchFolder folder;
  const std::filesystem::path model = folder.model();
  nlohmann::json bare = nlohmann::json::parse(cli::read_all(model / "tokenizer.json"));
  bare["post_processor"] = nullptr;
  cli::replace(model / "tokenizer.json", bare.dump());
  check_usage({"generate", "-p", "", "-m", model}, "empty");
  check_usage({"tokenize", "-p", "", "-m", model}, "empty");
  check_usage({"generate", "-f", "/dev/null", "-m", model}, "-f");
  check_usage({"generate", "-p", "a", "-f", "b"}, "only one");
  check_usage({"generate", "-p", "a", "--tokens", "1"}, "only one");
  check_usage({"generate", "-f", "a", "--tokens", "1"}, "only one");
  check_usage({"tokenize", "-p", "a", "-f", "b"}, "only one");
  for (const char* const text : {"", ",", "1,", "1,,2", "1, 2", "-1", "1;2", "99999999999"}) {
    check_usage({"generate", "--tokens", text}, "--tokens");
  }
  check_usage({"generate", "--tokens", "5,4096"}, "4096");  // the demo model knows 0 to 4095
  check_usage({"generate", "-p", "a", "--stop", ""}, "--stop");
  check_usage({"generate", "-p", "a", "--stop="}, "--stop");
  check_usage({"generate", "-p", "a", "-m", ""}, "-m");
  check_usage({"generate", "-p", "a", "--logprobs", "5"}, "--json");
}

// G7
TEST_CASE("numbers at the edge of what is allowed are taken") {
  for (const Words& words : std::vector<Words>{{"--temp", "1e-30"},
                                               {"--top-k", "1000000"},
                                               {"-s", "0"},
                                               {"--seed", "18446744073709551615"},
                                               {"--top-p", "1"},
                                               {"--min-p", "0"},
                                               {"-t", "7"},
                                               {"-t", "0"},
                                               {"-t", "-1"},
                                               {"-c", "0"},
                                               {"-s", "-1"},
                                               {"--seed=-1"},
                                               {"--top-k", "0"},
                                               {"--repeat-last-n", "9223372036854775807"},
                                               {"-b", "1"},
                                               {"--batch-size", "2147483647"},
                                               {"-ub", "2147483647"}}) {
    Words all = {"generate", "-p", "Once upon a time", "-n", "2"};
    all.insert(all.end(), words.begin(), words.end());
    CAPTURE(words);
    const cli::Result result = cli::run(all);
    CHECK(result.code == 0);
  }
}

// G3, G6, L14
TEST_CASE("a count that no machine can hold is a limit, with both numbers") {
  for (const Words& words :
       std::vector<Words>{{"-n", "9223372036854775807"}, {"-c", "1000000000000000"}, {"-c", "9223372036854775807"}}) {
    Words all = {"generate", "-p", "a"};
    all.insert(all.end(), words.begin(), words.end());
    CAPTURE(words);
    const cli::Result result = cli::run(all);
    CAPTURE(result.err);
    CHECK(result.code == 5);
    CHECK(result.err.find(words[1]) != std::string::npos);
  }
}

TEST_CASE("with --json an error is one object on standard output, with the same exit code") {
  const cli::Result result = cli::run({"generate", "-p", "a", "-n", "\"\\\x01\xff", "--json"});
  CHECK(result.code == 2);
  const nlohmann::json object = nlohmann::json::parse(result.out);
  CHECK(object.at("error").at("code") == 2);
  CHECK(object.at("error").at("message").get<std::string>().starts_with("-n: got "));
  check_one_line(result);
}

// G16
TEST_CASE("a very long argument is refused in a short line") {
  const cli::Result result = cli::run({"generate", "-p", "a", "-n", std::string(100'000, '\x7f')});
  CHECK(result.code == 2);
  check_one_line(result);
  const cli::Result unknown = cli::run({std::string("--").append(100'000, '\xc3')});
  CHECK(unknown.code == 2);
  check_one_line(unknown);
}

// G15
TEST_CASE("--help and --version go to standard output, fit a screen, and notice that it is full") {
  for (const Words& words : std::vector<Words>{{"--help"}, {"generate", "--help"}, {"inspect", "-h"}, {"--version"}}) {
    CAPTURE(words);
    const cli::Result result = cli::run(words);
    CHECK(result.code == 0);
    CHECK(result.err.empty());
    CHECK(std::count(result.out.begin(), result.out.end(), '\n') <= 48);
    CHECK(cli::run(words, {.output_to = "/dev/full"}).code == 4);
  }
  const std::string help = cli::run({"generate", "--help"}).out;
  for (const char* const flag : {"-p,",
                                 "-f,",
                                 "-n,",
                                 "-t,",
                                 "-c,",
                                 "-s,",
                                 "-ub ",
                                 "--temp,",
                                 "--top-k",
                                 "--top-p",
                                 "--min-p",
                                 "--repeat-penalty",
                                 "--repeat-last-n",
                                 "-b,",
                                 "--n-predict",
                                 "--ignore-eos",
                                 "--stop",
                                 "--tokens",
                                 "--logprobs",
                                 "--trace",
                                 "--json"}) {
    CAPTURE(flag);
    CHECK(help.find(flag) != std::string::npos);
  }
  CHECK(help.find("Examples:") != std::string::npos);
  const std::string version = cli::run({"--version"}).out;
  for (const char* const part : {"headgate 0.1.0", "compiler", "kernels", "threads", "fmt", "PCRE2", "CLI11"}) {
    CAPTURE(part);
    CHECK(version.find(part) != std::string::npos);
  }
}

TEST_CASE(
    "what activations are at quantized weights is int8 or f32, and int8 is asked of a model that has such weights") {
  for (const std::string command : {"generate", "chat", "perplexity", "routers"}) {
    for (const char* const text : {"int4", "F32", "", "f32 "}) {
      check_usage({command, "--compute", text},
                  "--compute: got '" + std::string(text) + "', allowed are int8, bf16 and f32");
    }
  }
  // The demo model's weights are floats.
  check_usage({"generate", "-p", "a", "--compute", "int8"}, "--compute");
  check_usage({"perplexity", "-p", "a b c d e f", "-c", "4", "--compute", "int8"}, "quantized");
  check_usage({"routers", "-p", "a b c d e f", "--compute", "int8"}, "quantized");
  check_usage({"routers", "-p", "a b c d e f", "--policies", "--compute", "int8"}, "quantized");
  const cli::Result floats = cli::run({"generate", "-p", "Once", "-n", "4", "--temp", "0", "--compute", "f32"});
  CHECK(floats.code == 0);
  CHECK(floats.out == cli::run({"generate", "-p", "Once", "-n", "4", "--temp", "0"}).out);
  CHECK(floats.err.find("compute f32") != std::string::npos);
}

TEST_CASE("the cache holds f32, f16 or q8_0, and no other type") {
  for (const std::string command : {"generate", "chat", "perplexity", "bench"}) {
    for (const char* const text : {"q8", "F16", "", "bf16", "f16 "}) {
      check_usage({command, "--cache-type", text},
                  "--cache-type: got '" + std::string(text) + "', allowed are f32, f16 and q8_0");
    }
  }
  const auto text_of = [](const char* type) {
    return cli::run({"generate", "-p", "Once", "-n", "20", "--temp", "0", "--cache-type", type});
  };
  const cli::Result exact = text_of("f32");
  CHECK(exact.out == cli::run({"generate", "-p", "Once", "-n", "20", "--temp", "0"}).out);
  CHECK(exact.err.find("KV cache 6.3 MB") != std::string::npos);
  CHECK(text_of("f16").err.find("KV cache 3.1 MB") != std::string::npos);
  CHECK(text_of("f16").out == exact.out);
  CHECK(text_of("q8_0").err.find("KV cache 1.7 MB") != std::string::npos);
  CHECK(text_of("q8_0").code == 0);
}

TEST_CASE("every command that runs a model takes the kernels that --isa caps, whatever HEADGATE_ISA says") {
  const std::vector<std::string> commands[] = {
      {"generate", "-p", "Once", "-n", "2", "--json"},
      {"chat", "--chat-format", "zephyr", "-n", "2", "--json"},
      {"perplexity", "-p", "Once upon a time there was a small dog", "-c", "4", "--json"},
      {"routers", "-p", "Once upon a time there was a small dog", "-c", "4", "--json"}};
  for (const std::vector<std::string>& command : commands) {
    CAPTURE(command);
    std::vector<std::string> capped = command;
    capped.insert(capped.end(), {"--isa", "scalar"});
    const cli::Result scalar = cli::run(capped, {.input = "Hi\n", .environment = {"HEADGATE_ISA=none there is"}});
    CHECK(scalar.code == 0);
    CHECK((scalar.out + scalar.err).find("scalar") != std::string::npos);
    capped.back() = "avx99";
    const cli::Result unknown = cli::run(capped);
    CHECK(unknown.code == 2);
    CHECK(unknown.err.find("--isa: got 'avx99', allowed are avx512_bf16, ") != std::string::npos);
    CHECK(unknown.err.find(" and scalar") != std::string::npos);
    capped.back().clear();
    CHECK(cli::run(capped).code == 2);
  }
  const cli::Result version = cli::run({"--isa", "scalar", "--version"});
  CHECK(version.code == 0);
  CHECK(version.out.find("kernels   scalar\n") != std::string::npos);
  CHECK(cli::run({"tokenize", "--isa", "scalar", "-p", "a"}).code == 2);  // runs no model
}

TEST_CASE("HEADGATE_ISA caps the kernels, and a name that is none is an error") {
  const cli::Result scalar = cli::run({"--version"}, {.environment = {"HEADGATE_ISA=scalar"}});
  CHECK(scalar.code == 0);
  CHECK(scalar.out.find("scalar") != std::string::npos);
  const cli::Result unknown = cli::run({"generate", "-p", "a", "-n", "1"}, {.environment = {"HEADGATE_ISA=avx99"}});
  CHECK(unknown.code == 2);
  CHECK(unknown.err.find("avx99") != std::string::npos);
  CHECK(unknown.err.find("HEADGATE_ISA") != std::string::npos);
}
