// How an attempt starts from its job's lineage: in which precision, at which rate, and from which state. Pure.
#pragma once

#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/trainer_frame.pb.h"
#include "worker/amp/step_state.h"
#include "worker/checkpoint/manifest.h"
#include "worker/trainer/run_state.h"

namespace mantissa::trainer {

// The lineage that the server sent, or the first one of `spec`, whose defaults are resolved.
v1::Lineage LineageOf(const v1::RunAttempt& run, const v1::JobSpec& spec);

// The spec as it is trained in the lineage: its precision, and every learning rate times its factor.
v1::JobSpec InLineage(const v1::JobSpec& spec, const v1::Lineage& lineage);

// Makes what was saved in an earlier lineage (`saved` says in which) the state that this one begins with: parameters,
// moments and counters as they are, no skipped iteration in a row; the scaler as it was saved, or, in another
// precision, as it begins there. `settings` are of the lineage's precision. Saved in this lineage, it stays as it is.
void BeginLineage(const v1::Lineage& lineage, const Manifest& saved, const ScalerSettings& settings,
                  RunSnapshot& snapshot);

}  // namespace mantissa::trainer
