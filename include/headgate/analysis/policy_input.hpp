// PolicyInput: hidden states and router parameters of some layers that every policy is run on. Two sources here; the
// third, a model, is in analysis/text_run.hpp.
//   skewed    logits z_e = ln p_e + Gumbel noise, so that the k largest are k draws from p without putting back; p is a
//             Zipf law over experts in a random order
//   replayed  the same with p = counts of a real model's routing / their sum
// The gate has orthonormal rows W and hidden states are W' z, so that W x = z for every policy that has a linear gate.
// Then one constant is added to all logits of a layer so that k of them are above 0 on average: no law of softmax, but
// what ReLU and sigmoid routers are trained to.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "headgate/analysis/policies.hpp"
#include "headgate/core/exactly_equal.hpp"

namespace headgate::inline HEADGATE_ABI {

struct PolicyLayer {
  PolicyParameters parameters;
  std::vector<float> hidden;  // (tokens, hidden_size)
};

struct PolicyInput {
  std::string name;
  std::string note;  // how it was made, in a sentence
  index_t tokens = 0;
  std::int64_t expert_bytes = 0;        // of the weights of one expert
  std::vector<std::int32_t> token_ids;  // (tokens), below the hidden size: hash routers have so many
  std::vector<PolicyLayer> layers;      // of one size

  ConstRows hidden(std::size_t layer) const {
    return {layers[layer].hidden.data(), tokens, layers[layer].parameters.hidden_size};
  }
};

// Moves gate_bias so that k logits of a token are above 0 on average.
inline void centre_logits(PolicyLayer& layer, index_t tokens) {
  PolicyParameters& p = layer.parameters;
  std::vector<float> logits;
  for (index_t t = 0; t < tokens; ++t) {
    const float* const x = layer.hidden.data() + std::int64_t{t} * p.hidden_size;
    for (index_t e = 0; e < p.num_experts; ++e) {
      const float* const w = p.gate.data() + std::int64_t{e} * p.hidden_size;
      logits.push_back(p.gate_bias[as_size(e)] + Scalar::dot(w, x, p.hidden_size));
    }
  }
  if (logits.empty()) return;
  const auto place = logits.begin() + std::min<std::int64_t>(std::int64_t{tokens} * p.k, std::ssize(logits) - 1);
  std::nth_element(logits.begin(), place, logits.end(), [](float a, float b) { return a > b; });
  for (float& b : p.gate_bias) b -= *place;
}

namespace detail {

// (rows, cols), rows <= cols: random directions, made orthonormal one after the other (Gram-Schmidt, twice for
// accuracy).
inline std::vector<float> orthonormal_rows(index_t rows, index_t cols, unsigned seed) {
  std::vector<float> matrix = uniform_floats(std::int64_t{rows} * cols, 1.0f, seed);
  const auto row = [&](index_t r) { return matrix.data() + std::int64_t{r} * cols; };
  for (index_t r = 0; r < rows; ++r) {
    for (int pass = 0; pass < 2; ++pass) {
      for (index_t s = 0; s < r; ++s) Scalar::axpy(-Scalar::dot(row(r), row(s), cols), row(s), cols, row(r));
    }
    const float length = std::sqrt(Scalar::dot(row(r), row(r), cols));
    for (index_t j = 0; j < cols; ++j) row(r)[j] /= length;
  }
  return matrix;
}

}  // namespace detail

// popularity: of every layer, how often each expert should be a token's first choice; at least 1 expert in 2 layers'
// worth of one size. hidden_size >= experts.
inline PolicyInput sampled_input(std::string name, const std::vector<std::vector<double>>& popularity, index_t k,
                                 index_t hidden_size, index_t tokens, unsigned seed) {
  PolicyInput input{std::move(name), {}, tokens, 0, {}, {}};
  std::mt19937 generator(seed);
  const auto uniform = [&] { return (static_cast<double>(generator()) + 0.5) * 0x1p-32; };
  for (index_t t = 0; t < tokens; ++t)
    input.token_ids.push_back(static_cast<std::int32_t>(generator() % as_size(hidden_size)));
  for (const std::vector<double>& p : popularity) {
    const auto experts = static_cast<index_t>(p.size());
    double sum = 0;
    for (const double share : p) sum += share;
    const std::vector<float> gate = detail::orthonormal_rows(experts, hidden_size, static_cast<unsigned>(generator()));
    PolicyLayer layer{{ConstRows(gate.data(), experts, hidden_size), k}, {}};
    layer.hidden.assign(as_size(std::int64_t{tokens} * hidden_size), 0.0f);
    for (index_t e = 0; e < experts; ++e) {
      layer.parameters.gate_bias[as_size(e)] = static_cast<float>(std::log(std::max(p[as_size(e)] / sum, 1e-12)));
    }
    for (index_t t = 0; t < tokens; ++t) {
      float* const x = layer.hidden.data() + std::int64_t{t} * hidden_size;
      for (index_t e = 0; e < experts; ++e) {
        const auto gumbel = static_cast<float>(-std::log(-std::log(uniform())));
        Scalar::axpy(gumbel, gate.data() + std::int64_t{e} * hidden_size, hidden_size, x);
      }
    }
    centre_logits(layer, tokens);
    input.layers.push_back(std::move(layer));
  }
  return input;
}

// p_e proportional to 1 / rank, ranks in a random order.
inline std::vector<double> zipf_popularity(index_t experts, unsigned seed) {
  std::vector<double> p;
  for (index_t rank = 1; rank <= experts; ++rank) p.push_back(1.0 / static_cast<double>(rank));
  std::mt19937 generator(seed);
  for (std::size_t i = p.size() - 1; i > 0; --i) std::swap(p[i], p[generator() % (i + 1)]);
  return p;
}

// What `headgate routers --policies` starts with: two layers of 64 experts, k = 8, 1,024 tokens, experts of the size of
// OLMoE-1B-7B's in bfloat16 (3 matrices of 2048 x 1024).
inline PolicyInput skewed_input(unsigned seed = 1) {
  PolicyInput input =
      sampled_input("skewed logits", {zipf_popularity(64, seed), zipf_popularity(64, seed + 1)}, 8, 256, 1024, seed);
  input.note = "Gumbel noise on a Zipf law over 64 experts, k = 8; bytes as of experts of OLMoE.";
  input.expert_bytes = std::int64_t{3} * 2048 * 1024 * 2;
  return input;
}

// Real routing counts of one model on one text.
struct RoutingCounts {
  std::string name;                             // model, text
  std::vector<std::string> layers;              // their numbers
  std::vector<std::vector<double>> popularity;  // (layers, experts)
};

// CSV with the columns model,dataset,layer,expert,count, rows of a layer together and experts from 0 in order. Throws
// bad_file.
inline std::vector<RoutingCounts> parse_routing_counts(std::string_view csv, const std::string& file) {
  std::int64_t line_number = 0;
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorCode::bad_file, {file, "", -1, "line " + std::to_string(line_number) + ": " + what});
  };
  std::vector<RoutingCounts> all;
  while (!csv.empty()) {
    std::string_view line = csv.substr(0, csv.find('\n'));
    csv.remove_prefix(std::min(csv.size(), line.size() + 1));
    ++line_number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line_number == 1) {
      if (line != "model,dataset,layer,expert,count") fail("expected the columns model,dataset,layer,expert,count");
      continue;
    }
    if (line.empty()) continue;
    std::string_view fields[5];
    std::size_t count = 0;
    for (std::string_view rest = line;; ++count) {
      const std::size_t comma = rest.find(',');
      if (count < 5) fields[count] = rest.substr(0, comma);
      if (comma == std::string_view::npos) break;
      rest.remove_prefix(comma + 1);
    }
    if (count != 4) fail("expected 5 fields");
    const auto number = [&](std::string_view text) {
      std::int64_t value = -1;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
      if (error != std::errc{} || end != text.data() + text.size() || value < 0) {
        fail("expected a count, found '" + escaped(text, 40) + "'");
      }
      return value;
    };
    const std::string name = std::string(fields[0]) + " on " + std::string(fields[1]);
    if (all.empty() || all.back().name != name) all.push_back({name, {}, {}});
    RoutingCounts& counts = all.back();
    if (counts.layers.empty() || counts.layers.back() != fields[2]) {
      counts.layers.emplace_back(fields[2]);
      counts.popularity.emplace_back();
    }
    if (number(fields[3]) != std::ssize(counts.popularity.back())) fail("experts do not stand in order from 0");
    counts.popularity.back().push_back(static_cast<double>(number(fields[4])));
  }
  for (const RoutingCounts& counts : all) {
    for (const auto& layer : counts.popularity) {
      const bool is_empty = std::all_of(layer.begin(), layer.end(), [](double c) { return exactly_equal(c, 0.0); });
      if (layer.size() < 2 || layer.size() != counts.popularity.front().size() || is_empty) {
        fail("the layers of " + escaped(counts.name, 80) + " need the same number of experts, 2 or more, and a count");
      }
    }
  }
  if (all.empty()) fail("no counts");
  return all;
}

}  // namespace headgate::inline HEADGATE_ABI
