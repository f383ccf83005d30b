// WeightRows: one matrix of a model, wherever its rows lie in the tensors of a checkpoint: a tensor or a part of a
// stack, every second row of one, a transposed stack, eight bits with scales of blocks or of rows, MXFP4, panels of a
// file that headgate quantize wrote; read row by row as floats. find looks for the tensors, of exactly the shape that
// the model needs; part and deinterleaved choose rows. Copies are cheap and refer to the TensorSource, which outlives
// them.
#pragma once

#include "headgate/core/context.hpp"
#include "headgate/io/block_scales.hpp"
#include "headgate/io/mxfp4.hpp"
#include "headgate/io/tensor_source.hpp"
#include "headgate/kernels/fused_multiply_add.hpp"
#include "headgate/kernels/panel16.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace headgate::inline HEADGATE_ABI {

class WeightRows {
 public:
  WeightRows() = default;  // no rows

  // Each find throws bad_file where a tensor is missing or of another shape or type: name, found, allowed.

  // Tensor `name` of floats (F32, BF16, F16, F64, F8_E4M3, F8_E5M2, or quantized blocks of GGUF files); what the last
  // size spans is a row, so that a stack (experts, rows, cols) has experts * rows of them, and a vector is one. Where
  // there is a name + "_scale_inv", the weights are eight bits to be multiplied by it: a scale for each block of 128 x
  // 128 of a matrix, smaller at its edges (DeepSeek-V3; "quant_method": "fp8"). Where the tensor is I8, the weights are
  // whole numbers to be multiplied by name + "_scale", one for each row (compressed-tensors, "int-quantized").
  static WeightRows find(const TensorSource& source, const std::string& name, const Shape& shape) {
    const std::string scales = name + "_scale_inv";
    if (const Tensor* const tensor = source.find(name);
        tensor != nullptr && tensor->dtype == DType::i8 && !source.promises(scales)) {
      if (tensor->panels) return {source, source.require(name, {DType::i8}, shape), shape, Kind::floats};
      return find_int8(source, name, shape);
    }
    if (!source.promises(scales)) {
      const Tensor& tensor = source.require(name, floats_on_disk, shape);
      if (is_eight_bits(tensor) && source.promises(name + "_scale")) {
        source.fail(tensor, "of the scales of eight bits only " + scales + " is understood, not the _scale there is");
      }
      return {source, tensor, shape, Kind::floats};
    }
    const Tensor& tensor = source.require(name, {DType::f8_e4m3, DType::f8_e5m2}, shape);
    if (shape.rank() < 2) source.fail(tensor, "it is no matrix, and there is a " + scales);
    WeightRows rows(source, tensor, shape, Kind::floats);
    rows.scales_.emplace(source, scales, shape);
    rows.fits_bf16_ = rows.scales_->has_four_bits();
    return rows;
  }
  // Every number of a tensor as a row of its own: what is chosen row by row beside a matrix, such as its biases.
  static WeightRows find_column(const TensorSource& source, const std::string& name, const Shape& shape) {
    WeightRows rows(source, source.require(name, floats_on_disk, shape), shape, Kind::floats);
    if (rows.kind_ == Kind::panels) source.fail(*rows.tensor_, "it lies in panels, and is no matrix");
    rows.rows_ = rows.checked_size(std::int64_t{rows.rows_} * rows.cols_);
    rows.cols_ = 1;
    rows.keeps_bytes_ = false;
    return rows;
  }
  // Matrices of which the file holds the columns: the last two sizes of shape, rows and cols, lie there in the other
  // order.
  static WeightRows find_transposed(const TensorSource& source, const std::string& name, const Shape& shape) {
    if (is_in_panels(source, name)) return find(source, name, shape);  // in which nothing is transposed
    std::vector<std::int64_t> sizes(shape.sizes().begin(), shape.sizes().end());
    std::swap(sizes[sizes.size() - 1], sizes[sizes.size() - 2]);
    return {source, source.require(name, floats_on_disk, Shape(sizes)), shape, Kind::transposed};
  }
  // name + "_blocks" and name + "_scales".
  static WeightRows find_mxfp4(const TensorSource& source, const std::string& name, const Shape& shape) {
    if (is_in_panels(source, name)) return find(source, name, shape);
    const Mxfp4 weights(source, name, shape);
    WeightRows rows(source, weights.blocks(), shape, Kind::mxfp4);
    rows.mxfp4_ = weights;
    return rows;
  }

  // I8 and a scale for each row.
  static WeightRows find_int8(const TensorSource& source, const std::string& name, const Shape& shape) {
    const Tensor& tensor = source.require(name, {DType::i8}, shape);
    if (!source.promises(name + "_scale")) {
      source.fail(tensor, "expected a type of floats, found I8 without " + name + "_scale");
    }
    if (source.promises(name + "_zero_point")) {
      source.fail(tensor, "whole numbers with zero points are not supported, and there is a " + name + "_zero_point");
    }
    std::vector<std::int64_t> sizes(shape.sizes().begin(), shape.sizes().end());
    sizes.back() = 1;
    WeightRows rows(source, tensor, shape, Kind::int8);
    rows.row_scales_ = &source.require(name + "_scale", {DType::f32, DType::bf16, DType::f16}, Shape(sizes));
    return rows;
  }

  index_t rows() const noexcept { return rows_; }
  index_t cols() const noexcept { return cols_; }
  std::int64_t parameters() const noexcept { return std::int64_t{rows_} * cols_; }
  // How rows stand among those of their tensor: first, first + step, ...; and whether they are put apart on the way.
  struct Place {
    std::int64_t first;
    std::int64_t step;
    bool has_pairs;
  };
  Place place() const noexcept { return {first_, step_, num_pairs_ > 0}; }
  // Of the matrices that they are (a part of), and its name, without what names of MXFP4 end in.
  const Shape& shape() const noexcept { return shape_; }
  std::string name() const {
    if (tensor_ == nullptr) return "";
    const std::string& name = tensor_->name;
    return mxfp4_ ? name.substr(0, name.size() - std::string_view("_blocks").size()) : name;
  }
  // The type of the numbers that the file holds, MXFP4 of either container; of eight bits with scales they are not all.
  DType dtype() const noexcept { return mxfp4_ ? DType::mxfp4 : tensor_ == nullptr ? DType::f32 : tensor_->dtype; }
  // Whether a row can be had as the blocks of its type.
  bool has_blocks() const noexcept { return keeps_bytes_; }
  // Refuses the weights for what they are: names file and tensor.
  [[noreturn]] void fail(std::string what) const { source_->fail(*tensor_, std::move(what)); }
  // Bytes that they take in the file, scales left out.
  std::int64_t stored_size() const noexcept {
    if (tensor_ == nullptr) return 0;
    if (mxfp4_) return parameters() / 2;
    if (kind_ == Kind::panels) return divide_up(rows_, panel_rows) * panel_format().panel_bytes(cols_);
    return parameters() / info(tensor_->dtype).block * info(tensor_->dtype).size;
  }
  // The packed format with the fewest bytes that keeps every value: that of the file, where rows are whole blocks.
  AnyFormat format() const noexcept {
    AnyFormat format = format_for_floats();
    if (keeps_bytes_ && source_->compute() == Compute::int8) format = panels_of(tensor_->dtype).value_or(format);
    if (!keeps_bytes_ && fits_bf16_ && source_->compute() == Compute::bf16) format = Bf16Dots{};
    return format;
  }
  // The same of those that are multiplied with floats.
  AnyFormat format_for_floats() const noexcept {
    if (is_int8() || change_ != nullptr) return F32{};
    if (keeps_bytes_) return stored_format();
    if (tensor_ != nullptr && tensor_->dtype == DType::f16 && !scales_) return F16{};
    return fits_bf16_ ? AnyFormat(Bf16{}) : AnyFormat(F32{});
  }
  // Where all rows lie as format() packs them, whole panels one after the other; null: they do not.
  const std::byte* mapped() const noexcept {
    if (change_ != nullptr) return nullptr;
    if (kind_ == Kind::panels) return are_panels_of(format()) ? mapped_panels() : nullptr;
    const bool is_whole = keeps_bytes_ && !is_int8() && format() == format_for_floats() && step_ == 1 &&
                          num_pairs_ == 0 && rows_ > 0 && rows_ % panel_rows == 0;
    return is_whole ? stored_bytes(0) : nullptr;
  }
  // Keeps what is mapped where it is. Precondition: there are rows.
  std::shared_ptr<const void> mapping() const noexcept { return source_->mapping(); }

  // `count` rows: first, first + step, ... Throws usage where they are not all there, or cut a group of deinterleaved.
  WeightRows part(index_t first, index_t count, index_t step = 1) const {
    const std::int64_t end = count == 0 ? first : first + std::int64_t{step} * (count - 1) + 1;
    const bool cuts = group_ != 0 && (step != 1 || first % group_ != 0 || count % group_ != 0);
    if (first < 0 || first > rows_ || count < 0 || step < 1 || end > rows_ || cuts) refuse("a part", first, count);
    WeightRows rows = *this;
    rows.first_ += first * step_;
    rows.step_ *= step;
    rows.rows_ = count;
    return rows;
  }
  // Of every `group` rows those in [first, first + count) are pairs that follow one another, as interleaved rotary
  // positions have them; the first of all pairs come before the second ones then, as rotary positions by halves want
  // the heads of queries and keys. Throws usage where there are no whole groups and pairs, or groups already.
  WeightRows deinterleaved(index_t group, index_t first, index_t count) const {
    const bool fits = group > 0 && rows_ % group == 0 && first >= 0 && count >= 0 && count % 2 == 0 &&
                      std::int64_t{first} + count <= group;
    if (!fits || group_ != 0) refuse("pairs in groups of " + std::to_string(group), first, count);
    WeightRows rows = *this;
    if (kind_ == Kind::panels) return rows;  // there they stand apart
    rows.group_ = group;
    rows.pairs_first_ = first;
    rows.num_pairs_ = count / 2;
    return rows;
  }

  // Row `row` as floats, out: cols(). Throws bad_file with file and tensor where a number of F64 is beyond all floats,
  // or one of eight or four bits, with its scale, is beyond them or none. Infinities of wider types pass.
  void read(index_t row, std::span<float> out) const {
    if (row < 0 || row >= rows_ || std::int64_t(out.size()) != cols_) refuse("a row", row, std::int64_t(out.size()));
    const std::int64_t stored = stored_row(row);
    switch (kind_) {
      case Kind::floats:
        source_->read(*tensor_, stored * cols_, out);
        break;
      case Kind::transposed:
        for (std::size_t c = 0; c < out.size(); ++c) {
          source_->read(*tensor_, stored_column(stored, static_cast<index_t>(c)), out.subspan(c, 1));
        }
        break;
      case Kind::mxfp4:
        mxfp4_->read(stored, out);
        break;
      case Kind::int8: {
        const float scale = row_scale(stored);
        const std::byte* const q = tensor_->bytes.data() + stored * cols_;
        for (index_t c = 0; c < cols_; ++c)
          out[as_size(c)] = scale * static_cast<float>(static_cast<std::int8_t>(q[c]));
        break;
      }
      case Kind::panels:
        panel_format().unpack(panel_of(stored), cols_, lane_of(stored), 0, cols_, out.data());
        break;
    }
    if (scales_) scales_->apply(stored, out);
    if (is_eight_bits(*tensor_)) check_finite(stored, out);
    if (change_ != nullptr) add_change(stored, out);
  }
  // use(row, values) for every row, values: cols() floats, on the context's threads and in no order. Faster than read
  // where the file holds columns.
  template <class F>
  void read_all(F&& use, Context& ctx) const {
    const bool by_columns = kind_ == Kind::transposed && change_ == nullptr;
    const index_t at_once = by_columns ? columns_at_once : 1;
    const index_t blocks = divide_up(rows_, at_once);
    const index_t n = ctx.slices(blocks);
    ctx.parallel(n, [&](index_t i) {
      std::vector<float> values(as_size(at_once) * as_size(cols_));
      std::vector<float> tile;
      const Slice slice = Slice::of(blocks, n, i);
      for (index_t first = slice.first * at_once; first < std::min(slice.last * at_once, rows_); first += at_once) {
        const index_t count = std::min(at_once, rows_ - first);
        if (by_columns) {
          read_columns(first, count, values, tile);
        } else {
          read(first, values);
        }
        for (index_t r = 0; r < count; ++r) use(first + r, static_cast<const float*>(row_of(values, r).data()));
      }
    });
  }
  // use(row, values) for every row, as `format` packs them: F32, Bf16, format() or format_for_floats().
  template <class F>
  void read_all(AnyFormat format, F&& use, Context& ctx) const {
    if (format.packs_floats()) {
      return read_all([&](index_t row, const float* values) { use(row, WeightRow(values)); }, ctx);
    }
    const index_t n = ctx.slices(rows_);
    ctx.parallel(n, [&](index_t i) {
      const Slice slice = Slice::of(rows_, n, i);
      std::vector<std::byte> blocks;
      for (index_t row = slice.first; row < slice.last; ++row) {
        use(row, WeightRow(row_blocks(row, blocks)));
      }
    });
  }
  // Row `row` as the blocks of its type; scratch: where they lie, if not in the file. Preconditions: the row is there,
  // has_blocks().
  const std::byte* row_blocks(index_t row, std::vector<std::byte>& scratch) const {
    if (kind_ == Kind::panels) return blocks_of(stored_row(row), scratch);
    return kind_ == Kind::int8 ? scaled_row(stored_row(row), scratch) : stored_bytes(row);
  }
  // All values, row after row.
  std::vector<float> floats() const {
    std::vector<float> values(as_size(parameters()));
    for (index_t r = 0; r < rows_; ++r) read(r, row_of(values, r));
    return values;
  }

  // Calls use(tensor) with each tensor that the rows lie in.
  template <class F>
  void for_each_tensor(F&& use) const {
    if (tensor_ != nullptr) use(*tensor_);
    if (scales_) use(scales_->tensor());
    if (row_scales_ != nullptr) use(*row_scales_);
    if (mxfp4_) use(mxfp4_->scales());
  }
  // Gives the memory of their pages back once the rows have been copied elsewhere. They can still be read.
  void release() const {
    if (rows_ == 0) return;
    std::int64_t first = first_;
    std::int64_t end = first_ + step_ * (rows_ - 1) + 1;
    if (kind_ == Kind::transposed) {  // a row lies all over its matrix
      first = first / matrix_rows_ * matrix_rows_;
      end = ((end - 1) / matrix_rows_ + 1) * matrix_rows_;
    }
    // Elements of a row share blocks of so many bytes.
    const auto release_rows = [&](Tensor tensor, std::int64_t elements, std::int64_t block, std::int64_t size) {
      const std::int64_t skipped = first * elements / block * size;
      tensor.bytes = tensor.bytes.subspan(as_size(skipped), as_size((end - first) * elements / block * size));
      tensor.offset += as_size(skipped);
      source_->release(tensor);
    };
    if (kind_ == Kind::panels) {
      const auto [low, high] = std::minmax({panel_of(first), panel_of(end - 1)});
      Tensor tensor = *tensor_;
      const auto skipped = as_size(low - tensor_->bytes.data());
      tensor.bytes = tensor.bytes.subspan(skipped, as_size(high - low + panel_format().panel_bytes(cols_)));
      tensor.offset += skipped;
      source_->release(tensor);
    } else if (mxfp4_) {
      release_rows(mxfp4_->blocks(), cols_, 2, 1);
      release_rows(mxfp4_->scales(), cols_, Mxfp4::block, 1);
    } else {
      release_rows(*tensor_, cols_, info(tensor_->dtype).block, info(tensor_->dtype).size);
    }
  }

 private:
  enum class Kind : std::uint8_t { floats, transposed, mxfp4, int8, panels };
  static constexpr std::initializer_list<DType> floats_on_disk = {
      DType::f32,  DType::bf16, DType::f16,    DType::f64,    DType::f8_e4m3, DType::f8_e5m2, DType::q4_0,
      DType::q4_1, DType::q5_0, DType::q5_1,   DType::q8_0,   DType::q2_k,    DType::q3_k,    DType::q4_k,
      DType::q5_k, DType::q6_k, DType::iq4_nl, DType::iq4_xs, DType::mxfp4};
  static constexpr index_t columns_at_once = 64;  // two cache lines of bf16

  static bool is_eight_bits(const Tensor& tensor) noexcept {
    return tensor.dtype == DType::f8_e4m3 || tensor.dtype == DType::f8_e5m2;
  }
  WeightRows(const TensorSource& source, const Tensor& tensor, const Shape& shape, Kind kind)
      : source_(&source), tensor_(&tensor), shape_(shape), kind_(tensor.panels ? Kind::panels : kind) {
    const index_t rank = shape.rank();
    std::int64_t rows = 1;
    for (index_t i = 0; i + 1 < rank; ++i) rows = checked_size(rows * checked_size(shape[i]));
    rows_ = static_cast<index_t>(rows);
    cols_ = checked_size(rank == 0 ? 1 : shape[rank - 1]);
    matrix_rows_ = rank < 2 ? 1 : shape[rank - 2];
    fits_bf16_ = tensor.dtype == DType::bf16 || kind == Kind::mxfp4 || is_eight_bits(tensor);
    keeps_bytes_ = kind == Kind::int8 || (kind_ == Kind::panels && is_int8()) ||
                   (kind == Kind::floats && !stored_format().packs_floats() && stored_format().fits(cols_));
    if (kind_ == Kind::panels) check_panels();
    change_ = source.change_of(name());
    if (change_ != nullptr) take_change();
  }
  // What an adapter adds makes floats of any weights.
  void take_change() {
    if (shape_.rank() != 2 || change_->out_size != rows_ || change_->in_size != cols_) {
      source_->fail(*tensor_, "the adapter's matrices are of " + std::to_string(change_->out_size) + " rows and " +
                                  std::to_string(change_->in_size) + " columns, and its own shape is " +
                                  shape_.describe());
    }
    fits_bf16_ = keeps_bytes_ = false;
  }
  // values += scale * B A of row `stored`.
  void add_change(std::int64_t stored, std::span<float> values) const noexcept {
    for (std::int64_t j = 0; j < change_->rank; ++j) {
      const float factor = change_->scale * change_->b[as_size(stored * change_->rank + j)];
      const float* const from = change_->a.data() + j * cols_;
      for (std::size_t c = 0; c < values.size(); ++c) values[c] = fused_multiply_add(factor, from[c], values[c]);
    }
  }
  static bool is_in_panels(const TensorSource& source, const std::string& name) noexcept {
    const Tensor* const tensor = source.find(name);
    return tensor != nullptr && tensor->panels;
  }
  // Panels hold whole runs of the rows, of a format that the columns fit, and nothing else.
  void check_panels() const {
    const PanelOrder& order = *tensor_->panels;
    const AnyFormat format = panel_format();
    if (!panels_of(tensor_->dtype)) {
      source_->fail(*tensor_, "panels of type " + std::string(info(tensor_->dtype).name) + " are not supported");
    }
    if (rows_ < 1 || cols_ < 1 || !format.fits(cols_)) {
      source_->fail(*tensor_, "rows of " + std::to_string(cols_) + " elements are no panels of " +
                                  std::string(info(tensor_->dtype).name));
    }
    if (rows_ % (order.run * order.step) != 0) {
      source_->fail(*tensor_, std::to_string(rows_) + " rows are no runs of " + std::to_string(order.run) + " by " +
                                  std::to_string(order.step));
    }
    const auto panels = static_cast<std::uint64_t>(rows_ / order.run * panels_of_run());
    const auto size = checked_multiply(panels, static_cast<std::uint64_t>(format.panel_bytes(cols_)));
    if (size != tensor_->bytes.size()) {
      source_->fail(*tensor_, std::to_string(panels) + " panels of " + std::to_string(format.panel_bytes(cols_)) +
                                  " bytes are not the " + std::to_string(tensor_->bytes.size()) + " that it has");
    }
  }
  bool are_panels_of(AnyFormat format) const noexcept {
    return format == panel_format() || (format == AnyFormat(Bf16Dots{}) && tensor_->dtype == DType::bf16);
  }
  std::int64_t panels_of_run() const noexcept { return (tensor_->panels->run + panel_rows - 1) / panel_rows; }
  // What the panels are; F32 of a type that has none.
  AnyFormat panel_format() const noexcept { return panels_of(tensor_->dtype).value_or(F32{}); }
  // Of a row of the tensor: its place among all runs, one after the other, each of whole panels.
  std::int64_t panel_place(std::int64_t row) const noexcept {
    const PanelOrder& order = *tensor_->panels;
    const std::int64_t of_block = row % (order.run * order.step);
    const std::int64_t run = row / (order.run * order.step) * order.step + of_block % order.step;
    return run * panels_of_run() * panel_rows + of_block / order.step;
  }
  const std::byte* panel_of(std::int64_t row) const noexcept {
    return tensor_->bytes.data() + panel_place(row) / panel_rows * panel_format().panel_bytes(cols_);
  }
  index_t lane_of(std::int64_t row) const noexcept { return static_cast<index_t>(panel_place(row) % panel_rows); }
  // Where all rows are lanes one after the other, from the first of a panel on to the end of one, or of a run; null:
  // they are not, or no line begins there.
  const std::byte* mapped_panels() const noexcept {
    if (rows_ == 0) return nullptr;
    const PanelOrder& order = *tensor_->panels;
    const std::int64_t last = first_ + step_ * (rows_ - 1);
    const std::int64_t place = panel_place(first_);
    const bool is_joined = panel_place(last) == place + rows_ - 1 &&
                           (rows_ < 2 || panel_place(first_ + step_) == place + 1) &&
                           (order.run % panel_rows == 0 || rows_ <= order.run);
    const bool is_ended = rows_ % panel_rows == 0 || last / order.step % order.run == order.run - 1;
    const std::byte* const where = panel_of(first_);
    const bool is_line = reinterpret_cast<std::uintptr_t>(where) % 64 == 0;
    return place % panel_rows == 0 && is_joined && is_ended && is_line ? where : nullptr;
  }
  // Of numbers, in panels or not, to which their formats give a scale a row.
  bool is_int8() const noexcept { return tensor_ != nullptr && tensor_->dtype == DType::i8; }
  // Throws bad_file where it is not finite.
  float row_scale(std::int64_t row) const {
    float scale = 0.0f;
    source_->read(*row_scales_, row, std::span(&scale, 1));
    if (!std::isfinite(scale)) {
      source_->fail(*row_scales_, "the scale of row " + std::to_string(row) + " is not finite");
    }
    return scale;
  }
  // A row and its scale as Int8Rows packs it.
  const std::byte* scaled_row(std::int64_t row, std::vector<std::byte>& bytes) const {
    const float scale = row_scale(row);
    bytes.resize(as_size(Int8Rows::row_bytes(cols_)));
    std::memcpy(bytes.data(), &scale, sizeof scale);
    std::copy_n(tensor_->bytes.data() + row * cols_, cols_, bytes.data() + sizeof scale);
    return bytes.data();
  }
  // A row of quantized panels as files of blocks have it, in `blocks`.
  const std::byte* blocks_of(std::int64_t row, std::vector<std::byte>& blocks) const {
    panel_format().visit([&]<class Format>(Format) {
      if constexpr (requires {
                      Format::row_bytes(index_t{});
                      Format::unpack_row(nullptr, 0, 0, nullptr);
                    }) {
        blocks.resize(as_size(Format::row_bytes(cols_)));
        Format::unpack_row(panel_of(row), cols_, lane_of(row), blocks.data());
      }
    });
    return blocks.data();
  }
  // Of the tensor's type, F32 where its bytes are no format.
  AnyFormat stored_format() const noexcept {
    AnyFormat format = F32{};
    visit_blocks(tensor_->dtype, [&]<class Blocks>(Blocks) { format = RowBlocks<Blocks>{}; });
    return format;
  }
  // Precondition: keeps_bytes_.
  const std::byte* stored_bytes(index_t row) const noexcept {
    const DTypeInfo& type = info(tensor_->dtype);
    return tensor_->bytes.data() + stored_row(row) * (std::int64_t{cols_} / type.block * type.size);
  }
  index_t checked_size(std::int64_t size) const {
    if (size > max_index) source_->fail(*tensor_, "it has more than " + std::to_string(max_index) + " rows or columns");
    return static_cast<index_t>(size);
  }
  [[noreturn]] void refuse(const std::string& what, std::int64_t first, std::int64_t count) const {
    throw Error(ErrorCode::usage,
                {"", tensor_ == nullptr ? "" : tensor_->name, -1,
                 what + " does not fit (" + std::to_string(first) + ", " + std::to_string(count) + "): there are " +
                     std::to_string(rows_) + " rows and " + std::to_string(cols_) + " columns"});
  }

  // Where row `row` stands among the rows of all matrices of the tensor.
  std::int64_t stored_row(index_t row) const noexcept {
    if (group_ != 0) {
      const index_t i = row % group_ - pairs_first_;
      if (i >= 0 && i < num_pairs_) row += i;
      if (i >= num_pairs_ && i < 2 * num_pairs_) row += i - 2 * num_pairs_ + 1;
    }
    return first_ + step_ * row;
  }
  // The element of a transposed stack at this column of stored row `row`; the next rows follow.
  std::int64_t stored_column(std::int64_t row, index_t col) const noexcept {
    return (row / matrix_rows_ * cols_ + col) * matrix_rows_ + row % matrix_rows_;
  }

  // Row r of a buffer of rows.
  std::span<float> row_of(std::span<float> rows, index_t r) const noexcept {
    return rows.subspan(as_size(r) * as_size(cols_), as_size(cols_));
  }
  void check_finite(std::int64_t stored, std::span<const float> values) const {
    bool is_finite = true;
    for (const float value : values) is_finite &= std::isfinite(value);
    for (std::size_t c = 0; !is_finite && c < values.size(); ++c) {
      if (std::isfinite(values[c])) continue;
      source_->fail(*tensor_, "element " + std::to_string(c) + " of row " + std::to_string(stored) +
                                  (std::isnan(values[c]) ? " is no number" : " is beyond all floats"));
    }
  }
  // Rows first to first + count - 1 of a transposed stack, one after the other. tile: scratch.
  void read_columns(index_t first, index_t count, std::span<float> rows, std::vector<float>& tile) const {
    std::array<std::int64_t, columns_at_once> places{};
    for (index_t r = 0; r < count; ++r) places[as_size(r)] = stored_row(first + r);
    const auto [low, high] = std::minmax_element(places.begin(), places.begin() + count);
    const std::int64_t start = *low;
    // Where one matrix ends and the next one starts they are read one by one.
    if (start / matrix_rows_ != *high / matrix_rows_) {
      for (index_t r = 0; r < count; ++r) read(first + r, row_of(rows, r));
      return;
    }
    const std::size_t width = as_size(*high - start + 1);
    constexpr index_t height = 16;  // a cache line of each row
    tile.resize(height * width);
    for (index_t c = 0; c < cols_; c += height) {
      const index_t end = std::min(c + height, cols_);
      for (index_t i = c; i < end; ++i) {
        source_->read(*tensor_, stored_column(start, i), std::span(tile).subspan(as_size(i - c) * width, width));
      }
      for (index_t r = 0; r < count; ++r) {
        const auto from = as_size(places[as_size(r)] - start);
        const std::span<float> to = row_of(rows, r);
        for (index_t i = c; i < end; ++i) to[as_size(i)] = tile[as_size(i - c) * width + from];
      }
    }
    if (!is_eight_bits(*tensor_)) return;
    for (index_t r = 0; r < count; ++r) {
      check_finite(stored_row(first + r), row_of(rows, r));
    }
  }

  const TensorSource* source_ = nullptr;
  const Tensor* tensor_ = nullptr;
  Shape shape_;
  Kind kind_ = Kind::floats;
  std::optional<BlockScales> scales_;
  const Tensor* row_scales_ = nullptr;
  const LowRankChange* change_ = nullptr;  // of an adapter
  std::optional<Mxfp4> mxfp4_;
  bool fits_bf16_ = false;
  bool keeps_bytes_ = false;  // rows are whole blocks as a format has them
  index_t rows_ = 0;
  index_t cols_ = 0;
  std::int64_t matrix_rows_ = 0;  // of each matrix of the tensor
  std::int64_t first_ = 0;        // which row of all matrices is row 0
  std::int64_t step_ = 1;
  index_t group_ = 0;  // rows, 0: none are deinterleaved
  index_t pairs_first_ = 0;
  index_t num_pairs_ = 0;
};

}  // namespace headgate::inline HEADGATE_ABI
