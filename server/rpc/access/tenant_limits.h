#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "process/clock.h"
#include "process/mutex.h"

namespace mantissa::server {

struct TenantLimitOptions {
  // Calls that a tenant may begin in a second, and in a burst after a quiet second; 0: any number.
  double calls_per_second = 0;
  // Streams that a tenant may have open; 0: any number.
  int64_t streams = 0;
};

// What one tenant may take of a server that others share. Remembers every tenant that has called, so tenants are those
// that an operator has made. Thread-safe.
class TenantLimits {
 public:
  explicit TenantLimits(TenantLimitOptions options) : options_(options) {}

  // Counts a call when it has arrived and nobody has looked after it yet; false while a tenant sends more than half of
  // what it may begin in a second.
  bool ArrivesInTime(const std::string& tenant, process::SteadyTime now);

  // Counts a call when it begins; RESOURCE_EXHAUSTED, reason RATE_LIMITED, for one too many.
  absl::Status BeginCall(const std::string& tenant, process::SteadyTime now);

  // Counts a stream for as long as what is returned lives; RESOURCE_EXHAUSTED, reason TOO_MANY_STREAMS.
  absl::StatusOr<std::shared_ptr<void>> OpenStream(const std::string& tenant);

 private:
  // Filled at the tenant's rate, up to a second's worth.
  struct Bucket {
    double calls_left = 0;
    process::SteadyTime filled_at;  // calls_left is of then
    bool filled = false;
  };
  struct Account {
    // Apart: a call that arrives in time may begin late, and then meets others.
    Bucket arrivals, begun;
    std::shared_ptr<int64_t> streams = std::make_shared<int64_t>(0);
  };

  void Fill(Bucket& bucket, process::SteadyTime now) const;
  void CloseStream(int64_t& streams);

  const TenantLimitOptions options_;
  process::Mutex mutex_;
  std::map<std::string, Account> accounts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mantissa::server
