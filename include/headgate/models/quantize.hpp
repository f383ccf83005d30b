// quantize_model: a checkpoint as a packed safetensors file: matrices in panels as kernels read them, of the types
// asked for, which load_model maps and does not copy. Tensor after tensor is read, encoded on the executor's threads
// (core/block_encoder.hpp) and written; the bytes do not depend on the number of threads or the machine.
#pragma once

#include <cmath>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "headgate/core/block_encoder.hpp"
#include "headgate/models/importance_matrix.hpp"
#include "headgate/models/load.hpp"
#include "headgate/models/quantize_plan.hpp"

namespace headgate::inline HEADGATE_ABI {

// Gets the bytes of a file, in order.
using WriteBytes = std::function<void(std::string_view)>;

struct QuantizeOptions {
  PackedTypes types = {};  // of each part; nothing: what they are
  ExecutorRef executor = {};
  const ImportanceMatrix* importance = nullptr;  // outlives the call
  Progress progress = nullptr;                   // bytes of the packed file; what it throws passes through
};

struct QuantizedTensor {
  std::string name;
  ModelPart part;
  Shape shape;
  DType before;
  DType after;
  DType asked;  // another one, where rows are no whole blocks of it
  std::int64_t bytes_before = 0;
  std::int64_t bytes_after = 0;  // zeros that fill panels up are among them
  double error = 0.0;            // sum of the squared differences
  double squares = 0.0;          // of the weights
  bool has_importance = false;

  double relative_error() const { return squares > 0.0 ? std::sqrt(error / squares) : 0.0; }
};
struct QuantizeReport {
  std::vector<QuantizedTensor> tensors;  // that are in panels
  std::int64_t kept_bytes = 0;           // of all others
  std::int64_t file_bytes = 0;
};

namespace detail {

// Encodes the runs of one matrix.
class MatrixPacker {
 public:
  MatrixPacker(const PackedMatrix& matrix, const QuantizeOptions& options, const TensorSource& source, Context& ctx)
      : matrix_(matrix), options_(options), source_(source), ctx_(ctx), format_(*panels_of(matrix.type)) {
    report_ = {.name = matrix.name,
               .part = matrix.part,
               .shape = matrix.shape(),
               .before = matrix.runs.front().dtype(),
               .after = matrix.type,
               .asked = matrix.asked,
               .bytes_after = static_cast<std::int64_t>(matrix.bytes)};
    for (const WeightRows& run : matrix.runs) report_.bytes_before += run.stored_size();
  }

  QuantizedTensor write(const WriteBytes& write) {
    constexpr std::int64_t at_once = std::int64_t{8} << 20;  // bytes
    for (std::size_t i = 0; i < matrix_.runs.size(); ++i) {
      const WeightRows& run = matrix_.runs[i];
      const std::vector<float> importance = importance_of(run, i);
      report_.has_importance |= !importance.empty();
      const index_t panels = divide_up(run.rows(), panel_rows);
      const std::int64_t panel_bytes = format_.panel_bytes(run.cols());
      const auto batch = static_cast<index_t>(
          std::max<std::int64_t>(1, std::min<std::int64_t>(panels, at_once / std::max<std::int64_t>(panel_bytes, 1))));
      for (index_t first = 0; first < panels; first += batch) {
        const index_t count = std::min(batch, panels - first);
        std::vector<std::byte> bytes(as_size(count * panel_bytes));
        std::vector<Sums> sums(as_size(count));
        ctx_.parallel(count, [&](index_t p) {
          sums[as_size(p)] = pack_panel(run, first + p, importance, bytes.data() + p * panel_bytes);
        });
        for (const Sums& s : sums) {  // in order, so that the report depends on no threads, either
          report_.error += s.error;
          report_.squares += s.squares;
        }
        write(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
      }
      run.release();
    }
    return report_;
  }

 private:
  struct Sums {
    double error = 0.0;
    double squares = 0.0;
  };

  std::vector<float> importance_of(const WeightRows& run, std::size_t i) const {
    if (options_.importance == nullptr || info(matrix_.type).block == 1) return {};
    std::optional<GgufPlace> place;
    if (source_.metadata() != nullptr) {
      place = GgufPlace{source_.stored_name(matrix_.name), source_.part_of(matrix_.name)};
    } else {
      place = ImportanceMatrix::place_of(matrix_.name);
    }
    if (!place) return {};
    // A stack's run i is of matrix i, or of two that are one run each.
    const Shape& shape = matrix_.shape();
    const std::int64_t stacked = shape.rank() == 3 ? shape[0] : 1;
    const std::int64_t own = static_cast<std::int64_t>(i) * stacked / static_cast<std::int64_t>(matrix_.runs.size());
    return options_.importance->columns(place->name, place->part >= 0 ? place->part : own, run.cols());
  }

  Sums pack_panel(const WeightRows& run, index_t panel, const std::vector<float>& importance, std::byte* out) const {
    Sums sums;
    std::vector<float> x(as_size(run.cols()));
    std::vector<float> y(x.size());
    std::vector<std::byte> blocks;
    std::vector<std::byte> scratch;
    const index_t first = panel * panel_rows;
    for (index_t lane = 0; lane < std::min(panel_rows, run.rows() - first); ++lane) {
      run.read(first + lane, x);
      if (run.has_blocks() && run.dtype() == matrix_.type) {
        format_.pack(run.row_blocks(first + lane, scratch), run.cols(), lane, out);
      } else if (format_.packs_floats()) {
        if (matrix_.type == DType::f16 && run.dtype() != DType::f16) check(run, first + lane, x);
        format_.pack(x.data(), run.cols(), lane, out);
      } else {
        check(run, first + lane, x);
        encode(x, importance, blocks);
        format_.pack(static_cast<const std::byte*>(blocks.data()), run.cols(), lane, out);
      }
      format_.unpack(out, run.cols(), lane, 0, run.cols(), y.data());
      for (std::size_t c = 0; c < x.size(); ++c) {
        const double difference = double{x[c]} - double{y[c]};
        sums.error = std::fma(difference, difference, sums.error);
        sums.squares = std::fma(double{x[c]}, double{x[c]}, sums.squares);
      }
    }
    return sums;
  }
  void encode(const std::vector<float>& x, const std::vector<float>& importance, std::vector<std::byte>& out) const {
    if (matrix_.type == DType::i8) {
      const auto k = static_cast<index_t>(x.size());
      out.resize(as_size(Int8Rows::row_bytes(k)));
      Int8Rows::encode(x.data(), k, out.data());
    }
    visit_blocks(matrix_.type, [&]<class Blocks>(Blocks) {
      const std::size_t size = as_size(Blocks::size);
      out.resize(x.size() / size * as_size(Blocks::bytes));
      for (std::size_t b = 0; b < x.size() / size; ++b) {
        encode_block<Blocks>(&x[b * size], importance.empty() ? nullptr : &importance[b * size],
                             &out[b * as_size(Blocks::bytes)]);
      }
    });
  }
  static void check(const WeightRows& run, index_t row, std::span<const float> x) {
    for (std::size_t c = 0; c < x.size(); ++c) {
      if (std::abs(x[c]) <= blocks::largest_weight) continue;
      run.fail("element " + std::to_string(c) + " of row " + std::to_string(row) +
               (std::isfinite(x[c]) ? " is larger than " + std::to_string(static_cast<int>(blocks::largest_weight)) +
                                          ", the most that a weight of its type can be"
                                    : " is no finite number"));
    }
  }

  const PackedMatrix& matrix_;
  const QuantizeOptions& options_;
  const TensorSource& source_;
  Context& ctx_;
  AnyFormat format_;
  QuantizedTensor report_;
};

inline void write_kept(const KeptTensor& kept, const TensorSource& source, const WriteBytes& write) {
  if (!kept.has_floats) {
    write(std::string_view(reinterpret_cast<const char*>(kept.tensor->bytes.data()), kept.tensor->bytes.size()));
  } else {
    const std::int64_t row = kept.rows ? kept.rows->cols() : kept.tensor->row_size();
    const std::int64_t rows = kept.rows ? kept.rows->rows() : kept.tensor->num_rows();
    std::vector<float> values(as_size(row));
    for (std::int64_t r = 0; r < rows; ++r) {
      if (kept.rows) {
        kept.rows->read(static_cast<index_t>(r), values);
      } else {
        source.read(*kept.tensor, r * row, values);
      }
      write(std::string_view(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)));
    }
  }
  source.release(*kept.tensor);
}

}  // namespace detail

// Writes model.safetensors. path: as load_model takes it. Throws Error as load_model does; bad_file with the tensor
// where a weight is not finite, or too large for its type. What write throws passes through.
template <class List = Families>
QuantizeReport quantize_model(const std::string& path, const QuantizeOptions& options, const WriteBytes& write) {
  QuantizeReport report;
  detail::read_checkpoint<List>(
      path, {Compute::f32},
      [&](const Blueprint& blueprint, const TensorSource& source, const detail::CheckpointNotes&) {
        const QuantizePlan plan = QuantizePlan::of(blueprint, source, options.types);
        const std::string header = plan.header();
        std::int64_t total = static_cast<std::int64_t>(header.size());
        for (const PackedMatrix& matrix : plan.packed) total += static_cast<std::int64_t>(matrix.bytes);
        for (const KeptTensor& kept : plan.kept) report.kept_bytes += static_cast<std::int64_t>(kept.bytes());
        total += report.kept_bytes;
        const WriteBytes put = [&](std::string_view bytes) {
          write(bytes);
          report.file_bytes += static_cast<std::int64_t>(bytes.size());
          if (options.progress) options.progress(report.file_bytes, total);
        };
        Context ctx(options.executor);
        put(header);
        for (const PackedMatrix& matrix : plan.packed) {
          report.tensors.push_back(detail::MatrixPacker(matrix, options, source, ctx).write(put));
        }
        for (const KeptTensor& kept : plan.kept) detail::write_kept(kept, source, put);
      });
  return report;
}

}  // namespace headgate::inline HEADGATE_ABI
