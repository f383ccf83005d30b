// A golden checkpoint of a family with some keys of its config.json changed.
#pragma once

#include <utility>

#include "models/family_checkpoint.hpp"

namespace models_test {

class ChangedConfig {
 public:
  using Keys = std::vector<std::pair<std::string, std::string>>;  // with their new values as JSON, empty: no such key

  explicit ChangedConfig(const std::string& name) : checkpoint_(name), folder_(checkpoint_.write()) {}

  ModelDescription describe(const Keys& keys = {}) const {
    Copy copy(folder_);
    for (const auto& [key, value] : keys) copy.set(key, value);
    return describe_model(copy.path());
  }
  // The field for which it is refused; none where it is not.
  std::string refused(const Keys& keys) const {
    try {
      describe(keys);
      return "";
    } catch (const Error& error) {
      INFO(error.what());
      CHECK(error.code() == ErrorCode::bad_file);
      CHECK(!error.detail().file.empty());
      return error.detail().field;
    }
  }
  std::string refused(const std::string& key, const std::string& value) const { return refused({{key, value}}); }

 private:
  FamilyCheckpoint checkpoint_;
  std::string folder_;
};

}  // namespace models_test
