#include "loading.hpp"

namespace headgate::inline HEADGATE_ABI {

template std::shared_ptr<const Model> load_model<Families>(const std::string& folder, const LoadOptions& options);
template ModelDescription describe_model<Families>(const std::string& folder, Compute compute);

}  // namespace headgate::inline HEADGATE_ABI
