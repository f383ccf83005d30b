// Embedding: the table of token vectors (vocab_size, hidden_size), packed. A tied table is also the output head, so it
// lies as heads do; a row is read across it. Copies share the table.
#pragma once

#include <memory>
#include <utility>

#include "headgate/layers/linear.hpp"

namespace headgate::inline HEADGATE_ABI {

class Embedding {
 public:
  explicit Embedding(Linear<AnyFormat> table)
      : table_(std::make_shared<const Linear<AnyFormat>>(std::move(table))) {}  // without bias

  index_t vocab_size() const noexcept { return table_->rows(); }
  index_t hidden_size() const noexcept { return table_->cols(); }
  std::int64_t bytes() const noexcept { return table_->bytes(); }

  // x (tokens, hidden_size) = the vectors of the tokens. Precondition: every id is below vocab_size.
  void read(std::span<const std::int32_t> tokens, Rows x) const noexcept {
    for (index_t t = 0; t < x.rows; ++t) table_->weights().read_row(tokens[as_size(t)], x.row_data(t));
  }
  // As output head: x (T, hidden_size) -> logits (T, vocab_size).
  Status forward(ConstRows x, Rows logits, Context& ctx) const { return table_->forward(x, logits, ctx); }

 private:
  std::shared_ptr<const Linear<AnyFormat>> table_;
};

}  // namespace headgate::inline HEADGATE_ABI
