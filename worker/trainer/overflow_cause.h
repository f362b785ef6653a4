// Why an iteration was skipped, from what its gradients show parameter by parameter.
#pragma once

#include <vector>

#include "worker/amp/step_state.h"
#include "worker/amp/verdict.h"
#include "worker/models/parameter_buffer.h"

namespace mantissa::trainer {

// `counted` says what the totals show. NaN without any Inf may still be an overflow: where the first offender is a
// weight whose bias has a finite gradient, the gradient of the module's output was finite, so the NaN is of a product
// with what the module read: 0 x Inf, an input or activation that had overflowed.
SkipCause CauseOf(SkipCause counted, const std::vector<Offender>& offenders, const std::vector<Parameter>& parameters);

}  // namespace mantissa::trainer
