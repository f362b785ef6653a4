// The low-precision weights from the FP32 values, each rounded once to nearest even.
#include <ATen/Parallel.h>
#include <torch/library.h>

#include "worker/kernels/cast_weights/store_weights.h"
#include "worker/kernels/check.h"
#include "worker/kernels/cpu/parallel.h"

namespace mantissa::trainer::kernels {
namespace {

void CastWeightsCpu(const at::Tensor& values, const at::Tensor& chunks, const at::Tensor& places,
                    const at::Tensor& weights) {
  CheckFlat(values, "values");
  const Chunk* const chunk = Chunks(chunks);
  const LowWeightWriter low(places, weights);
  const float* const from = values.const_data_ptr<float>();
  const auto cast = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) low.Store(from, chunk[i]);
  };
  if (values.numel() <= cpu::kParallelGrain) {
    cast(0, chunks.size(0));
  } else {
    at::parallel_for(0, chunks.size(0), 1, cast);
  }
}

TORCH_LIBRARY_FRAGMENT(mantissa, library) {
  library.def("cast_weights(Tensor values, Tensor chunks, Tensor places, Tensor(a!) weights) -> ()");
}
TORCH_LIBRARY_IMPL(mantissa, CPU, library) { library.impl("cast_weights", CastWeightsCpu); }
TORCH_LIBRARY_IMPL(mantissa, Autograd, library) { library.impl("cast_weights", torch::CppFunction::makeFallthrough()); }

}  // namespace
}  // namespace mantissa::trainer::kernels
