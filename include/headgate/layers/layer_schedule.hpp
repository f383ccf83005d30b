// LayerSchedule: how often each layer of a decoder runs for a text: not at all, once, or twice in a row. A layer that
// runs twice is two layers of the same weights, each with memory of its own (keys and values); one that is skipped
// leaves the rows as they are and keeps nothing. All once is the plain decoder.
//
// A LayerPolicy chooses while a prompt passes through the layers (dr_llm_router.hpp); what it chose holds for the rest
// of the text.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "headgate/core/context.hpp"
#include "headgate/core/expected.hpp"
#include "headgate/core/matrix_view.hpp"

namespace headgate::inline HEADGATE_ABI {

class LayerSchedule {
 public:
  static constexpr index_t most_runs = 2;

  // Every layer once, however many there are.
  LayerSchedule() = default;
  // runs: of each layer, 0 to most_runs.
  static Expected<LayerSchedule> create(std::vector<std::uint8_t> runs) {
    for (std::size_t l = 0; l < runs.size(); ++l) {
      if (runs[l] <= most_runs) continue;
      Status status = Status::mismatch("runs of a layer, at most", runs[l], most_runs);
      status.layer = static_cast<index_t>(l);
      return status;
    }
    return LayerSchedule(std::move(runs), Checked{});
  }

  // Layers that it speaks of; 0: any number, each once.
  index_t layers() const noexcept { return static_cast<index_t>(runs_.size()); }
  // Precondition: it speaks of the layer, or of none.
  index_t runs(index_t layer) const noexcept { return runs_.empty() ? 1 : runs_[as_size(layer)]; }
  bool is_plain() const noexcept {
    return std::all_of(runs_.begin(), runs_.end(), [](std::uint8_t runs) { return runs == 1; });
  }
  friend bool operator==(const LayerSchedule& a, const LayerSchedule& b) noexcept {
    return a.runs_ == b.runs_ || (a.is_plain() && b.is_plain());
  }

 private:
  struct Checked {};
  LayerSchedule(std::vector<std::uint8_t> runs, Checked) noexcept : runs_(std::move(runs)) {}

  std::vector<std::uint8_t> runs_;
};

// runs = how often the layer runs for a text, 0 to LayerSchedule::most_runs, whose rows x (tokens, hidden_size) enter
// it. Asked once for each layer, in order.
using LayerPolicy = std::function<Status(index_t layer, ConstRows x, index_t& runs, Context& ctx)>;

}  // namespace headgate::inline HEADGATE_ABI
