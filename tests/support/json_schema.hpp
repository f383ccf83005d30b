// JsonSchema: whether a document is as a JSON Schema file says, for the keywords that examples/cli/schema uses; another
// keyword is an error. Beyond the standard a key that the schema does not name is an error, too: schemas let users meet
// new keys, but what is printed must be documented.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

class JsonSchema {
 public:
  using Json = nlohmann::json;

  explicit JsonSchema(const std::filesystem::path& file)
      : folder_(file.parent_path()), root_(Json::parse(std::ifstream(file))) {}

  // What is wrong, a line each; empty where nothing is.
  std::string errors(const Json& document) { return errors(root_, document, "$"); }

  // Keys that the schema names and no document had so far: "$.stats.load_s"; of what is in a list "$.skipped[].why".
  std::set<std::string> unmet() {
    std::set<std::string> names;
    collect(root_, "$", names);
    for (const std::string& name : met_) names.erase(name);
    return names;
  }

 private:
  static bool is_of(const std::string& type, const Json& value) {
    if (type == "object") return value.is_object();
    if (type == "array") return value.is_array();
    if (type == "string") return value.is_string();
    if (type == "integer") return value.is_number_integer();
    if (type == "number") return value.is_number();
    if (type == "boolean") return value.is_boolean();
    if (type == "null") return value.is_null();
    return false;
  }
  // A list of documents has their keys.
  static std::string items(const std::string& path) { return path == "$" ? path : path + "[]"; }
  // The schema that a reference means: within the file, or a file of the same folder.
  std::pair<JsonSchema*, const Json*> target(const std::string& reference) {
    if (reference.starts_with('#')) return {this, &root_.at(Json::json_pointer(reference.substr(1)))};
    auto& other = others_[reference];
    if (!other) other = std::make_unique<JsonSchema>(folder_ / reference);
    return {other.get(), &other->root_};
  }

  std::string errors(const Json& schema, const Json& value, const std::string& path) {
    std::string found;
    const auto fail = [&](const std::string& what) { found += path + ": " + what + "\n"; };
    for (const auto& [keyword, rule] : schema.items()) {
      if (keyword == "$schema" || keyword == "title" || keyword == "description" || keyword == "$defs") continue;
      if (keyword == "type") {
        bool is_any = false;
        for (const Json& type : rule.is_array() ? rule : Json::array({rule})) is_any |= is_of(type, value);
        if (!is_any) fail("is not of type " + rule.dump());
      } else if (keyword == "enum") {
        if (std::find(rule.begin(), rule.end(), value) == rule.end()) fail("is not one of " + rule.dump());
      } else if (keyword == "minimum" || keyword == "maximum") {
        const bool is_out = keyword == "minimum" ? value < rule : value > rule;
        if (value.is_number() && is_out) fail(value.dump() + " is beyond the " + keyword + " " + rule.dump());
      } else if (keyword == "minItems" || keyword == "maxItems") {
        const bool is_out = keyword == "minItems" ? value.size() < rule : value.size() > rule;
        if (value.is_array() && is_out) fail("has another number of items than " + rule.dump());
      } else if (keyword == "items" || keyword == "prefixItems") {
        for (std::size_t i = 0; value.is_array() && i < value.size(); ++i) {
          if (keyword == "items") found += errors(rule, value[i], items(path));
          if (keyword == "prefixItems" && i < rule.size()) found += errors(rule[i], value[i], items(path));
        }
      } else if (keyword == "required") {
        for (const Json& key : rule) {
          if (value.is_object() && !value.contains(key.get<std::string>())) fail("lacks " + key.dump());
        }
      } else if (keyword == "properties") {
        if (!value.is_object()) continue;
        for (const auto& [key, member] : value.items()) {
          const std::string inner = path + "." + key;
          if (rule.contains(key)) {
            met_.insert(inner);
            found += errors(rule.at(key), member, inner);
          } else if (schema.contains("additionalProperties")) {
            found += errors(schema.at("additionalProperties"), member, inner);
          } else {
            fail("has the undocumented key " + key);
          }
        }
      } else if (keyword == "anyOf") {
        std::string all;
        for (const Json& choice : rule) {
          const std::string wrong = errors(choice, value, path);
          if (wrong.empty()) {
            all.clear();
            break;
          }
          all += wrong;
        }
        found += all;
      } else if (keyword == "$ref") {
        const auto [other, target_schema] = target(rule);
        found += other->errors(*target_schema, value, path);
        if (other != this) met_.insert(other->met_.begin(), other->met_.end());
      } else if (keyword != "additionalProperties") {
        fail("the schema has the keyword " + keyword + ", which is not checked");
      }
    }
    return found;
  }
  void collect(const Json& schema, const std::string& path, std::set<std::string>& names) {
    if (schema.contains("$ref")) {
      const auto [other, target_schema] = target(schema.at("$ref"));
      other->collect(*target_schema, path, names);
    }
    const Json properties = schema.value("properties", Json::object());
    for (const auto& [key, inner] : properties.items()) {
      names.insert(path + "." + key);
      collect(inner, path + "." + key, names);
    }
    for (const char* const keyword : {"anyOf", "prefixItems"}) {
      for (const Json& inner : schema.value(keyword, Json::array())) collect(inner, path, names);
    }
    if (schema.contains("items")) collect(schema.at("items"), items(path), names);
  }

  std::filesystem::path folder_;
  Json root_;
  std::map<std::string, std::unique_ptr<JsonSchema>> others_ = {};
  std::set<std::string> met_ = {};
};
