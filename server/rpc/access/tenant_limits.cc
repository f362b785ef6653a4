#include "server/rpc/access/tenant_limits.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"

#include "server/core/errors.h"

namespace mantissa::server {

using process::MutexLock;

void TenantLimits::Fill(Bucket& bucket, process::SteadyTime now) const {
  const double most = std::max(1.0, options_.calls_per_second);
  if (!bucket.filled) {
    bucket.calls_left = most;
  } else {
    const double passed = std::chrono::duration<double>(now - bucket.filled_at).count();
    bucket.calls_left = std::min(most, bucket.calls_left + std::max(0.0, passed) * options_.calls_per_second);
  }
  bucket.filled = true;
  bucket.filled_at = now;
}

bool TenantLimits::ArrivesInTime(const std::string& tenant, process::SteadyTime now) {
  if (options_.calls_per_second <= 0) return true;
  MutexLock lock(mutex_);
  Bucket& arrivals = accounts_[tenant].arrivals;
  Fill(arrivals, now);
  const bool in_time = arrivals.calls_left >= std::max(1.0, options_.calls_per_second) / 2;
  // Also what is refused has been sent: who goes on sending more than its rate never comes to half of it.
  arrivals.calls_left = std::max(0.0, arrivals.calls_left - 1);
  return in_time;
}

absl::Status TenantLimits::BeginCall(const std::string& tenant, process::SteadyTime now) {
  if (options_.calls_per_second <= 0) return absl::OkStatus();
  MutexLock lock(mutex_);
  Bucket& begun = accounts_[tenant].begun;
  Fill(begun, now);
  if (begun.calls_left >= 1) {
    begun.calls_left -= 1;
    return absl::OkStatus();
  }
  return ErrorWithReason(absl::StatusCode::kResourceExhausted, "RATE_LIMITED",
                         absl::StrCat("tenant ", tenant, " has made more than ", options_.calls_per_second,
                                      " calls a second; wait and call again, or submit in batches"));
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
