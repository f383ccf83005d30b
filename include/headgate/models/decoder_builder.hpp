// From tensors to a Model: packs weights row by row, in the format that keeps their values, and gives the pages of
// every tensor back when it has been read. So memory peaks at the packed weights and one tensor.
#pragma once

#include <algorithm>
#include <functional>
#include <vector>

#include "headgate/attention/bilevel_causal_attention.hpp"
#include "headgate/attention/gqa.hpp"
#include "headgate/experts/glu_experts.hpp"
#include "headgate/models/decoder.hpp"
#include "headgate/models/decoder_tensors.hpp"
#include "headgate/models/weight_count.hpp"
#include "headgate/routing/staged_router.hpp"

namespace headgate::inline HEADGATE_ABI {

// Replaces or wraps the router of a layer with experts. gate: where the checkpoint's router is a linear one, its gate
// (experts and null experts, hidden_size) and selection bias, else no rows; good for the call only. own: that router,
// which may be returned as it is.
using MakeRouter = std::function<AnyRouter(index_t layer, const GateWeights& gate, AnyRouter own)>;

class DecoderBuilder {
 public:
  // All but make_router, which may be empty, outlive the builder.
  DecoderBuilder(const ModelConfig& config, const DecoderTensors& tensors, const TensorSource& source, Context& ctx,
                 MakeRouter make_router = nullptr)
      : config_(config), tensors_(tensors), source_(source), ctx_(ctx), replace_router_(std::move(make_router)) {}

  DecoderBuilder(const ModelConfig&&, const DecoderTensors&, const TensorSource&, Context&,
                 MakeRouter = nullptr) = delete;
  DecoderBuilder(const ModelConfig&, const DecoderTensors&&, const TensorSource&, Context&,
                 MakeRouter = nullptr) = delete;
  DecoderBuilder(const ModelConfig&, const DecoderTensors&, const TensorSource&&, Context&,
                 MakeRouter = nullptr) = delete;

  const ModelConfig& config() const noexcept { return config_; }
  const DecoderTensors& tensors() const noexcept { return tensors_; }

  // make_router(layer, gate) -> AnyRouter from the router weights of a layer, ConstRows (num_experts, hidden_size).
  // shared: what several routers refer to. Throws Error and std::bad_alloc.
  template <class F>
  Model build(F&& make_router, std::shared_ptr<const void> shared = nullptr) {
    Embedding embedding(linear(*tensors_.embedding));
    rope_ = std::make_shared<const Rope>(Rope::create(config_.rope).value());
    std::vector<DecoderBlock> blocks;
    for (index_t l = 0; l < config_.num_hidden_layers; ++l) blocks.push_back(block(l, make_router));
    std::shared_ptr<const Linear<AnyFormat>> head;
    if (tensors_.head != nullptr) head = std::make_shared<const Linear<AnyFormat>>(linear(*tensors_.head));
    const WeightCount count = WeightCount::of(config_, tensors_);
    return Model::create({config_, std::move(embedding), *rope_, std::move(blocks), norm(*tensors_.norm),
                          std::move(head), std::move(shared), count.packed_bytes, count.bytes_per_token})
        .value();
  }

  // All elements of a tensor, row by row.
  std::vector<float> floats(const Tensor& tensor) {
    const TensorRows rows(tensor);
    std::vector<float> values(as_size(rows.parameters()));
    each_row(rows, [&](index_t r, const float* row) {
      std::copy_n(row, rows.cols(), &values[as_size(r) * as_size(rows.cols())]);
    });
    return values;
  }

 private:
  template <class F>
  DecoderBlock block(index_t l, F&& make_router) {
    const LayerTensors& t = tensors_.layers[as_size(l)];
    AnyMixer attention = this->attention(t);
    AnyExperts experts =
        with_format(t.experts, [&]<class Format>(Format) { return AnyExperts(this->experts<Format>(t)); });
    using Ffn = std::variant<DecoderBlock::Routed, DecoderBlock::Dense>;
    const auto ffn = [&]() -> Ffn {
      if (!t.is_sparse()) return DecoderBlock::Dense::create(std::move(experts)).value();
      const TensorRows rows(*t.router);
      const std::vector<float> weights = floats(*t.router);
      const ConstRows gate(weights.data(), rows.rows, rows.cols());
      AnyRouter router = make_router(l, gate);
      if (replace_router_) {
        router = replaced(l, gate, std::move(router));
        throw_if_error(Model::check_router(l, router, experts));
      }
      return DecoderBlock::Routed(std::move(router), std::move(experts));
    };
    return DecoderBlock::create(norm(*t.attention_norm), std::move(attention), norm(*t.ffn_norm), ffn()).value();
  }

  AnyRouter replaced(index_t l, ConstRows gate, AnyRouter own) {
    const LayerTensors& t = tensors_.layers[as_size(l)];
    if (!t.has_linear_gate()) return replace_router_(l, {}, std::move(own));
    const std::vector<float> bias = t.router_bias == nullptr ? std::vector<float>() : floats(*t.router_bias);
    return replace_router_(l, {.gate = gate, .selection_bias = bias}, std::move(own));
  }

  AnyMixer attention(const LayerTensors& t) {
    const GqaShape shape = attention_shape(config_, t);
    const AttentionFormats<AnyFormat> formats{format_of(*t.query), format_of(*t.key), format_of(*t.value),
                                              format_of(*t.output)};
    if (config_.attention == AttentionKind::bilevel) {
      const BilevelCausalShape regions{shape, config_.region_size, config_.routed_regions};
      return filled(BilevelCausalAttention<AnyFormat>::create(regions, rope_, formats).value(), t);
    }
    return filled(GroupedQueryAttention<AnyFormat>::create(shape, rope_, formats).value(), t);
  }
  template <class A>
  A filled(A packed, const LayerTensors& t) {
    each_row(*t.query, [&](index_t r, const float* row) { packed.set_query_row(r, row); });
    each_row(*t.key, [&](index_t r, const float* row) { packed.set_key_row(r, row); });
    each_row(*t.value, [&](index_t r, const float* row) { packed.set_value_row(r, row); });
    each_row(*t.output, [&](index_t r, const float* row) { packed.set_output_row(r, row); });
    if (t.query_bias != nullptr) copy(*t.query_bias, packed.query_bias());
    if (t.key_bias != nullptr) copy(*t.key_bias, packed.key_bias());
    if (t.value_bias != nullptr) copy(*t.value_bias, packed.value_bias());
    if (t.output_bias != nullptr) copy(*t.output_bias, packed.output_bias());
    if (t.query_norm != nullptr) copy(*t.query_norm, packed.query_norm());
    if (t.key_norm != nullptr) copy(*t.key_norm, packed.key_norm());
    return packed;
  }

  template <class Format>
  GluExperts<Format> experts(const LayerTensors& t) {
    GluExperts<Format> bank(expert_shape(config_, t));
    for (ExpertId e = 0; e < bank.num_experts(); ++e) {
      const GluTensors& expert = t.experts[as_size(e)];
      each_row(expert.gate, [&](index_t r, const float* row) { bank.set_gate_row(e, r, row); });
      each_row(expert.up, [&](index_t r, const float* row) { bank.set_up_row(e, r, row); });
      each_row(expert.down, [&](index_t r, const float* row) { bank.set_down_row(e, r, row); });
    }
    return bank;
  }

  static AnyFormat format_of(const Tensor& tensor) {
    return with_format({&tensor}, [](auto format) { return AnyFormat(format); });
  }
  Linear<AnyFormat> linear(const Tensor& tensor) {
    const TensorRows all(tensor);
    Linear<AnyFormat> packed(all.rows, all.cols(), /*has_bias=*/false, format_of(tensor));
    each_row(all, [&](index_t r, const float* row) { packed.set_row(r, row); });
    return packed;
  }
  RmsNorm<> norm(const Tensor& tensor) {
    std::vector<float> weight(as_size(tensor.row_size()));
    copy(tensor, weight);
    return {std::move(weight), config_.rms_norm_eps};
  }

  // use(row, values) on the context's threads, then the pages are released.
  template <class F>
  void each_row(const TensorRows& rows, F&& use) {
    const index_t n = ctx_.slices(rows.rows);
    ctx_.parallel(n, [&](index_t i) {
      std::vector<float> values(as_size(rows.cols()));
      const Slice slice = Slice::of(rows.rows, n, i);
      for (index_t r = slice.first; r < slice.last; ++r) {
        read(*rows.tensor, rows.first + r, values);
        use(r, values.data());
      }
    });
    source_.release(part_of(rows));
  }
  // read_row, whose refusal of a number names the file, too.
  void read(const Tensor& tensor, std::int64_t row, std::span<float> out) const {
    try {
      read_row(tensor, row, out);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::bad_file) throw;
      source_.fail(tensor, error.detail().what);
    }
  }
  void copy(const Tensor& vector, std::span<float> out) {
    read(vector, 0, out);
    source_.release(vector);
  }
  static Tensor part_of(const TensorRows& rows) {
    const std::size_t row_bytes = as_size(rows.tensor->row_size() * info(rows.tensor->dtype).size);
    Tensor part = *rows.tensor;
    part.bytes = part.bytes.subspan(as_size(rows.first) * row_bytes, as_size(rows.rows) * row_bytes);
    part.offset += as_size(rows.first) * row_bytes;
    return part;
  }

  const ModelConfig& config_;
  const DecoderTensors& tensors_;
  const TensorSource& source_;
  Context& ctx_;
  MakeRouter replace_router_;
  std::shared_ptr<const Rope> rope_;
};

}  // namespace headgate::inline HEADGATE_ABI
