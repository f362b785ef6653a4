// What interventions make of a job: which one a failure of its precision leads to, and how the job goes on after it.
// The trainer asks in order to end its attempt in the right way, the server in order to decide. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/training.pb.h"

namespace mantissa::spec {

// Of a ROLLBACK, for the learning rate.
inline constexpr double kRollbackFactor = 0.5;

// What a job trains with before any intervention. `precision` has its defaults resolved, here and below.
v1::Lineage FirstLineage(const v1::PrecisionSpec& precision);

// The job's, or the first one where no intervention has been.
v1::Lineage LineageOf(const v1::Job& job);

// What the spec says of a precision that failed in `lineage`, or, for LOSS_SPIKE, of a loss that is far from its
// running median; nothing when the job is to fail, or to go on in spite of its loss. `iterations`: the run of skipped
// iterations, or of the spike's, from 1.
std::optional<v1::Intervention> ChooseIntervention(const v1::PrecisionSpec& precision, const v1::Lineage& lineage,
                                                   v1::Reason::Code reason, const v1::IndexRange& iterations);

// Why ChooseIntervention chose nothing: a sentence for people, empty where the spec asks for no intervention.
std::string WhyNoIntervention(const v1::PrecisionSpec& precision, const v1::Lineage& lineage, v1::Reason::Code reason,
                              const v1::IndexRange& iterations);

// A run of iterations that was counted: from 1, in order, and with windows that can be counted too. False for what only
// a broken or hostile worker says.
bool IsRunOfIterations(const v1::Lineage& lineage, const v1::IndexRange& iterations);

// The lineage that the intervention begins; it starts from `checkpoint` (empty: generation 0). `iterations` of the
// intervention have passed IsRunOfIterations.
v1::Lineage NextLineage(const v1::Lineage& lineage, const v1::Intervention& intervention,
                        const std::string& checkpoint);

// The window that the next iteration trains on when `iteration` windows have been consumed: the windows of the data, in
// order, without those that are skipped.
std::int64_t WindowAfter(const v1::Lineage& lineage, std::int64_t iteration);

// The spec asks for interventions. Such a job has a generation 0 before its first iteration, so that there is always a
// finite one.
bool MayIntervene(const v1::PrecisionSpec& precision);
// It may go back, for a precision that failed or for a loss that jumped.
bool MayRollBack(const v1::PrecisionSpec& precision);
// It may go on in a precision of `fallback`, and needs a worker with all of them.
bool MayFallBack(const v1::PrecisionSpec& precision);

}  // namespace mantissa::spec
