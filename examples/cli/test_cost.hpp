// TestCost: what the tokens of a test read and multiply at least, from the model's own counts. What headgate bench
// compares times with.
#pragma once

#include <cmath>

#include "headgate/models/description.hpp"

struct TestCost {
  double bytes = 0.0;
  std::array<double, std::size(headgate::all_computes)> operations = {};  // by Compute; a multiply-add is two

  // One pass of `rows` positions behind `first` others, of which so many want logits. Experts: as many as the rows
  // touch when they choose evenly. Attention multiplies floats.
  void add_pass(const headgate::ModelDescription& model, headgate::index_t first, headgate::index_t rows,
                headgate::index_t logits, headgate::CacheType cache_type) {
    const headgate::WeightCount& weights = model.weights;
    const auto routed = static_cast<double>(weights.routed_bytes);
    const double chosen = routed > 0.0 ? static_cast<double>(weights.chosen_bytes) / routed : 0.0;
    bytes += static_cast<double>(weights.bytes_per_token - weights.chosen_bytes - weights.head_bytes);
    bytes += routed * (1.0 - std::pow(1.0 - chosen, rows));
    if (logits > 0) bytes += static_cast<double>(weights.head_bytes);
    bytes += static_cast<double>(model.text_bytes_read(first + rows, cache_type));
    for (std::size_t i = 0; i < operations.size(); ++i) {
      operations[i] += 2.0 * rows * static_cast<double>(weights.multiply_adds[i]);
      operations[i] += 2.0 * logits * static_cast<double>(weights.head_multiply_adds[i]);
    }
    double with_text = 0.0;
    for (headgate::index_t row = 0; row < rows; ++row) {
      with_text += static_cast<double>(model.text_multiply_adds(first + row + 1));
    }
    operations[static_cast<std::size_t>(headgate::Compute::f32)] += 2.0 * with_text;
  }
};
