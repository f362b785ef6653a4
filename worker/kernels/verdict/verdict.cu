// From the gradients' statistics and the loss to found_inf, cause and factor: one block, which nobody on the host waits
// for. The decision itself is written once, in amp/step_decisions.h.
#include "worker/amp/step_decisions.h"
#include "worker/kernels/cuda/block_reduce.cuh"
#include "worker/kernels/cuda/launch.cuh"
#include "worker/kernels/verdict/verdict_cuda.h"

namespace mantissa::trainer::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void Decide(const GradientStats* stats, std::int64_t parameter_count, const float* loss_sum,
                       const double* wide_loss_sum, double targets, const ScalerSettings* settings, StepState* state) {
  WaitForPrevious();
  double sum_of_squares = 0;
  long long inf_count = 0;
  long long nan_count = 0;
  for (std::int64_t i = threadIdx.x; i < parameter_count; i += kThreads) {
    sum_of_squares += stats[i].sum_of_squares;
    inf_count += stats[i].inf_count;
    nan_count += stats[i].nan_count;
  }
  GradientStats totals;
  totals.sum_of_squares = Reduce<kThreads>(sum_of_squares, Add());
  totals.inf_count = Reduce<kThreads>(inf_count, Add());
  totals.nan_count = Reduce<kThreads>(nan_count, Add());
  if (threadIdx.x != 0) return;
  const double sum = loss_sum != nullptr ? static_cast<double>(*loss_sum) : *wide_loss_sum;
  DecideUpdate(*settings, totals, sum / targets, state);
}

}  // namespace

void LaunchVerdict(const GradientStats* stats, std::int64_t parameter_count, const float* loss_sum,
                   const double* wide_loss_sum, double targets, const ScalerSettings* settings, StepState* state,
                   cudaStream_t stream) {
  LaunchKernel(Decide, 1, kThreads, 0, stream, stats, parameter_count, loss_sum, wide_loss_sum, targets, settings,
               state);
}

}  // namespace mantissa::trainer::cuda
