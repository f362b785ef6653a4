// After an applied update: the low-precision weights from the FP32 values, each rounded once to nearest even. A skipped
// iteration writes nothing.
#include <ATen/Parallel.h>
#include <torch/library.h>

#include "worker/kernels/cast_weights/stored_weight.h"
#include "worker/kernels/check.h"
#include "worker/kernels/cpu/convert.h"
#include "worker/kernels/cpu/parallel.h"

namespace mantissa::trainer::kernels {
namespace {

void CastWeightsCpu(const at::Tensor& values, const at::Tensor& chunks, const at::Tensor& places,
                    const at::Tensor& weights, const at::Tensor& state) {
  CheckFlat(values, "values");
  CheckLowFlat(weights, "weights");
  const Chunk* const chunk = Chunks(chunks);
  const StoredWeight* const place = Struct<StoredWeight>(places, "places");
  const StepState& step = *Struct<StepState>(state, "state");
  if (step.halt != 0 || step.found_inf != 0) return;
  const float* const from = values.const_data_ptr<float>();
  auto* const to = static_cast<std::uint16_t*>(weights.mutable_data_ptr());
  const auto cast = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t shift = place[chunk[i].parameter].shift;
      if (shift == StoredWeight::kNowhere) continue;
      cpu::Narrow(weights.scalar_type(), from + chunk[i].begin, chunk[i].size, to + chunk[i].begin + shift);
    }
  };
  if (values.numel() <= cpu::kParallelGrain) {
    cast(0, chunks.size(0));
  } else {
    at::parallel_for(0, chunks.size(0), 1, cast);
  }
}

TORCH_LIBRARY_FRAGMENT(mantissa, library) {
  library.def("cast_weights(Tensor values, Tensor chunks, Tensor places, Tensor(a!) weights, Tensor state) -> ()");
}
TORCH_LIBRARY_IMPL(mantissa, CPU, library) { library.impl("cast_weights", CastWeightsCpu); }
TORCH_LIBRARY_IMPL(mantissa, Autograd, library) { library.impl("cast_weights", torch::CppFunction::makeFallthrough()); }

}  // namespace
}  // namespace mantissa::trainer::kernels
