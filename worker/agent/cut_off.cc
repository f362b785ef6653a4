#include "worker/agent/cut_off.h"

#include "worker/agent/proto_time.h"

namespace mantissa::agent {

using process::SteadyTime;

// Note [Cut off]
// An agent that hears nothing can't tell a server that is away from a cut network, behind which its attempts are given
// to others when their leases run out. A KEEP attempt trains on all the same, for the grace of its assignment: most
// often nobody else took it, and what was trained counts. A STOP attempt is over before another can begin: it is asked
// to stop at two thirds of the lease, counted from when the last answered call went out, which is no later than the
// server counts from; and killed at five sixths, so that the rest is for the kernel to be done with it.
SteadyTime AloneUntil(const HeldAttempt& attempt, const SyncLoop& sync, std::chrono::milliseconds grace) {
  if (attempt.over() || attempt.stop >= StopCause::kCutOff) return SteadyTime::max();
  if (attempt.assignment.spec().on_disconnect() == v1::JobSpec::STOP && sync.lease().count() > 0) {
    return sync.leased_from() + sync.lease() * 2 / 3;
  }
  return sync.last_answer() + ToMilliseconds(attempt.assignment.disconnect_grace(), grace);
}

}  // namespace mantissa::agent
