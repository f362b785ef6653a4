// What begin_iteration asks of its arguments, on CPU and CUDA alike.
#pragma once

#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include "worker/amp/step_state.h"
#include "worker/data/sample_order.h"
#include "worker/kernels/check.h"
#include "worker/kernels/gather/gather_check.h"

namespace mantissa::trainer::kernels {

// Where it writes, and what it reads for it. Null: there is none.
struct IterationBeginning {
  const StepState* state = nullptr;
  double targets = 0;  // of the window
  float* seed = nullptr;
  float* gradients = nullptr;
  const Chunk* zeroed = nullptr;  // the parts of the gradients that become zero
  std::int64_t zeroed_count = 0;
  const WindowRange* skipped = nullptr;
  std::int64_t skipped_count = 0;
  std::int64_t* window = nullptr;
};

inline IterationBeginning CheckBeginning(const at::Tensor& state, double targets, const at::Tensor& seed,
                                         const std::optional<at::Tensor>& gradients,
                                         const std::optional<at::Tensor>& zeroed,
                                         const std::optional<at::Tensor>& skipped,
                                         const std::optional<at::Tensor>& window) {
  TORCH_CHECK(targets > 0, "a window without valid targets has no loss");
  TORCH_CHECK(seed.scalar_type() == at::kFloat && seed.numel() == 1, "seed must be one FP32 number");
  TORCH_CHECK(gradients.has_value() == zeroed.has_value(), "gradients and zeroed come together");
  TORCH_CHECK(skipped.has_value() == window.has_value(), "skipped and window come together");
  IterationBeginning beginning;
  beginning.state = Struct<StepState>(state, "state");
  beginning.targets = targets;
  beginning.seed = seed.mutable_data_ptr<float>();
  if (gradients.has_value()) {
    CheckFlat(*gradients, "gradients");
    beginning.gradients = gradients->mutable_data_ptr<float>();
    beginning.zeroed = Chunks(*zeroed);
    beginning.zeroed_count = zeroed->size(0);
  }
  if (window.has_value()) {
    beginning.skipped = SkippedWindows(*skipped);
    beginning.skipped_count = skipped->size(0);
    beginning.window = Window(*window);
  }
  return beginning;
}

}  // namespace mantissa::trainer::kernels
