// What knows all families of checkpoints is compiled once for the tests, in loading.cpp.
#pragma once

#include "headgate/models/load.hpp"

namespace headgate::inline HEADGATE_ABI {

extern template std::shared_ptr<const Model> load_model<Families>(const std::string& path, const LoadOptions& options);
extern template ModelDescription describe_model<Families>(const std::string& path, Compute compute,
                                                          const std::string& adapter);

}  // namespace headgate::inline HEADGATE_ABI
