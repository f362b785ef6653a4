// What interventions have made of a job, for people. Pure.
#pragma once

#include <string>

#include "mantissa/v1/job.pb.h"

namespace mantissa::cli {

// `FP16`, or `FP16 → BF16` once a job goes on in another precision than it was submitted with; `TF32 EMULATED` where
// the device has no arithmetic for it.
std::string PrecisionText(v1::PrecisionSpec::Mode submitted, v1::PrecisionSpec::Mode effective, bool emulated = false);

// `3, rolled back twice, learning rate x 0.25, 53 windows left out`
std::string LineageText(const v1::Lineage& lineage);

}  // namespace mantissa::cli
