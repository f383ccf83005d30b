// GruCell: the recurrent cells of a layer-wise recurrent router, as in torch.nn.GRUCell and torch.nn.RNNCell and in the
// official RMoE module (Qiu et al., ICLR 2025, arXiv 2408.06793, eq. 3, whose printed n repeats a matrix):
//   r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)
//   z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
//   n = tanh(W_in x + b_in + r * (W_hn h + b_hn))
//   h' = (1 - z) * n + z * h
// Weights are packed by gate in the order r, z, n: weight_ih (3 size, inputs), weight_hh (3 size, size), biases (3
// size). The plain cell is h' = tanh(W_in x + b_in + W_hn h + b_hn) with one gate in place of three.
#pragma once

#include <cmath>
#include <concepts>
#include <span>
#include <vector>

#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

enum class RecurrentKind : std::uint8_t { gru, rnn };

constexpr index_t num_gates(RecurrentKind kind) noexcept { return kind == RecurrentKind::gru ? 3 : 1; }

// The arithmetic after the two products: input = W_ih x + b_ih and hidden = W_hh h + b_hh, both (gates * size) and used
// up; h (size) becomes h'. sigmoid(span) works in place. tanh x = 2 sigmoid(2 x) - 1, so that one kernel serves both.
template <std::floating_point T, class Sigmoid>
void recurrent_step(RecurrentKind kind, std::span<T> input, std::span<const T> hidden, std::span<T> h,
                    Sigmoid sigmoid) noexcept {
  const std::size_t size = h.size();
  const std::span<T> n = input.last(size);
  const std::span<const T> hidden_n = hidden.last(size);
  const bool gated = kind == RecurrentKind::gru;
  if (gated) {
    for (std::size_t i = 0; i < 2 * size; ++i) input[i] += hidden[i];
    sigmoid(input.first(2 * size));
  }
  for (std::size_t i = 0; i < size; ++i) n[i] = T(2) * (n[i] + (gated ? input[i] * hidden_n[i] : hidden_n[i]));
  sigmoid(n);
  for (std::size_t i = 0; i < size; ++i) {
    const T next = T(2) * n[i] - T(1);
    const T z = gated ? input[size + i] : T(0);
    h[i] = (T(1) - z) * next + z * h[i];
  }
}

// Weights of one cell, somebody else's, in the checkpoint's layout.
template <std::floating_point T>
struct RecurrentWeights {
  RecurrentKind kind = RecurrentKind::gru;
  std::span<const T> weight_ih;  // (gates * size, inputs)
  std::span<const T> weight_hh;  // (gates * size, size)
  std::span<const T> bias_ih;    // (gates * size)
  std::span<const T> bias_hh;    // (gates * size)
};

// One step of one row by plain loops: the definition. x (inputs), h (size); preconditions: the sizes fit.
template <std::floating_point T>
void recurrent_cell(const RecurrentWeights<T>& weights, std::span<const T> x, std::span<T> h) {
  const std::size_t rows = as_size(num_gates(weights.kind)) * h.size();
  const auto affine = [&](std::span<const T> matrix, std::span<const T> vector, std::span<const T> bias) {
    std::vector<T> out(rows);
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t i = 0; i < vector.size(); ++i) out[r] += matrix[r * vector.size() + i] * vector[i];
      out[r] += bias[r];
    }
    return out;
  };
  std::vector<T> input = affine(weights.weight_ih, x, weights.bias_ih);
  const std::vector<T> hidden = affine(weights.weight_hh, h, weights.bias_hh);
  recurrent_step<T>(weights.kind, input, hidden, h, [](std::span<T> values) {
    for (T& v : values) v = T(1) / (T(1) + std::exp(-v));
  });
}

}  // namespace headgate::inline HEADGATE_ABI
