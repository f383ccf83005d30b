// headgate generate on the demo model, against what a reference outside this project computed, and against itself.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <csignal>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/program.hpp"
#include "cli/scratch_folder.hpp"
#include "io/safetensors_writer.hpp"
#include "support/catch.hpp"
#include "support/sanitized.hpp"

namespace {

using Words = std::vector<std::string>;
using nlohmann::json;

const json& expected() {
  static const json value = json::parse(cli::read_all(HEADGATE_SOURCE_DIR "/tests/golden/tales/expected.json"));
  return value;
}
std::string comma_list(const json& ids) {
  std::string text;
  for (const json& id : ids) text += (text.empty() ? "" : ",") + std::to_string(id.get<int>());
  return text;
}
// Greedy continuation of the first golden prompt.
const std::string& story() {
  static const std::string text = expected().at("continuations").at(0).at("greedy_text");
  return text;
}
Words greedy(const Words& more) {
  Words words = {"generate", "-p", "Once upon a time", "--temp", "0", "--ignore-eos"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}
json run_json(Words words) {
  words.emplace_back("--json");
  const cli::Result result = cli::run(words);
  CAPTURE(words, result.err);
  REQUIRE(result.code == 0);
  return json::parse(result.out);
}
void check_routes(const Words& flags, const json& routes) {
  const cli::ScratchFolder folder;
  const std::string trace = folder / "trace.jsonl";
  Words words = {"generate", "--tokens", comma_list(routes.at("tokens")), "-n", "1", "--temp", "0", "--trace", trace};
  words.insert(words.end(), flags.begin(), flags.end());
  REQUIRE(cli::run(words).code == 0);
  std::vector<std::vector<int>> seen(6, std::vector<int>(routes.at("tokens").size()));
  std::size_t lines = 0;
  const std::string text = cli::read_all(trace);
  for (std::size_t first = 0; first < text.size(); ++lines) {
    const std::size_t end = text.find('\n', first);
    REQUIRE(end != std::string::npos);
    const json line = json::parse(text.substr(first, end - first));
    first = end + 1;
    REQUIRE(line.size() == 4);
    const json& layer = routes.at("layers").at(line.at("layer").get<std::size_t>());
    const auto token = line.at("token").get<std::size_t>();
    ++seen.at(line.at("layer").get<std::size_t>()).at(token);
    CAPTURE(line.dump());
    CHECK(line.at("experts") == layer.at("experts").at(token));
    for (std::size_t i = 0; i < line.at("weights").size(); ++i) {
      const double difference =
          line.at("weights").at(i).get<double>() - layer.at("weights").at(token).at(i).get<double>();
      CHECK(std::abs(difference) <= 1e-5);
    }
  }
  CHECK(lines == 6 * routes.at("tokens").size());
  for (const auto& layer : seen) {
    for (const int times : layer) CHECK(times == 1);
  }
}

}  // namespace

TEST_CASE("the program's greedy tokens, text and best log-probabilities are the reference's") {
  for (const json& golden : expected().at("continuations")) {
    const json result =
        run_json({"generate", "--tokens", comma_list(golden.at("prompt")), "-n",
                  std::to_string(golden.at("greedy").size()), "--temp", "0", "--ignore-eos", "--logprobs", "5"});
    CAPTURE(golden.at("text").get<std::string>());
    CHECK(result.at("prompt_tokens") == golden.at("prompt"));
    CHECK(result.at("tokens") == golden.at("greedy"));
    CHECK(result.at("text") == golden.at("greedy_text"));
    CHECK(result.at("finish_reason") == "length");
    REQUIRE(result.at("logprobs").size() == golden.at("greedy").size());
    for (std::size_t step = 0; step < golden.at("greedy").size(); ++step) {
      CAPTURE(step);
      const json& entry = result.at("logprobs").at(step);
      CHECK(entry.at("token") == golden.at("greedy").at(step));
      REQUIRE(entry.at("top").size() == 5);
      CHECK(entry.at("logprob") == entry.at("top").at(0).at(1));
      for (std::size_t i = 0; i < 5; ++i) {
        CHECK(entry.at("top").at(i).at(0) == golden.at("top5_logprobs").at(step).at(i).at(0));
        CHECK(std::abs(entry.at("top").at(i).at(1).get<double>() -
                       golden.at("top5_logprobs").at(step).at(i).at(1).get<double>()) <= 2e-4);
      }
    }
  }
}

TEST_CASE("text given with -p becomes the reference's prompt tokens, and only the new text reaches standard output") {
  for (const json& golden : expected().at("continuations")) {
    const std::string text = golden.at("text");
    const json result = run_json({"generate", "-p", text, "-n", "1", "--temp", "0"});
    CHECK(result.at("prompt_tokens") == golden.at("prompt"));
  }
  const cli::Result argument = cli::run(greedy({"-n", "48"}));
  CHECK(argument.code == 0);
  CHECK(argument.out == story());
  const Words from_input = {"generate", "-f", "-", "--temp", "0", "--ignore-eos", "-n", "48"};
  CHECK(cli::run(from_input, {.input = "Once upon a time"}).out == story());
  const cli::ScratchFolder folder;
  cli::write_all(folder / "prompt.txt", "Once upon a time");
  const Words from_file = {"generate", "-f", folder / "prompt.txt", "--temp", "0", "--ignore-eos", "-n", "48"};
  CHECK(cli::run(from_file).out == story());
}

TEST_CASE("the trace names the reference's experts and weights, however the prompt is cut") {
  const json& routes = expected().at("routes");
  check_routes({}, routes);
  check_routes({"-ub", "1"}, routes);
  check_routes({"-ub", "7", "-t", "3"}, routes);
}

TEST_CASE("the trace of decoded tokens goes on where the prompt's ended") {
  const cli::ScratchFolder folder;
  const std::string whole = folder / "whole";
  const std::string steps = folder / "steps";
  REQUIRE(cli::run(greedy({"-n", "9", "--trace", steps})).code == 0);
  const json golden = expected().at("continuations").at(0);
  json ids = golden.at("prompt");
  for (std::size_t i = 0; i < 8; ++i) ids.push_back(golden.at("greedy").at(i));
  REQUIRE(cli::run({"generate", "--tokens", comma_list(ids), "-n", "1", "--temp", "0", "--trace", whole}).code == 0);
  const auto sorted_lines = [](const std::string& text) {
    std::vector<std::string> lines;
    for (std::size_t first = 0; first < text.size(); first = text.find('\n', first) + 1) {
      lines.push_back(text.substr(first, text.find('\n', first) - first));
    }
    std::sort(lines.begin(), lines.end());
    return lines;
  };
  CHECK(sorted_lines(cli::read_all(steps)) == sorted_lines(cli::read_all(whole)));
}

TEST_CASE(
    "one seed gives one text and the same bits of its log-probabilities, at any number of threads and prompt rows") {
  const Words words = {"generate", "-p", "The king said to his daughter,", "-n", "40", "-s", "11", "--logprobs", "3"};
  const auto result_of = [&](const std::string& threads, const std::string& rows) {
    Words all = words;
    all.insert(all.end(), {"-t", threads, "-ub", rows});
    json result = run_json(all);
    result.erase("stats");
    return result;
  };
  const json first = result_of("1", "512");
  for (const char* const threads : {"1", "2", "3"}) {
    for (const char* const rows : {"1", "4", "512"}) {
      CAPTURE(threads, rows);
      CHECK(result_of(threads, rows) == first);
    }
  }
  Words other = words;
  other.at(6) = "12";
  CHECK(run_json(other).at("tokens") != first.at("tokens"));
}

TEST_CASE("every kind of kernels writes the same greedy text") {
  // One that this machine lacks leaves the next one down.
  for (const std::string isa : {"scalar", "avx2", "avx_vnni", "avx512", "avx512_vnni", "avx512_bf16"}) {
    CAPTURE(isa);
    const cli::Result result = cli::run(greedy({"-n", "48"}), {.environment = {"HEADGATE_ISA=" + isa}});
    CHECK(result.code == 0);
    CHECK(result.out == story());
  }
}

// L10
TEST_CASE("the seed that is printed gives the same text again") {
  const cli::Result first = cli::run({"generate", "-p", "Once upon a time", "-n", "20"});
  REQUIRE(first.code == 0);
  const std::size_t place = first.err.find("seed ");
  REQUIRE(place != std::string::npos);
  const std::size_t end = first.err.find_first_not_of("0123456789", place + 5);
  const std::string seed = first.err.substr(place + 5, end - place - 5);
  CAPTURE(seed);
  CHECK(cli::run({"generate", "-p", "Once upon a time", "-n", "20", "-s", seed}).out == first.out);
}

TEST_CASE("sampling flags that leave one candidate give the greedy text") {
  for (const Words& words :
       std::vector<Words>{{"--top-k", "1"}, {"--top-p", "0.000001"}, {"--min-p", "1"}, {"--temp", "1e-30"}}) {
    Words all = {"generate", "-p", "Once upon a time", "--ignore-eos", "-n", "20", "-s", "3"};
    all.insert(all.end(), words.begin(), words.end());
    CAPTURE(words);
    const std::string out = cli::run(all).out;
    CHECK(!out.empty());
    CHECK(story().starts_with(out));
  }
}

TEST_CASE("a penalty on repetition changes a text that repeats, and not its raw log-probabilities") {
  const Words words = {"generate", "-p", "#include <", "--temp", "0", "-n", "12", "--ignore-eos", "--logprobs", "2"};
  Words penalised = words;
  penalised.insert(penalised.end(), {"--repeat-penalty", "1.5"});
  const json plain = run_json(words);
  const json other = run_json(penalised);
  CHECK(plain.at("tokens") != other.at("tokens"));
  CHECK(plain.at("logprobs").at(0).at("top") == other.at("logprobs").at(0).at("top"));
}

TEST_CASE("a folder without tokenizer.json takes tokens and gives an object with the same tokens and no text") {
  const cli::ScratchFolder folder;
  const std::filesystem::path model = folder.model();
  std::filesystem::remove(model / "tokenizer.json");
  const Words words = {"generate", "--tokens", "0,3272,742", "-n", "8", "--temp", "0", "--json", "--logprobs", "2"};
  Words bare = words;
  bare.insert(bare.end(), {"-m", model});
  const cli::Result result = cli::run(bare);
  CHECK(result.code == 0);
  CHECK(result.err.find("no tokenizer.json") != std::string::npos);
  const nlohmann::json expected = nlohmann::json::parse(cli::run(words).out);
  const nlohmann::json object = nlohmann::json::parse(result.out);
  CHECK(object.at("tokens") == expected.at("tokens"));
  CHECK(object.at("logprobs") == expected.at("logprobs"));
  CHECK(object.at("text") == "");
  CHECK(expected.at("text") != "");

  // Where text goes in or comes out there is no way round it.
  for (const Words& more :
       std::vector<Words>{{"--stop", "x", "--tokens", "0", "--json"}, {"--tokens", "0"}, {"-p", "a"}}) {
    Words all = {"generate", "-m", model, "-n", "1"};
    all.insert(all.end(), more.begin(), more.end());
    CAPTURE(more);
    const cli::Result refused = cli::run(all);
    CHECK(refused.code == 4);
    CHECK(refused.err.find("tokenizer.json") != std::string::npos);
  }
}

TEST_CASE(
    "a tokenizer with more tokens than the model has rows refuses only a text that has one of those, by its name") {
  const cli::ScratchFolder folder;
  const std::filesystem::path model = folder.model("larger");
  nlohmann::json larger = nlohmann::json::parse(cli::read_all(model / "tokenizer.json"));
  nlohmann::json beyond = larger.at("added_tokens").at(0);
  beyond["content"] = "<|beyond|>";
  beyond["id"] = 4096;
  larger.at("added_tokens").push_back(beyond);
  cli::replace(model / "tokenizer.json", larger.dump());
  Words words = greedy({"-n", "48", "-m", model});
  CHECK(cli::run(words).out == story());
  words.at(2) = "Once <|beyond|> upon";
  const cli::Result refused = cli::run(words);
  CAPTURE(refused.err);
  CHECK(refused.code == 3);
  CHECK(refused.out.empty());
  CHECK(refused.err.find("tokenizer.json: token 3 of the text is \"<|beyond|>\" with id 4096") != std::string::npos);
  CHECK(refused.err.find("rows for ids 0 to 4095") != std::string::npos);
  CHECK(cli::run({"routers", "-m", model, "-p", "Once upon a time there was"}).code == 0);
  const cli::Result routers = cli::run({"routers", "-m", model, "-p", "Once <|beyond|> upon"});
  CHECK(routers.code == 3);
  CHECK(routers.err.find("<|beyond|>") != std::string::npos);
  CHECK(cli::run({"tokenize", "-m", model, "-p", "<|beyond|>"}).out.find("4096") != std::string::npos);
  const Words tokens = {"generate", "--tokens", "0,3272", "-n", "5", "--temp", "0"};
  Words with_model = tokens;
  with_model.insert(with_model.end(), {"-m", model});
  const cli::Result same = cli::run(with_model);
  CHECK(same.code == 0);
  CHECK(same.out == cli::run(tokens).out);
}

// F1
TEST_CASE("a prompt of nothing is the token that the tokenizer puts in front") {
  const json result = run_json({"generate", "-p", "", "-n", "5", "--temp", "0"});
  CHECK(result.at("prompt_tokens") == json::array({0}));
  CHECK(result.at("tokens").size() == 5);
  CHECK(result.at("tokens") == run_json({"generate", "--tokens", "0", "-n", "5", "--temp", "0"}).at("tokens"));
  CHECK(cli::run({"tokenize", "-p", ""}).out == "0\n");
}

// L2: -n 0 reads the prompt, as llama.cpp does, and is no misuse
TEST_CASE("flags have llama.cpp's names and special values") {
  const json usual = run_json(greedy({"-n", "12"}));
  for (const char* const name : {"--n-predict", "--predict", "--max-tokens"}) {
    CHECK(run_json(greedy({name, "12"})).at("tokens") == usual.at("tokens"));
  }
  SECTION("-n 0 reads the prompt, and writes nothing") {
    const json none = run_json(greedy({"-n", "0"}));
    CHECK(none.at("tokens").empty());
    CHECK(none.at("finish_reason") == "length");
    CHECK(none.at("stats").at("prefill_tokens") == 5);
    CHECK(none.at("stats").at("experts_per_token") == 2.0);
    CHECK(cli::run(greedy({"-n", "0"})).out.empty());
  }
  SECTION("-n -2 and -n -1 fill the context") {
    for (const char* const count : {"-1", "-2"}) {
      CHECK(run_json(greedy({"-n", count, "-c", "20"})).at("tokens").size() == 15);
    }
  }
  SECTION("-c 0 is the context that the model was made for") {
    CHECK(run_json(greedy({"-n", "1", "-c", "0"})).at("stats").at("memory_bytes") ==
          run_json(greedy({"-n", "1"})).at("stats").at("memory_bytes"));
    CHECK(run_json(greedy({"-n", "1", "-c", "512"})).at("stats").at("memory_bytes") !=
          run_json(greedy({"-n", "1"})).at("stats").at("memory_bytes"));
  }
  SECTION("-s -1 is another seed each time, and it is told") {
    const auto seed = [](const Words& words) { return run_json(words).at("stats").at("seed"); };
    const Words random = greedy({"-n", "1", "-s", "-1"});
    CHECK(seed(random) != seed(random));
    CHECK(seed(greedy({"-n", "1", "-s", "18446744073709551615"})) == 18446744073709551615u);
  }
  SECTION("-t 0 and -t -1 are all processors") {
    const json all = run_json(greedy({"-n", "1"})).at("stats").at("threads");
    for (const char* const count : {"0", "-1"}) {
      CHECK(run_json(greedy({"-n", "1", "-t", count})).at("stats").at("threads") == all);
    }
  }
  SECTION("the smaller of -b and -ub cuts the prompt") {
    const auto memory = [](const Words& words) {
      return run_json(greedy(words)).at("stats").at("memory_bytes").at("other").get<std::int64_t>();
    };
    CHECK(memory({"-n", "1", "-c", "65536", "-b", "9000", "-ub", "30000"}) ==
          memory({"-n", "1", "-c", "65536", "-b", "30000", "-ub", "9000"}));
    CHECK(memory({"-n", "1", "-c", "65536", "-b", "9000", "-ub", "30000"}) <
          memory({"-n", "1", "-c", "65536", "-b", "30000", "-ub", "30000"}));
    CHECK(run_json(greedy({"-n", "12", "-b", "2"})).at("tokens") == usual.at("tokens"));
  }
  SECTION("--repeat-last-n 0 looks back on nothing, -1 on all") {
    const auto tokens = [](const Words& more) {
      Words words = {"generate", "-p", "#include <", "--temp", "0", "-n", "12", "--ignore-eos"};
      words.insert(words.end(), more.begin(), more.end());
      return run_json(words).at("tokens");
    };
    CHECK(tokens({"--repeat-penalty", "1.5", "--repeat-last-n", "0"}) == tokens({}));
    CHECK(tokens({"--repeat-penalty", "1.5", "--repeat-last-n", "-1"}) == tokens({"--repeat-penalty", "1.5"}));
    CHECK(tokens({"--repeat-penalty", "1.5", "--repeat-last-n", "-1"}) != tokens({}));
  }
}

// L8
TEST_CASE("a stop string ends the text before it, wherever the borders of the tokens are") {
  for (const auto& [first, size] :
       std::vector<std::pair<std::size_t, std::size_t>>{{0, 1}, {3, 9}, {20, 2}, {31, 14}, {60, 40}}) {
    const std::string stop = story().substr(first, size);
    const std::string before = story().substr(0, story().find(stop));
    CAPTURE(stop);
    const json result = run_json(greedy({"-n", "48", "--stop", stop}));
    CHECK(result.at("text") == before);
    CHECK(result.at("finish_reason") == "stop");
    CHECK(cli::run(greedy({"-n", "48", "--stop", stop})).out == before);
  }
  CHECK(cli::run(greedy({"-n", "48", "--stop", "never said"})).out == story());
  // A beginning of a stop string that does not go on is text like any other.
  const std::string nearly = story().substr(5, 12) + "~";
  CHECK(cli::run(greedy({"-n", "48", "--stop", nearly, "--stop", story().substr(80, 6)})).out ==
        story().substr(0, story().find(story().substr(80, 6))));
}

// L8
TEST_CASE("ten thousand stop strings are as good as one") {
  Words words = greedy({"-n", "48"});
  for (int i = 0; i < 10'000; ++i) words.insert(words.end(), {"--stop", "absent " + std::to_string(i)});
  words.insert(words.end(), {"--stop", story().substr(40, 5)});
  CHECK(cli::run(words).out == story().substr(0, story().find(story().substr(40, 5))));
}

// F9, L1, L4
TEST_CASE("generation ends with the context, and a prompt that does not fit names both numbers") {
  const json full = run_json(greedy({"-c", "20"}));
  CHECK(full.at("tokens").size() == 15);
  CHECK(full.at("finish_reason") == "length");
  CHECK(run_json(greedy({"-c", "20", "-n", "400"})).at("tokens").size() == 15);
  const json exact = run_json(greedy({"-c", "5"}));
  CHECK(exact.at("tokens").empty());
  CHECK(exact.at("finish_reason") == "length");
  const cli::Result over = cli::run(greedy({"-c", "4"}));
  CHECK(over.code == 5);
  CHECK(over.err.find("got 5") != std::string::npos);
  CHECK(over.err.find("allowed 4") != std::string::npos);
  CHECK(cli::run({"generate", "--tokens", "0", "-n", "1", "--temp", "0"}).code == 0);
}

TEST_CASE("the end-of-text token ends the text unless it is ignored, and has no text of its own") {
  json ended;
  Words words;
  for (const char* const seed : {"1", "2", "3", "4", "5"}) {  // stories of this model end after some 200 tokens
    words = {"generate", "-p", "Once upon a time", "-s", seed};
    ended = run_json(words);
    if (ended.at("finish_reason") == "stop") break;
  }
  REQUIRE(ended.at("finish_reason") == "stop");
  CHECK(ended.at("tokens").back() == 0);
  CHECK(ended.at("text").get<std::string>().find("endoftext") == std::string::npos);
  words.emplace_back("--ignore-eos");
  const json longer = run_json(words);
  CHECK(longer.at("finish_reason") == "length");
  CHECK(longer.at("tokens").size() > ended.at("tokens").size());
  CHECK(longer.at("text").get<std::string>().starts_with(ended.at("text").get<std::string>()));
}

TEST_CASE("statistics are on standard error and in the object, the plan of memory before the rest") {
  const cli::Result result = cli::run(greedy({"-n", "16"}));
  for (const char* const part :
       {"memory", "load", "prefill", "decode", "tokens/s", "GB/s", "experts per token", "kernels", "threads", "seed"}) {
    CAPTURE(part, result.err);
    CHECK(result.err.find(part) != std::string::npos);
  }
  const json stats = run_json(greedy({"-n", "16", "-t", "2"})).at("stats");
  CHECK(stats.at("threads") == 2);
  CHECK(stats.at("prefill_tokens") == 5);
  CHECK(stats.at("decode_tokens") == 15);
  CHECK(stats.at("experts_per_token") == 2.0);
  CHECK(stats.at("decode_tokens_per_s").get<double>() > 0.0);
  CHECK(stats.at("weights_gb_per_s").get<double>() > 0.0);
  // People read sizes, programs exact bytes.
  CHECK(result.err.find("weights 18.7 MB, KV cache 6.3 MB, one tensor 2.1 MB") != std::string::npos);
  CHECK(result.err.find("s, 18.7 MB of weights") != std::string::npos);
  const json& memory = stats.at("memory_bytes");
  CHECK(memory.at("weights") == 18726912);
  CHECK(memory.at("kv_cache") == 6291456);
  CHECK(memory.at("largest_tensor") == 2097152);
  CHECK(memory.at("total") == 18726912 + 6291456 + 2097152 + memory.at("other").get<std::int64_t>());
}

namespace {

// What --parallel makes of a prompt, and what as many runs of their own make of it.
void check_parallel(const Words& words, int count, std::uint64_t seed) {
  CAPTURE(words, count);
  Words together = words;
  together.insert(together.end(), {"-s", std::to_string(seed), "--parallel", std::to_string(count)});
  const cli::Result plain = cli::run(together);
  together.insert(together.end(), {"--logprobs", "3"});
  const json list = run_json(together);
  CHECK(plain.code == 0);
  REQUIRE(list.is_array());
  REQUIRE(list.size() == static_cast<std::size_t>(count));
  std::string texts;
  for (int i = 0; i < count; ++i) {
    Words single = words;
    single.insert(single.end(), {"-s", std::to_string(seed + static_cast<std::uint64_t>(i)), "--logprobs", "3"});
    json alone = run_json(single);
    json found = list.at(static_cast<std::size_t>(i));
    CHECK(found.at("seed") == seed + static_cast<std::uint64_t>(i));
    CHECK(!alone.contains("seed"));
    found.erase("seed");
    found.erase("stats");
    alone.erase("stats");
    CHECK(found == alone);
    texts += alone.at("text").get<std::string>() + "\n";
  }
  CHECK(plain.out == texts);
}
// Numbers of new tokens of a list.
std::vector<std::size_t> lengths_of(const json& list) {
  std::vector<std::size_t> lengths;
  for (const json& text : list) lengths.push_back(text.at("tokens").size());
  std::sort(lengths.begin(), lengths.end());
  lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
  return lengths;
}

}  // namespace

TEST_CASE("parallel continuations are those of runs of their own with one seed after the other") {
  const Words prompt = {"generate", "-p", "The king said to his daughter,", "-n", "24"};
  for (const Words& more : std::vector<Words>{{"-t", "1"}, {"-t", "3", "-ub", "2"}, {"-c", "20"}}) {
    Words words = prompt;
    words.insert(words.end(), more.begin(), more.end());
    check_parallel(words, 3, 7);
  }
  check_parallel({"generate", "-p", "Once upon a time", "-n", "0"}, 2, 1);
  check_parallel({"generate", "--tokens", "0,3272", "-n", "5", "--repeat-penalty", "1.3"}, 2, 18446744073709551614u);
  CHECK(run_json({"generate", "-p", "Once", "-n", "3", "--parallel", "1"}).is_object());
}

TEST_CASE("parallel continuations end each at its own stop string, its end-of-text token or the limit") {
  Words words = {"generate", "-p", "Once upon a time", "-n", "60", "--stop", ".", "--stop", "said"};
  check_parallel(words, 4, 3);
  words.insert(words.end(), {"-s", "3", "--parallel", "4"});
  CHECK(lengths_of(run_json(words)).size() > 1);
  // Stories of this model end after some 200 tokens.
  words = {"generate", "-p", "Once upon a time", "-n", "260"};
  check_parallel(words, 4, 1);
  words.insert(words.end(), {"-s", "1", "--parallel", "4"});
  const json list = run_json(words);
  CHECK(lengths_of(list).size() > 1);
  std::size_t new_tokens = 0;
  for (const json& text : list) new_tokens += text.at("tokens").size();
  const json& stats = list.at(0).at("stats");
  CHECK(stats.at("decode_tokens") == new_tokens - 4);  // the first of each comes from the prompt
  CHECK(stats.at("prefill_tokens") == 5);              // once for all
}

TEST_CASE("parallel continuations take a cache each, and the plan of memory says so before they are made") {
  const json one = run_json(greedy({"-n", "1"})).at("stats").at("memory_bytes");
  const json five = run_json(greedy({"-n", "1", "--parallel", "5"})).at(0).at("stats").at("memory_bytes");
  CHECK(five.at("kv_cache") == 5 * one.at("kv_cache").get<std::int64_t>());
  CHECK(five.at("weights") == one.at("weights"));
  CHECK(cli::run(greedy({"-n", "1", "--parallel", "5"})).err.find("KV cache 31.5 MB") != std::string::npos);
  // As many as no machine has memory for.
  const cli::Result many = cli::run(greedy({"-n", "1", "-c", "10000000", "--parallel", "1024"}));
  CHECK(many.code == 5);
  CHECK(many.err.find("KV cache") != std::string::npos);
  CHECK(many.out.empty());
}

TEST_CASE("a number of parallel continuations that is none, and a trace of several texts, are misuses") {
  const cli::ScratchFolder folder;
  const std::string trace = folder / "trace.jsonl";
  const cli::Result refused = cli::run(greedy({"-n", "3", "--parallel", "2", "--trace", trace}));
  CHECK(refused.code == 2);
  CHECK(refused.err.find("--trace") != std::string::npos);
  CHECK(refused.err.find("--parallel") != std::string::npos);
  CHECK(refused.out.empty());
  CHECK_FALSE(std::filesystem::exists(trace));
  CHECK(cli::run(greedy({"-n", "3", "--parallel", "1", "--trace", trace})).code == 0);
  for (const char* const count : {"0", "-1", "1025", "two", ""}) {
    CAPTURE(count);
    const cli::Result result = cli::run(greedy({"-n", "1", "--parallel", count}));
    CHECK(result.code == 2);
    CHECK(result.err.find("--parallel") != std::string::npos);
  }
}

#if !HEADGATE_SANITIZED
TEST_CASE("peak memory stays within the plan that is printed") {
  std::int64_t peak = 0;
  const cli::Launch launch = {.on_output = [&](pid_t pid, std::string_view) {
    std::ifstream status("/proc/" + std::to_string(pid) + "/status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("VmHWM:")) peak = std::max(peak, 1024 * std::int64_t{std::stol(line.substr(6))});
    }
    return true;
  }};
  const cli::Result result = cli::run(greedy({"-n", "400", "-t", "2"}), launch);
  REQUIRE(result.code == 0);
  const json stats = run_json(greedy({"-n", "1", "-t", "2"})).at("stats");
  const auto plan = stats.at("memory_bytes").at("total").get<std::int64_t>();
  CAPTURE(result.err, peak, plan);
  CHECK(peak > 0);
  CHECK(peak <= plan);
}
#endif

// L5, L6
TEST_CASE("Ctrl-C and SIGTERM end a long run within 100 ms, keep its text and say so with the exit code") {
  using Clock = std::chrono::steady_clock;
  const std::string whole = cli::run(greedy({"-n", "200", "-t", "2"})).out;
  for (const int signal : {SIGINT, SIGTERM}) {
    Clock::duration fastest = std::chrono::hours(1);  // of three: other tests may hold the processors
    for (int attempt = 0; attempt < 3; ++attempt) {
      Clock::time_point sent{};
      const cli::Launch launch = {.on_output = [&](pid_t pid, std::string_view out) {
        if (sent == Clock::time_point{} && out.size() > 20) {
          sent = Clock::now();
          ::kill(pid, signal);
        }
        return true;
      }};
      const cli::Result result = cli::run(greedy({"-n", "-1", "-c", "8000", "-t", "2"}), launch);
      fastest = std::min(fastest, Clock::now() - sent);
      CHECK(result.code == 128 + signal);
      CHECK_FALSE(result.killed);
      const std::size_t common = std::min(whole.size(), result.out.size());
      CHECK(common > 20);
      CHECK(whole.substr(0, common) == result.out.substr(0, common));
      CHECK(result.err.find("decode") != std::string::npos);
    }
    CHECK(fastest < std::chrono::milliseconds(HEADGATE_SANITIZED ? 1000 : 100));
  }
}

TEST_CASE("an adapter changes the text as its weights say, and is refused where it does not fit") {
  const cli::ScratchFolder folder;
  const auto write = [&](const std::string& module, float b) {
    std::ofstream(folder / "adapter_config.json") << R"({"peft_type":"LORA","r":1,"lora_alpha":2})";
    const auto floats = [](float value) {
      std::string bytes;
      for (int i = 0; i < 256; ++i) bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
      return bytes;
    };
    const std::string name = "base_model.model." + module + ".lora_";
    std::ofstream(folder / "adapter_model.safetensors", std::ios::binary) << io_test::safetensors(
        {{name + "A.weight", "F32", "[1,256]", floats(1.0f)}, {name + "B.weight", "F32", "[256,1]", floats(b)}});
  };
  const std::string path = folder / "";
  const auto text = [&] { return run_json(greedy({"-n", "12", "--lora", path})).at("text").get<std::string>(); };
  const std::string plain = run_json(greedy({"-n", "12"})).at("text");
  write("model.layers.0.self_attn.q_proj", 0.0f);
  CHECK(text() == plain);
  write("model.layers.2.self_attn.o_proj", 0.5f);
  CHECK(text() != plain);
  const std::vector<std::string> perplexity = {
      "perplexity", "-p", "Once upon a time there was a king who had a garden by the sea", "-c", "4"};
  std::vector<std::string> adapted = perplexity;
  adapted.insert(adapted.end(), {"--lora", path});
  const cli::Result score = cli::run(adapted);
  const cli::Result plain_score = cli::run(perplexity);
  CHECK(score.code == 0);
  CHECK(plain_score.code == 0);
  CHECK(score.out != plain_score.out);

  write("model.layers.9.self_attn.o_proj", 0.5f);
  const cli::Result missing = cli::run(greedy({"-n", "2", "--lora", path}));
  CHECK(missing.code == 3);
  CHECK(missing.err.find("model.layers.9.self_attn.o_proj") != std::string::npos);
  CHECK(cli::run(greedy({"-n", "2", "--lora", "/no/such/folder"})).code == 4);
  CHECK(cli::run(greedy({"-n", "2", "--lora", ""})).code == 2);
}
