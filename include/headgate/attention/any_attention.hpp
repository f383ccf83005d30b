// AnyAttention: any attention behind one type, its cache included: one virtual call per layer and batch. What decoders
// are built on. Copies share the attention.
#pragma once

#include <memory>
#include <utility>

#include "headgate/attention/attention.hpp"

namespace headgate::inline HEADGATE_ABI {

class AnyAttention {
 public:
  // Made by make_cache, used with attentions of the same concrete type and sizes.
  class Cache;

  template <class A>
    requires(!std::same_as<A, AnyAttention> && Attention<A>)
  AnyAttention(A attention)  // NOLINT(google-explicit-constructor)
      : hidden_size_(attention.hidden_size()),
        weight_bytes_(attention.weight_bytes()),
        attention_(std::make_shared<const Erased<A>>(std::move(attention))) {}
  // A move is a copy, so that no AnyAttention is ever empty.
  AnyAttention(const AnyAttention&) = default;
  AnyAttention& operator=(const AnyAttention&) = default;
  ~AnyAttention() = default;

  index_t hidden_size() const noexcept { return hidden_size_; }
  std::int64_t weight_bytes() const noexcept { return weight_bytes_; }
  Cache make_cache(index_t context_size) const;
  Status forward(const AttentionInput& in, Cache& cache, Rows y, Context& ctx) const;

 private:
  struct CacheInterface {
    explicit CacheInterface(const void* type_of_cache) noexcept : type(type_of_cache) {}
    virtual ~CacheInterface() = default;
    virtual std::unique_ptr<CacheInterface> clone(index_t positions) const = 0;
    const void* type;  // type_of<the concrete cache>
  };
  template <class C>
  struct ErasedCache final : CacheInterface {
    explicit ErasedCache(C c) : CacheInterface(&type_of<C>), cache(std::move(c)) {}
    std::unique_ptr<CacheInterface> clone(index_t positions) const override {
      return std::make_unique<ErasedCache>(cache.clone(positions));
    }
    C cache;
  };
  struct Interface {
    virtual ~Interface() = default;
    virtual std::unique_ptr<CacheInterface> make_cache(index_t context_size) const = 0;
    virtual Status forward(const AttentionInput& in, CacheInterface& cache, Rows y, Context& ctx) const = 0;
  };
  template <class A>
  struct Erased final : Interface {
    explicit Erased(A a) : attention(std::move(a)) {}
    std::unique_ptr<CacheInterface> make_cache(index_t context_size) const override {
      return std::make_unique<ErasedCache<typename A::Cache>>(attention.make_cache(context_size));
    }
    Status forward(const AttentionInput& in, CacheInterface& cache, Rows y, Context& ctx) const override {
      using C = typename A::Cache;
      if (cache.type != &type_of<C>) return {ErrorCode::usage, "the cache was made by another kind of attention"};
      return attention.forward(in, static_cast<ErasedCache<C>&>(cache).cache, y, ctx);
    }
    A attention;
  };
  template <class C>
  static constexpr char type_of = 0;  // its address names the type

  index_t hidden_size_;
  std::int64_t weight_bytes_;
  std::shared_ptr<const Interface> attention_;
};

class AnyAttention::Cache {
 public:
  Cache clone(index_t positions) const { return Cache(cache_->clone(positions)); }

 private:
  friend class AnyAttention;
  explicit Cache(std::unique_ptr<CacheInterface> cache) noexcept : cache_(std::move(cache)) {}
  std::unique_ptr<CacheInterface> cache_;
};

inline AnyAttention::Cache AnyAttention::make_cache(index_t context_size) const {
  return Cache(attention_->make_cache(context_size));
}
inline Status AnyAttention::forward(const AttentionInput& in, Cache& cache, Rows y, Context& ctx) const {
  return attention_->forward(in, *cache.cache_, y, ctx);
}
static_assert(Attention<AnyAttention>);

}  // namespace headgate::inline HEADGATE_ABI
