// The batch of the next iteration, found without the host: from the window, which begin_iteration has found, to its
// samples, and a copy of them. The order is BatchPlan's (data/sample_order.h).
#include <cstring>

#include <torch/library.h>

#include "worker/kernels/gather/gather_check.h"

namespace mantissa::trainer::kernels {
namespace {

void GatherFeaturesCpu(const at::Tensor& order, const at::Tensor& window, std::int64_t begin,
                       const at::Tensor& features, const at::Tensor& labels, const at::Tensor& input,
                       const at::Tensor& target) {
  const std::int64_t width = CheckFeatureRows(features, labels, input, target);
  const SampleOrder& samples = *Struct<SampleOrder>(order, "order");
  const float* const from = features.const_data_ptr<float>();
  float* const to = input.mutable_data_ptr<float>();
  for (std::int64_t row = 0; row < input.size(0); ++row) {
    const std::int64_t sample = SampleAt(samples, *Window(window), begin + row);
    std::memcpy(to + row * width, from + sample * width, static_cast<std::size_t>(width) * sizeof(float));
    target.mutable_data_ptr<std::int64_t>()[row] = labels.const_data_ptr<std::int64_t>()[sample];
  }
}

template <class Token>
void CopySequence(const Token* from, std::int64_t context, std::int64_t* input, std::int64_t* target) {
  for (std::int64_t t = 0; t < context; ++t) {
    input[t] = from[t];
    target[t] = from[t + 1];
  }
}

void GatherTokensCpu(const at::Tensor& order, const at::Tensor& window, std::int64_t begin, const at::Tensor& tokens,
                     std::int64_t stride, const at::Tensor& input, const at::Tensor& target) {
  CheckTokenSequences(tokens, stride, input, target);
  const SampleOrder& samples = *Struct<SampleOrder>(order, "order");
  const std::int64_t context = input.size(1);
  std::int64_t* const inputs = input.mutable_data_ptr<std::int64_t>();
  std::int64_t* const targets = target.mutable_data_ptr<std::int64_t>();
  for (std::int64_t row = 0; row < input.size(0); ++row) {
    const std::int64_t at = SampleAt(samples, *Window(window), begin + row) * stride;
    const std::int64_t to = row * context;
    if (tokens.scalar_type() == at::kByte) {
      CopySequence(tokens.const_data_ptr<std::uint8_t>() + at, context, inputs + to, targets + to);
    } else {
      CopySequence(tokens.const_data_ptr<std::int32_t>() + at, context, inputs + to, targets + to);
    }
  }
}

TORCH_LIBRARY_FRAGMENT(mantissa, library) {
  // The samples from place `begin` on in the order of the window; as many as the batch has rows.
  library.def(
      "gather_features(Tensor order, Tensor window, int begin, Tensor features, Tensor labels, Tensor(a!) input, "
      "Tensor(b!) target) -> ()");
  library.def(
      "gather_tokens(Tensor order, Tensor window, int begin, Tensor tokens, int stride, Tensor(a!) input, "
      "Tensor(b!) target) -> ()");
}
TORCH_LIBRARY_IMPL(mantissa, CPU, library) {
  library.impl("gather_features", GatherFeaturesCpu);
  library.impl("gather_tokens", GatherTokensCpu);
}
TORCH_LIBRARY_IMPL(mantissa, Autograd, library) {
  library.impl("gather_features", torch::CppFunction::makeFallthrough());
  library.impl("gather_tokens", torch::CppFunction::makeFallthrough());
}

}  // namespace
}  // namespace mantissa::trainer::kernels
