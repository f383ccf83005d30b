// DecoderTensors: where in its files a decoder's weights lie. A family fills it (qwen3_moe.hpp) and every tensor in it
// has been compared with the config, so what follows, counting and packing, asks no more. Pointers are the
// TensorSource's.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <vector>

#include "headgate/io/tensor_source.hpp"
#include "headgate/kernels/panel16.hpp"

namespace headgate::inline HEADGATE_ABI {

// Consecutive rows of a tensor: a whole matrix, or one of a stack.
struct TensorRows {
  const Tensor* tensor = nullptr;
  std::int64_t first = 0;
  index_t rows = 0;

  TensorRows() = default;
  TensorRows(const Tensor& whole)  // NOLINT(google-explicit-constructor)
      : TensorRows(whole, 0, static_cast<index_t>(whole.num_rows())) {}
  TensorRows(const Tensor& of, std::int64_t first_row, index_t num_rows) noexcept
      : tensor(&of), first(first_row), rows(num_rows) {}

  index_t cols() const noexcept { return static_cast<index_t>(tensor->row_size()); }
  std::int64_t parameters() const noexcept { return rows * tensor->row_size(); }
};

struct GluTensors {
  TensorRows gate;  // (ffn_size, hidden_size)
  TensorRows up;    // (ffn_size, hidden_size)
  TensorRows down;  // (hidden_size, ffn_size)

  std::int64_t parameters() const noexcept { return gate.parameters() + up.parameters() + down.parameters(); }
};

struct LayerTensors {
  const Tensor* attention_norm = nullptr;  // (hidden_size)
  const Tensor* query = nullptr;           // (heads * head_dim, hidden_size)
  const Tensor* key = nullptr;             // (kv_heads * head_dim, hidden_size)
  const Tensor* value = nullptr;           // (kv_heads * head_dim, hidden_size)
  const Tensor* output = nullptr;          // (hidden_size, heads * head_dim)
  const Tensor* query_bias = nullptr;      // null without biases, as the next three
  const Tensor* key_bias = nullptr;
  const Tensor* value_bias = nullptr;
  const Tensor* output_bias = nullptr;
  const Tensor* query_norm = nullptr;         // (head_dim), null without
  const Tensor* key_norm = nullptr;           // (head_dim), null without
  const Tensor* ffn_norm = nullptr;           // (hidden_size)
  const Tensor* router = nullptr;             // (logits, hidden_size or state size), null in a dense layer
  const Tensor* router_projection = nullptr;  // (state size, hidden_size), null but for recurrent routers
  const Tensor* router_bias = nullptr;        // (num_experts), added to select; null without
  std::vector<GluTensors> experts;            // one in a dense layer

  bool is_sparse() const noexcept { return router != nullptr; }
  // Are the router's logits a product of the hidden state with `router`?
  bool has_linear_gate() const noexcept { return router != nullptr && router_projection == nullptr; }
};

// The cell that the recurrent routers of all layers share.
struct CellTensors {
  const Tensor* weight_ih = nullptr;  // (3 size, size), as the next
  const Tensor* weight_hh = nullptr;
  const Tensor* bias_ih = nullptr;  // (3 size), as the next
  const Tensor* bias_hh = nullptr;
};

struct DecoderTensors {
  const Tensor* embedding = nullptr;  // (vocab_size, hidden_size)
  const Tensor* norm = nullptr;       // (hidden_size)
  const Tensor* head = nullptr;       // (vocab_size, hidden_size), null when tied
  CellTensors router_cell;            // null without recurrent routers
  std::vector<LayerTensors> layers;

  // Calls use(tensor) with every tensor that is read; a stack comes once for each of its parts.
  template <class F>
  void for_each(F&& use) const {
    const auto use_all = [&](std::initializer_list<const Tensor*> tensors) {
      for (const Tensor* tensor : tensors) {
        if (tensor != nullptr) use(*tensor);
      }
    };
    use_all({embedding, norm, head});
    use_all({router_cell.weight_ih, router_cell.weight_hh, router_cell.bias_ih, router_cell.bias_hh});
    for (const LayerTensors& t : layers) {
      use_all({t.attention_norm, t.query, t.key, t.value, t.output, t.query_bias, t.key_bias, t.value_bias,
               t.output_bias, t.query_norm, t.key_norm, t.ffn_norm, t.router, t.router_projection, t.router_bias});
      for (const GluTensors& e : t.experts) use_all({e.gate.tensor, e.up.tensor, e.down.tensor});
    }
  }
};

// A tensor of a type that is computed with, of exactly this shape. F16 and F64 are packed as F32.
inline const Tensor& require_floats(const TensorSource& source, const std::string& name, const Shape& shape) {
  return source.require(name, {DType::f32, DType::bf16, DType::f16, DType::f64}, shape);
}

// The matrices of one feed-forward network: prefix + gate_proj.weight, up_proj.weight, down_proj.weight.
inline GluTensors find_glu(const TensorSource& source, const std::string& prefix, index_t ffn_size,
                           index_t hidden_size) {
  return {require_floats(source, prefix + "gate_proj.weight", {ffn_size, hidden_size}),
          require_floats(source, prefix + "up_proj.weight", {ffn_size, hidden_size}),
          require_floats(source, prefix + "down_proj.weight", {hidden_size, ffn_size})};
}

// The experts of a layer, either one by one (prefix + "0.gate_proj.weight", ...) or stacked as transformers 5 holds
// them: gate_up_proj (num_experts, 2 ffn_size, hidden_size), gate rows first, and down_proj (num_experts, hidden_size,
// ffn_size).
inline std::vector<GluTensors> find_experts(const TensorSource& source, const std::string& prefix, index_t num_experts,
                                            index_t ffn_size, index_t hidden_size) {
  std::vector<GluTensors> experts;
  if (!source.promises(prefix + "gate_up_proj")) {
    for (index_t e = 0; e < num_experts; ++e) {
      experts.push_back(find_glu(source, prefix + std::to_string(e) + ".", ffn_size, hidden_size));
    }
    return experts;
  }
  const Tensor& gate_up =
      require_floats(source, prefix + "gate_up_proj", {num_experts, std::int64_t{2} * ffn_size, hidden_size});
  const Tensor& down = require_floats(source, prefix + "down_proj", {num_experts, hidden_size, ffn_size});
  for (std::int64_t e = 0; e < num_experts; ++e) {
    experts.push_back({TensorRows(gate_up, 2 * e * ffn_size, ffn_size),
                       TensorRows(gate_up, (2 * e + 1) * ffn_size, ffn_size),
                       TensorRows(down, e * hidden_size, hidden_size)});
  }
  return experts;
}

// Null when the embedding is the head. A file that says so and still holds another head is believed.
inline const Tensor* find_head(const TensorSource& source, const std::string& name, const Tensor& embedding,
                               bool is_tied) {
  if (is_tied && !source.promises(name)) return nullptr;
  const Tensor& head = require_floats(source, name, embedding.shape);
  const bool is_copy = is_tied && head.dtype == embedding.dtype &&
                       std::equal(head.bytes.begin(), head.bytes.end(), embedding.bytes.begin());
  if (is_tied) {
    source.release(head);
    source.release(embedding);
  }
  return is_copy ? nullptr : &head;
}

// Calls use(Format{}) with the format that keeps every value of these tensors: half the bytes where all are bf16.
template <class F>
decltype(auto) with_format(std::initializer_list<const Tensor*> tensors, F&& use) {
  for (const Tensor* tensor : tensors) {
    if (tensor->dtype != DType::bf16) return use(F32{});
  }
  return use(Bf16{});
}
template <class F>
decltype(auto) with_format(const std::vector<GluTensors>& experts, F&& use) {
  for (const GluTensors& expert : experts) {
    for (const Tensor* tensor : {expert.gate.tensor, expert.up.tensor, expert.down.tensor}) {
      if (tensor->dtype != DType::bf16) return use(F32{});
    }
  }
  return use(Bf16{});
}

}  // namespace headgate::inline HEADGATE_ABI
