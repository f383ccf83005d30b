// What a run of generate took: for people on standard error, for programs in the JSON object.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "headgate/models/decoder.hpp"
#include "json_writer.hpp"
#include "machine.hpp"
#include "sizes.hpp"

class Stopwatch {
 public:
  // Seconds since it was made or last asked.
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    return std::chrono::duration<double>(now - std::exchange(start_, now)).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// What a run takes at most, in bytes, said before it is taken.
struct MemoryUse {
  std::int64_t weights = 0;
  std::int64_t kv_cache = 0;
  std::int64_t largest_tensor = 0;  // of the files, while it is being packed
  std::int64_t other = 0;           // program, tokenizer and scratch memory

  std::int64_t total() const { return weights + kv_cache + largest_tensor + other; }
  std::string text() const {
    return fmt::format("memory: {} at most: weights {}, KV cache {}, one tensor {}, all else {}\n", size_text(total()),
                       size_text(weights), size_text(kv_cache), size_text(largest_tensor), size_text(other));
  }
  void write(JsonWriter& out) const {
    out.begin_object().key("total").value(total()).key("weights").value(weights).key("kv_cache").value(kv_cache);
    out.key("largest_tensor").value(largest_tensor).key("other").value(other).end_object();
  }
};

struct Statistics {
  double load_s = 0.0;
  double prefill_s = 0.0;
  double decode_s = 0.0;
  std::int64_t prefill_tokens = 0;
  std::int64_t decode_tokens = 0;    // passed through the model one by one
  std::int64_t bytes_per_token = 0;  // weights read for one of them
  std::int64_t routed_rows = 0;      // rows of all routed layers
  std::int64_t routed_entries = 0;   // experts chosen for them
  std::int64_t weight_bytes = 0;
  MemoryUse memory;
  int threads = 1;
  std::string kernels;
  std::string compute;  // activations where they meet weights of fewer bits
  std::uint64_t seed = 0;

  void loaded(const headgate::Model& model, headgate::Compute activations, int thread_count, double seconds) {
    load_s = seconds;
    compute = name_of(activations);
    bytes_per_token = model.bytes_per_token();
    weight_bytes = model.weight_bytes();
    threads = thread_count;
    kernels = kernels_name();
  }
  void routed(const headgate::RoutingPlan& plan) {
    routed_rows += plan.tokens();
    routed_entries += plan.entries();
  }

  static double rate(double amount, double seconds) { return seconds > 0.0 ? amount / seconds : 0.0; }
  double prefill_rate() const { return rate(static_cast<double>(prefill_tokens), prefill_s); }
  double decode_rate() const { return rate(static_cast<double>(decode_tokens), decode_s); }
  double weights_gb_per_s() const { return decode_rate() * static_cast<double>(bytes_per_token) * 1e-9; }
  double experts_per_token() const {
    return rate(static_cast<double>(routed_entries), static_cast<double>(routed_rows));
  }

  std::string text() const {
    return fmt::format(
        "load     {:.2f} s, {} of weights\n"
        "prefill  {} tokens in {:.3f} s: {:.1f} tokens/s\n"
        "decode   {} tokens in {:.3f} s: {:.1f} tokens/s, {:.2f} GB/s of weights read\n"
        "run      {:.2f} experts per token and layer, kernels {}, compute {}, threads {}, seed {}\n",
        load_s, size_text(weight_bytes), prefill_tokens, prefill_s, prefill_rate(), decode_tokens, decode_s,
        decode_rate(), weights_gb_per_s(), experts_per_token(), kernels, compute, threads, seed);
  }
  void write(JsonWriter& out) const {
    out.begin_object();
    out.key("load_s").value(load_s);
    out.key("prefill_tokens").value(prefill_tokens).key("prefill_s").value(prefill_s);
    out.key("prefill_tokens_per_s").value(prefill_rate());
    out.key("decode_tokens").value(decode_tokens).key("decode_s").value(decode_s);
    out.key("decode_tokens_per_s").value(decode_rate());
    out.key("weights_gb_per_s").value(weights_gb_per_s());
    out.key("experts_per_token").value(experts_per_token());
    out.key("weight_bytes").value(weight_bytes).key("memory_bytes");
    memory.write(out);
    out.key("kernels").value(kernels).key("compute").value(compute).key("threads").value(threads).key("seed").value(
        seed);
    out.end_object();
  }
};
