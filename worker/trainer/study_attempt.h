// An attempt whose workload is a study: the study's cases are its iterations, and a report is its end.
#pragma once

#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/trainer_frame.pb.h"
#include "worker/trainer/attempt.h"

namespace mantissa::trainer {

// As RunAttempt, of a `spec` with a study and its defaults. A study keeps no checkpoint: however it is asked to stop,
// it ends as CANCELLED with the report as far as it got, and another attempt begins anew. A study that fails has no
// report.
v1::AttemptEnded RunStudyAttempt(const v1::RunAttempt& run, const v1::JobSpec& spec,
                                 const AttemptEnvironment& environment);

}  // namespace mantissa::trainer
