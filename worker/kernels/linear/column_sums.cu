#include "worker/kernels/cuda/column_sums.cuh"
#include "worker/kernels/linear/column_sums_cuda.h"

namespace mantissa::trainer::cuda {

void LaunchColumnSums(const float* partials, std::int64_t parts, std::int64_t columns, NumberType type,
                      float* bias_gradient, cudaStream_t stream) {
  if (columns == 0) return;
  const auto launch = [&]<class T>() {
    LaunchAddColumnSums<T>(partials, parts, columns, 1, bias_gradient, nullptr, stream);
  };
  switch (type) {
    case NumberType::kFloat:
      return launch.template operator()<float>();
    case NumberType::kHalf:
      return launch.template operator()<__half>();
    case NumberType::kBfloat16:
      return launch.template operator()<__nv_bfloat16>();
  }
}

}  // namespace mantissa::trainer::cuda
