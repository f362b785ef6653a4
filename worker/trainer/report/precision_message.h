// The precision statistics of a run as the API says them. Pure.
#pragma once

#include "mantissa/v1/job.pb.h"
#include "worker/amp/precision_statistics.h"

namespace mantissa::trainer {

// `scaled`: FP16, where there is a loss scale to speak of.
v1::PrecisionStats PrecisionMessage(const PrecisionStats& stats, bool scaled);

}  // namespace mantissa::trainer
