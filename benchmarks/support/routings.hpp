// Routing for benchmarks of a layer: plans of tokens at random, by a rule of this list, or as they were recorded.
//   uniform     k of all experts                      same   every token the same k: what one token touches
//   zipf        expert e as often as 1 / (e + 1)      hot    every token expert 0, and k - 1 others
//   FILE.jsonl  rows of a trace as `headgate generate --trace` writes it, of each layer in turn
//   FILE.csv    as often as the counts say: model,dataset,layer,expert,count, of a model with the shape's name
#pragma once

#include <fstream>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "headgate/io/json.hpp"
#include "headgate/io/json_object.hpp"
#include "headgate/routing/routing_plan.hpp"
#include "sweep.hpp"

namespace bench {

class Routing {
 public:
  Routing(const std::string& name, const Shape& shape) : name_(name), shape_(shape) {
    if (name.ends_with(".jsonl")) {
      read_trace();
    } else if (name.ends_with(".csv")) {
      read_counts();
    } else if (name == "zipf") {
      chances_.emplace_back();
      for (index_t e = 0; e < shape.num_experts; ++e) chances_.back().push_back(1.0 / (e + 1.0));
    } else if (name == "uniform" || name == "same" || name == "hot") {
      chances_.emplace_back(as_size(shape.num_experts), 1.0);
    } else {
      throw Error(ErrorCode::usage,
                  {"", "--routing", -1, "'" + name + "' is none of uniform, zipf, hot, same, FILE.jsonl, FILE.csv"});
    }
  }
  // The next plan of so many tokens.
  RoutingPlan plan(index_t tokens) {
    RoutingPlan plan;
    plan.clear(shape_.num_experts);
    const std::size_t turn = turn_++;
    std::vector<ExpertId> row;
    for (index_t t = 0; t < tokens; ++t) {
      if (!recorded_.empty()) {
        const std::vector<std::vector<ExpertId>>& rows = recorded_[turn % recorded_.size()];
        row = rows[(turn / recorded_.size() * as_size(tokens) + as_size(t)) % rows.size()];
      } else if (name_ != "same" || t == 0) {
        row = draw(chances_[turn % chances_.size()]);
      }
      const std::vector<float> weights(row.size(), 1.0f / static_cast<float>(row.size()));
      throw_if_error(plan.append_row(row, weights));
    }
    return plan;
  }

 private:
  std::vector<ExpertId> draw(std::vector<double> left) {
    std::vector<ExpertId> row;
    if (name_ == "hot") {
      row.push_back(0);
      left[0] = 0.0;
    }
    while (row.size() < as_size(shape_.k)) {
      const ExpertId e = std::discrete_distribution<ExpertId>(left.begin(), left.end())(rng_);
      row.push_back(e);
      left[as_size(e)] = 0.0;
    }
    return row;
  }
  std::ifstream open() const {
    std::ifstream file(name_);
    if (!file) throw Error(ErrorCode::io, {name_, "", -1, "cannot be read"});
    return file;
  }
  void read_trace() {
    std::map<std::int64_t, std::vector<std::vector<ExpertId>>> layers;
    std::ifstream file = open();
    for (std::string line; std::getline(file, line);) {
      const Json json = parse_json(line, name_);
      const JsonObject row(json, name_);
      std::vector<ExpertId>& experts = layers[row.get_integer("layer", 0, max_index)].emplace_back();
      for (const std::int64_t e : row.get_integers("experts", 0, shape_.num_experts - 1)) {
        experts.push_back(static_cast<ExpertId>(e));
      }
      if (experts.empty()) layers[row.get_integer("layer", 0, max_index)].pop_back();
    }
    for (auto& [layer, rows] : layers) {
      if (!rows.empty()) recorded_.push_back(std::move(rows));
    }
    if (recorded_.empty()) throw Error(ErrorCode::bad_file, {name_, "", -1, "no token of it has experts"});
  }
  void read_counts() {
    std::map<std::string, std::vector<double>> layers;  // "dataset,layer"
    std::ifstream file = open();
    for (std::string line; std::getline(file, line);) {
      const Names words = split(line);
      if (words.size() != 5 || words[0] != shape_.name) continue;
      std::vector<double>& chances = layers[words[1] + "," + words[2]];
      chances.resize(as_size(shape_.num_experts), 0.0);
      const std::size_t expert = std::stoul(words[3]);
      if (expert >= chances.size()) {
        throw Error(ErrorCode::bad_file, {name_, "", -1, "expert " + words[3] + " is none of the shape's"});
      }
      chances[expert] = std::stod(words[4]) + 1.0;  // so that there are always k
    }
    for (auto& [layer, chances] : layers) chances_.push_back(std::move(chances));
    if (chances_.empty()) {
      throw Error(ErrorCode::usage, {name_, "", -1, "it counts no experts of " + std::string(shape_.name)});
    }
  }

  std::string name_;
  Shape shape_;
  std::vector<std::vector<double>> chances_;                  // of each layer that there is
  std::vector<std::vector<std::vector<ExpertId>>> recorded_;  // of each layer, rows
  std::mt19937 rng_{1};
  std::size_t turn_ = 0;
};

inline index_t touched(const RoutingPlan& plan) {
  std::vector<ExpertId> all(plan.experts().begin(), plan.experts().end());
  std::sort(all.begin(), all.end());
  return static_cast<index_t>(std::unique(all.begin(), all.end()) - all.begin());
}

}  // namespace bench
