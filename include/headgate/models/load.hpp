// From a Hugging Face folder (config.json, generation_config.json, safetensors) to a Model. The family named by
// model_type does the reading (families.hpp); the shapes and types of all tensors are compared with config.json before
// anything large is allocated; then tensor after tensor streams into packed memory and its source pages are given back.
#pragma once

#include <memory>
#include <new>
#include <string>

#include "headgate/models/decoder.hpp"
#include "headgate/models/description.hpp"
#include "headgate/models/families.hpp"

namespace headgate::inline HEADGATE_ABI {

struct LoadOptions {
  ExecutorRef executor;  // threads that pack weights; serial unless given
};

namespace detail {

// Calls use(family, config, unknown keys of config.json) for the checkpoint in a folder.
template <class F>
void read_checkpoint(const std::string& path, F&& use) {
  constexpr std::uint64_t max_bytes = std::uint64_t{64} << 20;
  const auto read = [&](const Descriptor& folder, const char* name) {
    const Descriptor file = folder.open_inside(name);
    return parse_json(read_small_file(file, max_bytes), file.path());
  };
  const Descriptor folder = Descriptor::open(path);
  if (!folder.is_folder()) throw Error(ErrorCode::io, {path, "", -1, "expected a folder that holds config.json"});
  const Json json = read(folder, "config.json");
  const JsonObject object(json, path + "/config.json");
  Families::visit(object, [&](auto family) {
    ModelConfig config = family.read_config(object);
    constexpr const char* generation = "generation_config.json";
    if (folder.contains(generation)) {
      const Json generation_json = read(folder, generation);
      add_eos(JsonObject(generation_json, path + "/" + generation), config);
    }
    use(family, config, object.unread_keys());
  });
}

}  // namespace detail

// Throws Error: bad_file for files that lie or are not understood, io, limit for memory.
inline std::shared_ptr<const Model> load_model(const std::string& folder, const LoadOptions& options = {}) {
  std::shared_ptr<const Model> model;
  detail::read_checkpoint(folder, [&](auto family, const ModelConfig& config, const std::vector<std::string>&) {
    const TensorSource source = TensorSource::open(folder);
    const DecoderTensors tensors = family.find_tensors(config, source);
    Context ctx(options.executor);
    try {
      model = std::make_shared<const Model>(family.build(config, tensors, source, ctx));
    } catch (const std::bad_alloc&) {
      const std::int64_t bytes = WeightCount::of(config, tensors).packed_bytes;
      throw Error(ErrorCode::limit, {folder, "", -1, "no memory for " + std::to_string(bytes) + " bytes of weights"});
    }
  });
  return model;
}

// The same error as a value.
inline Expected<std::shared_ptr<const Model>> try_load_model(const std::string& folder,
                                                             const LoadOptions& options = {}) {
  try {
    return load_model(folder, options);
  } catch (const Error& error) {
    return error;
  }
}

// What the checkpoint is and costs, from config.json and the headers of its files: every check of load_model, no
// weights. Throws the same errors.
inline ModelDescription describe_model(const std::string& folder) {
  ModelDescription description;
  detail::read_checkpoint(folder, [&](auto family, const ModelConfig& config, std::vector<std::string> unknown_keys) {
    const TensorSource source = TensorSource::open(folder);
    description = ModelDescription::of(config, family.find_tensors(config, source), source);
    description.unknown_keys = std::move(unknown_keys);
  });
  return description;
}

}  // namespace headgate::inline HEADGATE_ABI
