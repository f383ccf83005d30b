// headgate bench: tokens per second in llama-bench's vocabulary, beside what the machine could do: its read bandwidth
// and the rate of the unit that multiplies, measured in between.
#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <fmt/ranges.h>

#include "commands.hpp"
#include "headgate/core/thread_pool.hpp"
#include "headgate/models/session.hpp"
#include "interrupt.hpp"
#include "json_writer.hpp"
#include "loading.hpp"
#include "machine.hpp"
#include "machine_limits.hpp"
#include "model_path.hpp"
#include "output_file.hpp"
#include "session_plan.hpp"
#include "test_cost.hpp"

namespace {

using headgate::as_size;
using headgate::index_t;
using headgate::throw_if_error;

enum class Output : std::uint8_t { md, csv, json };

struct BenchOptions {
  std::vector<std::string> models;  // none: the demo model
  std::vector<std::int64_t> prompts = {512};
  std::vector<std::int64_t> generated = {128};
  std::vector<std::int64_t> depths = {0};
  std::vector<std::int64_t> threads = {-1};
  std::int64_t repetitions = 5;
  std::int64_t batch_rows = 2048;
  std::int64_t ubatch_rows = 512;
  std::optional<headgate::Compute> compute;
  headgate::CacheType cache_type = headgate::CacheType::f32;
  Output output = Output::md;
  bool json = false;
};

// So many tokens, of a prompt or one by one, behind `depth` others.
struct Test {
  index_t tokens;
  index_t depth;
  bool is_prompt;

  std::string name() const {
    return fmt::format("{}{}{}", is_prompt ? "pp" : "tg", tokens, depth > 0 ? fmt::format(" @ d{}", depth) : "");
  }
};

// What is printed of a test: one list of names for all kinds of output.
struct Row {
  std::string model, types, kernels, compute, cache_type;
  int threads;
  Test test;
  std::vector<double> rates;  // tokens per second, one a repetition
  double bytes_per_token, operations_per_token;
  double read_rate, operation_rate;  // of the machine, in a second

  double mean() const { return std::accumulate(rates.begin(), rates.end(), 0.0) / static_cast<double>(rates.size()); }
  double deviation() const {
    double sum = 0.0;
    for (const double rate : rates) sum += (rate - mean()) * (rate - mean());
    return rates.size() > 1 ? std::sqrt(sum / static_cast<double>(rates.size() - 1)) : 0.0;
  }
  // Tokens per second: of one by one what reading allows, of a prompt what multiplying does, too.
  double limit() const {
    const double by_reading = read_rate / bytes_per_token;
    return test.is_prompt ? std::min(by_reading, operation_rate / operations_per_token) : by_reading;
  }
  // use(name, value, digits behind the point for people)
  template <class F>
  void each_column(F&& use) const {
    use("model", model, 0);
    use("type", types, 0);
    use("threads", threads, 0);
    use("kernels", kernels, 0);
    use("compute", compute, 0);
    use("cache_type", cache_type, 0);
    use("test", test.name(), 0);
    use("avg_ts", mean(), 2);
    use("stddev_ts", deviation(), 2);
    use("bytes_per_token", bytes_per_token, 0);
    use("ops_per_token", operations_per_token, 0);
    use("limit_gb_s", read_rate * 1e-9, 1);
    use("limit_gop_s", operation_rate * 1e-9, 0);
    use("limit_ts", limit(), 2);
    use("share_of_limit", mean() / limit(), 3);
  }
};

// Rows are printed as they come; those of JSON in one list.
class Table {
 public:
  explicit Table(Output kind) : kind_(kind) { json_.begin_array(); }

  void add(const Row& row) {
    const char* const between = kind_ == Output::md ? " | " : ",";
    std::vector<std::string> names;
    std::vector<std::string> cells;
    std::vector<std::string> rules;
    if (kind_ == Output::json) json_.begin_object();
    row.each_column([&](const char* name, const auto& value, int digits) {
      names.emplace_back(name);
      constexpr bool is_text = std::is_convertible_v<decltype(value), std::string>;
      rules.emplace_back(is_text ? "---" : "--:");
      if (kind_ == Output::json) {
        if constexpr (is_text) {
          json_.key(name).value(headgate::escaped(value, 4096));
        } else {
          json_.key(name).value(value);
        }
      } else if constexpr (is_text) {
        cells.push_back(kind_ == Output::md ? headgate::escaped(value, 200) : quoted(value));
      } else if (kind_ == Output::md && std::is_floating_point_v<std::decay_t<decltype(value)>>) {
        cells.push_back(fmt::format("{:.{}f}", static_cast<double>(value), digits));
      } else {
        cells.push_back(fmt::format("{}", value));
      }
    });
    if (kind_ == Output::json) {
      json_.key("samples_ts").array(row.rates).end_object();
      return;
    }
    const auto line = [&](const std::vector<std::string>& words) {
      const std::string text = fmt::format("{}", fmt::join(words, between));
      return kind_ == Output::md ? "| " + text + " |\n" : text + '\n';
    };
    std::string text;
    if (is_first_) text = line(names) + (kind_ == Output::md ? line(rules) : "");
    is_first_ = false;
    OutputFile::standard_output().write(text + line(cells));
  }
  void finish() {
    if (kind_ == Output::json) OutputFile::standard_output().write(json_.end_array().take() + '\n');
  }

 private:
  // As RFC 4180 has it.
  static std::string quoted(const std::string& text) {
    if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
    std::string out = "\"";
    for (const char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
    return out + '"';
  }

  Output kind_;
  JsonWriter json_;
  bool is_first_ = true;
};

// One model on so many threads.
class Bench {
 public:
  Bench(const headgate::ModelDescription& model, headgate::Session& session, headgate::ThreadPool& threads,
        MachineLimits& limits, const BenchOptions& options)
      : model_(model), session_(session), threads_(threads), limits_(limits), options_(options), ctx_(threads) {}

  // Fills in all but what is known before.
  void measure(Row& row) {
    const Test& test = row.test;
    throw_if_error(session_.truncate(0));
    forward(random_tokens(test.depth));
    session_.snapshot();
    run(test, test.is_prompt ? test.tokens : 1);  // warms up
    limits_.clear();
    for (std::int64_t i = 0; i < options_.repetitions; ++i) {
      limits_.sample(threads_);
      row.rates.push_back(test.tokens / run(test, test.tokens));
    }
    limits_.sample(threads_);

    const TestCost cost = cost_of(test);
    row.bytes_per_token = cost.bytes / test.tokens;
    row.operations_per_token = std::accumulate(cost.operations.begin(), cost.operations.end(), 0.0) / test.tokens;
    row.read_rate = limits_.read_rate();
    double seconds_per_token = 0.0;
    for (const headgate::Compute compute : headgate::all_computes) {
      seconds_per_token +=
          cost.operations[static_cast<std::size_t>(compute)] / test.tokens / limits_.operation_rate(compute);
    }
    row.operation_rate = row.operations_per_token / seconds_per_token;
  }

 private:
  std::vector<std::int32_t> random_tokens(index_t count) {
    std::vector<std::int32_t> tokens(as_size(count));
    std::uniform_int_distribution<std::int32_t> any(0, model_.config.vocab_size - 1);
    for (std::int32_t& token : tokens) token = any(random_);
    return tokens;
  }
  void forward(std::span<const std::int32_t> tokens) {
    while (!tokens.empty()) {
      const std::size_t taken = std::min(tokens.size(), as_size(options_.batch_rows));
      throw_if_error(session_.forward(tokens.first(taken), ctx_));
      tokens = tokens.subspan(taken);
    }
  }
  // Seconds of so many tokens of a test, from its depth on.
  double run(const Test& test, index_t count) {
    throw_if_error(session_.truncate(test.depth));
    const std::vector<std::int32_t> tokens = random_tokens(count);
    Stopwatch watch;
    if (test.is_prompt) {
      forward(tokens);
    } else {
      for (const std::int32_t& token : tokens) forward({&token, 1});
    }
    return watch.lap();
  }
  TestCost cost_of(const Test& test) const {
    TestCost cost;
    const auto batch = static_cast<index_t>(test.is_prompt ? options_.batch_rows : 1);
    for (index_t done = 0; done < test.tokens;) {
      const index_t end_of_batch = std::min(test.tokens, done + batch);
      while (done < end_of_batch) {
        const index_t rows = std::min(session_.options().rows_per_pass, end_of_batch - done);
        cost.add_pass(model_, test.depth + done, rows, done + rows == end_of_batch ? 1 : 0, options_.cache_type);
        done += rows;
      }
    }
    return cost;
  }

  const headgate::ModelDescription& model_;
  headgate::Session& session_;
  headgate::ThreadPool& threads_;
  MachineLimits& limits_;
  const BenchOptions& options_;
  headgate::Context ctx_;
  std::mt19937 random_{1};
};

std::vector<Test> tests_of(const BenchOptions& options) {
  std::vector<Test> tests;
  for (const std::int64_t depth : options.depths) {
    for (const bool is_prompt : {true, false}) {
      for (const std::int64_t tokens : is_prompt ? options.prompts : options.generated) {
        if (tokens > 0) tests.push_back({static_cast<index_t>(tokens), static_cast<index_t>(depth), is_prompt});
      }
    }
  }
  if (tests.empty()) throw_usage("-p", "nothing to measure: -p and -n are 0");
  return tests;
}

void bench_model(const std::string& path, const std::vector<Test>& tests, const BenchOptions& options, Table& table) {
  const headgate::ModelDescription description = describe_shown(path, options.compute);
  std::int64_t context = 0;
  for (const Test& test : tests) context = std::max(context, std::int64_t{test.tokens} + test.depth);
  const std::int64_t most_threads = *std::max_element(options.threads.begin(), options.threads.end());
  MemoryUse memory;
  const headgate::SessionOptions session_options = plan_session({.context = context,
                                                                 .batch_rows = options.batch_rows,
                                                                 .ubatch_rows = options.ubatch_rows,
                                                                 .threads = most_threads,
                                                                 .cache_type = options.cache_type},
                                                                description, memory);
  std::vector<std::string_view> types;
  for (const headgate::DType type : description.dtypes) types.push_back(headgate::info(type).name);
  std::shared_ptr<const headgate::Model> model;
  MachineLimits limits;
  for (const std::int64_t asked : options.threads) {
    headgate::ThreadPool threads(thread_count(asked));
    if (!model) model = load_shown(path, threads, options.compute);
    headgate::Session session(model, session_options);
    const Interrupt interrupt(session);
    Bench bench(description, session, threads, limits, options);
    for (const Test& test : tests) {
      Row row{.model = path,
              .types = fmt::format("{}", fmt::join(types, ", ")),
              .kernels = kernels_name(),
              .compute = name_of(description.weights.compute),
              .cache_type = std::string(name_of(options.cache_type)),
              .threads = thread_count(asked),
              .test = test,
              .rates = {},
              .bytes_per_token = 0.0,
              .operations_per_token = 0.0,
              .read_rate = 0.0,
              .operation_rate = 0.0};
      bench.measure(row);
      table.add(row);
    }
  }
}

int bench(const BenchOptions& options) {
  const std::vector<Test> tests = tests_of(options);
  std::vector<std::string> models = options.models;
  if (models.empty()) models.push_back(model_folder(std::nullopt));
  Table table(options.json ? Output::json : options.output);
  try {
    for (const std::string& model : models) bench_model(model_folder(model), tests, options, table);
  } catch (const headgate::Error& error) {
    if (error.code() != headgate::ErrorCode::interrupted) throw;
    table.finish();
    return Interrupt::exit_code();
  }
  table.finish();
  return 0;
}

// "512,128": numbers, separated by single commas.
void integers(Flags& flags, const char* names, const char* help, std::int64_t low, std::int64_t high,
              std::vector<std::int64_t>& target) {
  const std::string all = names;
  const std::string flag = all.substr(0, all.find(','));
  flags.value(names, "N,N..", help, [=, &target](const std::string& text) {
    target.clear();
    for (std::size_t first = 0; first <= text.size();) {
      const std::size_t comma = std::min(text.find(',', first), text.size());
      target.push_back(parse_integer(flag, std::string_view(text).substr(first, comma - first), low, high));
      first = comma + 1;
    }
  });
}

}  // namespace

RunCommand bench_command(Flags& flags) {
  const auto options = std::make_shared<BenchOptions>();
  BenchOptions& o = *options;
  constexpr std::int64_t most = INT32_MAX / 4;
  flags.texts("-m,--model", "PATH", "Hugging Face folder or GGUF file, again for others (default: the demo model)",
              o.models);
  integers(flags, "-p,--n-prompt", "tokens of a prompt: rows \"pp512\"; 0: none (512)", 0, most, o.prompts);
  integers(flags, "-n,--n-gen", "tokens one by one: rows \"tg128\"; 0: none (128)", 0, most, o.generated);
  integers(flags, "-d,--n-depth", "... behind so many others (0)", 0, most, o.depths);
  integers(flags, "-t,--threads", "0, -1: one on each processor (-1)", -1, 1024, o.threads);
  flags.integer("-r,--repetitions", "of each row, after one that does not count (5)", 1, 1000, o.repetitions);
  flags.integer("-b,--batch-size", "prompt rows given at a time (2048)", 1, INT32_MAX, o.batch_rows);
  flags.integer("--ubatch-size", "-ub N: ... and in one forward pass (512)", 1, INT32_MAX, o.ubatch_rows);
  flags.compute(o.compute);
  flags.cache_type(o.cache_type);
  flags.value("-o,--output", "FORMAT", "md, csv or json (md)", [&o](const std::string& text) {
    if (text != "md" && text != "csv" && text != "json") {
      throw_usage("-o", "got '" + headgate::escaped(text, 80) + "', allowed are md, csv and json");
    }
    o.output = text == "md" ? Output::md : text == "csv" ? Output::csv : Output::json;
  });
  flags.on("--json", "print JSON, as -o json does", o.json);
  flags.examples({"bench -m model.gguf", "bench -m model.gguf -p 512 -n 128 -d 0,4096 -t 1,2 -o json"});
  return [options](const std::string&) { return bench(*options); };
}
