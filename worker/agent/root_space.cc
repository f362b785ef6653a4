#include "worker/agent/root_space.h"

#include <sys/statvfs.h>
#include <utility>

namespace mantissa::agent {

void RootSpace::Tick(WorkThread& disk, process::SteadyTime now) {
  if (now < look_at_) return;
  look_at_ = now + interval_;
  disk.Post([this] {
    std::map<std::string, std::int64_t> space;
    for (const process::OpenRoot& root : roots_.all()) {
      struct statvfs info {};
      if (::fstatvfs(root.fd(), &info) == 0) {
        space[root.name()] = static_cast<std::int64_t>(info.f_bavail) * static_cast<std::int64_t>(info.f_frsize);
      }
    }
    inbox_.Post([this, space = std::move(space)] {
      free_bytes_ = space;
      for (const auto& [root, bytes] : space) metrics_.SetRootFreeBytes(root, bytes);
    });
  });
}

std::optional<std::int64_t> RootSpace::FreeBytes(const std::string& root) const {
  const auto space = free_bytes_.find(root);
  return space == free_bytes_.end() ? std::nullopt : std::optional(space->second);
}

}  // namespace mantissa::agent
