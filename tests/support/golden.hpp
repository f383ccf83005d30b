// What official modules computed: tests/golden/<policy>/vectors.json, written by the script beside it.
#pragma once

#include <nlohmann/json.hpp>

#include <fstream>
#include <string>
#include <vector>

#include "headgate/experts/glu_layout.hpp"

inline nlohmann::json golden(const std::string& policy) {
  return nlohmann::json::parse(std::ifstream(HEADGATE_SOURCE_DIR "/tests/golden/" + policy + "/vectors.json"));
}

template <class T = float>
std::vector<T> values(const nlohmann::json& array) {
  std::vector<T> out;
  for (const auto& value : array) out.push_back(value.get<T>());
  return out;
}

// Feed-forward experts that a script wrote as {"gate": ..., "up": ..., "down": ...}; without "gate": not gated.
struct GoldenExperts {
  GoldenExperts(const nlohmann::json& experts, headgate::index_t hidden, headgate::index_t ffn)
      : hidden_size(hidden), ffn_size(ffn) {
    for (const auto& expert : experts) {
      parts.push_back(expert.contains("gate") ? values(expert["gate"]) : std::vector<float>());
      parts.push_back(values(expert["up"]));
      parts.push_back(values(expert["down"]));
    }
  }
  headgate::GluShape shape() const {
    return {.num_experts = static_cast<headgate::index_t>(parts.size() / 3),
            .hidden_size = hidden_size,
            .ffn_size = ffn_size,
            .gated = !parts[0].empty()};
  }
  std::vector<headgate::GluMatrices> matrices() const {
    std::vector<headgate::GluMatrices> all;
    for (std::size_t i = 0; i < parts.size(); i += 3) {
      headgate::GluMatrices m;
      if (!parts[i].empty()) m.gate = {parts[i].data(), ffn_size, hidden_size};
      m.up = {parts[i + 1].data(), ffn_size, hidden_size};
      m.down = {parts[i + 2].data(), hidden_size, ffn_size};
      all.push_back(m);
    }
    return all;
  }

  headgate::index_t hidden_size;
  headgate::index_t ffn_size;
  std::vector<std::vector<float>> parts;  // gate, up, down of every expert
};
