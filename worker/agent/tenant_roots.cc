#include "worker/agent/tenant_roots.h"

#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <unistd.h>
#include <utility>

#include "absl/strings/str_cat.h"

#include "process/log.h"

namespace mantissa::agent {
namespace {

constexpr std::string_view kDefaultTenant = "default";
constexpr char kTenants[] = "tenants";
constexpr char kField[] = "tenant";

// One root as the tenant has it; without a path where it has none.
absl::StatusOr<v1::BoundRoot> Narrowed(const process::OpenRoot& root, v1::BoundRoot bound, const std::string& folder) {
  if (root.writable()) {
    if (auto made = root.MakeDirectories(folder, kField); !made.ok()) return made.status();
  }
  if (const auto opened = root.Folder(folder, kField); opened.ok()) {
    bound.set_path(absl::StrCat(bound.path(), "/", folder));
  } else if (absl::IsNotFound(opened.status())) {
    bound.clear_path();
  } else {
    return opened.status();
  }
  return bound;
}

}  // namespace

absl::StatusOr<std::string> TenantFolder(std::string_view tenant) {
  if (!process::IsRootName(tenant)) {  // the same characters
    return absl::InvalidArgumentError("tenant: a name is 1 to 63 of a-z, 0-9 and '-'");
  }
  if (tenant == kDefaultTenant) return std::string();
  return absl::StrCat(kTenants, "/", std::string(tenant));
}

absl::StatusOr<std::vector<v1::BoundRoot>> RootsOfTenant(const process::Roots& roots,
                                                         const std::vector<v1::BoundRoot>& whole,
                                                         std::string_view tenant) {
  const absl::StatusOr<std::string> folder = TenantFolder(tenant);
  if (!folder.ok()) return folder.status();
  if (folder->empty()) return whole;
  std::vector<v1::BoundRoot> narrowed;
  for (const v1::BoundRoot& bound : whole) {
    const process::OpenRoot* root = roots.Find(bound.name());
    if (root == nullptr) continue;
    absl::StatusOr<v1::BoundRoot> own = Narrowed(*root, bound, *folder);
    if (!own.ok()) return own.status();
    if (own->path().empty()) {
      process::Log(process::Level::kWarning, "a tenant goes without a root: make its folder there",
                   {{"tenant", std::string(tenant)}, {"root", bound.name()}, {"folder", *folder}});
      continue;
    }
    narrowed.push_back(*std::move(own));
  }
  return narrowed;
}

absl::StatusOr<process::OpenRoot> JobFolder(const process::OpenRoot& checkpoints, std::string_view tenant,
                                            std::string_view job_id) {
  const absl::StatusOr<std::string> folder = TenantFolder(tenant);
  if (!folder.ok()) return folder.status();
  if (job_id.empty() || job_id.find('/') != std::string_view::npos) {
    return absl::InvalidArgumentError("job_id: must be a job's id");
  }
  return checkpoints.Folder(absl::StrCat(*folder, folder->empty() ? "" : "/", std::string(job_id)), "job_id");
}

std::vector<std::string> InEveryTenant(const process::OpenRoot& checkpoints, const std::string& path) {
  std::vector<std::string> places = {path};
  absl::StatusOr<process::FileDescriptor> tenants = checkpoints.OpenBeneath(kTenants, O_RDONLY | O_DIRECTORY, kField);
  if (!tenants.ok()) return places;
  const std::unique_ptr<DIR, int (*)(DIR*)> names(::fdopendir(tenants->get()), &::closedir);
  if (names == nullptr) return places;
  [[maybe_unused]] const int taken = tenants->Release();  // the stream closes it
  while (const dirent* entry = ::readdir(names.get())) {
    const std::string_view name = entry->d_name;
    const std::string job = path.substr(0, path.find('/'));
    if (process::IsRootName(name) && JobFolder(checkpoints, name, job).ok()) {
      places.push_back(absl::StrCat(kTenants, "/", std::string(name), "/", path));
    }
  }
  return places;
}

}  // namespace mantissa::agent
