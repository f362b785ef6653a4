// Between LibTorch's dispatcher and the kernels of a step: from gradients to the next loss scale. Nothing here waits
// for the device or allocates; everything goes to the current stream, so all of it can be captured.
#include <optional>

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "worker/kernels/adam/adam_cuda.h"
#include "worker/kernels/cast_weights/cast_weights_cuda.h"
#include "worker/kernels/cast_weights/store_weights.h"
#include "worker/kernels/check.h"
#include "worker/kernels/grad_stats/grad_stats_cuda.h"
#include "worker/kernels/plugin/device_check.h"
#include "worker/kernels/sgd/sgd_cuda.h"
#include "worker/kernels/update_scale/update_scale_cuda.h"
#include "worker/kernels/verdict/verdict_cuda.h"

namespace mantissa::trainer::kernels {
namespace {

void GradStatsCuda(const at::Tensor& gradients, const at::Tensor& chunks, const at::Tensor& state,
                   const at::Tensor& chunk_stats, const at::Tensor& stats) {
  CheckFlat(gradients, "gradients");
  CheckOnDevice(gradients.device(), {chunks, state, chunk_stats, stats});
  const Chunk* const chunk = Chunks(chunks);
  const std::int64_t chunk_count = chunks.size(0);
  GradientStats* const partial = Struct<GradientStats>(chunk_stats, "chunk_stats");
  GradientStats* const total = Struct<GradientStats>(stats, "stats");
  TORCH_CHECK(StructCount<GradientStats>(chunk_stats) >= chunk_count, "chunk_stats has fewer rows than chunks");
  const c10::cuda::CUDAGuard guard(gradients.device());
  cuda::LaunchGradStats(gradients.const_data_ptr<float>(), gradients.numel(), chunk, chunk_count,
                        Struct<StepState>(state, "state"), partial, total, StructCount<GradientStats>(stats),
                        c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void VerdictCuda(const at::Tensor& stats, const at::Tensor& loss_sum, double targets, const at::Tensor& settings,
                 const at::Tensor& state) {
  CheckOnDevice(stats.device(), {loss_sum, settings, state});
  TORCH_CHECK(loss_sum.numel() == 1, "loss_sum must have one element");
  const bool wide = loss_sum.scalar_type() == at::kDouble;
  const c10::cuda::CUDAGuard guard(stats.device());
  cuda::LaunchVerdict(Struct<GradientStats>(stats, "stats"), StructCount<GradientStats>(stats),
                      wide ? nullptr : loss_sum.const_data_ptr<float>(),
                      wide ? loss_sum.const_data_ptr<double>() : nullptr, targets,
                      Struct<ScalerSettings>(settings, "settings"), Struct<StepState>(state, "state"),
                      c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

using Optional = std::optional<at::Tensor>;

cuda::LowWeights LowWeightsOf(const Optional& places, const Optional& weights, const at::Device& device) {
  if (!CheckLowWeights(places, weights)) return {};
  CheckOnDevice(device, {*places, *weights});
  const bool half = weights->scalar_type() == at::kHalf;
  return {Struct<StoredWeight>(*places, "places"), half ? cuda::NumberType::kHalf : cuda::NumberType::kBfloat16,
          weights->mutable_data_ptr()};
}

void AdamCuda(const at::Tensor& parameters, const at::Tensor& gradients, const at::Tensor& exp_avg,
              const at::Tensor& exp_avg_sq, const at::Tensor& chunks, const at::Tensor& rules,
              const at::Tensor& settings, const at::Tensor& state, const Optional& places, const Optional& weights) {
  CheckAdamBuffers(parameters, gradients, exp_avg, exp_avg_sq);
  CheckOnDevice(parameters.device(), {gradients, exp_avg, exp_avg_sq, chunks, rules, settings, state});
  const c10::cuda::CUDAGuard guard(parameters.device());
  cuda::LaunchAdam({parameters.mutable_data_ptr<float>(), gradients.const_data_ptr<float>(),
                    exp_avg.mutable_data_ptr<float>(), exp_avg_sq.mutable_data_ptr<float>()},
                   Chunks(chunks), chunks.size(0), Struct<UpdateRule>(rules, "rules"),
                   Struct<OptimizerSettings>(settings, "settings"), Struct<StepState>(state, "state"),
                   LowWeightsOf(places, weights, parameters.device()), c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void SgdCuda(const at::Tensor& parameters, const at::Tensor& gradients, const std::optional<at::Tensor>& momentum,
             const at::Tensor& chunks, const at::Tensor& rules, const at::Tensor& settings, const at::Tensor& state,
             const Optional& places, const Optional& weights) {
  float* const m = CheckSgdBuffers(parameters, gradients, momentum);
  CheckOnDevice(parameters.device(), {gradients, chunks, rules, settings, state});
  if (m != nullptr) CheckOnDevice(parameters.device(), {*momentum});
  const c10::cuda::CUDAGuard guard(parameters.device());
  cuda::LaunchSgd({parameters.mutable_data_ptr<float>(), gradients.const_data_ptr<float>(), m}, Chunks(chunks),
                  chunks.size(0), Struct<UpdateRule>(rules, "rules"), Struct<OptimizerSettings>(settings, "settings"),
                  Struct<StepState>(state, "state"), LowWeightsOf(places, weights, parameters.device()),
                  c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void CastWeightsCuda(const at::Tensor& values, const at::Tensor& chunks, const at::Tensor& places,
                     const at::Tensor& weights) {
  CheckFlat(values, "values");
  CheckOnDevice(values.device(), {chunks});
  const c10::cuda::CUDAGuard guard(values.device());
  cuda::LaunchCastWeights(values.const_data_ptr<float>(), Chunks(chunks), chunks.size(0),
                          LowWeightsOf(places, weights, values.device()), c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void UpdateScaleCuda(const at::Tensor& settings, const at::Tensor& state) {
  CheckOnDevice(settings.device(), {state});
  const c10::cuda::CUDAGuard guard(settings.device());
  cuda::LaunchUpdateScale(Struct<ScalerSettings>(settings, "settings"), Struct<StepState>(state, "state"),
                          c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

TORCH_LIBRARY_IMPL(mantissa, CUDA, library) {
  library.impl("grad_stats", GradStatsCuda);
  library.impl("verdict", VerdictCuda);
  library.impl("adam", AdamCuda);
  library.impl("sgd", SgdCuda);
  library.impl("cast_weights", CastWeightsCuda);
  library.impl("update_scale", UpdateScaleCuda);
}

}  // namespace
}  // namespace mantissa::trainer::kernels
