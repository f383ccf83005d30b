// What the programs that sweep shapes x formats x tokens x instruction sets share: their flags, random weights of any
// format, and one line of JSON for each case, for benchmarks/peers and for people with jq.
//   --shape=olmoe,..  --format=q4_0,..  --tokens=1,8,512  --isa=avx2,..  --threads=N  --rounds=N
//   --on-request: once a case has been measured, again for each line of the input, until it ends (of one case)
#pragma once

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "../../examples/cli/machine_limits.hpp"
#include "headgate/core/error.hpp"
#include "headgate/core/thread_pool.hpp"
#include "headgate/kernels/any_format.hpp"
#include "headgate/kernels/native.hpp"

namespace bench {

using namespace headgate;

// Of a layer of experts.
struct Shape {
  const char* name;
  index_t hidden_size, ffn_size, num_experts, k;
};
inline constexpr Shape shapes[] = {{"granite-1b", 1024, 512, 32, 8},
                                   {"olmoe", 2048, 1024, 64, 8},
                                   {"qwen3-30b", 2048, 768, 128, 8},
                                   {"deepseek-v2-lite", 2048, 1408, 64, 6},
                                   {"tiny", 64, 96, 5, 2}};  // when asked for: to see that it runs

using Names = std::vector<std::string>;
inline Names split(std::string_view text) {
  Names words;
  for (std::size_t first = 0; first <= text.size();) {
    const std::size_t comma = std::min(text.find(',', first), text.size());
    words.emplace_back(text.substr(first, comma - first));
    first = comma + 1;
  }
  return words;
}
inline index_t number(const std::string& text) {
  index_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < 1) {
    throw Error(ErrorCode::usage, {"", "", -1, "'" + text + "' is no count"});
  }
  return value;
}

// Formats by the names that GGUF files give their types: blocks meet activations of eight bits, bf16_dots such in
// bfloat16.
inline std::map<std::string, AnyFormat> formats() {
  std::map<std::string, AnyFormat> all = {
      {"f32", F32{}}, {"bf16", Bf16{}}, {"bf16_dots", Bf16Dots{}}, {"f16", F16{}}, {"int8", Int8Rows{}}};
  const auto add = [&]<class... Blocks>(blocks::TypeList<Blocks...>) {
    const auto add_one = [&](auto blocks) {
      std::string name(info(blocks.dtype).name);
      for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
      all.emplace(name, PanelBlocks<decltype(blocks)>{});
    };
    (add_one(Blocks{}), ...);
  };
  add(blocks::All{});
  return all;
}
inline Compute compute_of(AnyFormat format) {
  return format.tile() == AnyTile(Int8Tile{})   ? Compute::int8
         : format.tile() == AnyTile(Bf16Tile{}) ? Compute::bf16
                                                : Compute::f32;
}

// Rows of weights that mean nothing: windows into random ones.
class RandomRows {
 public:
  RandomRows(AnyFormat format, index_t longest) : floats_(as_size(longest) + variety) {
    std::mt19937 rng(1);
    for (float& value : floats_) value = 0.05f * (static_cast<float>(rng() >> 8) * 0x1p-23f - 1.0f);
    format.visit([&]<class Format>(Format) {
      if constexpr (requires { typename Format::Blocks; }) fill<typename Format::Blocks>(longest, rng);
      if constexpr (std::is_same_v<Format, Int8Rows>) {
        block_ = 4;
        bytes_.resize(as_size(longest + 4 * variety));
        for (std::byte& b : bytes_) b = static_cast<std::byte>(rng() >> 24 & 0x3bu);  // scales, too, are small numbers
      }
    });
  }
  WeightRow row(std::int64_t r) const noexcept {
    if (bytes_.empty()) return floats_.data() + r % variety;
    return bytes_.data() + r % variety * block_;
  }

 private:
  static constexpr std::int64_t variety = 509;

  // Random bits, with scales that are small and alike.
  template <class Blocks>
  void fill(index_t longest, std::mt19937& rng) {
    block_ = Blocks::bytes;
    bytes_.resize(as_size((longest / Blocks::size + 1 + variety) * block_));
    for (std::byte& b : bytes_) b = static_cast<std::byte>(rng() >> 24);
    for (std::byte* block = bytes_.data(); block < bytes_.data() + bytes_.size(); block += block_) {
      const f16 scale(Blocks::size > 32 ? 1e-4f : 1e-2f);
      if constexpr (requires { Blocks::scale_at; }) std::memcpy(block + Blocks::scale_at, &scale, 2);
      if constexpr (requires { Blocks::minimum_at; }) std::memcpy(block + Blocks::minimum_at, &scale, 2);
      if constexpr (std::is_same_v<Blocks, blocks::MXFP4>) *block = std::byte{120};
    }
  }

  std::vector<float> floats_;
  std::vector<std::byte> bytes_;
  std::int64_t block_ = 0;
};

// More bytes than caches hold.
inline constexpr std::int64_t cold_bytes = std::int64_t{384} << 20;

struct Sweep {
  Names shape_names, format_names, isas = {""};
  std::vector<index_t> tokens = {1, 4, 8, 512};
  index_t threads = available_threads();
  index_t rounds = 15;
  bool on_request = false;
  std::map<std::string, Names> own = {};  // flags of a program's own, with their defaults

  static Sweep parse(int argc, char** argv, std::map<std::string, Names> own) {
    Sweep all;
    all.own = std::move(own);
    for (int i = 1; i < argc; ++i) {
      const std::string_view argument = argv[i];
      const std::size_t equals = std::min(argument.find('='), argument.size());
      const std::string name(argument.substr(0, equals));
      const Names words = split(argument.substr(std::min(equals + 1, argument.size())));
      if (name == "--shape") {
        all.shape_names = words;
      } else if (name == "--format") {
        all.format_names = words;
      } else if (name == "--tokens") {
        all.tokens.clear();
        for (const std::string& word : words) all.tokens.push_back(number(word));
      } else if (name == "--isa") {
        all.isas = words;
      } else if (name == "--threads") {
        all.threads = number(words.front());
      } else if (name == "--rounds") {
        all.rounds = number(words.front());
      } else if (name == "--on-request") {
        all.on_request = true;
      } else if (const auto found = all.own.find(name); found != all.own.end()) {
        found->second = words;
      } else {
        throw Error(ErrorCode::usage,
                    {"", std::string(argument), -1, "not understood; flags are in the first lines of the sources"});
      }
    }
    refuse_unknown(all.shape_names, "--shape", [](const std::string& name) {
      return std::any_of(std::begin(shapes), std::end(shapes), [&](const Shape& shape) { return name == shape.name; });
    });
    const std::map<std::string, AnyFormat> known = formats();
    refuse_unknown(all.format_names, "--format", [&](const std::string& name) { return known.contains(name); });
    return all;
  }

  // use(shape, format's name, format, limits, ctx) for each that fits.
  template <class F>
  void each(F&& use) const {
    ThreadPool pool(threads);
    Context ctx(pool);
    const std::map<std::string, AnyFormat> known = formats();
    for (const std::string& isa : isas) {
      throw_if_error(select_kernels(isa));
      MachineLimits limits;
      for (const Shape& shape : shapes) {
        if (shape_names.empty() ? std::string_view(shape.name) == "tiny" : !has(shape_names, shape.name)) continue;
        for (const auto& [name, format] : known) {
          if (!format_names.empty() && !has(format_names, name)) continue;
          if (!format.fits(shape.hidden_size) || !format.fits(shape.ffn_size)) continue;
          use(shape, name, format, limits, ctx);
        }
      }
    }
  }
  // Once, or as often as lines come in.
  template <class F>
  void measure(F&& once) const {
    once();
    for (std::string line; on_request && std::getline(std::cin, line);) once();
  }

 private:
  static bool has(const Names& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  }
  template <class Known>
  static void refuse_unknown(const Names& names, const char* flag, Known&& is_known) {
    for (const std::string& name : names) {
      if (!is_known(name)) throw Error(ErrorCode::usage, {"", flag, -1, "'" + name + "' is none that is known"});
    }
  }
};

// A case of a sweep: what is done once, how often in a sample, and what that takes of the machine.
struct Case {
  std::string words;  // of JSON: "tokens":1,"routing":"zipf"
  std::function<void()> run;
  index_t calls = 1;
  double bytes = 0.0;  // of one call, on the average; read from memory
  double operations = 0.0;
  int base = -1;  // the case that this one is given as a multiple of; -1: none
  std::vector<double> seconds = {};
};

// All cases in turn, round after round, so that what disturbs one disturbs all, beside the machine's limits.
inline void measure(std::vector<Case>& cases, const std::string& words, Compute compute, index_t rounds,
                    MachineLimits& limits, Context& ctx) {
  limits.clear();
  for (Case& each : cases) each.seconds.clear();
  for (index_t round = -1; round < rounds; ++round) {  // the first does not count
    limits.sample(ctx.executor);
    for (Case& each : cases) {
      const auto start = std::chrono::steady_clock::now();
      for (index_t i = 0; i < each.calls; ++i) each.run();
      const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
      if (round >= 0) each.seconds.push_back(passed.count() / each.calls);
    }
  }
  const auto median = [](std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
  };
  const double rate = limits.operation_rate(compute);
  for (const Case& each : cases) {
    const double seconds = median(each.seconds);
    const double least = std::max(each.bytes / limits.read_rate(), each.operations / rate);
    const auto [low, high] = std::minmax_element(each.seconds.begin(), each.seconds.end());
    std::printf(
        "{%s,%s,\"threads\":%d,\"kernels\":\"%s\",\"ms\":%.4f,\"ms_least\":%.4f,\"ms_most\":%.4f,\"gb_s\":%.2f,"
        "\"gop_s\":%.1f,\"limit_gb_s\":%.2f,\"limit_gop_s\":%.1f,\"share_of_limit\":%.3f",
        words.c_str(), each.words.c_str(), static_cast<int>(ctx.executor.size()), NativeBackend::name(), 1e3 * seconds,
        1e3 * *low, 1e3 * *high, 1e-9 * each.bytes / seconds, 1e-9 * each.operations / seconds,
        1e-9 * limits.read_rate(), 1e-9 * rate, least / seconds);
    if (each.base >= 0) {
      std::vector<double> times;
      const std::vector<double>& base = cases[as_size(each.base)].seconds;
      for (std::size_t i = 0; i < base.size(); ++i) times.push_back(each.seconds[i] / base[i]);
      std::printf(",\"times\":%.3f,\"times_of\":{%s}", median(times), cases[as_size(each.base)].words.c_str());
    }
    std::puts("}");
  }
  std::fflush(stdout);
}

}  // namespace bench
