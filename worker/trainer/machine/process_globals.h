// What LibTorch keeps for the whole process, set to the same values before every attempt, so that an attempt gives the
// same bits in a fresh process and in a used one.
#pragma once

#include <c10/core/Device.h>

namespace mantissa::trainer {

// What can be set once only, before LibTorch does anything: called first in main.
void PrepareProcess();

// Before an attempt: `threads` for operations, gradients on, the default generator, denormals kept. `deterministic`: a
// GPU gives the same bits in every run. See Note [Determinism on a GPU].
void ResetProcess(int threads, bool deterministic = false);

// After an attempt: memory that nobody holds goes back to the system and to the device.
void ReleaseMemory(c10::Device device);

// Runs a tiny training step on the device, so that what LibTorch prepares on first use (on a GPU: context and handles)
// is ready before the first attempt asks.
void WarmUp(c10::Device device);

}  // namespace mantissa::trainer
