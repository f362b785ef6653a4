#include "worker/trainer/machine/process_globals.h"

#include <cstdlib>
#include <malloc.h>

#include <ATen/ATen.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <c10/core/DefaultDtype.h>
#include <c10/core/GradMode.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace mantissa::trainer {

void PrepareProcess() {
  // cuBLAS reads it when its first handle is made; without it two equal products may differ.
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  // One thread runs operations; a second pool would only idle.
  at::set_num_interop_threads(1);
}

// Note [Determinism on a GPU]
// Our own list, of what is not repeatable and used here: convolutions that cuDNN chooses by measuring, or that add up
// in any order; the backward passes of flash and memory-efficient attention, which add with atomics (cuDNN's and the
// plain one do not). at::globalContext().setDeterministicAlgorithms would also refuse cuDNN's attention, which is
// repeatable. cuBLAS is repeatable with the workspace that PrepareProcess sets.
void ResetProcess(const ProcessGlobals& globals) {
  at::set_num_threads(globals.threads);
  at::manual_seed(0);
  c10::GradMode::set_enabled(true);
  c10::set_default_dtype(caffe2::TypeMeta::Make<float>());
  at::globalContext().setFlushDenormal(false);
  // The precision table says FP32 sums and one rounding; cuBLAS may otherwise add parts of a product in low precision.
  at::globalContext().setAllowTF32CuBLAS(globals.tf32);
  at::globalContext().setAllowTF32CuDNN(globals.tf32);
  at::globalContext().setAllowFP16ReductionCuBLAS(false);
  at::globalContext().setAllowBF16ReductionCuBLAS(false);
  at::globalContext().setBenchmarkCuDNN(false);
  at::globalContext().setDeterministicCuDNN(globals.deterministic);
  at::globalContext().setSDPUseFlash(!globals.deterministic);
  at::globalContext().setSDPUseMemEfficient(!globals.deterministic);
  at::autocast::set_autocast_enabled(at::kCPU, false);
  at::autocast::clear_cache();
}

void ReleaseMemory(c10::Device device) {
  if (!device.is_cpu()) at::accelerator::emptyCache();
  ::malloc_trim(0);
}

void UseOneStream(c10::Device device) {
  if (device.is_cpu()) return;
  const c10::impl::VirtualGuardImpl guard(device.type());
  guard.setDevice(device);
  guard.exchangeStream(guard.getStreamFromGlobalPool(device, /*isHighPriority=*/false));
}

void WarmUp(c10::Device device) {
  const at::TensorOptions options = at::TensorOptions().device(device);
  const at::Tensor x = at::ones({8, 8}, options);
  at::Tensor weight = at::ones({8, 8}, options);
  weight.set_requires_grad(true);
  at::cross_entropy_loss(at::relu(at::linear(x, weight)), at::zeros({8}, options.dtype(at::kLong))).backward();
}

}  // namespace mantissa::trainer
