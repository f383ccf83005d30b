// A matrix the other way round: what official modules keep as columns are rows here.
#pragma once

#include <vector>

#include "headgate/core/types.hpp"

// values: (rows, cols) -> (cols, rows).
inline std::vector<float> transposed(const std::vector<float>& values, headgate::index_t cols) {
  const std::size_t width = headgate::as_size(cols);
  const std::size_t rows = values.size() / width;
  std::vector<float> out(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) out[i % width * rows + i / width] = values[i];
  return out;
}
