// AnyLinear: a linear layer of any weight format behind one type, chosen at run time: one virtual call per layer and
// batch. Copies share the layer.
#pragma once

#include <concepts>
#include <memory>
#include <utility>

#include "headgate/core/context.hpp"
#include "headgate/core/matrix_view.hpp"
#include "headgate/core/status.hpp"

namespace headgate::inline HEADGATE_ABI {

template <class L>
concept LinearLayer = requires(const L& linear, ConstRows x, Rows y, Context& ctx) {
  { linear.rows() } noexcept -> std::same_as<index_t>;  // width of y
  { linear.cols() } noexcept -> std::same_as<index_t>;  // width of x
  { linear.bytes() } noexcept -> std::same_as<std::int64_t>;
  { linear.forward(x, y, ctx) } -> std::same_as<Status>;
};

class AnyLinear {
 public:
  template <LinearLayer L>
    requires(!std::same_as<L, AnyLinear>)
  AnyLinear(L linear)  // NOLINT(google-explicit-constructor)
      : rows_(linear.rows()),
        cols_(linear.cols()),
        bytes_(linear.bytes()),
        linear_(std::make_shared<const Erased<L>>(std::move(linear))) {}
  // A move is a copy, so that no AnyLinear is ever empty.
  AnyLinear(const AnyLinear&) = default;
  AnyLinear& operator=(const AnyLinear&) = default;
  ~AnyLinear() = default;

  index_t rows() const noexcept { return rows_; }
  index_t cols() const noexcept { return cols_; }
  std::int64_t bytes() const noexcept { return bytes_; }
  Status forward(ConstRows x, Rows y, Context& ctx) const { return linear_->forward(x, y, ctx); }

 private:
  struct Interface {
    virtual ~Interface() = default;
    virtual Status forward(ConstRows x, Rows y, Context& ctx) const = 0;
  };
  template <class L>
  struct Erased final : Interface {
    explicit Erased(L l) : linear(std::move(l)) {}
    Status forward(ConstRows x, Rows y, Context& ctx) const override { return linear.forward(x, y, ctx); }
    L linear;
  };

  index_t rows_;
  index_t cols_;
  std::int64_t bytes_;
  std::shared_ptr<const Interface> linear_;
};
static_assert(LinearLayer<AnyLinear>);

}  // namespace headgate::inline HEADGATE_ABI
