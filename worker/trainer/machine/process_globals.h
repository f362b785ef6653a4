// What LibTorch keeps for the whole process, set to the same values before every attempt, so that an attempt gives the
// same bits in a fresh process and in a used one.
#pragma once

#include <c10/core/Device.h>

namespace mantissa::trainer {

// What can be set once only, before LibTorch does anything: called first in main.
void PrepareProcess();

struct ProcessGlobals {
  int threads = 1;             // for operations
  bool deterministic = false;  // a GPU gives the same bits in every run; see Note [Determinism on a GPU]
  bool tf32 = false;           // a GPU's tensor cores read the operands of FP32 products as TF32
};

// Before an attempt; also gradients on, the default generator, denormals kept.
void ResetProcess(const ProcessGlobals& globals);

// After an attempt: memory that nobody holds goes back to the system and to the device.
void ReleaseMemory(c10::Device device);

// From here on this thread works on this GPU, and there on one stream of LibTorch's pool: nothing can be recorded on
// CUDA's default stream.
void UseOneStream(c10::Device device);

// Runs a tiny training step on the device, so that what LibTorch prepares on first use (on a GPU: context and handles)
// is ready before the first attempt asks.
void WarmUp(c10::Device device);

}  // namespace mantissa::trainer
