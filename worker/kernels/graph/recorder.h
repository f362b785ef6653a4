// The plug-in's side of MantissaRecorder: CUDA graphs, and memory that host and device share.
#pragma once

#include "worker/trainer/device_api.h"

namespace mantissa::trainer {

extern const MantissaRecorder kRecorder;

}  // namespace mantissa::trainer
