// The beginning of an iteration: what its backward pass starts with, gradients of zero, and the window that it trains
// on, which follows from the windows that were consumed.
#include "worker/kernels/begin_iteration/begin_iteration.h"

#include <algorithm>

#include <torch/library.h>

#include "worker/amp/step_decisions.h"

namespace mantissa::trainer::kernels {
namespace {

void BeginIterationCpu(const at::Tensor& state, double targets, const at::Tensor& seed,
                       const std::optional<at::Tensor>& gradients, const std::optional<at::Tensor>& skipped,
                       const std::optional<at::Tensor>& window) {
  const IterationBeginning beginning = CheckBeginning(state, targets, seed, gradients, skipped, window);
  *beginning.seed = BackwardSeedOf(*beginning.state, targets);
  std::fill_n(beginning.gradients, beginning.gradient_count, 0.0f);
  if (beginning.window == nullptr) return;
  *beginning.window = WindowAfter(beginning.skipped, beginning.skipped_count, beginning.state->iteration);
}

TORCH_LIBRARY_FRAGMENT(mantissa, library) {
  // `targets`: the window's valid ones; `skipped`: the ranges of windows that the lineage leaves out, int64 (R, 2).
  library.def(
      "begin_iteration(Tensor state, float targets, Tensor(a!) seed, Tensor(b!)? gradients, Tensor? skipped, "
      "Tensor(c!)? window) -> ()");
}
TORCH_LIBRARY_IMPL(mantissa, CPU, library) { library.impl("begin_iteration", BeginIterationCpu); }
TORCH_LIBRARY_IMPL(mantissa, Autograd, library) {
  library.impl("begin_iteration", torch::CppFunction::makeFallthrough());
}

}  // namespace
}  // namespace mantissa::trainer::kernels
