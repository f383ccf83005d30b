// headgate perplexity: how well a model predicts a text, in llama.cpp's manner, and how its predictions differ from
// those of another model that were saved.
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "commands.hpp"
#include "headgate/analysis/kl_base.hpp"
#include "headgate/core/thread_pool.hpp"
#include "interrupt.hpp"
#include "json_writer.hpp"
#include "loading.hpp"
#include "machine.hpp"
#include "model_path.hpp"
#include "note.hpp"
#include "numbers.hpp"
#include "output_file.hpp"
#include "progress.hpp"
#include "prompt.hpp"
#include "text_chunks.hpp"
#include "whole_file.hpp"

namespace {

using headgate::Error;
using headgate::ErrorCode;
using headgate::index_t;
using headgate::KlBase;
using headgate::KlComparison;
using headgate::Mean;
using headgate::TextChunks;

struct PerplexityOptions {
  std::optional<std::string> model;      // none: the demo model
  std::optional<std::string> text;       // one of these two, but where a base is compared with
  std::optional<std::string> text_file;  // -: standard input
  std::int64_t context = 512;            // 0: what the model was made for
  std::int64_t chunks = -1;              // at most; -1: all
  std::int64_t threads = -1;
  std::optional<headgate::Compute> compute;
  std::optional<std::string> lora;
  headgate::CacheType cache_type = headgate::CacheType::f32;
  std::int64_t batch_rows = 128;  // positions of one forward pass
  std::optional<std::string> kl_base;
  bool must_compare = false;  // the base must be there
  bool json = false;
};

// What was measured, and of how much.
struct Measurement {
  std::size_t chunks = 0;
  index_t context = 0;
  const char* compute = "";
  std::vector<double> losses;
  std::optional<KlComparison> comparison;
};

TextChunks read_text(const PerplexityOptions& options, const std::string& folder, const headgate::ModelConfig& config,
                     index_t context) {
  return read_chunks(read_prompt(options.text, options.text_file), options.text_file, folder, config, context,
                     options.chunks);
}

// The chunks that the base was made of, or as many of them as are asked for, must be the text's.
void check_same_text(const TextChunks& text, const TextChunks& base, const std::string& path) {
  const std::span<const std::int32_t> a = text.tokens();
  const std::span<const std::int32_t> b = base.tokens();
  if (text.context() == base.context() && std::equal(a.begin(), a.end(), b.begin(), b.end())) return;
  throw Error(ErrorCode::bad_file,
              {path, "tokens", -1,
               fmt::format("are of another text or tokenizer ({} chunks of {}; here {} chunks of {}, and -c, --chunks "
                           "must be the same)",
                           base.size(), base.context(), text.size(), text.context())});
}

std::string estimate(const Mean& perplexity) {
  return fmt::format("PPL = {:.4f} +/- {:.5f}", perplexity.value, perplexity.error);
}

// Computes and, where a path is given, saves the distributions.
std::vector<double> measure(headgate::Session& session, const TextChunks& text, std::optional<WholeFile>& save,
                            headgate::Context& ctx, const headgate::OnChunk& on_chunk) {
  if (!save) return headgate::token_losses(session, text, ctx, on_chunk);
  std::vector<double> losses =
      save_distributions(session, text, ctx, [&](std::string_view bytes) { save->write(bytes); }, on_chunk);
  save->finish();
  return losses;
}

constexpr double shares[] = {1.0, 0.999, 0.99, 0.95, 0.9, 0.5, 0.1, 0.05, 0.01, 0.001, 0.0};

std::string plain_text(const Measurement& outcome) {
  if (!outcome.comparison) return "Final estimate: " + estimate(Mean::of(outcome.losses).exp()) + '\n';
  const KlComparison& c = *outcome.comparison;
  std::string out;
  const auto line = [&out](const char* name, const Mean& mean, double unit = 1.0, const char* sign = "") {
    out += fmt::format("{:<24} {:11.6f} +/- {:.6f}{}\n", name, mean.value * unit, mean.error * unit, sign);
  };
  line("PPL", c.loss.exp());
  line("PPL of the base", c.base_loss.exp());
  line("PPL / PPL of the base", c.loss_change.exp());
  line("mean KL divergence", c.divergence);
  line("same top token", c.same_top, 100.0, " %");
  line("mean change of p", c.probability_change, 100.0, " %");
  out += fmt::format("{:<24} {:11.6f} %\n", "RMS change of p", 100.0 * c.probability_rms);
  out += fmt::format("{:<10} {:>13} {:>17}\n", "percentile", "KL divergence", "change of p, %");
  for (const double share : shares) {
    out += fmt::format("{:>9.1f}% {:13.6f} {:17.4f}\n", 100.0 * share, headgate::percentile(c.divergences, share),
                       100.0 * headgate::percentile(c.probability_changes, share));
  }
  return out;
}

std::string json_text(const Measurement& outcome) {
  JsonWriter out;
  const auto put = [&out](const char* name, const Mean& mean) {
    out.key(name).begin_object().key("value").value(mean.value).key("error").value(mean.error).end_object();
  };
  out.begin_object().key("context").value(outcome.context).key("chunks").value(outcome.chunks);
  out.key("tokens").value(outcome.losses.size());
  out.key("compute").value(outcome.compute).key("kernels").value(kernels_name());
  const Mean loss = outcome.comparison ? outcome.comparison->loss : Mean::of(outcome.losses);
  put("loss", loss);
  put("perplexity", loss.exp());
  if (outcome.comparison) {
    const KlComparison& c = *outcome.comparison;
    out.key("comparison").begin_object();
    put("base_perplexity", c.base_loss.exp());
    put("perplexity_ratio", c.loss_change.exp());
    put("kl_divergence", c.divergence);
    put("same_top", c.same_top);
    put("probability_change", c.probability_change);
    out.key("probability_rms").value(c.probability_rms).key("percentiles").begin_array();
    for (const double share : shares) {
      out.begin_object().key("share").value(share);
      out.key("kl_divergence").value(headgate::percentile(c.divergences, share));
      out.key("probability_change").value(headgate::percentile(c.probability_changes, share)).end_object();
    }
    out.end_array().end_object();
  }
  return out.end_object().take() + '\n';
}

int perplexity(const PerplexityOptions& options) {
  const std::string folder = model_folder(options.model);
  std::optional<KlBase> base;
  std::optional<WholeFile> save;
  if (options.must_compare && !options.kl_base) throw_usage("--kl-divergence", "needs --kl-base FILE");
  if (options.kl_base) {
    std::error_code none;
    const auto type = std::filesystem::symlink_status(*options.kl_base, none).type();
    if (options.must_compare || type != std::filesystem::file_type::not_found) {
      base.emplace(KlBase::open(*options.kl_base));
    } else {
      save.emplace(*options.kl_base);
    }
  }
  const headgate::ModelDescription description = describe_shown(folder, options.compute, options.lora);
  const headgate::ModelConfig& config = description.config;
  std::int64_t context = options.context > 0 ? options.context : config.max_position_embeddings;
  std::optional<TextChunks> text;
  if (!base || options.text || options.text_file) {
    if (context > config.max_position_embeddings) {
      throw_usage("-c", fmt::format("got {}, and the model was made for {} positions", context,
                                    config.max_position_embeddings));
    }
    text.emplace(read_text(options, folder, config, static_cast<index_t>(context)));
    if (base) check_same_text(*text, base->text(), *options.kl_base);
  } else {
    context = base->text().context();
  }
  const TextChunks& chunks = base ? base->text() : *text;
  for (const std::int32_t token : chunks.tokens()) {
    if (token < 0 || token >= config.vocab_size) {
      throw Error(ErrorCode::bad_file, {*options.kl_base, "tokens", -1, "are not of the model's vocabulary"});
    }
  }

  headgate::ThreadPool threads(thread_count(options.threads));
  const std::shared_ptr<const headgate::Model> model = load_shown(folder, threads, options.compute, options.lora);
  headgate::Session session(model, {.context_size = static_cast<index_t>(context),
                                    .rows_per_pass = static_cast<index_t>(std::min(options.batch_rows, context)),
                                    .all_logits = true,
                                    .cache_type = options.cache_type});
  const Interrupt interrupt(session);
  headgate::Context ctx(threads);
  Measurement outcome{chunks.size(), chunks.context(), name_of(description.weights.compute), {}, {}};
  note(fmt::format("headgate: {} {} of {} tokens, {} counted in each; compute {}, kernels {}\n", chunks.size(),
                   chunks.size() == 1 ? "chunk" : "chunks", chunks.context(), chunks.counted(), outcome.compute,
                   kernels_name()));
  try {
    Progress progress("perplexity");
    const headgate::OnChunk on_chunk = [&](std::size_t done, std::span<const double> losses) {
      progress.update(static_cast<double>(done), static_cast<double>(chunks.size()), estimate(Mean::of(losses).exp()));
    };
    if (base) {
      outcome.comparison = headgate::compare(session, *base, ctx, on_chunk);
      outcome.losses.resize(chunks.size() * chunks.counted());
    } else {
      outcome.losses = measure(session, chunks, save, ctx, on_chunk);
    }
  } catch (const Error& error) {
    if (error.code() != ErrorCode::interrupted) throw;
    return Interrupt::exit_code();
  }
  if (save) note("headgate: distributions saved in " + headgate::escaped(*options.kl_base, 1024) + "\n");
  OutputFile::standard_output().write(options.json ? json_text(outcome) : plain_text(outcome));
  return 0;
}

}  // namespace

RunCommand perplexity_command(Flags& flags) {
  const auto options = std::make_shared<PerplexityOptions>();
  PerplexityOptions& o = *options;
  flags.model(o.model);
  flags.text("-p,--prompt", "TEXT", "the text to read", o.text);
  flags.text("-f,--file", "FILE", "... or the file to read it from (-: standard input)", o.text_file);
  declare_chunks(flags, "tokens of a chunk, of which the second half is counted; 0: as many as the model can (512)",
                 o.context, "read so many chunks at most; -1: all (-1)", o.chunks);
  flags.threads(o.threads);
  flags.compute(o.compute);
  flags.lora(o.lora);
  flags.cache_type(o.cache_type);
  flags.integer("-b,--batch-size", "positions of one forward pass (128)", 1, 1 << 16, o.batch_rows);
  flags.text("--kl-base,--kl-divergence-base,--save-all-logits", "FILE",
             "save the distributions, or where the file is there compare with them", o.kl_base);
  flags.on("--kl-divergence", "... the file must be there", o.must_compare);
  flags.on("--json", "print one JSON object", o.json);
  flags.examples({"perplexity -m DIR -f wiki.test.raw", "perplexity -m DIR -f wiki.test.raw --kl-base f32.kl",
                  "perplexity -m SMALLER --kl-base f32.kl"});
  return [options](const std::string&) { return perplexity(*options); };
}
