// headgate split: a dense llama model as one of experts, each a part of its networks.
#include "headgate/models/split_model.hpp"

#include <memory>
#include <optional>
#include <string>

#include <fmt/format.h>

#include "commands.hpp"
#include "json_writer.hpp"
#include "model_documents.hpp"
#include "output_file.hpp"
#include "progress.hpp"
#include "sizes.hpp"
#include "whole_folder.hpp"

namespace {

struct SplitFlags {
  std::optional<std::string> model;
  std::optional<std::string> out;
  std::int64_t num_experts = 0;
  std::int64_t k = 0;  // 0: all
  float weight = 1.0f;
  std::optional<std::string> gates;
  bool json = false;
};

std::string plain_text(const headgate::SplitOptions& options, const headgate::SplitReport& report) {
  std::string out = fmt::format(
      "{} layers: networks {} wide, cut into {} experts {} wide, {} of them for a token with weight {}\n",
      report.num_layers, report.dense_size, options.num_experts, report.expert_size, options.k, options.weight);
  if (!options.gates && options.k < options.num_experts) {
    out +=
        fmt::format("gates are zero: every token goes to the first {}, until gates are given (--router)\n", options.k);
  }
  return out + fmt::format("{} in the file\n", size_text(report.file_bytes));
}

std::string json_text(const SplitFlags& flags, const headgate::SplitOptions& options,
                      const headgate::SplitReport& report) {
  JsonWriter out;
  out.begin_object().key("model").value(headgate::escaped(*flags.model, 4096));
  out.key("output").value(headgate::escaped(*flags.out, 4096)).key("layers").value(report.num_layers);
  out.key("experts").value(options.num_experts).key("k").value(options.k).key("weight").value(options.weight);
  out.key("dense_size").value(report.dense_size).key("expert_size").value(report.expert_size);
  out.key("has_zero_gates").value(!options.gates).key("file_bytes").value(report.file_bytes);
  return out.end_object().take() + '\n';
}

int split(const SplitFlags& flags) {
  if (flags.num_experts == 0) throw_usage("--experts", "must be given: how many experts each network becomes");
  if (flags.k > flags.num_experts) {
    throw_usage("-k",
                fmt::format("got {}, allowed are 1 to {}, as many as there are experts", flags.k, flags.num_experts));
  }
  WholeFolder folder(*flags.out);
  headgate::SplitOptions options{.num_experts = static_cast<headgate::index_t>(flags.num_experts),
                                 .k = static_cast<headgate::index_t>(flags.k == 0 ? flags.num_experts : flags.k),
                                 .weight = flags.weight,
                                 .gates = flags.gates};
  headgate::SplitReport report;
  {
    Progress progress("splitting");
    OutputFile file = folder.create("model.safetensors");
    options.progress = [&](std::int64_t done, std::int64_t total) {
      progress.update(static_cast<double>(done), static_cast<double>(total));
    };
    report = headgate::split_model(*flags.model, options, [&](std::string_view bytes) { file.write(bytes); });
    file.close();
  }
  folder.write("config.json", report.config);
  write_documents_beside_config(*flags.model, folder);
  folder.finish();
  OutputFile::standard_output().write(flags.json ? json_text(flags, options, report) : plain_text(options, report));
  return 0;
}

}  // namespace

RunCommand split_command(Flags& flags) {
  const auto options = std::make_shared<SplitFlags>();
  SplitFlags& o = *options;
  flags.positional("MODEL", "Hugging Face folder or GGUF file of a dense llama model", o.model);
  flags.positional("OUT", "the folder to make", o.out);
  flags.integer("--experts", "experts that each network becomes; a divisor of its width", 1,
                headgate::ConfigLimits::experts, o.num_experts);
  flags.integer("-k", "experts of a token (all)", 1, headgate::ConfigLimits::experts, o.k);
  flags.real("--weight", "weight of each chosen expert (1)", -1e6, 1e6, o.weight);
  flags.text("--router", "FILE", "safetensors with gates, model.layers.N.mlp.gate.weight; without it they are zero",
             o.gates);
  flags.on("--json", "print one JSON object", o.json);
  flags.examples({"split DIR OUT --experts 4", "split DIR OUT --experts 4 -k 2 --weight 2 --router gates.safetensors"});
  return [options](const std::string&) { return split(*options); };
}
