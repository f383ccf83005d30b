// CarriedRows: what a router hands from layer to layer of one pass, a row per token: the hidden state of a recurrent
// router, the logits of one with a gate residual. Empty before the first layer; nothing of it outlives the pass, so
// there is no cache to keep.
#pragma once

#include <vector>

#include "headgate/core/matrix_view.hpp"
#include "headgate/core/status.hpp"

namespace headgate::inline HEADGATE_ABI {

class CarriedRows {
 public:
  // Before the first layer of a pass of so many tokens.
  void reset(index_t tokens) noexcept {
    tokens_ = tokens;
    width_ = 0;
    layer_ = -1;
  }
  bool empty() const noexcept { return width_ == 0; }
  // The pass of x comes to a layer whose router carries rows of this width. Layers ascend within a pass: a next one
  // without a reset would go on from the rows of the last.
  Status enter(ConstRows x, index_t layer, index_t width) noexcept {
    if (x.rows != tokens_)
      return Status::mismatch("rows of hidden against tokens of the router's state", x.rows, tokens_);
    if (!empty() && width_ != width) return Status::mismatch("width of the router's state", width_, width);
    if (layer <= layer_) {
      return Status::mismatch(
          "layer of a router's state, which ascends within a pass and begins with a reset, at least", layer,
          std::int64_t{layer_} + 1);
    }
    layer_ = layer;
    return Status::success();
  }
  // (tokens, width), 0 at first. Precondition: enter was a success.
  Rows rows(index_t width) {
    if (empty()) values_.assign(as_size(tokens_) * as_size(width), 0.0f);
    width_ = width;
    return {values_.data(), tokens_, width};
  }

 private:
  std::vector<float> values_;
  index_t tokens_ = 0;
  index_t width_ = 0;
  index_t layer_ = -1;  // entered last
};

}  // namespace headgate::inline HEADGATE_ABI
