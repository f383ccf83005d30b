// TensorSource: the tensors of a model by name, whatever container and however many files hold them.
//
// Opens a Hugging Face folder (model.safetensors, or else the shards that model.safetensors.index.json lists), one
// .safetensors file, or a GGUF file: the only one, or the first of a split ("-00001-of-00003.gguf"). Shards are files
// of the same folder, never of another one. What the model does not ask for may be missing, damaged or contradictory:
// it is passed over and listed (skipped()). What it requires is refused then, with the reason. Tensors are not copied:
// they live as long as the source.
#pragma once

#include "headgate/core/compute.hpp"
#include "headgate/core/error.hpp"
#include "headgate/io/gguf.hpp"
#include "headgate/io/json.hpp"
#include "headgate/io/mapped_file.hpp"
#include "headgate/io/safetensors.hpp"
#include "headgate/io/tensor.hpp"

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace headgate::inline HEADGATE_ABI {

// Something of a checkpoint that was not read, and why.
struct SkippedPart {
  std::string name;  // of a file, or of what an index or document says there is
  std::string why;
  bool is_damaged = false;  // it was to be read; else there is no need for it
};

// The name by which a reader asks for (a part of) a tensor that its file calls something else.
struct TensorName {
  std::string name;
  std::string stored;
  std::int64_t part = -1;      // slice of the stored tensor; -1: all of it
  std::optional<Shape> shape;  // where it differs in sizes of one alone
};

// What an adapter adds to a matrix of a checkpoint, W + scale * B A (Hu et al. 2021, "LoRA", arXiv 2106.09685, section
// 4.1).
struct LowRankChange {
  index_t rank = 0;
  index_t in_size = 0;
  index_t out_size = 0;
  float scale = 1.0f;
  std::vector<float> a;  // (rank, in_size)
  std::vector<float> b;  // (out_size, rank)
};

class TensorSource {
 public:
  TensorSource() = default;  // without tensors
  static TensorSource open(const std::string& path) { return TensorSource(Descriptor::open(path)); }

  // Sorted by name.
  std::span<const Tensor> tensors() const noexcept { return tensors_; }
  // The same as the files have them, whatever they have been renamed to.
  std::span<const Tensor> stored_tensors() const noexcept { return stored_.empty() ? tensors_ : stored_; }
  // What the file calls the tensor of this name, or what it is a part of.
  std::string stored_name(std::string_view name) const {
    const auto found = stored_names_.find(name);
    return found == stored_names_.end() ? std::string(name) : found->second;
  }
  // ... and which part; -1: all of it.
  std::int64_t part_of(std::string_view name) const {
    const auto found = parts_.find(name);
    return found == parts_.end() ? -1 : found->second;
  }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const Tensor& tensor : tensors_) names.push_back(tensor.name);
    return names;
  }
  // Null when there is none in the files that could be read.
  const Tensor* find(std::string_view name) const noexcept {
    const auto place = std::lower_bound(tensors_.begin(), tensors_.end(), name,
                                        [](const Tensor& tensor, std::string_view key) { return tensor.name < key; });
    return place != tensors_.end() && place->name == name ? &*place : nullptr;
  }
  // Whether there is such a tensor, or would be in a shard that could not be read: require says why.
  bool promises(std::string_view name) const noexcept {
    if (find(name) != nullptr) return true;
    const Place* const place = place_of(name);
    return place != nullptr && shards_[place->shard].error.has_value();
  }
  // The tensor, of one of these types and exactly this shape. Throws bad_file, or why its shard could not be read.
  const Tensor& require(std::string_view name, std::initializer_list<DType> types, const Shape& shape) const {
    const Tensor& tensor = require(name, shape);
    if (!tensor.opaque.empty()) fail(tensor, tensor.opaque);
    if (tensor.shape != shape) {
      fail(tensor, "expected shape " + shape.describe() + ", found " + tensor.shape.describe());
    }
    if (std::find(types.begin(), types.end(), tensor.dtype) == types.end()) {
      std::string expected;
      bool has_blocks = false;
      for (const DType type : types) {
        has_blocks |= info(type).block > 1;
        if (info(type).block == 1) expected += (expected.empty() ? "" : " or ") + std::string(info(type).name);
      }
      if (has_blocks) expected += " or quantized blocks";
      fail(tensor, "expected type " + expected + ", found " + std::string(info(tensor.dtype).name));
    }
    return tensor;
  }
  // The file is not as the model needs it: names file, tensor and where its data lies. Precondition: a tensor (or
  // slice) of this source.
  [[noreturn]] void fail(const Tensor& tensor, std::string what) const {
    throw Error(ErrorCode::bad_file, {(*files_)[as_size(tensor.file)].path(), stored_name(tensor.name),
                                      static_cast<std::int64_t>(tensor.offset), std::move(what)});
  }

  // read_elements, whose refusal of a number names the file, too. Precondition: as of fail.
  void read(const Tensor& tensor, std::int64_t first, std::span<float> out) const {
    try {
      read_elements(tensor, first, out);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::bad_file) throw;
      fail(tensor, error.detail().what);
    }
  }

  // Gives the memory of its pages back once the tensor (or slice) has been copied elsewhere. It can still be read.
  // Precondition: as of fail.
  void release(const Tensor& tensor) const noexcept {
    (*files_)[as_size(tensor.file)].drop_pages(tensor.offset, tensor.bytes.size());
  }

  // Of a GGUF file, the first of a split; null: it is none.
  const GgufMetadata* metadata() const noexcept { return metadata_ ? &*metadata_ : nullptr; }
  // From now on tensors have these names, and those that any of them stands for have no other; messages go on to call
  // them as the file does. A name whose tensor is not there names none. Tensor pointers from before are void.
  void rename(std::span<const TensorName> names) {
    std::set<std::string, std::less<>> renamed;
    std::vector<Tensor> tensors;
    for (const TensorName& entry : names) {
      stored_names_.emplace(entry.name, entry.stored);
      if (entry.part >= 0) parts_.emplace(entry.name, entry.part);
      const Tensor* const stored = find(entry.stored);
      if (stored == nullptr) continue;
      renamed.insert(entry.stored);
      const bool has_part = entry.part >= 0 && stored->opaque.empty();
      if (has_part && entry.part >= stored->shape[0]) continue;
      Tensor tensor = has_part ? stored->slice(entry.part) : *stored;
      tensor.name = entry.name;
      if (entry.shape && without_ones(*entry.shape) == without_ones(tensor.shape)) tensor.shape = *entry.shape;
      tensors.push_back(std::move(tensor));
    }
    for (const Tensor& tensor : tensors_) {
      if (renamed.count(tensor.name) == 0) tensors.push_back(tensor);
    }
    stored_ = std::exchange(tensors_, std::move(tensors));
    sort();
  }

  // The rows of queries and keys stand in pairs side by side that are halves of a head to the reader of these names.
  void set_rotary_pairs() noexcept { has_rotary_pairs_ = true; }
  bool has_rotary_pairs() const noexcept { return has_rotary_pairs_; }
  // What the reader's quantized weights will meet, which says how they are packed.
  void set_compute(Compute compute) noexcept { compute_ = compute; }
  Compute compute() const noexcept { return compute_; }

  // What an adapter adds to the matrix of this name, which is read with it from now on.
  void add(const std::string& name, LowRankChange change) { changes_.insert_or_assign(name, std::move(change)); }
  // Null: nothing.
  const LowRankChange* change_of(std::string_view name) const noexcept {
    const auto found = changes_.find(name);
    return found == changes_.end() ? nullptr : &found->second;
  }

  std::span<const MappedFile> files() const noexcept { return *files_; }
  // Keeps the bytes of the files where they are, longer than the source.
  std::shared_ptr<const void> mapping() const noexcept { return files_; }
  // Shards that could not be read, an index that is not needed, entries of it without a tensor.
  std::span<const SkippedPart> skipped() const noexcept { return skipped_; }

 private:
  static constexpr const char* single_name = "model.safetensors";
  static constexpr const char* index_name = "model.safetensors.index.json";
  static constexpr std::uint64_t max_index_bytes = std::uint64_t{128} << 20;

  struct Shard {
    std::string name;
    index_t file = -1;           // which of files_; -1: it could not be read
    std::optional<Error> error;  // why
  };
  // What the index says about one tensor.
  struct Place {
    std::size_t shard;
    std::int64_t offset;  // of the shard's name in the index
  };

  explicit TensorSource(const Descriptor& file_or_folder) : path_(file_or_folder.path()) {
    if (file_or_folder.is_folder()) {
      add_folder(file_or_folder);
    } else if (MappedFile mapped(file_or_folder); mapped.text().starts_with("GGUF") || path_.ends_with(".gguf")) {
      add_gguf(std::move(mapped));
    } else {
      std::vector<Tensor> tensors = read_safetensors(mapped.bytes(), mapped.path());
      add_file(std::move(mapped), std::move(tensors));
    }
    sort();
  }
  void sort() {
    std::sort(tensors_.begin(), tensors_.end(),
              [](const Tensor& a, const Tensor& b) { return std::tie(a.name, a.file) < std::tie(b.name, b.file); });
  }

  // As llama.cpp's gguf-split writes them: the number of a file in its metadata and, from 1 on, in its name.
  void add_gguf(MappedFile first) {
    constexpr std::int64_t max_files = 99999;
    GgufFile file = read_gguf(first.bytes(), path_);
    metadata_ = std::move(file.metadata);
    const std::int64_t count = metadata_->get_integer("split.count", 0, max_files, 0);
    const std::int64_t number = metadata_->get_integer("split.no", 0, max_files, 0);
    add_file(std::move(first), std::move(file.tensors));
    if (count <= 1) return;
    const std::string end = split_suffix(0, count);
    if (number != 0) {
      metadata_->fail("split.no", "this is file " + std::to_string(number + 1) + " of " + std::to_string(count) +
                                      ", expected the first, whose name ends in " + end);
    }
    if (!path_.ends_with(end)) metadata_->fail("split.count", "expected a file whose name ends in " + end);
    const std::string stem = path_.substr(0, path_.size() - end.size());
    for (std::int64_t i = 1; i < count; ++i) {
      MappedFile next(Descriptor::open(stem + split_suffix(i, count)));
      GgufFile part = read_gguf(next.bytes(), next.path());
      if (part.metadata.get_integer("split.no", 0, max_files) != i) {
        part.metadata.fail("split.no", "expected " + std::to_string(i) + ", as its name says");
      }
      if (part.metadata.get_integer("split.count", 0, max_files) != count) {
        part.metadata.fail("split.count", "expected " + std::to_string(count) + ", as in the first file");
      }
      add_file(std::move(next), std::move(part.tensors));
    }
    const auto found = static_cast<std::int64_t>(tensors_.size());
    if (metadata_->get_integer("split.tensors.count", 0, INT64_MAX, found) != found) {
      metadata_->fail("split.tensors.count", "all files together have " + std::to_string(found) + " tensors");
    }
  }
  static std::string split_suffix(std::int64_t number, std::int64_t count) {
    const auto digits = [](std::int64_t value) {
      const std::string text = std::to_string(value);
      return std::string(5 - text.size(), '0') + text;
    };
    return "-" + digits(number + 1) + "-of-" + digits(count) + ".gguf";
  }

  void add_file(const Descriptor& file) {
    MappedFile mapped(file);
    std::vector<Tensor> tensors = read_safetensors(mapped.bytes(), mapped.path());
    add_file(std::move(mapped), std::move(tensors));
  }
  void add_file(MappedFile mapped, std::vector<Tensor> tensors) {
    files_->push_back(std::move(mapped));
    for (Tensor& tensor : tensors) {
      tensor.file = static_cast<index_t>(files_->size() - 1);
      tensors_.push_back(std::move(tensor));
    }
  }

  // As transformers does: a single file beside an index is the model, and the index of an earlier save.
  void add_folder(const Descriptor& folder) {
    const bool has_single = folder.contains(single_name);
    const bool has_index = folder.contains(index_name);
    if (!has_single && !has_index) {
      throw Error(ErrorCode::io,
                  {path_, "", -1, "the folder has neither " + std::string(single_name) + " nor " + index_name});
    }
    if (has_single) {
      add_file(folder.open_inside(single_name));
      if (has_index) skipped_.push_back({index_name, std::string(single_name) + " is read in its place"});
      return;
    }
    read_index(folder.open_inside(index_name));
    for (Shard& shard : shards_) {
      try {
        add_file(folder.open_inside(shard.name));
        shard.file = static_cast<index_t>(files_->size() - 1);
      } catch (const Error& error) {
        shard.error = error;
        skipped_.push_back({shard.name, error.what(), /*is_damaged=*/true});
      }
    }
    std::set<std::string_view> found;
    for (const Tensor& tensor : tensors_) found.insert(tensor.name);
    for (const auto& [name, place] : weight_map_) {
      const Shard& shard = shards_[place.shard];
      if (shard.error || found.count(name) != 0) continue;
      skipped_.push_back({std::string(index_name) + ": " + name, "no shard has this tensor"});
    }
  }

  void read_index(const Descriptor& file) {
    index_path_ = file.path();
    const Json json = parse_json(read_small_file(file, max_index_bytes), index_path_, 0, {.non_finite = true});
    const JsonObject index(json, index_path_);
    const JsonObject entries = index.get_object("weight_map");
    if (entries.members().empty()) index.fail("weight_map", "expected at least one tensor");
    std::map<std::string, std::size_t> numbers;  // of the shards, which are read in the order of their names
    for (const JsonMember& entry : entries.members()) {
      const auto* const shard = std::get_if<std::string>(&entry.value.value);
      if (shard == nullptr || !is_shard_name(*shard)) {
        throw Error(ErrorCode::bad_file,
                    {index_path_, "weight_map." + entry.key, entry.value.offset,
                     "expected the name of a file in this folder, found " + entry.value.describe()});
      }
      numbers.emplace(*shard, 0);
    }
    for (auto& [name, number] : numbers) {
      number = shards_.size();
      shards_.push_back({name, -1, std::nullopt});
    }
    for (const JsonMember& entry : entries.members()) {
      weight_map_.emplace(entry.key, Place{numbers.at(std::get<std::string>(entry.value.value)), entry.value.offset});
    }
  }
  static std::vector<std::int64_t> without_ones(const Shape& shape) {
    std::vector<std::int64_t> sizes(shape.sizes().begin(), shape.sizes().end());
    std::erase(sizes, 1);
    return sizes;
  }
  // A name, not a path, so that no index can point outside of its folder.
  static bool is_shard_name(std::string_view name) noexcept {
    return !name.empty() && name != "." && name != ".." && name != index_name &&
           name.find_first_of(std::string_view("/\\\0", 3)) == name.npos;
  }

  const Place* place_of(std::string_view name) const noexcept {
    const auto found = weight_map_.find(name);
    return found == weight_map_.end() ? nullptr : &found->second;
  }

  // The one tensor of this name, where the index says that it is. shape: for the message.
  const Tensor& require(std::string_view name, const Shape& shape) const {
    const Tensor* const tensor = find(name);
    const Place* const place = place_of(name);
    if (tensor == nullptr) {
      if (place == nullptr) {
        throw Error(ErrorCode::bad_file,
                    {path_, stored_name(name), -1, "the tensor is missing, expected shape " + shape.describe()});
      }
      const Shard& shard = shards_[place->shard];
      if (shard.error) throw Error(*shard.error);
      throw Error(ErrorCode::bad_file, {index_path_, "weight_map." + std::string(name), place->offset,
                                        "there is no such tensor in " + escaped(shard.name)});
    }
    if (place != nullptr && shards_[place->shard].file != tensor->file) {
      fail(*tensor, std::string(index_name) + " says that it is in " + escaped(shards_[place->shard].name));
    }
    const Tensor* const next = tensor + 1;
    if (next != tensors_.data() + tensors_.size() && next->name == name) {
      fail(*next, "it is also in " + escaped((*files_)[as_size(tensor->file)].path(), 1024));
    }
    return *tensor;
  }

  std::string path_;
  std::shared_ptr<std::vector<MappedFile>> files_ = std::make_shared<std::vector<MappedFile>>();
  std::vector<Tensor> tensors_;
  std::vector<Tensor> stored_;  // before they were renamed; empty: they were not
  std::string index_path_;
  std::vector<Shard> shards_;                             // of the index
  std::map<std::string, Place, std::less<>> weight_map_;  // of the index; empty without
  std::vector<SkippedPart> skipped_;
  std::optional<GgufMetadata> metadata_;
  bool has_rotary_pairs_ = false;
  Compute compute_ = Compute::f32;
  std::map<std::string, LowRankChange, std::less<>> changes_;     // by the tensor's name
  std::map<std::string, std::string, std::less<>> stored_names_;  // of names that are not the file's
  std::map<std::string, std::int64_t, std::less<>> parts_;        // of those that name a part
};

}  // namespace headgate::inline HEADGATE_ABI
