#include "worker/agent/forward/checkpoint_deleter.h"

#include <utility>

#include "absl/status/status.h"

#include "process/log.h"
#include "worker/agent/forward/checkpoint_deletion.h"
#include "worker/agent/tenant_roots.h"

namespace mantissa::agent {

void CheckpointDeleter::Delete(const v1::CheckpointDeletion& deletion, const std::string& trace_id, WorkThread& disk) {
  ++open_;
  disk.Post([this, deletion, trace_id] {
    absl::Status deleted = absl::OkStatus();
    for (const std::string& path : InEveryTenant(checkpoints_, deletion.path())) {
      deleted.Update(DeleteCheckpoint(checkpoints_, path));
    }
    inbox_.Post([this, deletion, trace_id, deleted = std::move(deleted)] {
      --open_;
      if (deleted.ok()) {
        metrics_.checkpoints_deleted.Increment();
        return;
      }
      metrics_.checkpoint_deletion_failures.Increment();
      process::Log(process::Level::kError, "a checkpoint could not be deleted",
                   {{"job", deletion.ref().job_id()},
                    {"trace_id", trace_id},
                    {"checkpoint", deletion.name()},
                    {"error", deleted}});
    });
  });
}

}  // namespace mantissa::agent
