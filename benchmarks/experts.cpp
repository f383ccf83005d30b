// The bank of experts alone, given routing: shapes x formats x tokens x routing x instruction sets, as a share of what
// the machine can read and multiply. One line of JSON a case, for benchmarks/peers and for people with jq. Weights are
// cold: a call finds other experts, or another bank, than the one before. Random weights and activations; activations
// are packed as the format wants them.
//   bench_experts [--shape=olmoe,..] [--format=q4_0,..] [--tokens=1,8,512] [--routing=uniform,zipf,hot]
//                 [--isa=avx2,..] [--threads=N] [--rounds=N]
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "../examples/cli/machine_limits.hpp"
#include "headgate/core/thread_pool.hpp"
#include "headgate/experts/glu_experts.hpp"
#include "headgate/kernels/native.hpp"

using namespace headgate;

namespace {

struct Shape {
  const char* name;
  index_t hidden_size, ffn_size, num_experts, k;
};
constexpr Shape shapes[] = {{"granite-1b", 1024, 512, 32, 8},
                            {"olmoe", 2048, 1024, 64, 8},
                            {"qwen3-30b", 2048, 768, 128, 8},
                            {"deepseek-v2-lite", 2048, 1408, 64, 6}};

using Names = std::vector<std::string>;
Names split(std::string_view text) {
  Names words;
  for (std::size_t first = 0; first <= text.size();) {
    const std::size_t comma = std::min(text.find(',', first), text.size());
    words.emplace_back(text.substr(first, comma - first));
    first = comma + 1;
  }
  return words;
}
index_t number(const std::string& text) {
  index_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < 1) {
    throw Error(ErrorCode::usage, {"", "", -1, "'" + text + "' is no count"});
  }
  return value;
}

// A format by the name that GGUF files give its type: blocks meet activations of eight bits, bf16_dots such in
// bfloat16.
std::map<std::string, AnyFormat> formats() {
  std::map<std::string, AnyFormat> all = {{"f32", F32{}}, {"bf16", Bf16{}}, {"bf16_dots", Bf16Dots{}}, {"f16", F16{}}, {"int8", Int8Rows{}}};
  const auto add = [&]<class... Blocks>(blocks::TypeList<Blocks...>) {
    const auto add_one = [&](auto blocks) {
      std::string name(info(blocks.dtype).name);
      for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
      all.emplace(name, PanelBlocks<decltype(blocks)>{});
    };
    (add_one(Blocks{}), ...);
  };
  add(blocks::AllAffine{});
  return all;
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

using Bank = GluExperts<AnyFormat>;
Bank random_bank(const Shape& shape, AnyFormat format, const RandomRows& rows, Context& ctx) {
  Bank bank =
      Bank::create(
          GluShape{.num_experts = shape.num_experts, .hidden_size = shape.hidden_size, .ffn_size = shape.ffn_size},
          {format, format, format})
          .value();
  ctx.parallel(shape.num_experts, [&](index_t e) {
    const std::int64_t first = std::int64_t{e} * 37;
    for (index_t r = 0; r < shape.ffn_size; ++r) {
      bank.set_gate_row(e, r, rows.row(first + r));
      bank.set_up_row(e, r, rows.row(first + r + 11));
    }
    for (index_t r = 0; r < shape.hidden_size; ++r) bank.set_down_row(e, r, rows.row(first + r + 23));
  });
  return bank;
}

// uniform: k of all. zipf: expert e as often as 1 / (e + 1) says. hot: all tokens choose expert 0, and k - 1 others.
RoutingPlan make_plan(const std::string& routing, const Shape& shape, index_t tokens, std::mt19937& rng) {
  std::vector<double> chance(as_size(shape.num_experts), 1.0);
  if (routing == "zipf") {
    for (std::size_t e = 0; e < chance.size(); ++e) chance[e] = 1.0 / static_cast<double>(e + 1);
  } else if (routing != "uniform" && routing != "hot") {
    throw Error(ErrorCode::usage, {"", "--routing", -1, "'" + routing + "' is none of uniform, zipf, hot"});
  }
  RoutingPlan plan;
  plan.clear(shape.num_experts);
  const std::vector<float> weights(as_size(shape.k), 1.0f / static_cast<float>(shape.k));
  for (index_t t = 0; t < tokens; ++t) {
    std::vector<ExpertId> row;
    std::vector<double> left = chance;
    if (routing == "hot") {
      row.push_back(0);
      left[0] = 0.0;
    }
    while (row.size() < as_size(shape.k)) {
      const ExpertId e = std::discrete_distribution<ExpertId>(left.begin(), left.end())(rng);
      row.push_back(e);
      left[as_size(e)] = 0.0;
    }
    throw_if_error(plan.append_row(row, weights));
  }
  return plan;
}
index_t touched(const RoutingPlan& plan) {
  std::vector<ExpertId> all(plan.experts().begin(), plan.experts().end());
  std::sort(all.begin(), all.end());
  return static_cast<index_t>(std::unique(all.begin(), all.end()) - all.begin());
}

struct Sweep {
  Names shape_names, format_names, tokens = {"1", "8", "512"}, routings = {"uniform", "zipf", "hot"}, isas = {""};
  index_t threads = available_threads();
  index_t rounds = 15;
};

void run(const Shape& shape, const std::string& format_name, AnyFormat format, const Sweep& sweep,
         MachineLimits& limits, ThreadPool& pool, Context& ctx) {
  const RandomRows rows(format, std::max(shape.hidden_size, shape.ffn_size));
  std::vector<Bank> banks;
  std::int64_t bytes = 0;
  while (bytes < std::int64_t{384} << 20) {
    banks.push_back(random_bank(shape, format, rows, ctx));
    bytes += banks.back().bytes();
  }
  std::mt19937 rng(1);
  std::size_t next = 0;
  for (const std::string& count : sweep.tokens) {
    const index_t tokens = number(count);
    std::vector<float> x(as_size(tokens) * as_size(shape.hidden_size));
    std::vector<float> y(x.size());
    std::normal_distribution<float> normal;
    for (float& value : x) value = normal(rng);
    for (const std::string& routing : sweep.routings) {
      std::vector<RoutingPlan> plans;
      for (index_t i = 0; i < (tokens > 64 ? 3 : 32); ++i) plans.push_back(make_plan(routing, shape, tokens, rng));
      limits.clear();
      std::vector<double> seconds;
      double read = 0.0;
      for (index_t round = -1; round < sweep.rounds; ++round) {
        limits.sample(pool);
        const index_t calls = tokens > 64 ? 1 : 20;
        const auto start = std::chrono::steady_clock::now();
        double experts = 0.0;
        for (index_t i = 0; i < calls; ++i, ++next) {
          const RoutingPlan& plan = plans[next % plans.size()];
          throw_if_error(banks[next % banks.size()].apply(plan, {x.data(), tokens, shape.hidden_size},
                                                          {y.data(), tokens, shape.hidden_size}, ctx));
          experts += touched(plan);
        }
        const double passed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        if (round >= 0) seconds.push_back(passed / calls);
        read = experts / calls * static_cast<double>(banks.front().expert_bytes());
      }
      std::sort(seconds.begin(), seconds.end());
      const double median = seconds[seconds.size() / 2];
      const double operations = 6.0 * tokens * shape.k * shape.hidden_size * shape.ffn_size;
      const Compute compute = format.tile() == AnyTile(Int8Tile{})   ? Compute::int8
                              : format.tile() == AnyTile(Bf16Tile{}) ? Compute::bf16
                                                                     : Compute::f32;
      const double rate = limits.operation_rate(compute);
      const double least = std::max(read / limits.read_rate(), operations / rate);
      std::printf(
          "{\"shape\":\"%s\",\"format\":\"%s\",\"tokens\":%d,\"routing\":\"%s\",\"threads\":%d,\"kernels\":\"%s\","
          "\"ms\":%.4f,\"ms_least\":%.4f,\"ms_most\":%.4f,\"gb_s\":%.2f,\"gop_s\":%.1f,\"limit_gb_s\":%.2f,"
          "\"limit_gop_s\":%.1f,\"share_of_limit\":%.3f}\n",
          shape.name, format_name.c_str(), static_cast<int>(tokens), routing.c_str(), static_cast<int>(pool.size()),
          NativeBackend::name(), 1e3 * median, 1e3 * seconds.front(), 1e3 * seconds.back(), 1e-9 * read / median,
          1e-9 * operations / median, 1e-9 * limits.read_rate(), 1e-9 * rate, least / median);
      std::fflush(stdout);
    }
  }
}

void sweep(const Sweep& all) {
  const std::map<std::string, AnyFormat> known = formats();
  ThreadPool pool(all.threads);
  Context ctx(pool);
  for (const std::string& isa : all.isas) {
    throw_if_error(select_kernels(isa));
    MachineLimits limits;
    for (const Shape& shape : shapes) {
      const Names& names = all.shape_names;
      if (!names.empty() && std::find(names.begin(), names.end(), shape.name) == names.end()) continue;
      for (const auto& [name, format] : known) {
        const bool is_asked = all.format_names.empty() || std::find(all.format_names.begin(), all.format_names.end(),
                                                                    name) != all.format_names.end();
        if (!is_asked || !format.fits(shape.hidden_size) || !format.fits(shape.ffn_size)) continue;
        run(shape, name, format, all, limits, pool, ctx);
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    Sweep all;
    for (int i = 1; i < argc; ++i) {
      const std::string_view argument = argv[i];
      const std::size_t equals = std::min(argument.find('='), argument.size());
      const std::string_view name = argument.substr(0, equals);
      const Names words = split(argument.substr(std::min(equals + 1, argument.size())));
      if (name == "--shape") {
        all.shape_names = words;
      } else if (name == "--format") {
        all.format_names = words;
      } else if (name == "--tokens") {
        all.tokens = words;
      } else if (name == "--routing") {
        all.routings = words;
      } else if (name == "--isa") {
        all.isas = words;
      } else if (name == "--threads") {
        all.threads = number(words.front());
      } else if (name == "--rounds") {
        all.rounds = number(words.front());
      } else {
        throw Error(ErrorCode::usage, {"", std::string(argument), -1, "not understood; see the top of experts.cpp"});
      }
    }
    sweep(all);
  } catch (const Error& error) {
    std::fprintf(stderr, "bench_experts: %s\n", error.what());
    return 2;
  }
  return 0;
}
