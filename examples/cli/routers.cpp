#include "routers.hpp"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <random>

#include <fmt/format.h>

#include "built_in_text.hpp"
#include "commands.hpp"
#include "headgate/analysis/report.hpp"
#include "headgate/analysis/text_run.hpp"
#include "headgate/core/thread_pool.hpp"
#include "headgate/tokenizer/load_tokenizer.hpp"
#include "interrupt.hpp"
#include "json_writer.hpp"
#include "loading.hpp"
#include "machine.hpp"
#include "model_path.hpp"
#include "note.hpp"
#include "numbers.hpp"
#include "output_file.hpp"
#include "processor.hpp"
#include "prompt.hpp"
#include "version.hpp"
#include "whole_file.hpp"

namespace {

using headgate::Comparison;
using headgate::index_t;

// The last part of a model's path, or all of it where others have the same.
std::string name_of(const std::string& folder, const std::vector<std::string>& folders) {
  const auto last = [](const std::string& path) {
    const std::filesystem::path clean = std::filesystem::path(path).lexically_normal();
    return clean.has_filename() ? clean.filename().string() : clean.parent_path().filename().string();
  };
  const auto same = [&](const std::string& other) { return last(other) == last(folder); };
  const bool is_alone = std::count_if(folders.begin(), folders.end(), same) == 1 && !last(folder).empty();
  return headgate::escaped(is_alone ? last(folder) : folder, 1024);
}

LoadedText load(const RoutersOptions& options, const std::string& folder, const std::string& name,
                const std::string& text, headgate::ExecutorRef threads) {
  headgate::ModelDescription about = describe_shown(folder, options.compute);
  std::shared_ptr<const headgate::Model> model = load_shown(folder, threads, options.compute);
  const headgate::Tokenizer tokenizer = headgate::load_tokenizer(folder);
  std::vector<std::int32_t> tokens = tokenizer.encode(text);
  const headgate::ModelConfig& config = model->config();
  if (!tokens.empty() && tokens.front() == config.bos_token_id) tokens.erase(tokens.begin());
  require_embedded(tokens, config.vocab_size, tokenizer, headgate::tokenizer_file(folder));
  if (tokens.size() < 2) throw_usage("-p and -f", "the text has fewer than 2 tokens of " + name);
  std::int64_t context = options.context < 0 ? 512 : options.context;
  if (context == 0) context = config.max_position_embeddings;
  if (options.context > config.max_position_embeddings) {
    throw_usage("-c",
                fmt::format("got {}, and {} was made for {} positions", context, name, config.max_position_embeddings));
  }
  context = std::min<std::int64_t>(context, config.max_position_embeddings);
  headgate::Session session(model,
                            {.context_size = static_cast<index_t>(context), .rows_per_pass = 128, .all_logits = true});
  return {folder, name, std::move(about), std::move(session), std::move(tokens)};
}

// What a JSON document and a page say of the run.
headgate::ReportFacts facts(const RoutersOptions& options, const std::string& text_name, int threads) {
  std::string version = version_text();
  version = version.substr(0, version.find('\n'));
  return {{"command", headgate::escaped(options.command, 8192)},
          {"version", version},
          {"machine",
           fmt::format("{}, kernels {}, {} threads", headgate::escaped(processor_name()), kernels_name(), threads)},
          {"text", text_name},
          {"seed", fmt::format("{}", options.seed)}};
}

void write(JsonWriter& out, const Comparison& table) {
  out.begin_object().key("title").value(table.title).key("note").value(table.note).key("columns").begin_array();
  for (const headgate::ComparisonColumn& column : table.columns) {
    constexpr const char* better[] = {"neither", "lower", "higher"};
    out.begin_object().key("key").value(column.key).key("meaning").value(column.meaning);
    out.key("better").value(better[static_cast<std::size_t>(column.better)]).end_object();
  }
  out.end_array().key("rows").begin_array();
  for (const headgate::ComparisonRow& row : table.rows) {
    out.begin_object();
    for (std::size_t i = 0; i < row.labels.size(); ++i) out.key(table.label_columns[i]).value(row.labels[i]);
    for (std::size_t c = 0; c < table.columns.size(); ++c) {
      const headgate::Interval& v = row.values[c];
      out.key(table.columns[c].key).begin_object();
      out.key("value").value(v.value).key("low").value(v.low).key("high").value(v.high).end_object();
    }
    out.key("layers").begin_array();
    for (const std::vector<std::int64_t>& loads : row.loads) {
      out.begin_object().key("max_violation").value(headgate::LoadStats::of(loads).max_violation);
      out.key("loads").array(loads).end_object();
    }
    out.end_array().end_object();
  }
  out.end_array().end_object();
}
std::string json_text(const headgate::ReportFacts& run, const std::vector<Comparison>& tables) {
  JsonWriter out;
  out.begin_object();
  for (const auto& [name, value] : run) out.key(name).value(value);
  out.key("comparisons").begin_array();
  for (const Comparison& table : tables) write(out, table);
  return out.end_array().end_object().take() + '\n';
}

// CSV of tables that have the same columns.
std::string csv_text(const std::vector<Comparison>& tables) {
  Comparison all = tables.front();
  for (std::size_t i = 1; i < tables.size(); ++i) {
    all.rows.insert(all.rows.end(), tables[i].rows.begin(), tables[i].rows.end());
  }
  return all.csv();
}

void routers(const RoutersOptions& options) {
  if (options.counts && !options.policies) throw_usage("--counts", "is replayed with --policies only");
  const std::string text =
      options.text || options.text_file ? read_prompt(options.text, options.text_file) : std::string(built_in_text);
  const std::string text_name = options.text_file
                                    ? headgate::escaped(*options.text_file, 1024)
                                    : std::string(options.text ? "of the command line" : "built-in story");
  // Before the work, so that a place that cannot be written is known at once.
  if (options.csv && options.csv == options.html) throw_usage("--csv and --html", "name the same file");
  std::optional<WholeFile> csv;
  std::optional<WholeFile> html;
  if (options.csv) csv.emplace(*options.csv);
  if (options.html) html.emplace(*options.html);
  std::vector<std::string> folders = options.models;
  if (folders.empty()) folders.push_back(model_folder(std::nullopt));
  for (const std::string& folder : folders) {
    if (csv) refuse_model_file(*csv, "--csv", folder);
    if (html) refuse_model_file(*html, "--html", folder);
  }
  headgate::ThreadPool threads(thread_count(options.threads));
  headgate::Context ctx(threads);
  std::vector<Comparison> tables;
  if (options.policies) tables = policy_tables(options);
  Comparison models = headgate::model_comparison();
  for (const std::string& folder : folders) {
    LoadedText loaded = load(options, model_folder(folder), name_of(folder, folders), text, threads);
    const Interrupt interrupt(loaded.session);
    note(fmt::format("{}: {} tokens in windows of {}\n", loaded.name, loaded.tokens.size(),
                     loaded.session.context_size()));
    if (options.policies) {
      tables.push_back(policy_table(loaded, options.seed, ctx));
    } else {
      const headgate::ModelDescription& about = loaded.about;
      const headgate::TextRun run = headgate::run_text(loaded.session, loaded.tokens, ctx);
      models.rows.push_back(
          headgate::model_row({loaded.name, about.routing.router, about.words(about.mixers)}, run, options.seed));
    }
  }
  if (!options.policies) tables.push_back(std::move(models));

  const headgate::ReportFacts run = facts(options, text_name, threads.size());
  const auto save = [](std::optional<WholeFile>& file, const std::string& content) {
    if (!file) return;
    file->write(content);
    file->finish();
  };
  save(csv, options.csv ? csv_text(tables) : std::string());
  save(html, options.html
                 ? options.policies ? headgate::policies_page(run, tables) : headgate::models_page(run, tables.front())
                 : std::string());
  std::string out;
  if (options.json) {
    out = json_text(run, tables);
  } else {
    for (const Comparison& table : tables) {
      out += table.title + '\n' + headgate::wrapped(table.note) + '\n' + table.text() + '\n';
    }
    out += tables.back().meanings();
  }
  OutputFile::standard_output().write(out);
}

}  // namespace

RunCommand routers_command(Flags& flags) {
  const auto options = std::make_shared<RoutersOptions>();
  RoutersOptions& o = *options;
  flags.texts("-m,--model", "DIR", "folder of a model; may be repeated (default: the demo model)", o.models);
  flags.text("-p,--prompt", "TEXT", "the text they read (default: a built-in story)", o.text);
  flags.text("-f,--file", "FILE", "... or the file to read it from (-: standard input)", o.text_file);
  flags.value("-c,--ctx-size", "N", "tokens of a window of the text; 0: as many as the model can (512)",
              [&o](const std::string& text) {
                o.context = parse_integer("-c", text, 0, INT32_MAX);
                if (o.context == 1) throw_usage("-c", "got '1', allowed is 0 or an integer from 2");
              });
  flags.threads(o.threads);
  flags.compute(o.compute);
  flags.value("-s,--seed", "N", "of intervals and of skewed logits; -1: a random one (1)",
              [&o](const std::string& text) {
                const std::optional<std::uint64_t> seed = parse_seed("--seed", text);
                o.seed = seed ? *seed : std::random_device{}();
              });
  flags.on("--policies", "compare every router policy in place of the models", o.policies);
  flags.text("--counts", "FILE", "... also on routing counts: model,dataset,layer,expert,count", o.counts);
  flags.on("--json", "print one JSON object, with 95 % intervals and loads", o.json);
  flags.text("--csv", "FILE", "write the numbers and their intervals", o.csv);
  flags.text("--html", "FILE", "write a page with pictures", o.html);
  flags.examples(
      {"routers -m tales -m tales-null -f book.txt --html report.html", "routers --policies --csv policies.csv"});
  return [options](const std::string& typed) {
    options->command = typed;
    routers(*options);
    return 0;
  };
}
