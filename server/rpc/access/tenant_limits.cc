#include "server/rpc/access/tenant_limits.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"

#include "server/core/errors.h"

namespace mantissa::server {

using process::MutexLock;

absl::Status TenantLimits::BeginCall(const std::string& tenant, process::SteadyTime now) {
  if (options_.calls_per_second <= 0) return absl::OkStatus();
  const double most = std::max(1.0, options_.calls_per_second);
  MutexLock lock(mutex_);
  Account& account = accounts_[tenant];
  if (!account.filled) {
    account.calls_left = most;
  } else {
    const double passed = std::chrono::duration<double>(now - account.filled_at).count();
    account.calls_left = std::min(most, account.calls_left + std::max(0.0, passed) * options_.calls_per_second);
  }
  account.filled = true;
  account.filled_at = now;
  if (account.calls_left < 1) {
    return ErrorWithReason(absl::StatusCode::kResourceExhausted, "RATE_LIMITED",
                           absl::StrCat("tenant ", tenant, " has made more than ", options_.calls_per_second,
                                        " calls a second; wait and call again, or submit in batches"));
  }
  account.calls_left -= 1;
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<void>> TenantLimits::OpenStream(const std::string& tenant) {
  MutexLock lock(mutex_);
  const std::shared_ptr<int64_t> streams = accounts_[tenant].streams;
  if (options_.streams > 0 && *streams >= options_.streams) {
    return ErrorWithReason(absl::StatusCode::kResourceExhausted, "TOO_MANY_STREAMS",
                           absl::StrCat("tenant ", tenant, " has ", options_.streams,
                                        " streams open, the most that it may have; close one"));
  }
  ++*streams;
  return std::shared_ptr<void>(streams.get(), [this, streams](void*) { CloseStream(*streams); });
}

void TenantLimits::CloseStream(int64_t& streams) {
  MutexLock lock(mutex_);
  --streams;
}

}  // namespace mantissa::server
