// headgate inspect: what a checkpoint is and what a token of it costs, from its config.json and tensor headers.
#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include <fmt/ranges.h>

#include "commands.hpp"
#include "json_writer.hpp"
#include "loading.hpp"
#include "model_path.hpp"
#include "output_file.hpp"
#include "sizes.hpp"

namespace {

struct InspectOptions {
  std::optional<std::string> model;  // none: the demo model
  bool tensors = false;              // list them
  bool json = false;
};

// The types of the weights as stored, and what becomes of those that are not computed with as they are.
std::string stored_types(const headgate::ModelDescription& model) {
  std::string text;
  for (const headgate::DType type : model.dtypes) {
    text += (text.empty() ? "" : ", ") + std::string(headgate::info(type).name);
    if (type == headgate::DType::f64) text += " (rounded to F32)";
  }
  return text;
}

// Names in the folder that are no file of the model.
std::vector<std::string> unread_files(const std::string& folder, const headgate::ModelDescription& model) {
  std::vector<std::string> names;
  std::error_code none;  // a folder that cannot be listed has nothing to show
  for (const auto& entry : std::filesystem::directory_iterator(folder, none)) {
    const std::string name = entry.path().filename().string();
    const bool is_read =
        name == "tokenizer.json" || std::find(model.files.begin(), model.files.end(), name) != model.files.end();
    if (!is_read) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string list(const std::vector<std::string>& names) {
  return names.empty() ? "none" : headgate::escaped(fmt::format("{}", fmt::join(names, ", ")), 2000);
}

// By the names of the files, as other programs show them.
std::string tensor_lines(const headgate::ModelDescription& model) {
  std::size_t width = 0;
  for (const headgate::TensorSummary& tensor : model.tensors) width = std::max(width, tensor.name.size());
  std::string text;
  for (const headgate::TensorSummary& tensor : model.tensors) {
    text += fmt::format("{:<{}}  {:<8}  {}\n", headgate::escaped(tensor.name, 200), std::min<std::size_t>(width, 200),
                        headgate::info(tensor.dtype).name, tensor.shape.describe());
  }
  return text;
}

std::int64_t cache_bytes(const headgate::ModelDescription& model, headgate::CacheType type) {
  return model.memory({.cache_type = type}).kv_cache;
}

std::string plain_text(const std::string& folder, const headgate::ModelDescription& model) {
  const headgate::ModelConfig& config = model.config;
  std::string text;
  const auto line = [&](const char* name, const std::string& value) { text += fmt::format("{:<18}{}\n", name, value); };
  line("model", headgate::escaped(folder, 1024));
  line("family", config.model_type);
  line("parameters",
       fmt::format("{} total, {} active per token", model.weights.parameters, model.weights.active_parameters));
  line("layers", fmt::format("{}, {} of them with experts; hidden size {}", config.num_hidden_layers,
                             model.routed_layers, config.hidden_size));
  line("attention", model.words(model.mixers));
  line("feed-forward", model.words(model.feed_forwards));
  line("cost of an expert", size_text(model.weights.expert_bytes) + " read per token and layer");
  line("a token reads", size_text(model.weights.bytes_per_token));
  const std::string mapped =
      model.weights.mapped_bytes > 0 ? ", " + size_text(model.weights.mapped_bytes) + " read in the file" : "";
  line("weights", size_text(model.weights.packed_bytes) + " packed" + mapped + ", stored as " + stored_types(model));
  line("KV cache", fmt::format("{} for {} positions ({} in f16, {} in q8_0)",
                               size_text(cache_bytes(model, headgate::CacheType::f32)), config.max_position_embeddings,
                               size_text(cache_bytes(model, headgate::CacheType::f16)),
                               size_text(cache_bytes(model, headgate::CacheType::q8_0))));
  line("vocabulary", fmt::format("{} tokens", config.vocab_size));
  line("tensors", fmt::format("{}", model.tensors.size()));
  line("unknown keys", list(model.unknown_keys));
  line("unused tensors", list(model.unused_tensors));
  line("unread files", list(unread_files(folder, model)));
  for (const headgate::SkippedPart& part : model.skipped) {
    line("skipped", headgate::escaped(part.name + ": " + part.why, 1000));
  }
  return text;
}

std::string json_text(const std::string& folder, const headgate::ModelDescription& model, bool with_tensors) {
  const headgate::ModelConfig& config = model.config;
  JsonWriter out;
  out.begin_object();
  out.key("model").value(headgate::escaped(folder, 4096)).key("family").value(config.model_type);
  out.key("parameters").value(model.weights.parameters).key("active_parameters").value(model.weights.active_parameters);
  out.key("bytes_per_token").value(model.weights.bytes_per_token).key("expert_bytes").value(model.weights.expert_bytes);
  out.key("packed_bytes").value(model.weights.packed_bytes).key("mapped_bytes").value(model.weights.mapped_bytes);
  out.key("kv_cache_bytes").value(cache_bytes(model, headgate::CacheType::f32));
  out.key("f16_cache_bytes").value(cache_bytes(model, headgate::CacheType::f16));
  out.key("q8_0_cache_bytes").value(cache_bytes(model, headgate::CacheType::q8_0));
  out.key("stored_types").begin_array();
  for (const headgate::DType type : model.dtypes) out.value(headgate::info(type).name);
  out.end_array();
  out.key("context").value(config.max_position_embeddings).key("vocab_size").value(config.vocab_size);
  out.key("hidden_size").value(config.hidden_size);
  out.key("layers").value(config.num_hidden_layers).key("sparse_layers").value(model.routed_layers);
  out.key("num_experts").value(model.routing.num_experts);
  out.key("experts_per_token").value(model.routing.experts_per_token);
  out.key("router").value(model.routing.router);
  out.key("attention").value(model.words(model.mixers));
  out.key("feed_forward").value(model.words(model.feed_forwards));
  out.key("tensors").value(model.tensors.size());
  if (with_tensors) {
    out.key("tensor_list").begin_array();
    for (const headgate::TensorSummary& tensor : model.tensors) {
      out.begin_object().key("name").value(headgate::escaped(tensor.name));
      out.key("type").value(headgate::info(tensor.dtype).name).key("shape").array(tensor.shape.sizes()).end_object();
    }
    out.end_array();
  }
  out.key("unknown_keys").begin_array();
  for (const std::string& key : model.unknown_keys) out.value(headgate::escaped(key));
  out.end_array().key("unused_tensors").begin_array();
  for (const std::string& name : model.unused_tensors) out.value(headgate::escaped(name));
  out.end_array().key("unread_files").begin_array();
  for (const std::string& name : unread_files(folder, model)) out.value(headgate::escaped(name));
  out.end_array().key("skipped").begin_array();
  for (const headgate::SkippedPart& part : model.skipped) {
    out.begin_object().key("name").value(headgate::escaped(part.name, 1000));
    out.key("why").value(headgate::escaped(part.why, 1000)).end_object();
  }
  return out.end_array().end_object().take() + '\n';
}

void inspect(const InspectOptions& options) {
  const std::string folder = model_folder(options.model);
  const headgate::ModelDescription model = headgate::describe_model(folder);
  OutputFile::standard_output().write(options.json      ? json_text(folder, model, options.tensors)
                                      : options.tensors ? plain_text(folder, model) + tensor_lines(model)
                                                        : plain_text(folder, model));
}

}  // namespace

RunCommand inspect_command(Flags& flags) {
  const auto options = std::make_shared<InspectOptions>();
  flags.model(options->model);
  flags.on("--tensors", "list the tensors, by the names that the files give them", options->tensors);
  flags.on("--json", "print one JSON object", options->json);
  flags.examples({"inspect -m DIR", "inspect -m model.gguf --tensors"});
  return [options](const std::string&) {
    inspect(*options);
    return 0;
  };
}
