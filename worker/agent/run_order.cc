#include "worker/agent/run_order.h"

#include <utility>

#include "worker/agent/proto_time.h"
#include "worker/agent/tenant_roots.h"

namespace mantissa::agent {

absl::StatusOr<RunOrder> RunOrderOf(const AttemptKey& key, const v1::Assignment& assignment,
                                    const TrainerRoots& roots) {
  if (assignment.placement().device_ids_size() != 1 || assignment.world_size() > 1) {
    return absl::UnimplementedError("this worker runs attempts of one rank on one device only");
  }
  absl::StatusOr<std::vector<v1::BoundRoot>> bound = RootsOfTenant(roots.open, roots.bound, assignment.tenant());
  if (!bound.ok()) return bound.status();
  RunOrder order;
  order.key = key;
  order.device_id = assignment.placement().device_ids(0);
  order.tenant = assignment.tenant();
  order.roots = *std::move(bound);
  order.start_timeout = ToMilliseconds(assignment.start_timeout(), order.start_timeout);
  order.command.set_job_id(key.job_id);
  order.command.set_attempt(key.attempt);
  *order.command.mutable_spec() = assignment.spec();
  order.command.set_trace_id(assignment.trace_id());
  if (assignment.has_lineage()) *order.command.mutable_lineage() = assignment.lineage();
  for (const v1::Checkpoint& checkpoint : assignment.resume_from()) {
    if (checkpoint.storage_id() == roots.storage_id) *order.command.add_resume_from() = checkpoint;
  }
  if (assignment.has_init_from() && assignment.init_from().storage_id() == roots.storage_id) {
    *order.command.mutable_init_from() = assignment.init_from();
  }
  if (assignment.has_committed()) *order.command.mutable_committed() = assignment.committed();
  return order;
}

}  // namespace mantissa::agent
