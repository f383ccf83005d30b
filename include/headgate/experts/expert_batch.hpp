// ExpertBatch: consecutive entries of a plan by expert that a bank computes together, and the order in which it walks
// them: expert by expert in ascending id, weights in blocks that stay in the L2 cache while all rows of the expert pass
// by in tiles. Data of an entry lie at its position in the batch times their size; those of a tile in the place of its
// rows.
#pragma once

#include "headgate/kernels/product.hpp"
#include "headgate/routing/routing_plan.hpp"

namespace headgate::inline HEADGATE_ABI {

class ExpertBatch {
 public:
  struct Tile {
    std::int64_t place;  // of its first entry in the batch
    index_t m;           // rows, at least one
    std::span<const index_t> tokens;
    std::span<const float> weights;
  };

  // max_rows: of a tile. Precondition: entries is not empty. What the plan's spans refer to outlives the batch.
  ExpertBatch(const ExpertMajor& plan, Slice entries, index_t max_rows) noexcept
      : plan_(plan), entries_(entries), max_rows_(max_rows) {
    while (plan_.offsets[as_size(begin_) + 1] <= entries_.first) ++begin_;
    for (end_ = begin_; end_ < plan_.size() && plan_.offsets[as_size(end_)] < entries_.last; ++end_) continue;
  }

  index_t size() const noexcept { return entries_.last - entries_.first; }
  // An expert has several rows, which have to be gathered.
  bool has_tiles() const noexcept { return size() > end_ - begin_; }
  index_t token(std::int64_t place) const noexcept { return plan_.tokens[as_size(entries_.first + place)]; }
  ExpertId expert(std::int64_t place) const noexcept {
    index_t i = begin_;
    while (plan_.offsets[as_size(i) + 1] <= entries_.first + place) ++i;
    return plan_.experts[as_size(i)];
  }

  // Calls f(expert id, tile) for every tile.
  template <class F>
  void for_each_tile(F&& f) const {
    for (index_t i = begin_; i < end_; ++i) {
      const TileCut cut{rows(i), max_rows_};
      for (index_t j = 0; j < cut.count(); ++j) f(plan_.experts[as_size(i)], tile(i, cut.tile(j)));
    }
  }

  // Calls f(expert id, block, tile). A block is a Slice of the units that units_of(expert id) gives, at most max_units
  // and, where a second tile follows, about as many as the L2 cache keeps.
  template <class Units, class F>
  void for_each_block(Units&& units_of, std::int64_t unit_bytes, index_t max_units, F&& f) const {
    constexpr std::int64_t l2_bytes = std::int64_t{256} << 10;
    const std::int64_t fitting = l2_bytes / unit_bytes;
    const index_t cached = fitting < 1 ? 1 : fitting < max_units ? static_cast<index_t>(fitting) : max_units;
    for (index_t i = begin_; i < end_; ++i) {
      const ExpertId e = plan_.experts[as_size(i)];
      const Slice units = units_of(e);
      const TileCut cut{rows(i), max_rows_};
      const index_t step = cut.count() > 1 ? cached : max_units;
      for (index_t first = units.first; first < units.last; first += step) {
        const Slice block{first, units.last - first < step ? units.last : first + step};
        for (index_t j = 0; j < cut.count(); ++j) f(e, block, tile(i, cut.tile(j)));
      }
    }
  }

 private:
  // Of the i-th expert: its first entry in the batch and how many follow.
  index_t first_row(index_t i) const noexcept {
    const index_t first = plan_.offsets[as_size(i)];
    return first < entries_.first ? entries_.first : first;
  }
  index_t rows(index_t i) const noexcept {
    const index_t last = plan_.offsets[as_size(i) + 1];
    return (last < entries_.last ? last : entries_.last) - first_row(i);
  }
  Tile tile(index_t i, Slice rows) const noexcept {
    const index_t first = first_row(i) + rows.first;
    const index_t m = rows.last - rows.first;
    return {first - entries_.first, m, plan_.tokens.subspan(as_size(first), as_size(m)),
            plan_.weights.subspan(as_size(first), as_size(m))};
  }

  ExpertMajor plan_;
  Slice entries_;
  index_t max_rows_;
  index_t begin_ = 0;  // positions in the plan's experts
  index_t end_ = 0;
};

}  // namespace headgate::inline HEADGATE_ABI
