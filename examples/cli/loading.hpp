// What knows all families of checkpoints is compiled once, in loading.cpp, and not in every file that loads a model.
#pragma once

#include "headgate/models/load.hpp"

namespace headgate::inline HEADGATE_ABI {

extern template std::shared_ptr<const Model> load_model<Families>(const std::string& folder,
                                                                  const LoadOptions& options);
extern template ModelDescription describe_model<Families>(const std::string& folder);

}  // namespace headgate::inline HEADGATE_ABI
