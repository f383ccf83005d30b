// AnyMixer and AnyState: any mixer behind one type, its states included: one virtual call per layer and pass. What
// decoders are built on. Copies of a mixer share it.
#pragma once

#include <memory>
#include <utility>

#include "headgate/attention/mixer.hpp"

namespace headgate::inline HEADGATE_ABI {

// Made by AnyMixer::make_state, used with mixers of the same concrete type and sizes.
class AnyState {
 public:
  template <class S>
    requires(!std::same_as<S, AnyState> && SequenceState<S>)
  explicit AnyState(S state) : state_(std::make_unique<Erased<S>>(std::move(state))) {}

  index_t position() const noexcept { return state_->position(); }
  index_t nearest(index_t positions) const noexcept { return state_->nearest(positions); }
  void truncate(index_t positions) noexcept { state_->truncate(positions); }
  bool keeps_present(index_t positions, bool is_one_pass) const noexcept {
    return state_->keeps_present(positions, is_one_pass);
  }
  void snapshot() { state_->snapshot(); }
  AnyState clone() const { return AnyState(state_->clone()); }
  std::int64_t bytes() const noexcept { return state_->bytes(); }

  // The concrete state; null where it is of another type.
  template <SequenceState S>
  S* get_if() noexcept {
    return state_->type == &type_of<S> ? &static_cast<Erased<S>&>(*state_).state : nullptr;
  }

 private:
  struct Interface {
    explicit Interface(const void* type_of_state) noexcept : type(type_of_state) {}
    virtual ~Interface() = default;
    virtual index_t position() const noexcept = 0;
    virtual index_t nearest(index_t positions) const noexcept = 0;
    virtual void truncate(index_t positions) noexcept = 0;
    virtual bool keeps_present(index_t positions, bool is_one_pass) const noexcept = 0;
    virtual void snapshot() = 0;
    virtual std::unique_ptr<Interface> clone() const = 0;
    virtual std::int64_t bytes() const noexcept = 0;
    const void* type;  // type_of<the concrete state>
  };
  template <class S>
  struct Erased final : Interface {
    explicit Erased(S s) : Interface(&type_of<S>), state(std::move(s)) {}
    index_t position() const noexcept override { return state.position(); }
    index_t nearest(index_t positions) const noexcept override { return state.nearest(positions); }
    void truncate(index_t positions) noexcept override { state.truncate(positions); }
    bool keeps_present(index_t positions, bool is_one_pass) const noexcept override {
      return state.keeps_present(positions, is_one_pass);
    }
    void snapshot() override { state.snapshot(); }
    std::unique_ptr<Interface> clone() const override { return std::make_unique<Erased>(state.clone()); }
    std::int64_t bytes() const noexcept override { return state.bytes(); }
    S state;
  };
  template <class S>
  static constexpr char type_of = 0;  // its address names the type

  explicit AnyState(std::unique_ptr<Interface> state) noexcept : state_(std::move(state)) {}
  std::unique_ptr<Interface> state_;
};
static_assert(SequenceState<AnyState>);

class AnyMixer {
 public:
  using State = AnyState;

  template <class M>
    requires(!std::same_as<M, AnyMixer> && Mixer<M>)
  AnyMixer(M mixer)  // NOLINT(google-explicit-constructor)
      : hidden_size_(mixer.hidden_size()),
        weight_bytes_(mixer.weight_bytes()),
        mixer_(std::make_shared<const Erased<M>>(std::move(mixer))) {}
  // A move is a copy, so that no AnyMixer is ever empty.
  AnyMixer(const AnyMixer&) = default;
  AnyMixer& operator=(const AnyMixer&) = default;
  ~AnyMixer() = default;

  index_t hidden_size() const noexcept { return hidden_size_; }
  std::int64_t weight_bytes() const noexcept { return weight_bytes_; }
  const Rope* rope() const noexcept { return mixer_->rope(); }  // as long as a copy of the mixer lives
  bool holds(CacheType type) const noexcept { return mixer_->holds(type); }
  AnyState make_state(const StateSize& size) const { return mixer_->make_state(size); }
  Status forward(const MixerInput& in, std::span<AnyState* const> states, Rows y, Context& ctx) const {
    return mixer_->forward(in, states, y, ctx);
  }

 private:
  struct Interface {
    virtual ~Interface() = default;
    virtual const Rope* rope() const noexcept = 0;
    virtual bool holds(CacheType type) const noexcept = 0;
    virtual AnyState make_state(const StateSize& size) const = 0;
    virtual Status forward(const MixerInput& in, std::span<AnyState* const> states, Rows y, Context& ctx) const = 0;
  };
  template <class M>
  struct Erased final : Interface {
    using S = typename M::State;
    explicit Erased(M m) : mixer(std::move(m)) {}
    const Rope* rope() const noexcept override { return mixer.rope(); }
    bool holds(CacheType type) const noexcept override { return holds_cache(mixer, type); }
    AnyState make_state(const StateSize& size) const override { return AnyState(mixer.make_state(size)); }
    Status forward(const MixerInput& in, std::span<AnyState* const> states, Rows y, Context& ctx) const override {
      const Workspace::Mark mark(ctx.workspace);
      const std::span<S*> concrete = ctx.workspace.take<S*>(static_cast<std::int64_t>(states.size()));
      for (std::size_t s = 0; s < states.size(); ++s) {
        concrete[s] = states[s] == nullptr ? nullptr : states[s]->get_if<S>();
        if (states[s] != nullptr && concrete[s] == nullptr)
          return {ErrorCode::usage, "the state was made by another kind of mixer"};
      }
      return mixer.forward(in, concrete, y, ctx);
    }
    M mixer;
  };

  index_t hidden_size_;
  std::int64_t weight_bytes_;
  std::shared_ptr<const Interface> mixer_;
};
static_assert(Mixer<AnyMixer>);

}  // namespace headgate::inline HEADGATE_ABI
