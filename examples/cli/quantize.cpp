// headgate quantize: a model in fewer bits, as a folder whose weights are mapped and computed with as they lie there.
#include "headgate/models/quantize.hpp"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "commands.hpp"
#include "headgate/core/thread_pool.hpp"
#include "interrupt.hpp"
#include "json_writer.hpp"
#include "loading.hpp"
#include "machine.hpp"
#include "model_documents.hpp"
#include "note.hpp"
#include "numbers.hpp"
#include "output_file.hpp"
#include "progress.hpp"
#include "sizes.hpp"
#include "text_chunks.hpp"
#include "whole_folder.hpp"

namespace {

using headgate::Error;
using headgate::ErrorCode;
using headgate::index_t;
using headgate::KlComparison;
using headgate::Mean;
using headgate::ModelPart;
using headgate::PackedType;
using headgate::QuantizedTensor;
using headgate::QuantizeReport;

struct QuantizeFlags {
  std::optional<std::string> model;
  std::optional<std::string> out;
  std::optional<PackedType> format;
  std::optional<PackedType> of_part[std::size(headgate::model_part_names)];
  std::optional<std::string> importance;
  std::optional<std::string> text_file;  // to compare on
  std::int64_t context = 512;
  std::int64_t chunks = 8;
  std::int64_t threads = -1;
  bool json = false;
};

struct Quantized {
  QuantizeReport report;
  std::int64_t bytes_before = 0;  // of what is in panels now
  std::int64_t bytes_after = 0;
  std::optional<KlComparison> comparison;
  std::size_t chunks = 0;
  index_t context = 0;

  double relative_error() const {
    double error = 0.0;
    double squares = 0.0;
    for (const QuantizedTensor& tensor : report.tensors) {
      error += tensor.error;
      squares += tensor.squares;
    }
    return squares > 0.0 ? std::sqrt(error / squares) : 0.0;
  }
};

std::string type_names() {
  std::string names;
  for (const headgate::PackedTypeName& type : headgate::packed_types) {
    names += (names.empty() ? "" : ", ") + std::string(type.name);
    if (!type.words.empty()) names += " (" + std::string(type.words) + ")";
  }
  return names;
}
PackedType parse_type(const std::string& flag, const std::string& text) {
  std::string known;
  for (const headgate::PackedTypeName& type : headgate::packed_types) {
    if (text == type.name) return type.type;
    known += (known.empty() ? "" : ", ") + std::string(type.name);
  }
  throw_usage(flag, "got '" + headgate::escaped(text, 80) + "', allowed are " + known);
}

headgate::PackedTypes types_of(const QuantizeFlags& flags) {
  if (!flags.format) throw_usage("--format", "must be given: the type of all parts that have no flag of their own");
  headgate::PackedTypes types = headgate::PackedTypes::all(*flags.format);
  for (std::size_t part = 0; part < std::size(headgate::model_part_names); ++part) {
    if (flags.of_part[part]) types[static_cast<ModelPart>(part)] = *flags.of_part[part];
  }
  return types;
}

// A part that the model does not have, or a type for a table that is the head, too, would be silence about a flag.
void check_parts(const QuantizeFlags& flags, const QuantizeReport& report) {
  for (std::size_t part = 0; part < std::size(headgate::model_part_names); ++part) {
    if (!flags.of_part[part]) continue;
    const bool is_there = std::any_of(report.tensors.begin(), report.tensors.end(), [&](const QuantizedTensor& tensor) {
      return tensor.part == static_cast<ModelPart>(part);
    });
    if (is_there) continue;
    const std::string flag = "--" + std::string(headgate::model_part_names[part]);
    throw_usage(flag, static_cast<ModelPart>(part) == ModelPart::embedding
                          ? "the embedding of this model is its head: use --head"
                          : "the model has no matrices of this part that can be packed");
  }
}

// What a folder has beside its weights, as it is there; of a GGUF file, made of it.
void write_documents(const std::string& model, WholeFolder& folder) {
  const headgate::Descriptor place = headgate::Descriptor::open(model);
  folder.write("config.json", place.is_folder()
                                  ? headgate::read_small_file(place.open_inside("config.json"), std::uint64_t{1} << 30)
                                  : headgate::gguf_config_text(headgate::TensorSource::open(model)));
  write_documents_beside_config(model, folder);
}

// The distributions of the original beside those of what was made of it.
KlComparison compare(const std::string& model, WholeFolder& folder, const headgate::TextChunks& text,
                     headgate::ThreadPool& threads) {
  headgate::Context ctx(threads);
  const auto each = [&](const std::string& path, const char* what, auto&& use) {
    const std::shared_ptr<const headgate::Model> loaded = load_shown(path, threads, std::nullopt);
    headgate::Session session(
        loaded,
        {.context_size = text.context(), .rows_per_pass = std::min<index_t>(128, text.context()), .all_logits = true});
    const Interrupt interrupt(session);
    Progress progress(what);
    use(session, headgate::OnChunk([&](std::size_t done, std::span<const double> losses) {
          progress.update(static_cast<double>(done), static_cast<double>(text.size()),
                          fmt::format("PPL = {:.4f}", Mean::of(losses).exp().value));
        }));
  };
  OutputFile base = folder.create("base.kl");
  each(model, "perplexity before", [&](headgate::Session& session, const headgate::OnChunk& on_chunk) {
    save_distributions(session, text, ctx, [&](std::string_view bytes) { base.write(bytes); }, on_chunk);
  });
  base.close();
  const headgate::KlBase saved = headgate::KlBase::open(folder.path_of("base.kl"));
  std::filesystem::remove(folder.path_of("base.kl"));  // its bytes stay mapped
  std::optional<KlComparison> found;
  each(folder.path(), "perplexity after", [&](headgate::Session& session, const headgate::OnChunk& on_chunk) {
    found = headgate::compare(session, saved, ctx, on_chunk);
  });
  return *found;
}

std::string type_name(headgate::DType type) { return std::string(headgate::info(type).name); }

std::string plain_text(const Quantized& outcome) {
  std::size_t width = 6;
  for (const QuantizedTensor& tensor : outcome.report.tensors) width = std::max(width, tensor.name.size());
  width = std::min<std::size_t>(width, 80);
  std::string out = fmt::format("{:<{}}  {:<9}  {:<6}  {:<6}  {:>11}  {:>11}  {:>9}\n", "tensor", width, "part", "was",
                                "is", "bytes", "bytes now", "RMS error");
  const auto line = [&](const std::string& name, std::string_view part, const std::string& was, const std::string& is,
                        std::int64_t before, std::int64_t after, double error) {
    out += fmt::format("{:<{}}  {:<9}  {:<6}  {:<6}  {:>11}  {:>11}  {:>7.3f} %\n", name, width, part, was, is, before,
                       after, 100.0 * error);
  };
  bool has_other = false;
  for (const QuantizedTensor& tensor : outcome.report.tensors) {
    const bool is_other = tensor.after != tensor.asked;
    has_other |= is_other;
    line(headgate::escaped(tensor.name, 80), name_of(tensor.part), type_name(tensor.before),
         type_name(tensor.after) + (is_other ? "*" : ""), tensor.bytes_before, tensor.bytes_after,
         tensor.relative_error());
  }
  line("all", "", "", "", outcome.bytes_before, outcome.bytes_after, outcome.relative_error());
  if (has_other) out += "* rows are no whole blocks of the type asked for\n";
  out += fmt::format("{} in the file, {} of them norms, routers and the like, as they were\n",
                     size_text(outcome.report.file_bytes), size_text(outcome.report.kept_bytes));
  if (outcome.comparison) {
    const KlComparison& c = *outcome.comparison;
    const auto mean = [&out](const char* name, const Mean& value, double unit = 1.0, const char* sign = "") {
      out += fmt::format("{:<24} {:11.6f} +/- {:.6f}{}\n", name, value.value * unit, value.error * unit, sign);
    };
    mean("PPL before", c.base_loss.exp());
    mean("PPL now", c.loss.exp());
    mean("PPL now / before", c.loss_change.exp());
    mean("mean KL divergence", c.divergence);
    mean("same top token", c.same_top, 100.0, " %");
  }
  return out;
}

std::string json_text(const QuantizeFlags& flags, const Quantized& outcome) {
  JsonWriter out;
  out.begin_object().key("model").value(headgate::escaped(*flags.model, 4096));
  out.key("output").value(headgate::escaped(*flags.out, 4096));
  out.key("bytes_before").value(outcome.bytes_before).key("bytes_after").value(outcome.bytes_after);
  out.key("kept_bytes").value(outcome.report.kept_bytes).key("file_bytes").value(outcome.report.file_bytes);
  out.key("relative_error").value(outcome.relative_error()).key("tensors").begin_array();
  for (const QuantizedTensor& tensor : outcome.report.tensors) {
    out.begin_object().key("name").value(headgate::escaped(tensor.name)).key("part").value(name_of(tensor.part));
    out.key("shape").array(tensor.shape.sizes());
    out.key("type_before").value(type_name(tensor.before)).key("type").value(type_name(tensor.after));
    out.key("type_asked").value(type_name(tensor.asked)).key("has_importance").value(tensor.has_importance);
    out.key("bytes_before").value(tensor.bytes_before).key("bytes_after").value(tensor.bytes_after);
    out.key("relative_error").value(tensor.relative_error()).end_object();
  }
  out.end_array();
  if (outcome.comparison) {
    const KlComparison& c = *outcome.comparison;
    const auto put = [&out](const char* name, const Mean& mean) {
      out.key(name).begin_object().key("value").value(mean.value).key("error").value(mean.error).end_object();
    };
    out.key("evaluation").begin_object().key("context").value(outcome.context).key("chunks").value(outcome.chunks);
    put("perplexity_before", c.base_loss.exp());
    put("perplexity", c.loss.exp());
    put("perplexity_ratio", c.loss_change.exp());
    put("kl_divergence", c.divergence);
    put("same_top", c.same_top);
    out.end_object();
  }
  return out.end_object().take() + '\n';
}

int quantize(const QuantizeFlags& flags) {
  const std::string& model = *flags.model;
  const headgate::PackedTypes types = types_of(flags);
  const headgate::ModelConfig config = describe_shown(model, std::nullopt).config;
  std::optional<headgate::ImportanceMatrix> importance;
  if (flags.importance) importance.emplace(headgate::ImportanceMatrix::open(*flags.importance));
  std::optional<headgate::TextChunks> text;
  if (flags.text_file) {
    const auto context = static_cast<index_t>(std::min<std::int64_t>(
        flags.context > 0 ? flags.context : config.max_position_embeddings, config.max_position_embeddings));
    text.emplace(
        read_chunks(read_prompt(std::nullopt, flags.text_file), flags.text_file, model, config, context, flags.chunks));
  }
  WholeFolder folder(*flags.out);
  headgate::ThreadPool threads(thread_count(flags.threads));
  Quantized outcome;
  {
    Progress progress("quantizing");
    OutputFile file = folder.create("model.safetensors");
    const headgate::QuantizeOptions options{.types = types,
                                            .executor = threads,
                                            .importance = importance ? &*importance : nullptr,
                                            .progress = [&](std::int64_t done, std::int64_t total) {
                                              progress.update(static_cast<double>(done), static_cast<double>(total));
                                            }};
    outcome.report = headgate::quantize_model(model, options, [&](std::string_view bytes) { file.write(bytes); });
    file.close();
  }
  check_parts(flags, outcome.report);
  const auto& tensors = outcome.report.tensors;
  if (importance &&
      std::none_of(tensors.begin(), tensors.end(), [](const QuantizedTensor& t) { return t.has_importance; })) {
    throw Error(ErrorCode::bad_file, {*flags.importance, "", -1, "has no matrix of this model that is quantized"});
  }
  for (const QuantizedTensor& tensor : tensors) {
    outcome.bytes_before += tensor.bytes_before;
    outcome.bytes_after += tensor.bytes_after;
  }
  write_documents(model, folder);
  if (text) {
    try {
      outcome.comparison = compare(model, folder, *text, threads);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::interrupted) throw;
      return Interrupt::exit_code();
    }
    outcome.chunks = text->size();
    outcome.context = text->context();
  }
  folder.finish();
  OutputFile::standard_output().write(flags.json ? json_text(flags, outcome) : plain_text(outcome));
  return 0;
}

}  // namespace

RunCommand quantize_command(Flags& flags) {
  const auto options = std::make_shared<QuantizeFlags>();
  QuantizeFlags& o = *options;
  flags.positional("MODEL", "Hugging Face folder or GGUF file", o.model);
  flags.positional("OUT", "the folder to make", o.out);
  flags.value("--format", "TYPE", type_names().c_str(),
              [&o](const std::string& text) { o.format = parse_type("--format", text); });
  const char* const helps[] = {"the same for attention alone",
                               "... for experts that are routed to",
                               "... for experts that see every token",
                               "... for networks without a router",
                               "... for the embedding",
                               "... for the output head"};
  for (std::size_t part = 0; part < std::size(headgate::model_part_names); ++part) {
    const std::string flag = "--" + std::string(headgate::model_part_names[part]);
    flags.value(flag, "TYPE", helps[part],
                [&o, part, flag](const std::string& text) { o.of_part[part] = parse_type(flag, text); });
  }
  flags.text("--imatrix", "FILE", "an importance matrix as llama.cpp writes them, GGUF", o.importance);
  flags.text("--eval", "FILE", "a text to compare perplexity and distributions on", o.text_file);
  declare_chunks(flags, "tokens of a chunk of it; 0: as many as the model can (512)", o.context,
                 "chunks of it at most; -1: all (8)", o.chunks);
  flags.threads(o.threads);
  flags.on("--json", "print one JSON object", o.json);
  flags.examples({"quantize DIR OUT --format q4", "quantize DIR OUT --format q4 --experts mxfp4 --head q6k",
                  "quantize model.gguf OUT --format keep", "quantize DIR OUT --format q4k --eval wiki.test.raw"});
  return [options](const std::string&) { return quantize(*options); };
}
