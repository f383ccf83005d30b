// headgate routers: models, or router policies, compared on the same text: cost, balance and loss, each with its 95 %
// interval, as a table, JSON, CSV and a page with pictures. The policies are compared in routers_policies.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "headgate/analysis/comparison.hpp"
#include "headgate/core/compute.hpp"
#include "headgate/models/description.hpp"
#include "headgate/models/session.hpp"

struct RoutersOptions {
  std::vector<std::string> models;  // none: the demo model
  std::optional<std::string> text;
  std::optional<std::string> text_file;  // neither: a built-in story
  // Positions of a window; 0: what the model was made for; -1: 512, or what the model was made for if that is less.
  std::int64_t context = -1;
  std::int64_t threads = -1;
  std::optional<headgate::Compute> compute;
  std::uint64_t seed = 1;
  bool policies = false;
  std::optional<std::string> counts;  // CSV of routing counts to replay, with policies
  bool json = false;
  std::optional<std::string> csv;
  std::optional<std::string> html;
  std::string command;  // as it was typed, for the report
};

// A model that has been loaded, and the text in its tokens.
struct LoadedText {
  std::string folder;
  std::string name;  // for people
  headgate::ModelDescription about;
  headgate::Session session;
  std::vector<std::int32_t> tokens;  // without a first token put before it
};

// One table for skewed logits, one for each model and text of options.counts, one for each loaded model. Time is taken
// on one thread. `loaded` sees the models one by one.
std::vector<headgate::Comparison> policy_tables(const RoutersOptions& options);
headgate::Comparison policy_table(LoadedText& loaded, std::uint64_t seed, headgate::Context& ctx);
