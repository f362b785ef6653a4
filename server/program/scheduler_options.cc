#include "server/program/scheduler_options.h"

namespace mantissa::server {

SchedulerOptions SchedulerOptionsOf(const ServerOptions& options, std::int64_t epoch) {
  SchedulerOptions scheduler;
  scheduler.lease = options.lease;
  scheduler.next_call = options.next_call;
  scheduler.disconnect_grace = options.disconnect_grace;
  scheduler.max_queued_jobs = static_cast<int32_t>(options.max_queued_jobs);
  scheduler.max_queued_jobs_per_tenant = static_cast<int32_t>(options.tenant_max_queued_jobs);
  scheduler.priority_worth = options.priority_worth;
  scheduler.reserve_after = options.reserve_after;
  if (options.preempting_priority <= 1'000) {
    scheduler.preempting_priority = static_cast<int32_t>(options.preempting_priority);
  }
  scheduler.epoch = epoch;
  return scheduler;
}

}  // namespace mantissa::server
