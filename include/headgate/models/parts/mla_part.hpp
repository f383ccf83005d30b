// MlaPart: the weights of multi-head latent attention (attention/mla.hpp).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "headgate/attention/mla.hpp"
#include "headgate/models/part.hpp"

namespace headgate::inline HEADGATE_ABI {

struct MlaPart {
  MlaShape shape;
  std::shared_ptr<const Rope> rope;
  std::optional<WeightRows> query_down;  // (query_rank, hidden_size), with a rank, as query_norm
  WeightRows query;                      // (heads * (nope_dim + rope_dim), query_rank or hidden_size)
  WeightRows latent;                     // (latent_size + rope_dim, hidden_size)
  // (heads * (nope_dim + value_dim), latent_size): of a head keys, then values. Or else apart: (heads * nope_dim,
  // latent_size) and (heads * value_dim, latent_size).
  WeightRows up;
  std::optional<WeightRows> key_up, value_up;
  WeightRows output;                     // (hidden_size, heads * value_dim)
  WeightRows latent_norm;                // (1, latent_size)
  std::optional<WeightRows> query_norm;  // (1, query_rank)
  // With has_bias; there is none of queries without a rank.
  std::optional<WeightRows> query_down_bias, latent_bias, output_bias;

  // The attention behind a prefix, "model.layers.0.self_attn.". is_interleaved: the checkpoint's rotary pairs lie side
  // by side.
  static MlaPart find(const TensorSource& source, const std::string& prefix, const MlaShape& shape,
                      std::shared_ptr<const Rope> rope, bool is_interleaved) {
    const std::int64_t hidden_size = shape.hidden_size;
    const index_t turned = is_interleaved ? shape.rope_dim : 0;
    const auto matrix = [&](const char* name, std::int64_t rows, std::int64_t cols) {
      return WeightRows::find(source, prefix + name + ".weight", {rows, cols});
    };
    const auto vector = [&](const char* name, std::int64_t size) {
      return WeightRows::find(source, prefix + name, {size});
    };
    const auto query = [&](const WeightRows& rows) {
      return rows.deinterleaved(shape.head_dim(), shape.nope_dim, turned);
    };
    const auto latent = [&](const WeightRows& rows) {
      return rows.deinterleaved(shape.key_size(), shape.latent_size, turned);
    };
    const bool has_rank = shape.query_rank > 0;
    // GGUF files, and what was made of them, may hold k_b_proj, of each head the columns, and v_b_proj in place of
    // both.
    const std::string keys = prefix + "k_b_proj.weight";
    const bool is_apart = !source.promises(prefix + "kv_b_proj.weight") && source.promises(keys);
    MlaPart part{.shape = shape,
                 .rope = std::move(rope),
                 .query_down = std::nullopt,
                 .query = query(has_rank ? matrix("q_b_proj", shape.query_size(), shape.query_rank)
                                         : matrix("q_proj", shape.query_size(), hidden_size)),
                 .latent = latent(matrix("kv_a_proj_with_mqa", shape.key_size(), hidden_size)),
                 .up = is_apart
                           ? WeightRows()
                           : matrix("kv_b_proj", std::int64_t{shape.num_heads} * (shape.nope_dim + shape.value_dim),
                                    shape.latent_size),
                 .key_up = std::nullopt,
                 .value_up = std::nullopt,
                 .output = matrix("o_proj", hidden_size, shape.value_size()),
                 .latent_norm = vector("kv_a_layernorm.weight", shape.latent_size),
                 .query_norm = std::nullopt,
                 .query_down_bias = {},
                 .latent_bias = {},
                 .output_bias = {}};
    if (is_apart) {
      part.key_up = WeightRows::find_transposed(source, keys, {shape.num_heads, shape.nope_dim, shape.latent_size});
      part.value_up =
          WeightRows::find(source, prefix + "v_b_proj.weight", {shape.num_heads, shape.value_dim, shape.latent_size});
    }
    if (has_rank) {
      part.query_down = matrix("q_a_proj", shape.query_rank, hidden_size);
      part.query_norm = vector("q_a_layernorm.weight", shape.query_rank);
    }
    if (shape.has_bias) {
      if (has_rank) part.query_down_bias = vector("q_a_proj.bias", shape.query_rank);
      part.latent_bias =
          latent(WeightRows::find_column(source, prefix + "kv_a_proj_with_mqa.bias", {shape.key_size()}));
      part.output_bias = vector("o_proj.bias", hidden_size);
    }
    return part;
  }

  std::string words() const {
    return "latent attention, " + std::to_string(shape.num_heads) + " heads, " + std::to_string(shape.latent_size) +
           " + " + std::to_string(shape.rope_dim) + " a position";
  }
  void list_weights(WeightList& weights) const {
    if (query_down) weights.push_back(WeightUse::matrix(*query_down));
    for (const WeightRows* rows : {&query, &latent, &output}) weights.push_back(WeightUse::matrix(*rows));
    // Packed head by head, the keys transposed.
    const std::int64_t heads = shape.num_heads;
    const std::int64_t key_bytes =
        heads * (shape.padded_latents() / panel_rows * key_format().panel_bytes(shape.nope_dim));
    const std::int64_t value_bytes =
        heads * (shape.padded_values() / panel_rows * value_format().panel_bytes(shape.latent_size));
    const auto per_head = [&](const WeightRows& rows, std::int64_t packed_bytes) {
      weights.push_back(WeightUse::vector(rows));
      weights.back().packed_bytes = packed_bytes;
    };
    if (key_up) {
      per_head(*key_up, key_bytes);
      per_head(*value_up, value_bytes);
    } else {
      per_head(up, key_bytes + value_bytes);
    }
    weights.push_back(WeightUse::vector(latent_norm));
    for (const auto* rows : {&query_norm, &query_down_bias, &latent_bias, &output_bias}) {
      if (*rows) weights.push_back(WeightUse::vector(**rows));
    }
  }
  StateNeed state() const {
    return [sizes = shape](const StateSize& size) { return sizes.state_bytes(size); };
  }
  // Of latents: absorbed queries with all of a position, weights with its latent.
  ReadCount reads() const {
    return [per_position = std::int64_t{shape.num_heads} * (shape.key_size() + shape.latent_size)](index_t length) {
      return TextRead{length, per_position * length};
    };
  }
  ScratchNeed scratch() const {
    return [sizes = shape](const PassSize& pass) { return sizes.scratch_floats(pass); };
  }
  MultiHeadLatentAttention<AnyFormat> pack(const Packer& packer) const {
    auto mixer = MultiHeadLatentAttention<AnyFormat>::create(
                     shape, rope,
                     {query_down ? query_down->format() : AnyFormat(F32{}), query.format(), latent.format(),
                      key_format(), value_format(), output.format(), query_down ? packer.panels(*query_down) : nullptr,
                      packer.panels(query), packer.panels(latent), packer.panels(output)})
                     .value();
    if (query_down) {
      packer.fill(*query_down, packer.panels(*query_down),
                  [&](index_t r, WeightRow row) { mixer.set_query_down_row(r, row); });
      packer.copy(*query_norm, mixer.query_norm());
    }
    packer.fill(query, packer.panels(query), [&](index_t r, WeightRow row) { mixer.set_query_row(r, row); });
    packer.fill(latent, packer.panels(latent), [&](index_t r, WeightRow row) { mixer.set_latent_row(r, row); });
    packer.fill(output, packer.panels(output), [&](index_t r, WeightRow row) { mixer.set_output_row(r, row); });
    packer.copy(latent_norm, mixer.latent_norm());
    if (query_down_bias) packer.copy(*query_down_bias, mixer.query_down_bias());
    if (latent_bias) packer.copy(*latent_bias, mixer.latent_bias());
    if (output_bias) packer.copy(*output_bias, mixer.output_bias());
    for (index_t h = 0; h < shape.num_heads; ++h) {
      const std::vector<float> keys = packer.floats(keys_of(h));
      mixer.set_key_up(h, ConstRows(keys.data(), shape.nope_dim, shape.latent_size));
      packer.each_row(values_of(h), value_format(),
                      [&](index_t r, WeightRow row) { mixer.set_value_up_row(h, r, row); });
    }
    return mixer;
  }

 private:
  // They are packed transposed, which no stored row survives.
  AnyFormat key_format() const {
    const AnyFormat format = (key_up ? *key_up : up).format_for_floats();
    return format.packs_floats() ? format : AnyFormat(F32{});
  }
  AnyFormat value_format() const { return (value_up ? *value_up : up).format_for_floats(); }
  // Of one head.
  WeightRows keys_of(index_t head) const {
    if (key_up) return key_up->part(head * shape.nope_dim, shape.nope_dim);
    return up.part(head * (shape.nope_dim + shape.value_dim), shape.nope_dim);
  }
  WeightRows values_of(index_t head) const {
    if (value_up) return value_up->part(head * shape.value_dim, shape.value_dim);
    return up.part(head * (shape.nope_dim + shape.value_dim) + shape.nope_dim, shape.value_dim);
  }
};

}  // namespace headgate::inline HEADGATE_ABI
