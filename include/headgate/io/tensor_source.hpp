// TensorSource: the tensors of a model by name, whatever container and however many files hold them.
//
// Opens a Hugging Face folder (model.safetensors, or the shards that model.safetensors.index.json lists) or one
// .safetensors file. Shards are files of that folder, never of another one, and must hold exactly the tensors that the
// index promises. Tensors are not copied: they live as long as the source.
#pragma once

#include "headgate/core/error.hpp"
#include "headgate/io/json.hpp"
#include "headgate/io/mapped_file.hpp"
#include "headgate/io/safetensors.hpp"
#include "headgate/io/tensor.hpp"

#include <algorithm>
#include <initializer_list>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace headgate::inline HEADGATE_ABI {

class TensorSource {
 public:
  static TensorSource open(const std::string& path) { return TensorSource(Descriptor::open(path)); }

  // Sorted by name.
  std::span<const Tensor> tensors() const noexcept { return tensors_; }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const Tensor& tensor : tensors_) names.push_back(tensor.name);
    return names;
  }
  // Null when there is none.
  const Tensor* find(std::string_view name) const noexcept {
    const auto place = std::lower_bound(tensors_.begin(), tensors_.end(), name,
                                        [](const Tensor& tensor, std::string_view key) { return tensor.name < key; });
    return place != tensors_.end() && place->name == name ? &*place : nullptr;
  }
  // The tensor, of one of these types and exactly this shape.
  const Tensor& require(std::string_view name, std::initializer_list<DType> types, const Shape& shape) const {
    const Tensor* const tensor = find(name);
    if (tensor == nullptr) {
      throw Error(ErrorCode::bad_file,
                  {path_, std::string(name), -1, "the tensor is missing, expected shape " + shape.describe()});
    }
    if (tensor->shape != shape) {
      fail(*tensor, "expected shape " + shape.describe() + ", found " + tensor->shape.describe());
    }
    if (std::find(types.begin(), types.end(), tensor->dtype) == types.end()) {
      std::string expected;
      for (const DType type : types) expected += (expected.empty() ? "" : " or ") + std::string(info(type).name);
      fail(*tensor, "expected type " + expected + ", found " + std::string(info(tensor->dtype).name));
    }
    return *tensor;
  }
  // The file is not as the model needs it: names file, tensor and where its data lies.
  [[noreturn]] void fail(const Tensor& tensor, std::string what) const {
    throw Error(ErrorCode::bad_file, {files_[as_size(tensor.file)].path(), tensor.name,
                                      static_cast<std::int64_t>(tensor.offset), std::move(what)});
  }

  // Gives the memory of its pages back once the tensor (or slice) has been copied elsewhere. It can still be read.
  void release(const Tensor& tensor) const noexcept {
    files_[as_size(tensor.file)].drop_pages(tensor.offset, tensor.bytes.size());
  }

  std::span<const MappedFile> files() const noexcept { return files_; }

 private:
  static constexpr const char* single_name = "model.safetensors";
  static constexpr const char* index_name = "model.safetensors.index.json";
  static constexpr std::uint64_t max_index_bytes = std::uint64_t{128} << 20;

  // What the index says about one tensor.
  struct Place {
    std::string shard;
    std::int64_t offset;  // of the shard's name in the index
    bool found = false;
  };
  using WeightMap = std::map<std::string, Place, std::less<>>;

  explicit TensorSource(const Descriptor& file_or_folder) : path_(file_or_folder.path()) {
    if (file_or_folder.is_folder()) {
      add_folder(file_or_folder);
    } else {
      add_file(file_or_folder);
    }
    std::sort(tensors_.begin(), tensors_.end(), [](const Tensor& a, const Tensor& b) { return a.name < b.name; });
  }

  void add_file(const Descriptor& file) {
    const MappedFile& mapped = files_.emplace_back(file);
    for (Tensor& tensor : read_safetensors(mapped.bytes(), mapped.path())) {
      tensor.file = static_cast<index_t>(files_.size() - 1);
      tensors_.push_back(std::move(tensor));
    }
  }

  void add_folder(const Descriptor& folder) {
    const bool has_single = folder.contains(single_name);
    const bool has_index = folder.contains(index_name);
    if (!has_single && !has_index) {
      throw Error(ErrorCode::io,
                  {path_, "", -1, "the folder has neither " + std::string(single_name) + " nor " + index_name});
    }
    if (has_single) add_file(folder.open_inside(single_name));
    if (!has_index) return;
    const Descriptor index = folder.open_inside(index_name);
    WeightMap weight_map = read_index(index);
    if (!has_single) {
      std::set<std::string> shards;
      for (const auto& [name, place] : weight_map) shards.insert(place.shard);
      for (const std::string& shard : shards) add_file(folder.open_inside(shard));
    }
    check_index(index, weight_map, has_single);
  }

  static WeightMap read_index(const Descriptor& file) {
    const Json json = parse_json(read_small_file(file, max_index_bytes), file.path());
    const JsonObject index(json, file.path());
    const JsonObject entries = index.get_object("weight_map");
    if (entries.members().empty()) index.fail("weight_map", "expected at least one tensor");
    WeightMap weight_map;
    for (const JsonMember& entry : entries.members()) {
      const auto* const shard = std::get_if<std::string>(&entry.value.value);
      if (shard == nullptr || !is_shard_name(*shard)) {
        throw Error(ErrorCode::bad_file,
                    {file.path(), "weight_map." + entry.key, entry.value.offset,
                     "expected the name of a file in this folder, found " + entry.value.describe()});
      }
      weight_map.emplace(entry.key, Place{*shard, entry.value.offset});
    }
    return weight_map;
  }
  // A name, not a path, so that no index can point outside of its folder.
  static bool is_shard_name(std::string_view name) noexcept {
    return !name.empty() && name != "." && name != ".." && name != index_name &&
           name.find_first_of(std::string_view("/\\\0", 3)) == name.npos;
  }

  // Index and files must agree about every tensor. A single file beside an index is read in place of the shards.
  void check_index(const Descriptor& index, WeightMap& weight_map, bool is_single) const {
    for (const Tensor& tensor : tensors_) {
      const auto place = weight_map.find(tensor.name);
      if (place == weight_map.end()) fail(tensor, std::string(index_name) + " does not list this tensor");
      if (!is_single && path_ + "/" + place->second.shard != files_[as_size(tensor.file)].path()) {
        fail(tensor, std::string(index_name) + " says that it is in " + escaped(place->second.shard));
      }
      place->second.found = true;
    }
    for (const auto& [name, place] : weight_map) {
      if (place.found) continue;
      throw Error(ErrorCode::bad_file,
                  {index.path(), "weight_map." + name, place.offset,
                   "there is no such tensor in " + (is_single ? single_name : escaped(place.shard))});
    }
  }

  std::string path_;
  std::vector<MappedFile> files_;
  std::vector<Tensor> tensors_;
};

}  // namespace headgate::inline HEADGATE_ABI
