#include "worker/trainer/bundle/bundle_writer.h"

#include <utility>
#include <vector>

#include "worker/trainer/bundle/bundle.h"

namespace mantissa::trainer {

absl::StatusOr<SavedCheckpoint> BundleWriter::Save(const IterationRecord& record, const v1::JobEvent& event,
                                                   std::int64_t time_unix_nanos) const {
  const StepProgramOptions& options = program_.options();
  Bundle bundle;
  bundle.job_id = facts_.job_id;
  bundle.attempt = facts_.attempt;
  bundle.iteration = record.iteration;
  bundle.window = options.plan.WindowAfter(record.iteration - 1);
  bundle.samples = options.data.size();
  bundle.shape = options.data.shape();
  bundle.spec = facts_.spec;
  bundle.lineage = facts_.lineage;
  bundle.event = event;
  bundle.device = facts_.device;

  std::vector<NamedTensor> batches;
  const std::int64_t micro_batches = program_.MicroBatchesIn(bundle.window);
  for (std::int64_t m = 0; m < micro_batches; ++m) {
    std::vector<std::int64_t>& indices = bundle.micro_batches.emplace_back();
    options.plan.MicroBatch(bundle.window, m, indices);
    Batch batch;
    options.data.Gather(indices, batch);
    batches.push_back({InputName(static_cast<std::size_t>(m)), batch.input});
    batches.push_back({TargetName(static_cast<std::size_t>(m)), batch.target});
  }
  return checkpoints_.SaveBundle(state_, {record.iteration - 1, record.loss_scale}, batches, EncodeBundle(bundle),
                                 time_unix_nanos);
}

}  // namespace mantissa::trainer
