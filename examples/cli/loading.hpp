// What knows all families of checkpoints is compiled once, in loading.cpp, and not in every file that loads a model.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "headgate/models/load.hpp"
#include "note.hpp"
#include "numbers.hpp"
#include "progress.hpp"

namespace headgate::inline HEADGATE_ABI {

extern template std::shared_ptr<const Model> load_model<Families>(const std::string& folder,
                                                                  const LoadOptions& options);
extern template ModelDescription describe_model<Families>(const std::string& folder, Compute compute,
                                                          const std::string& adapter);

}  // namespace headgate::inline HEADGATE_ABI

// describe_model, which warns of parts that are damaged and not needed. compute, lora: as --compute and
// --lora have them.
inline headgate::ModelDescription describe_shown(const std::string& path, std::optional<headgate::Compute> compute,
                                                 const std::optional<std::string>& lora = std::nullopt) {
  if (lora && lora->empty()) throw_usage("--lora", "the folder has no name");
  headgate::ModelDescription description =
      describe_model(path, compute.value_or(headgate::Compute::int8), lora.value_or(""));
  if (compute && *compute != headgate::Compute::f32 && description.weights.compute != *compute) {
    const bool is_int8 = *compute == headgate::Compute::int8;
    throw_usage("--compute", std::string("no weights of this model are ") +
                                 (is_int8 ? "quantized, or of types that meet int8" : "in bfloat16") +
                                 ": all meet f32");
  }
  for (const headgate::SkippedPart& part : description.skipped) {
    if (part.is_damaged) note("headgate: warning: skipped: " + headgate::escaped(part.why, 1000) + "\n");
  }
  return description;
}

// load_model, which says how far it is where that takes longer than two seconds.
inline std::shared_ptr<const headgate::Model> load_shown(const std::string& path, headgate::ExecutorRef threads,
                                                         std::optional<headgate::Compute> compute,
                                                         const std::optional<std::string>& lora = std::nullopt) {
  Progress progress("loading", 2.0);
  return headgate::load_model(path, {.executor = threads,
                                     .progress =
                                         [&](std::int64_t done, std::int64_t total) {
                                           progress.update(static_cast<double>(done), static_cast<double>(total));
                                         },
                                     .compute = compute.value_or(headgate::Compute::int8),
                                     .adapter = lora.value_or("")});
}
