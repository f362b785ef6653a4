// ROLLBACK and FALLBACK: an attempt whose precision failed ends, and the job goes on in a new lineage.
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "proto/spec/lineage.h"
#include "server/core/checkpoint_policy.h"
#include "server/core/errors.h"
#include "server/core/proto_time.h"
#include "server/core/scheduler_state.h"

namespace mantissa::server {
namespace {

bool IsTrouble(v1::Reason::Code reason) {
  return reason == v1::Reason::SCALE_AT_MINIMUM || reason == v1::Reason::NUMERIC_FAILURE ||
         reason == v1::Reason::LOSS_SPIKE;
}

std::string Where(const std::string& checkpoint) {
  return checkpoint.empty() ? "generation 0" : absl::StrCat("checkpoint ", checkpoint);
}

std::string Words(const v1::Intervention& intervention, const v1::Lineage& lineage, int32_t max_rollbacks) {
  const v1::IndexRange& iterations = intervention.iterations();
  const bool spike = intervention.reason() == v1::Reason::LOSS_SPIKE;
  const char* const far = " had a loss far above its running median";
  const std::string trouble =
      iterations.first() == iterations.last()
          ? absl::StrCat("iteration ", iterations.first(), spike ? far : " was skipped")
          : absl::StrCat("iterations ", iterations.first(), " to ", iterations.last(), spike ? far : " were skipped");
  if (intervention.kind() == v1::Intervention::FALLBACK) {
    return absl::StrCat("falls back from ", v1::PrecisionSpec::Mode_Name(intervention.from_precision()), " to ",
                        v1::PrecisionSpec::Mode_Name(intervention.to_precision()), " at ", Where(lineage.checkpoint()),
                        ": ", trouble);
  }
  return absl::StrCat("rolled back to ", Where(lineage.checkpoint()), ": ", trouble,
                      "; goes on without their windows at ", lineage.learning_rate_factor(), " x the learning rate (",
                      lineage.rollbacks(), " of ", max_rollbacks, ")");
}

}  // namespace

// Note [Interventions]
//
// What an intervention comes to (the lineage), the end of its attempt, and the next attempt are one decision and one
// commit: whenever the server or a worker dies, either the old attempt still stands, and its worker reports the end
// again, or the job has its new lineage, and any later attempt starts from that. The end is recorded once, because it
// is recorded like every other (Note [Lease fencing]); the lineage can't grow twice for one report.
bool Scheduler::State::Intervene(JobEntry& entry, const v1::AttemptReport& report, Moment now, Changes& changes) {
  if (!IsTrouble(report.reason())) return false;
  const v1::Job job = WithSpecs(entry.job, entry.specs);
  const v1::PrecisionSpec& precision = job.resolved_spec().training().precision();
  const v1::Lineage lineage = spec::LineageOf(job);
  const v1::IndexRange& iterations = report.intervention().iterations();
  if (!spec::IsRunOfIterations(lineage, iterations)) return false;
  // The worker has asked the same rules; what it made of them is not believed.
  const std::optional<v1::Intervention> intervention =
      spec::ChooseIntervention(precision, lineage, report.reason(), iterations);
  if (!intervention) return false;

  // A skipped iteration changes nothing, so that what was saved among them is as good as what was saved before. One
  // with a spike has been applied.
  const bool spike = intervention->reason() == v1::Reason::LOSS_SPIKE;
  const std::string checkpoint = GoBack(entry, spike ? iterations.first() - 1 : iterations.last(), changes);
  v1::Lineage& next = *entry.job.mutable_lineage();
  next = spec::NextLineage(lineage, *intervention, checkpoint);

  v1::Segment segment;
  segment.set_count(1);
  v1::JobEvent& event = *segment.mutable_event();
  Set(event.mutable_time(), now.wall);
  event.set_severity(v1::JobEvent::WARNING);
  event.set_reason(v1::Intervention::Kind_Name(intervention->kind()));
  event.set_message(Words(*intervention, next, precision.max_rollbacks()));
  event.set_iteration(iterations.last());
  *event.mutable_intervention()->mutable_intervention() = *intervention;
  *event.mutable_intervention()->mutable_lineage() = next;
  event.mutable_intervention()->set_attempt(entry.live->attempt.number());
  AppendSegment(entry, std::move(segment), changes);

  const v1::Placement placement = entry.live->placement();
  const bool rollback = intervention->kind() == v1::Intervention::ROLLBACK;
  EndAttempt(
      entry, v1::Attempt::FAILED,
      {rollback ? v1::Reason::ROLLED_BACK : v1::Reason::FELL_BACK, Shortened(report.message(), kMaxMessageBytes)},
      Mover::kWorker, now, changes);
  // A pause that is under way wins over the new start, not over the new lineage.
  if (entry.job.state() == v1::Job::QUEUED) AssignAgain(entry, placement, now, changes);
  return true;
}

std::string Scheduler::State::GoBack(JobEntry& entry, int32_t iteration, Changes& changes) const {
  const std::vector<size_t> deletable = Deletable(entry);
  const std::optional<size_t> start = NewestFinite(entry.checkpoints, deletable, iteration);
  const bool to_zero = !start || IsGenerationZero(entry.checkpoints[*start]);
  for (size_t i = 0; i < entry.checkpoints.size(); ++i) {
    v1::Checkpoint& checkpoint = entry.checkpoints[i];
    const bool later = to_zero ? !IsGenerationZero(checkpoint) : i > *start;
    // What a worker may have deleted already must not count as kept again now that there are fewer.
    const bool may_be_gone = std::binary_search(deletable.begin(), deletable.end(), i);
    if (checkpoint.abandoned() || (!later && !may_be_gone)) continue;
    checkpoint.set_abandoned(true);
    changes.checkpoints.push_back(checkpoint);
  }
  return start ? entry.checkpoints[*start].name() : "";
}

void Scheduler::State::AssignAgain(JobEntry& entry, const v1::Placement& placement, Moment now, Changes& changes) {
  WorkerEntry& worker = workers.at(placement.worker_id());
  const std::string& device_id = placement.device_ids(0);
  const bool has_device = std::any_of(worker.worker.devices().begin(), worker.worker.devices().end(),
                                      [&](const v1::Device& device) { return device.id() == device_id; });
  // Else it waits in the queue like any other job, and in its new lineage.
  if (!worker.present || IsDraining(worker) || !has_device || !ReachesStorage(worker, entry)) return;
  Assign(entry, worker, device_id, /*from_scratch=*/false, now, changes);
}

}  // namespace mantissa::server
