// AnyPart<Made>: a part of a layer as a checkpoint has it, before packing, whatever its kind. A part is a value that
// alone knows which tensors it reads, what it costs, and how it becomes the object Made that computes. Whatever walks
// over parts (weight_count.hpp, memory, load.hpp) knows no more than this.
#pragma once

#include <algorithm>
#include <concepts>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "headgate/attention/mixer.hpp"
#include "headgate/attention/rope.hpp"
#include "headgate/models/packer.hpp"
#include "headgate/models/weight_use.hpp"

namespace headgate::inline HEADGATE_ABI {

// Floats that something takes of the workspace at a time in a pass, at most, the rows it reads and writes left out.
// Holds no tensor, so a model keeps it when its files are closed.
using ScratchNeed = std::function<std::int64_t(const PassSize&)>;
// Of a plan by expert (ExpertMajor) whose tokens have up to k of so many experts.
inline std::int64_t scratch_by_expert(const PassSize& pass, std::int64_t experts, std::int64_t k) {
  return 3 * (experts + 1) + 3 * pass.rows * k + 2 * pass.threads;
}
// What several things take that come one after the other.
inline ScratchNeed largest_need(std::vector<ScratchNeed> needs) {
  return [needs = std::move(needs)](const PassSize& pass) {
    std::int64_t most = 0;
    for (const ScratchNeed& need : needs) most = std::max(most, need(pass));
    return most;
  };
}
// Bytes that something keeps of one text. As little a tensor.
using StateNeed = std::function<std::int64_t(const StateSize&)>;

// What a row costs that reads a text which is so many positions long, itself included: of these how many, and
// multiply-adds with what is kept of them.
struct TextRead {
  std::int64_t positions = 0;
  std::int64_t multiply_adds = 0;
};
using ReadCount = std::function<TextRead(index_t length)>;

template <class P, class Made>
concept Part = std::copy_constructible<P> && requires(const P& part, WeightList& weights, Packer& packer) {
  { part.words() } -> std::convertible_to<std::string>;  // what it is, in a few words for people
  { part.list_weights(weights) };                        // appends all that it reads
  { part.scratch() } -> std::convertible_to<ScratchNeed>;
  { part.pack(packer) } -> std::convertible_to<Made>;
};
// A part that remembers a text.
template <class P>
concept HasState = requires(const P& part) {
  { part.state() } -> std::convertible_to<StateNeed>;
};
// ... position by position.
template <class P>
concept HasReads = requires(const P& part) {
  { part.reads() } -> std::convertible_to<ReadCount>;
};
// A part that rotates by positions.
template <class P>
concept HasRope = requires(const P& part) {
  { part.rope.get() } -> std::same_as<const Rope*>;
};
// A part that routes.
template <class P>
concept HasRouting = requires(const P& part) { part.routing(); };

// What a program tells of a routed layer.
struct RoutingSummary {
  index_t num_experts = 0;
  index_t experts_per_token = 0;  // at most
  std::string router;             // in a few words
};

template <class Made>
class AnyPart {
 public:
  template <class P>
    requires(!std::same_as<P, AnyPart> && Part<P, Made>)
  AnyPart(P part)  // NOLINT(google-explicit-constructor)
      : part_(std::make_shared<const Erased<P>>(std::move(part))) {}

  std::string words() const { return part_->words(); }
  void list_weights(WeightList& weights) const { part_->list_weights(weights); }
  ScratchNeed scratch() const { return part_->scratch(); }
  StateNeed state() const { return part_->state(); }                               // empty: it keeps nothing
  ReadCount reads() const { return part_->reads(); }                               // empty: no positions
  const Rope* rope() const noexcept { return part_->rope(); }                      // null: it does not rotate
  const RoutingSummary* routing() const noexcept { return part_->routing(); }      // null: it does not route
  const WeightRows* linear_gate() const noexcept { return part_->linear_gate(); }  // null: it has none
  Made pack(Packer& packer) const { return part_->pack(packer); }

 private:
  struct Interface {
    virtual ~Interface() = default;
    virtual std::string words() const = 0;
    virtual void list_weights(WeightList& weights) const = 0;
    virtual ScratchNeed scratch() const = 0;
    virtual StateNeed state() const = 0;
    virtual ReadCount reads() const = 0;
    virtual const Rope* rope() const noexcept = 0;
    virtual const RoutingSummary* routing() const noexcept = 0;
    virtual const WeightRows* linear_gate() const noexcept = 0;
    virtual Made pack(Packer& packer) const = 0;
  };
  template <class P>
  struct Erased final : Interface {
    explicit Erased(P p) : part(std::move(p)) {}
    std::string words() const override { return part.words(); }
    void list_weights(WeightList& weights) const override { part.list_weights(weights); }
    ScratchNeed scratch() const override { return part.scratch(); }
    StateNeed state() const override {
      if constexpr (HasState<P>) return part.state();
      return nullptr;
    }
    ReadCount reads() const override {
      if constexpr (HasReads<P>) return part.reads();
      return nullptr;
    }
    const Rope* rope() const noexcept override {
      if constexpr (HasRope<P>) return part.rope.get();
      return nullptr;
    }
    const RoutingSummary* routing() const noexcept override {
      if constexpr (HasRouting<P>) return &part.routing();
      return nullptr;
    }
    const WeightRows* linear_gate() const noexcept override {
      if constexpr (HasRouting<P>) return part.linear_gate();
      return nullptr;
    }
    Made pack(Packer& packer) const override { return part.pack(packer); }
    P part;
  };

  std::shared_ptr<const Interface> part_;
};

}  // namespace headgate::inline HEADGATE_ABI
