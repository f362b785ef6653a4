// What of the roots a tenant reaches.
//
// Note [Tenants' folders]
// The tenant `default`, that of a server without authentication, has every root whole. Any other has of each root its
// own folder, `tenants/NAME`, and nothing beside it: a spec of its that says `data:x` means `x` there, and its
// checkpoints lie there. In a root that is written the folder is made; in one that is only read the operator makes it,
// or the tenant goes without that root. Where several tenants share a worker, none of them may be called `default`.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "mantissa/v1/trainer_frame.pb.h"
#include "process/roots.h"

namespace mantissa::agent {

// Relative to a root: empty for the tenant that has it whole. INVALID_ARGUMENT for what is no tenant's name.
absl::StatusOr<std::string> TenantFolder(std::string_view tenant);

// Of `whole`, each root as the operator gave it, what a trainer of the tenant is bound to.
absl::StatusOr<std::vector<v1::BoundRoot>> RootsOfTenant(const process::Roots& roots,
                                                         const std::vector<v1::BoundRoot>& whole,
                                                         std::string_view tenant);

// The folder of a job in the root of checkpoints, opened as a root of its own.
absl::StatusOr<process::OpenRoot> JobFolder(const process::OpenRoot& checkpoints, std::string_view tenant,
                                            std::string_view job_id);

// Where in the root of checkpoints a job whose tenant is no longer known may lie: `path`, which begins with its id, as
// it is and in each tenant's folder.
std::vector<std::string> InEveryTenant(const process::OpenRoot& checkpoints, const std::string& path);

}  // namespace mantissa::agent
