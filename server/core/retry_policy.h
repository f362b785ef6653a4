// What follows the end of an attempt that did not succeed.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "mantissa/v1/job.pb.h"

namespace mantissa::server {

// Another attempt may fare better: the infrastructure's fault, not the job's, or an intervention, unless the policy
// says otherwise of this reason.
bool IsRetried(const v1::RetryPolicy& policy, v1::Reason::Code reason);

// Nobody's fault: the attempt was taken from its worker by request, or ended so that the job goes on in another
// lineage; the next one is no retry.
bool IsFree(v1::Reason::Code reason);

struct RetryDecision {
  enum class Next {
    kRequeue,    // at once
    kBackOff,    // after `wait`
    kFinal,      // the reason is not one that is retried
    kExhausted,  // it is, but no attempt is left
  };
  Next next = Next::kFinal;
  std::chrono::milliseconds wait{0};
};

// `counted` is how many attempts have ended for a reason that counts against the budget, this one included. `policy`
// has its defaults. `seed` spreads the waits of jobs that fail together, by up to a fifth either way.
RetryDecision DecideRetry(const v1::RetryPolicy& policy, v1::Reason::Code reason, int32_t counted, uint64_t seed);

// The same for the same attempt, whenever it is asked for.
uint64_t BackoffSeed(std::string_view job_id, int32_t attempt);

}  // namespace mantissa::server
