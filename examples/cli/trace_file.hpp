// TraceFile: the experts and weights of every routed layer and position, one JSON object a line:
//   {"layer":0,"token":7,"experts":[3,9],"weights":[0.6,0.4]}
// token is the position in the text from 0; experts stand in order of selection.
#pragma once

#include <string>
#include <utility>

#include "headgate/routing/routing_plan.hpp"
#include "json_writer.hpp"
#include "model_path.hpp"
#include "whole_file.hpp"

class TraceFile {
 public:
  // The file must be none of the model's; what it held stays until finish().
  TraceFile(const std::string& path, const std::string& model) : file_(path) {
    refuse_model_file(file_, "--trace", model);
  }
  void write(headgate::index_t layer, headgate::index_t first_position, const headgate::RoutingPlan& plan) {
    for (headgate::index_t row = 0; row < plan.tokens(); ++row) {
      line_.begin_object().key("layer").value(layer).key("token").value(first_position + row);
      line_.key("experts").array(plan.experts(row)).key("weights").array(plan.weights(row)).end_object();
      text_ += line_.take() + '\n';
    }
    if (text_.size() >= std::size_t{1} << 16) flush();
  }
  void finish() {
    flush();
    file_.finish();
  }

 private:
  void flush() { file_.write(std::exchange(text_, {})); }

  WholeFile file_;
  JsonWriter line_;
  std::string text_;  // not written yet
};
