// The beginning of an iteration: what its backward pass starts with, zeros where gradients are added to, and the window
// that it trains on, which follows from the windows that were consumed.
#include "worker/kernels/begin_iteration/begin_iteration.h"

#include <algorithm>

#include <torch/library.h>

#include "worker/amp/step_decisions.h"

namespace mantissa::trainer::kernels {
namespace {

void BeginIterationCpu(const at::Tensor& state, double targets, const at::Tensor& seed,
                       const std::optional<at::Tensor>& gradients, const std::optional<at::Tensor>& zeroed,
                       const std::optional<at::Tensor>& skipped, const std::optional<at::Tensor>& window) {
  const IterationBeginning beginning = CheckBeginning(state, targets, seed, gradients, zeroed, skipped, window);
  *beginning.seed = BackwardSeedOf(*beginning.state, targets);
  for (std::int64_t i = 0; i < beginning.zeroed_count; ++i) {
    std::fill_n(beginning.gradients + beginning.zeroed[i].begin, beginning.zeroed[i].size, 0.0f);
  }
  if (beginning.window == nullptr) return;
  *beginning.window = WindowAfter(beginning.skipped, beginning.skipped_count, beginning.state->iteration);
}

TORCH_LIBRARY_FRAGMENT(mantissa, library) {
  // `targets`: the window's valid ones; `zeroed`: which parts of the gradients become zero, rows of Chunk; `skipped`:
  // the ranges of windows that the lineage leaves out, int64 (R, 2).
  library.def(
      "begin_iteration(Tensor state, float targets, Tensor(a!) seed, Tensor(b!)? gradients, Tensor? zeroed, "
      "Tensor? skipped, "
      "Tensor(c!)? window) -> ()");
}
TORCH_LIBRARY_IMPL(mantissa, CPU, library) { library.impl("begin_iteration", BeginIterationCpu); }
TORCH_LIBRARY_IMPL(mantissa, Autograd, library) {
  library.impl("begin_iteration", torch::CppFunction::makeFallthrough());
}

}  // namespace
}  // namespace mantissa::trainer::kernels
