// GqaPart: the weights of grouped-query attention (attention/gqa.hpp). BilevelPart: the same, routed by regions.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "headgate/attention/bilevel_causal_attention.hpp"
#include "headgate/attention/gqa.hpp"
#include "headgate/models/part.hpp"
#include "headgate/models/parts/added_part.hpp"

namespace headgate::inline HEADGATE_ABI {

// Names of the tensors behind the prefix of an attention, without ".weight" and ".bias".
struct GqaNames {
  const char* query = "q_proj";
  const char* key = "k_proj";
  const char* value = "v_proj";
  const char* output = "o_proj";
  const char* query_norm = "q_norm";
  const char* key_norm = "k_norm";
  const char* sinks = "sinks";  // without ".weight"
};

struct GqaPart {
  GqaShape shape;
  std::shared_ptr<const Rope> rope;  // null: no positions
  WeightRows query;                  // (heads * head_dim, hidden_size)
  WeightRows key;                    // (kv_heads * head_dim, hidden_size)
  WeightRows value;                  // (kv_heads * head_dim, hidden_size)
  WeightRows output;                 // (hidden_size, heads * head_dim)
  // As many numbers as the shape's options want; none without.
  std::optional<WeightRows> query_bias, key_bias, value_bias, output_bias, query_norm, key_norm, sinks;
  std::vector<AddedPart> added = {};  // beside its projections

  // is_interleaved: the checkpoint's rotary pairs lie side by side, (x_2i, x_2i+1). Throws Error of TensorSource.
  static GqaPart find(const TensorSource& source, const std::string& prefix, const GqaShape& shape,
                      std::shared_ptr<const Rope> rope, const GqaNames& names = {}, bool is_interleaved = false) {
    const std::int64_t hidden_size = shape.hidden_size;
    const std::int64_t query_size = shape.query_size();
    const std::int64_t kv_size = shape.kv_size();
    const bool has_pairs = is_interleaved || source.has_rotary_pairs();
    const index_t turned = has_pairs && rope ? 2 * rope->half() : 0;
    const auto apart = [&](const WeightRows& rows) { return rows.deinterleaved(shape.head_dim, 0, turned); };
    const auto matrix = [&](const char* name, std::int64_t rows, std::int64_t cols) {
      return WeightRows::find(source, prefix + name + ".weight", {rows, cols});
    };
    const auto bias = [&](bool has, const char* name, std::int64_t size) -> std::optional<WeightRows> {
      if (!has) return std::nullopt;
      return WeightRows::find_column(source, prefix + name + ".bias", {size});
    };
    GqaPart part{.shape = shape,
                 .rope = std::move(rope),
                 .query = apart(matrix(names.query, query_size, hidden_size)),
                 .key = apart(matrix(names.key, kv_size, hidden_size)),
                 .value = matrix(names.value, kv_size, hidden_size),
                 .output = matrix(names.output, hidden_size, query_size),
                 .query_bias = bias(shape.has_query_bias, names.query, query_size),
                 .key_bias = bias(shape.has_key_bias, names.key, kv_size),
                 .value_bias = bias(shape.has_value_bias, names.value, kv_size),
                 .output_bias = bias(shape.has_output_bias, names.output, hidden_size),
                 .query_norm = {},
                 .key_norm = {},
                 .sinks = {}};
    if (part.query_bias) part.query_bias = apart(*part.query_bias);
    if (part.key_bias) part.key_bias = apart(*part.key_bias);
    if (shape.qk_norm != QkNorm::none) {
      const bool is_full = shape.qk_norm == QkNorm::full;
      const auto norm = [&](const char* name, std::int64_t size) {
        return apart(WeightRows::find_column(source, prefix + name + ".weight", {size}));
      };
      part.query_norm = norm(names.query_norm, is_full ? query_size : shape.head_dim);
      part.key_norm = norm(names.key_norm, is_full ? kv_size : shape.head_dim);
    }
    if (shape.has_sinks) part.sinks = WeightRows::find(source, prefix + names.sinks, {shape.num_heads});
    return part;
  }

  std::string words() const {
    std::string text = std::to_string(shape.num_heads) + " heads of " + std::to_string(shape.head_dim) + ", " +
                       std::to_string(shape.num_kv_heads) + " KV heads";
    if (shape.window > 0) text += ", window " + std::to_string(shape.window);
    if (shape.has_sinks) text += ", sinks";
    if (!rope) text += ", no positions";
    if (!added.empty()) {
      text += ", " + added.front().experts.words() + " beside " + std::to_string(added.size()) + " projections";
    }
    return text;
  }
  void list_weights(WeightList& weights) const {
    for (const WeightRows* rows : {&query, &key, &value, &output}) weights.push_back(WeightUse::matrix(*rows));
    for (const auto* rows : {&query_bias, &key_bias, &value_bias, &output_bias, &query_norm, &key_norm, &sinks}) {
      if (*rows) weights.push_back(WeightUse::vector(**rows));
    }
    for (const AddedPart& part : added) part.list_weights(weights);
  }
  StateNeed state() const {
    return [sizes = shape](const StateSize& size) { return sizes.state_bytes(size); };
  }
  ReadCount reads() const {
    return [window = shape.window, width = std::int64_t{shape.query_size()}](index_t length) -> TextRead {
      const index_t read = window > 0 ? std::min(window, length) : length;
      return {read, 2 * width * read};
    };
  }
  ScratchNeed scratch() const { return scratch_beside(shape); }
  // What an attention of these sizes takes, and what stands beside its projections.
  template <class Shape>
  ScratchNeed scratch_beside(const Shape& sizes) const {
    std::vector<ScratchNeed> needs;
    for (const AddedPart& part : added) needs.push_back(part.scratch());
    return [sizes, beside = largest_need(std::move(needs))](const PassSize& pass) {
      return sizes.scratch_floats(pass) + beside(pass);
    };
  }
  GroupedQueryAttention<AnyFormat> pack(const Packer& packer) const {
    return filled(GroupedQueryAttention<AnyFormat>::create(shape, rope, formats(packer)).value(), packer);
  }

  AttentionFormats<AnyFormat> formats(const Packer& packer) const {
    return {query.format(),       key.format(),       value.format(),       output.format(),
            packer.panels(query), packer.panels(key), packer.panels(value), packer.panels(output)};
  }
  template <class A>
  A filled(A attention, const Packer& packer) const {
    packer.fill(query, packer.panels(query), [&](index_t r, WeightRow row) { attention.set_query_row(r, row); });
    packer.fill(key, packer.panels(key), [&](index_t r, WeightRow row) { attention.set_key_row(r, row); });
    packer.fill(value, packer.panels(value), [&](index_t r, WeightRow row) { attention.set_value_row(r, row); });
    packer.fill(output, packer.panels(output), [&](index_t r, WeightRow row) { attention.set_output_row(r, row); });
    const auto copy = [&](const std::optional<WeightRows>& rows, std::span<float> out) {
      if (rows) packer.copy(*rows, out);
    };
    copy(query_bias, attention.query_bias());
    copy(key_bias, attention.key_bias());
    copy(value_bias, attention.value_bias());
    copy(output_bias, attention.output_bias());
    copy(query_norm, attention.query_norm());
    copy(key_norm, attention.key_norm());
    copy(sinks, attention.sinks());
    for (const AddedPart& part : added) throw_if_error(attention.set_added(part.projection, part.pack(packer)));
    return attention;
  }
};

struct BilevelPart {
  GqaPart attention;
  index_t region_size;
  index_t regions;
  std::shared_ptr<const Rope> rope = attention.rope;

  BilevelCausalShape shape() const noexcept { return {attention.shape, region_size, regions}; }
  std::string words() const {
    return attention.words() + ", bi-level: " + std::to_string(regions) + " regions of " + std::to_string(region_size);
  }
  void list_weights(WeightList& weights) const { attention.list_weights(weights); }
  StateNeed state() const {
    return [sizes = shape()](const StateSize& size) { return sizes.state_bytes(size); };
  }
  // Affinities of earlier regions, then scores and sums of those that were chosen.
  ReadCount reads() const {
    return [sizes = shape()](index_t length) -> TextRead {
      const std::int64_t width = sizes.attention.query_size();
      const std::int64_t read = sizes.longest_read(length);
      return {read, width * (length / sizes.region_size + 2 * read)};
    };
  }
  ScratchNeed scratch() const { return attention.scratch_beside(shape()); }
  BilevelCausalAttention<AnyFormat> pack(const Packer& packer) const {
    return attention.filled(
        BilevelCausalAttention<AnyFormat>::create(shape(), attention.rope, attention.formats(packer)).value(), packer);
  }
};

}  // namespace headgate::inline HEADGATE_ABI
