// Embedding: the table of token vectors (vocab_size, hidden_size), packed. A tied table is also the output head, so it
// lies as heads do; a row is read across it. Copies share the table.
#pragma once

#include <memory>
#include <variant>

#include "headgate/kernels/native.hpp"
#include "headgate/layers/linear.hpp"

namespace headgate::inline HEADGATE_ABI {

class Embedding {
 public:
  using Table = std::variant<Linear<F32>, Linear<Bf16>>;  // without bias
  explicit Embedding(Table table) : table_(std::make_shared<const Table>(std::move(table))) {}

  index_t vocab_size() const noexcept {
    return std::visit([](const auto& table) { return table.rows(); }, *table_);
  }
  index_t hidden_size() const noexcept {
    return std::visit([](const auto& table) { return table.cols(); }, *table_);
  }
  std::int64_t bytes() const noexcept {
    return std::visit([](const auto& table) { return table.bytes(); }, *table_);
  }

  // x (tokens, hidden_size) = the vectors of the tokens. Precondition: every id is below vocab_size.
  void read(std::span<const std::int32_t> tokens, Rows x) const noexcept {
    const auto read_from = [&]<class Format>(const Linear<Format>& table) {
      for (index_t t = 0; t < x.rows; ++t) {
        const std::byte* const panel = table.weights().panel(tokens[as_size(t)] / panel_rows);
        float* const row = x.row_data(t);
        for (index_t i = 0; i < x.cols; ++i) row[i] = Format::unpack(panel, i, tokens[as_size(t)] % panel_rows);
      }
    };
    std::visit(read_from, *table_);
  }
  // As output head: x (T, hidden_size) -> logits (T, vocab_size).
  Status forward(ConstRows x, Rows logits, Context& ctx) const {
    return std::visit([&](const auto& table) { return table.forward(x, logits, ctx); }, *table_);
  }

 private:
  std::shared_ptr<const Table> table_;
};

}  // namespace headgate::inline HEADGATE_ABI
