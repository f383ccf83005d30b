// PackedTensors: which bytes of a safetensors file are panels of weights, as kernels read them (kernels/panel16.hpp).
// Such a tensor is U8 in the container; three strings of its "__metadata__" say what it holds:
//   headgate.layout   "panel16", the one there is
//   headgate.version  "1": of the layout. Another one is refused when the file is opened
//   headgate.tensors  a JSON object, {"NAME": {"type": "Q4_0", "shape": [8, 96, 256], "run": 96, "step": 1}, ...};
//                     run and step as PanelOrder has them
// Whether type, shape and bytes fit is for who needs the tensor to check (models/weight_rows.hpp).
#pragma once

#include "headgate/io/json.hpp"
#include "headgate/io/tensor.hpp"

#include <algorithm>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace headgate::inline HEADGATE_ABI {

inline constexpr std::string_view packed_layout = "panel16";
inline constexpr std::string_view packed_version = "1";

class PackedTensors {
 public:
  PackedTensors() = default;  // none

  // metadata: strings only. Throws bad_file for a layout or version not known here, and where an entry is none.
  static PackedTensors read(const JsonMember& metadata, const std::string& file) {
    PackedTensors packed;
    if (metadata.value.is_null()) return packed;
    const JsonObject strings(metadata.value, file, metadata.key);
    constexpr std::string_view key = "headgate.tensors";
    if (!strings.has(key)) return packed;
    const auto require = [&](std::string_view name, std::string_view known) {
      const std::string& found = strings.get_string(name);
      if (found == known) return;
      strings.fail(name, "the panels are of " + std::string(name.substr(name.find('.') + 1)) + " \"" +
                             escaped(found, 40) + "\", known is \"" + std::string(known) +
                             "\": quantize the model again with this program");
    };
    require("headgate.layout", packed_layout);
    require("headgate.version", packed_version);
    const std::int64_t place = strings.value(key)->offset;
    try {
      for_each_json_member(strings.get_string(key), file,
                           [&](const JsonMember& member) { packed.entries_.push_back(read_entry(member, file)); });
    } catch (const Error& error) {  // offsets within the string say nothing of the file
      if (error.code() != ErrorCode::bad_file) throw;
      throw Error(ErrorCode::bad_file, {file,
                                        metadata.key + "." + std::string(key) +
                                            (error.detail().field.empty() ? "" : "." + error.detail().field),
                                        place, error.detail().what});
    }
    std::sort(packed.entries_.begin(), packed.entries_.end(),
              [](const Entry& a, const Entry& b) { return a.name < b.name; });
    return packed;
  }

  // tensors: sorted by name, as the container has them. What is no bytes in spite of its entry stays what it is, to be
  // refused by who needs it.
  void mark(std::span<Tensor> tensors) const {
    for (Tensor& tensor : tensors) {
      const auto found =
          std::lower_bound(entries_.begin(), entries_.end(), tensor.name,
                           [](const Entry& entry, const std::string& name) { return entry.name < name; });
      if (found == entries_.end() || found->name != tensor.name || !tensor.opaque.empty()) continue;
      if (tensor.dtype != DType::u8) {
        tensor.opaque = "its entry in headgate.tensors says that it is packed, and its type is no U8";
        continue;
      }
      if (!found->is_known) {
        tensor.opaque = "panels of type \"" + escaped(found->type, 40) + "\" are not supported";
        continue;
      }
      tensor.dtype = found->dtype;
      tensor.shape = found->shape;
      tensor.panels = found->order;
    }
  }

  // What the metadata of a file says of its tensors, as a JSON object.
  static std::string entry(DType dtype, const Shape& shape, const PanelOrder& order) {
    std::string sizes;
    for (const std::int64_t size : shape.sizes()) sizes += (sizes.empty() ? "" : ",") + std::to_string(size);
    return R"({"type":")" + std::string(info(dtype).name) + R"(","shape":[)" + sizes + R"(],"run":)" +
           std::to_string(order.run) + R"(,"step":)" + std::to_string(order.step) + "}";
  }

 private:
  struct Entry {
    std::string name;
    std::string type;
    bool is_known = false;
    DType dtype = DType::u8;
    Shape shape;
    PanelOrder order;
  };
  static Entry read_entry(const JsonMember& member, const std::string& file) {
    const JsonObject json(member.value, file, member.key);
    constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
    Entry entry{.name = member.key,
                .type = json.get_string("type"),
                .shape = {},
                .order = {json.get_integer("run", 1, most), json.get_integer("step", 1, most)}};
    const std::vector<std::int64_t> sizes = json.get_integers("shape", 1, most);
    if (sizes.empty() || sizes.size() > as_size(Shape::max_rank))
      json.fail("shape", "expected 1 to 8 sizes, found " + std::to_string(sizes.size()));
    entry.shape = Shape(sizes);
    for (const DTypeInfo& type : dtypes) {
      if (type.name != entry.type) continue;
      entry.dtype = type.dtype;
      entry.is_known = true;
    }
    return entry;
  }

  std::vector<Entry> entries_;
};

}  // namespace headgate::inline HEADGATE_ABI
