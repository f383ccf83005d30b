// From a Hugging Face folder (config.json, generation_config.json, safetensors) or a GGUF file to a Model. The family
// named by model_type or general.architecture does the reading (families.hpp); the shapes and types of all tensors are
// compared with config.json before anything large is allocated; then tensor after tensor streams into packed memory and
// its source pages are given back.
//
// A checkpoint is refused where what the model needs is missing, damaged, contradictory or not understood. What nothing
// reads never refuses it: ModelDescription lists what was passed over.
#pragma once

#include <memory>
#include <new>
#include <optional>
#include <set>
#include <string>

#include "headgate/models/build_model.hpp"
#include "headgate/models/config_reader.hpp"
#include "headgate/models/description.hpp"
#include "headgate/models/families.hpp"
#include "headgate/models/lora_adapter.hpp"

namespace headgate::inline HEADGATE_ABI {

struct LoadOptions {
  ExecutorRef executor = {};  // threads that pack weights; serial unless given
  // Replaces or wraps the router of any layer of any checkpoint, which is read and checked as without it:
  //   {.make_router = [](index_t layer, const GateWeights& gate, AnyRouter own) -> AnyRouter { ... }}
  // A router of another number of experts or hidden size, or whose rows depend on each other, is a usage error with the
  // layer; what the function throws passes through. Counts and costs of a model remain those of its checkpoint.
  MakeRouter make_router = nullptr;
  Progress progress = nullptr;  // what it throws passes through
  // What activations are where they meet weights of fewer bits than floats (core/compute.hpp). Without quantized
  // weights int8 is f32, and without weights in bfloat16 bf16 is.
  Compute compute = Compute::int8;
  // A folder with a LoRA as PEFT saves it (lora_adapter.hpp), of a checkpoint in a folder; "": none. What it changes is
  // packed as float32, W + s B A, whatever the checkpoint holds. bad_file: a module that is no matrix of the model.
  std::string adapter = "";
};

namespace detail {

// How the weights of a checkpoint are read: as LoadOptions has it.
struct Reading {
  Compute compute;
  std::string adapter = "";
};

// What reading the documents of a checkpoint passed over.
struct CheckpointNotes {
  std::vector<std::string> unknown_keys;  // of config.json
  std::vector<SkippedPart> skipped;
  std::vector<std::string> files;          // that were read
  std::vector<std::string> settings = {};  // tensors that were read as keys are
};

// generation_config.json, of which the end-of-text ids count. As in transformers, a file that cannot be read or is no
// JSON object is no reason to refuse the model. Ids in it that are none are.
inline void read_generation_config(const Descriptor& folder, std::uint64_t max_bytes, ModelConfig& config,
                                   CheckpointNotes& notes) {
  constexpr const char* name = "generation_config.json";
  if (!folder.contains(name)) return;
  Json json;
  try {
    const Descriptor file = folder.open_inside(name);
    json = parse_json(read_small_file(file, max_bytes), file.path(), 0, {.non_finite = true, .repeated_keys = true});
    JsonObject(json, file.path());
  } catch (const Error& error) {
    if (error.code() == ErrorCode::limit) throw;
    notes.skipped.push_back({name, error.what(), /*is_damaged=*/true});
    return;
  }
  const JsonObject object(json, folder.path() + "/" + name);
  add_eos(object, config);
  notes.files.push_back(name);
  // That say nothing of what a text goes on with.
  for (const char* const key : {"_from_model_config", "bos_token_id", "output_attentions", "output_hidden_states",
                                "pad_token_id", "transformers_version", "use_cache"}) {
    object.ignore(key);
  }
  std::string ignored;
  for (const std::string& key : object.unread_keys()) ignored += (ignored.empty() ? "" : ", ") + key;
  if (!ignored.empty()) notes.skipped.push_back({name, "only eos_token_id is read, not " + ignored});
}

// The source's matrices as the adapter changes them.
inline void add_adapter(const LoraAdapter& adapter, TensorSource& source) {
  for (const LoraAdapter::Module& module : adapter.modules()) source.add(module.name + ".weight", module);
}
// Every module of it is a matrix that the model has.
inline void check_adapter(const LoraAdapter& adapter, const Blueprint& blueprint) {
  std::set<std::string> names;
  for (const WeightUse& use : blueprint.weights()) names.insert(use.rows.name());
  for (const LoraAdapter::Module& m : adapter.modules()) {
    if (names.count(m.name + ".weight") != 0) continue;
    throw Error(ErrorCode::bad_file, {adapter.path(), m.name, -1, "the model has no matrix of this name"});
  }
}

// Calls use(blueprint, source, notes) for the checkpoint in a GGUF file.
template <class List, class F>
void read_gguf_checkpoint(const std::string& path, Compute compute, F&& use) {
  TensorSource source = TensorSource::open(path);
  source.set_compute(compute);
  GgufTranslation gguf(source);
  List::visit(std::as_const(gguf), [&](auto family) {
    family.translate(gguf);
    source.rename(gguf.names());
    if (gguf.has_rotary_pairs()) source.set_rotary_pairs();
    const Json json = gguf.config();
    const Blueprint blueprint = family.blueprint(JsonObject(json, path), std::as_const(source));
    use(blueprint, std::as_const(source), CheckpointNotes{gguf.unknown_keys(), {}, {}, gguf.settings()});
  });
}

// Calls use(blueprint, source, notes) for the checkpoint in a folder or a GGUF file, of a family of the list.
template <class List = Families, class F>
void read_checkpoint(const std::string& path, const Reading& how, F&& use) {
  constexpr std::uint64_t max_bytes = std::uint64_t{64} << 20;
  constexpr const char* name = "config.json";
  const Descriptor folder = Descriptor::open(path);
  if (!folder.is_folder()) {
    if (!path.ends_with(".gguf") && !MappedFile(folder).text().starts_with("GGUF")) {
      throw Error(ErrorCode::io, {path, "", -1, "expected a folder that holds config.json, or a GGUF file"});
    }
    if (!how.adapter.empty())
      throw Error(ErrorCode::usage, {path, "", -1, "an adapter is for a checkpoint in a folder"});
    return read_gguf_checkpoint<List>(path, how.compute, use);
  }
  const Descriptor file = folder.open_inside(name);
  const Json json =
      parse_json(read_small_file(file, max_bytes), file.path(), 0, {.non_finite = true, .repeated_keys = true});
  const JsonObject object(json, file.path());
  std::optional<LoraAdapter> lora;
  if (!how.adapter.empty()) lora = LoraAdapter::open(how.adapter);
  List::visit(object, [&](auto family) {
    TensorSource source = TensorSource::open(path);
    source.set_compute(how.compute);
    if (lora) add_adapter(*lora, source);
    Blueprint blueprint = family.blueprint(object, std::as_const(source));
    if (lora) check_adapter(*lora, blueprint);
    refuse_custom_scales(object);
    CheckpointNotes notes{object.unread_keys(), {}, {name}};
    read_generation_config(folder, max_bytes, blueprint.config, notes);
    use(std::as_const(blueprint), std::as_const(source), std::move(notes));
  });
}

}  // namespace detail

// path: the folder or the file. Throws Error: bad_file for files that lie or are not understood, io, limit for memory.
// List: the families known, for families of your own (examples/07_your_family.cpp).
template <class List = Families>
std::shared_ptr<const Model> load_model(const std::string& path, const LoadOptions& options = {}) {
  std::shared_ptr<const Model> model;
  detail::read_checkpoint<List>(
      path, {options.compute, options.adapter},
      [&](const Blueprint& blueprint, const TensorSource&, const detail::CheckpointNotes&) {
        Context ctx(options.executor);
        bool in_make_router = false;  // whose exceptions are the caller's
        MakeRouter make_router = nullptr;
        if (options.make_router) {
          make_router = [&](index_t layer, const GateWeights& gate, AnyRouter own) {
            in_make_router = true;
            AnyRouter made = options.make_router(layer, gate, std::move(own));
            in_make_router = false;
            return made;
          };
        }
        Packer packer(ctx, std::move(make_router));
        if (options.progress) packer.report_to(options.progress, WeightCount::of(blueprint.weights()).bytes_to_pack);
        try {
          model = std::make_shared<const Model>(build_model(blueprint, packer));
        } catch (const std::bad_alloc&) {
          if (in_make_router) throw;
          const std::int64_t bytes = WeightCount::of(blueprint.weights()).packed_bytes;
          throw Error(ErrorCode::limit, {path, "", -1, "no memory for " + std::to_string(bytes) + " bytes of weights"});
        }
      });
  return model;
}

// The same error as a value.
template <class List = Families>
Expected<std::shared_ptr<const Model>> try_load_model(const std::string& path, const LoadOptions& options = {}) {
  try {
    return load_model<List>(path, options);
  } catch (const Error& error) {
    return error;
  }
}

// What the checkpoint is and costs, from config.json and the headers of its files: every check of load_model, no
// weights. Throws the same errors.
template <class List = Families>
ModelDescription describe_model(const std::string& path, Compute compute = Compute::int8,
                                const std::string& adapter = "") {
  ModelDescription description;
  detail::read_checkpoint<List>(
      path, {compute, adapter},
      [&](const Blueprint& blueprint, const TensorSource& source, detail::CheckpointNotes notes) {
        description = ModelDescription::of(blueprint, source);
        description.unknown_keys = std::move(notes.unknown_keys);
        description.skipped.insert(description.skipped.begin(), notes.skipped.begin(), notes.skipped.end());
        description.files.insert(description.files.begin(), notes.files.begin(), notes.files.end());
        for (const std::string& name : notes.settings) std::erase(description.unused_tensors, name);
      });
  return description;
}

}  // namespace headgate::inline HEADGATE_ABI
