// Packer: what a part needs to become the object that computes: reads rows on the context's threads, packs them, and
// gives the pages of the files back when they have been read. So memory peaks at the packed weights and one tensor.
// Weights that lie in a file as kernels read them are not packed: panels() says where, and the model keeps the file.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "headgate/core/context.hpp"
#include "headgate/layers/linear.hpp"
#include "headgate/models/weight_rows.hpp"
#include "headgate/routing/any_router.hpp"
#include "headgate/routing/staged_router.hpp"

namespace headgate::inline HEADGATE_ABI {

// Replaces or wraps the router of a layer with experts. gate: where the checkpoint's router is a linear one, its gate
// (experts and null experts, hidden_size) and biases, else no rows; good for the call only. own: that router, which may
// be returned as it is.
using MakeRouter = std::function<AnyRouter(index_t layer, const GateWeights& gate, AnyRouter own)>;

// How much of the files has been packed: bytes, of all that is to be. Called on the loading thread, several times a
// second at most and once at the end; not at all where nothing is to be packed.
using Progress = std::function<void(std::int64_t bytes_done, std::int64_t bytes_total)>;

// A packed matrix whose format was chosen when its checkpoint was read.
using Matrix = Linear<AnyFormat>;

class Packer {
 public:
  // ctx outlives the packer; make_router may be empty.
  explicit Packer(Context& ctx, MakeRouter make_router = nullptr) : ctx_(ctx), make_router_(std::move(make_router)) {}

  // Nothing is left in the files: all weights are packed into memory of their own.
  void copy_all() noexcept { sees_files_ = false; }
  void report_to(Progress progress, std::int64_t bytes_total) {
    progress_ = std::move(progress);
    bytes_total_ = bytes_total;
  }

  // use(row, values) for every row, on several threads; values: the numbers of the row.
  template <class F>
  void each_row(const WeightRows& rows, F&& use) const {
    rows.read_all(use, ctx_);
    rows.release();
    report(rows);
  }
  // use(row, values) for every row, likewise; values: as `format` packs them, which is rows.format(), F32 or Bf16.
  template <class F>
  void each_row(const WeightRows& rows, AnyFormat format, F&& use) const {
    rows.read_all(format, use, ctx_);
    rows.release();
    report(rows);
  }
  // Where rows lie as rows.format() has them, which the model keeps from now on; null: they are to be packed.
  const std::byte* panels(const WeightRows& rows) const {
    const std::byte* const where = sees_files_ ? rows.mapped() : nullptr;
    if (where != nullptr && (kept_.empty() || kept_.back() != rows.mapping())) kept_.push_back(rows.mapping());
    return where;
  }
  // Fills a matrix that was made with these panels, if there are none: set(row, values) of its rows.
  template <class F>
  void fill(const WeightRows& rows, const std::byte* panels, F&& set) const {
    if (panels == nullptr) each_row(rows, rows.format(), set);
  }
  // All elements, row by row.
  std::vector<float> floats(const WeightRows& rows) const {
    std::vector<float> values(as_size(rows.parameters()));
    copy(rows, values);
    return values;
  }
  std::vector<float> floats(const std::optional<WeightRows>& rows) const {
    return rows ? floats(*rows) : std::vector<float>();
  }
  void copy(const WeightRows& rows, std::span<float> out) const {
    each_row(rows, [&](index_t r, const float* row) {
      std::copy_n(row, rows.cols(), &out[as_size(r) * as_size(rows.cols())]);
    });
  }
  // In the format that keeps its values; bias (rows) or none.
  Matrix linear(const WeightRows& rows, const std::optional<WeightRows>& bias = std::nullopt) const {
    const std::byte* const where = panels(rows);
    Matrix matrix = where != nullptr
                        ? Matrix::over({where, rows.rows(), rows.cols(), rows.format()}, bias.has_value())
                        : Matrix::create(rows.rows(), rows.cols(), bias.has_value(), rows.format()).value();
    fill(rows, where, [&](index_t r, WeightRow row) { matrix.set_row(r, row); });
    const std::vector<float> values = floats(bias);
    for (std::size_t r = 0; r < values.size(); ++r) matrix.set_bias(static_cast<index_t>(r), values[r]);
    return matrix;
  }

  // What the caller of the load makes of a layer's router.
  AnyRouter replaced(const GateWeights& gate, AnyRouter own) const {
    return make_router_ ? make_router_(layer_, gate, std::move(own)) : own;
  }
  void begin_layer(index_t layer) noexcept { layer_ = layer; }
  index_t layer() const noexcept { return layer_; }

  // What routers of several layers refer to, and files: kept as long as the model is.
  void keep(std::shared_ptr<const void> shared) { kept_.push_back(std::move(shared)); }
  std::vector<std::shared_ptr<const void>> kept() const { return kept_; }

 private:
  void report(const WeightRows& rows) const {
    if (!progress_) return;
    bytes_done_ = std::min(bytes_done_ + rows.stored_size(), bytes_total_);
    const auto now = std::chrono::steady_clock::now();
    const bool is_end = bytes_done_ == bytes_total_;
    if (is_end ? was_end_ : now - last_report_ < std::chrono::milliseconds(100)) return;
    was_end_ = is_end;
    last_report_ = now;
    progress_(bytes_done_, bytes_total_);
  }

  Context& ctx_;
  MakeRouter make_router_;
  index_t layer_ = 0;
  bool sees_files_ = true;
  Progress progress_;
  std::int64_t bytes_total_ = 0;
  // Parts that are packed change nothing but these.
  mutable std::int64_t bytes_done_ = 0;
  mutable bool was_end_ = false;
  mutable std::chrono::steady_clock::time_point last_report_ = {};
  mutable std::vector<std::shared_ptr<const void>> kept_;
};

// The floats of rows while something is made of them. Moved, they lie where they lay.
struct HeldRows {
  std::vector<float> values;
  ConstRows rows;

  HeldRows(const WeightRows& from, const Packer& packer)
      : values(packer.floats(from)), rows(values.data(), from.rows(), from.cols()) {}
  HeldRows(HeldRows&&) noexcept = default;
  HeldRows& operator=(HeldRows&&) noexcept = default;
};

}  // namespace headgate::inline HEADGATE_ABI
