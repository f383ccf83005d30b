#include "inspect.hpp"

#include <string>

#include <fmt/ranges.h>

#include "headgate/models/load.hpp"
#include "json_writer.hpp"
#include "model_path.hpp"
#include "output_file.hpp"
#include "policy_words.hpp"

namespace {

std::string router_text(const headgate::ModelConfig& config) {
  return router_words(config) + (config.norm_topk_prob ? ", weights divided by their sum" : "");
}

int sparse_layers(const headgate::ModelConfig& config) {
  int count = 0;
  for (headgate::index_t layer = 0; layer < config.num_hidden_layers; ++layer) count += config.is_sparse(layer) ? 1 : 0;
  return count;
}

std::string list(const std::vector<std::string>& names) {
  return names.empty() ? "none" : headgate::escaped(fmt::format("{}", fmt::join(names, ", ")), 2000);
}

std::string plain_text(const std::string& folder, const headgate::ModelDescription& model) {
  const headgate::ModelConfig& config = model.config;
  const headgate::MemoryPlan memory = model.memory();
  std::string text;
  const auto line = [&](const char* name, const std::string& value) { text += fmt::format("{:<18}{}\n", name, value); };
  line("model", headgate::escaped(folder, 1024));
  line("family", config.model_type);
  line("parameters",
       fmt::format("{} total, {} active per token", model.weights.parameters, model.weights.active_parameters));
  line("layers", fmt::format("{}, {} of them with experts; hidden size {}", config.num_hidden_layers,
                             sparse_layers(config), config.hidden_size));
  line("router", router_text(config));
  line("attention", attention_words(config));
  line("cost of an expert", fmt::format("{} bytes read per token and layer", model.weights.expert_bytes));
  line("bytes per token", fmt::format("{} read", model.weights.bytes_per_token));
  line("packed weights", fmt::format("{} bytes", model.weights.packed_bytes));
  line("KV cache", fmt::format("{} bytes for {} positions", memory.kv_cache, config.max_position_embeddings));
  line("vocabulary", fmt::format("{} tokens", config.vocab_size));
  line("tensors", fmt::format("{}", model.tensors.size()));
  line("unknown keys", list(model.unknown_keys));
  line("unused tensors", list(model.unused_tensors));
  return text;
}

std::string json_text(const std::string& folder, const headgate::ModelDescription& model) {
  const headgate::ModelConfig& config = model.config;
  const headgate::MemoryPlan memory = model.memory();
  JsonWriter out;
  out.begin_object();
  out.key("model").value(headgate::escaped(folder, 4096)).key("family").value(config.model_type);
  out.key("parameters").value(model.weights.parameters).key("active_parameters").value(model.weights.active_parameters);
  out.key("bytes_per_token").value(model.weights.bytes_per_token).key("expert_bytes").value(model.weights.expert_bytes);
  out.key("packed_bytes").value(model.weights.packed_bytes).key("kv_cache_bytes").value(memory.kv_cache);
  out.key("context").value(config.max_position_embeddings).key("vocab_size").value(config.vocab_size);
  out.key("hidden_size").value(config.hidden_size);
  out.key("layers").value(config.num_hidden_layers).key("sparse_layers").value(sparse_layers(config));
  out.key("num_experts").value(config.num_experts).key("experts_per_token").value(config.num_experts_per_tok);
  out.key("router").value(router_text(config));
  out.key("attention").value(attention_words(config));
  out.key("tensors").value(model.tensors.size());
  out.key("unknown_keys").begin_array();
  for (const std::string& key : model.unknown_keys) out.value(headgate::escaped(key));
  out.end_array().key("unused_tensors").begin_array();
  for (const std::string& name : model.unused_tensors) out.value(headgate::escaped(name));
  return out.end_array().end_object().take() + '\n';
}

}  // namespace

void inspect(const InspectOptions& options) {
  const std::string folder = model_folder(options.model);
  const headgate::ModelDescription model = headgate::describe_model(folder);
  OutputFile::standard_output().write(options.json ? json_text(folder, model) : plain_text(folder, model));
}
