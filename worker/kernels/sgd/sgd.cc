// SGD with or without momentum over flat buffers. A momentum buffer starts at zero, so that its first update is the
// gradient itself, as PyTorch's is. Writes what is kept of the parameters in a low format too. A skipped iteration
// writes nothing.
#include <ATen/Parallel.h>
#include <torch/library.h>

#include "worker/kernels/cast_weights/store_weights.h"
#include "worker/kernels/check.h"
#include "worker/kernels/cpu/isa.h"
#include "worker/kernels/cpu/parallel.h"
#include "worker/kernels/sgd/sgd_update.h"

namespace mantissa::trainer::kernels {
namespace {

struct PlainKernel {
  static MANTISSA_INLINE void Run(float* __restrict parameters, const float* __restrict gradients, std::int64_t count,
                                  SgdConstants c) {
    for (std::int64_t i = 0; i < count; ++i) {
      const float g = gradients[i] * c.factor + c.l2 * parameters[i];
      parameters[i] -= c.learning_rate * g;
    }
  }
};

struct MomentumKernel {
  static MANTISSA_INLINE void Run(float* __restrict parameters, const float* __restrict gradients,
                                  float* __restrict momentum, std::int64_t count, SgdConstants c, bool nesterov) {
    for (std::int64_t i = 0; i < count; ++i) {
      const float g = gradients[i] * c.factor + c.l2 * parameters[i];
      const float m = c.momentum * momentum[i] + g;
      momentum[i] = m;
      parameters[i] -= c.learning_rate * (nesterov ? g + c.momentum * m : m);
    }
  }
};

void SgdCpu(const at::Tensor& parameters, const at::Tensor& gradients, const std::optional<at::Tensor>& momentum,
            const at::Tensor& chunks, const at::Tensor& rules, const at::Tensor& settings, const at::Tensor& state,
            const std::optional<at::Tensor>& places, const std::optional<at::Tensor>& weights) {
  const LowWeightWriter low(places, weights);
  float* const m = CheckSgdBuffers(parameters, gradients, momentum);
  const Chunk* const chunk = Chunks(chunks);
  const UpdateRule* const rule = Struct<UpdateRule>(rules, "rules");
  const OptimizerSettings& optimizer = *Struct<OptimizerSettings>(settings, "settings");
  StepState& step = *Struct<StepState>(state, "state");
  if (step.halt != 0) return;
  step.learning_rate = LearningRateAt(optimizer.schedule, step.step);
  if (step.found_inf != 0) return;

  float* const p = parameters.mutable_data_ptr<float>();
  const float* const g = gradients.const_data_ptr<float>();
  const auto update = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t at = chunk[i].begin;
      const SgdConstants constants = SgdConstantsOf(optimizer, step, step.learning_rate, rule[chunk[i].parameter]);
      if (m == nullptr) {
        cpu::ForHostIsa<PlainKernel>(p + at, g + at, chunk[i].size, constants);
      } else {
        cpu::ForHostIsa<MomentumKernel>(p + at, g + at, m + at, chunk[i].size, constants, optimizer.nesterov != 0);
      }
      low.Store(p, chunk[i]);
    }
  };
  if (parameters.numel() <= cpu::kParallelGrain) {
    update(0, chunks.size(0));
  } else {
    at::parallel_for(0, chunks.size(0), 1, update);
  }
}

TORCH_LIBRARY_FRAGMENT(mantissa, library) {
  library.def(
      "sgd(Tensor(a!) parameters, Tensor gradients, Tensor(b!)? momentum, Tensor chunks, Tensor rules, "
      "Tensor settings, Tensor(c!) state, Tensor? places, Tensor(d!)? weights) -> ()");
}
TORCH_LIBRARY_IMPL(mantissa, CPU, library) { library.impl("sgd", SgdCpu); }
TORCH_LIBRARY_IMPL(mantissa, Autograd, library) { library.impl("sgd", torch::CppFunction::makeFallthrough()); }

}  // namespace
}  // namespace mantissa::trainer::kernels
