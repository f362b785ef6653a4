// AdamW and Adam over flat buffers: one pass that unscales, clips, moves the moments and the parameters, and writes
// what is kept of them in a low format. A skipped iteration writes nothing.
#include <ATen/Parallel.h>
#include <torch/library.h>

#include "worker/kernels/adam/adam_update.h"
#include "worker/kernels/cast_weights/store_weights.h"
#include "worker/kernels/check.h"
#include "worker/kernels/cpu/isa.h"
#include "worker/kernels/cpu/parallel.h"

namespace mantissa::trainer::kernels {
namespace {

struct AdamKernel {
  static MANTISSA_INLINE void Run(float* __restrict parameters, const float* __restrict gradients,
                                  float* __restrict exp_avg, float* __restrict exp_avg_sq, std::int64_t count,
                                  AdamConstants c) {
    for (std::int64_t i = 0; i < count; ++i) {
      const float p = parameters[i];
      const float g = Bounded(gradients[i] * c.factor + c.l2 * p);
      const float m = exp_avg[i] + c.one_minus_beta1 * (g - exp_avg[i]);
      const float v = c.beta2 * exp_avg_sq[i] + c.one_minus_beta2 * (g * g);
      exp_avg[i] = m;
      exp_avg_sq[i] = v;
      parameters[i] = c.decay * p - (c.step_size * m) / (__builtin_sqrtf(v) * c.inverse_root + c.epsilon);
    }
  }
};

void AdamCpu(const at::Tensor& parameters, const at::Tensor& gradients, const at::Tensor& exp_avg,
             const at::Tensor& exp_avg_sq, const at::Tensor& chunks, const at::Tensor& rules,
             const at::Tensor& settings, const at::Tensor& state, const std::optional<at::Tensor>& places,
             const std::optional<at::Tensor>& weights) {
  CheckAdamBuffers(parameters, gradients, exp_avg, exp_avg_sq);
  const LowWeightWriter low(places, weights);
  const Chunk* const chunk = Chunks(chunks);
  const UpdateRule* const rule = Struct<UpdateRule>(rules, "rules");
  const OptimizerSettings& optimizer = *Struct<OptimizerSettings>(settings, "settings");
  StepState& step = *Struct<StepState>(state, "state");
  if (step.halt != 0) return;
  step.learning_rate = LearningRateAt(optimizer.schedule, step.step);
  if (step.found_inf != 0) return;

  const AdamUpdate shared = AdamUpdateOf(optimizer, step, step.learning_rate);
  float* const p = parameters.mutable_data_ptr<float>();
  const float* const g = gradients.const_data_ptr<float>();
  float* const m = exp_avg.mutable_data_ptr<float>();
  float* const v = exp_avg_sq.mutable_data_ptr<float>();
  const auto update = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t at = chunk[i].begin;
      cpu::ForHostIsa<AdamKernel>(p + at, g + at, m + at, v + at, chunk[i].size,
                                  AdamConstantsOf(shared, rule[chunk[i].parameter]));
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
  // Both kinds: the settings say which. `weights`: what is kept of the parameters in a low format, as `places` say.
  library.def(
      "adam(Tensor(a!) parameters, Tensor gradients, Tensor(b!) exp_avg, Tensor(c!) exp_avg_sq, Tensor chunks, "
      "Tensor rules, Tensor settings, Tensor(d!) state, Tensor? places, Tensor(e!)? weights) -> ()");
}
TORCH_LIBRARY_IMPL(mantissa, CPU, library) { library.impl("adam", AdamCpu); }
TORCH_LIBRARY_IMPL(mantissa, Autograd, library) { library.impl("adam", torch::CppFunction::makeFallthrough()); }

}  // namespace
}  // namespace mantissa::trainer::kernels
