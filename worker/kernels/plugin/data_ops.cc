// Between LibTorch's dispatcher and the kernels around a step: its beginning, the batch it begins with, the record it
// ends with, the ranges that are looked at now and then. Nothing here waits for the device or allocates.
#include <optional>

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "worker/kernels/begin_iteration/begin_iteration.h"
#include "worker/kernels/begin_iteration/begin_iteration_cuda.h"
#include "worker/kernels/count_range/count_range_check.h"
#include "worker/kernels/count_range/count_range_cuda.h"
#include "worker/kernels/gather/gather_check.h"
#include "worker/kernels/gather/gather_cuda.h"
#include "worker/kernels/plugin/device_check.h"
#include "worker/kernels/publish_record/publish_record_check.h"
#include "worker/kernels/publish_record/publish_record_cuda.h"

namespace mantissa::trainer::kernels {
namespace {

void BeginIterationCuda(const at::Tensor& state, double targets, const at::Tensor& seed,
                        const std::optional<at::Tensor>& gradients, const std::optional<at::Tensor>& zeroed,
                        const std::optional<at::Tensor>& skipped, const std::optional<at::Tensor>& window) {
  const IterationBeginning begin = CheckBeginning(state, targets, seed, gradients, zeroed, skipped, window);
  CheckOnDevice(state.device(), {seed});
  for (const auto& tensor : {gradients, zeroed, skipped, window}) {
    if (tensor.has_value()) CheckOnDevice(state.device(), {*tensor});
  }
  const c10::cuda::CUDAGuard guard(state.device());
  cuda::LaunchBeginIteration(begin.state, begin.targets, begin.seed, begin.gradients, begin.zeroed, begin.zeroed_count,
                             begin.skipped, begin.skipped_count, begin.window, c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

cuda::WindowPlaces PlacesOf(const at::Tensor& order, const at::Tensor& window, std::int64_t begin,
                            const at::Tensor& input) {
  return {Struct<SampleOrder>(order, "order"), Window(window), begin, input.size(0)};
}

void GatherFeaturesCuda(const at::Tensor& order, const at::Tensor& window, std::int64_t begin,
                        const at::Tensor& features, const at::Tensor& labels, const at::Tensor& input,
                        const at::Tensor& target) {
  const std::int64_t width = CheckFeatureRows(features, labels, input, target);
  CheckOnDevice(features.device(), {order, window, labels, input, target});
  const c10::cuda::CUDAGuard guard(features.device());
  cuda::LaunchGatherFeatures(PlacesOf(order, window, begin, input),
                             {features.const_data_ptr<float>(), labels.const_data_ptr<std::int64_t>(), width},
                             input.mutable_data_ptr<float>(), target.mutable_data_ptr<std::int64_t>(),
                             c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void GatherTokensCuda(const at::Tensor& order, const at::Tensor& window, std::int64_t begin, const at::Tensor& tokens,
                      std::int64_t stride, const at::Tensor& input, const at::Tensor& target) {
  CheckTokenSequences(tokens, stride, input, target);
  CheckOnDevice(tokens.device(), {order, window, input, target});
  const c10::cuda::CUDAGuard guard(tokens.device());
  cuda::LaunchGatherTokens(PlacesOf(order, window, begin, input),
                           {tokens.const_data_ptr(), tokens.scalar_type() == at::kByte, stride, input.size(1)},
                           input.mutable_data_ptr<std::int64_t>(), target.mutable_data_ptr<std::int64_t>(),
                           c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void PublishRecordCuda(const at::Tensor& state, const at::Tensor& stats, const at::Tensor& cursor,
                       const at::Tensor& ring) {
  CheckOnDevice(state.device(), {stats, cursor, ring});
  const RecordSlots slots = CheckRing(stats, ring);
  const c10::cuda::CUDAGuard guard(state.device());
  cuda::LaunchPublishRecord(Struct<StepState>(state, "state"), Struct<GradientStats>(stats, "stats"),
                            slots.parameter_count, Cursor(cursor), slots.ring, slots.slots,
                            c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void CountRangeCuda(const at::Tensor& values, double flushed_to, double near_max, const at::Tensor& counts) {
  RangeCounts* const to = CheckCounts(values, counts);
  CheckOnDevice(values.device(), {counts});
  if (values.numel() == 0) return;
  const c10::cuda::CUDAGuard guard(values.device());
  cuda::LaunchCountRange(values.const_data_ptr<float>(), values.numel(),
                         {static_cast<float>(flushed_to), static_cast<float>(near_max)}, to,
                         c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

TORCH_LIBRARY_IMPL(mantissa, CUDA, library) {
  library.impl("begin_iteration", BeginIterationCuda);
  library.impl("count_range", CountRangeCuda);
  library.impl("gather_features", GatherFeaturesCuda);
  library.impl("gather_tokens", GatherTokensCuda);
  library.impl("publish_record", PublishRecordCuda);
}

}  // namespace
}  // namespace mantissa::trainer::kernels
