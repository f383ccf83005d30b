#include "models/loading.hpp"

namespace headgate::inline HEADGATE_ABI {

template std::shared_ptr<const Model> load_model<Families>(const std::string& path, const LoadOptions& options);
template ModelDescription describe_model<Families>(const std::string& path, Compute compute,
                                                   const std::string& adapter);

}  // namespace headgate::inline HEADGATE_ABI
