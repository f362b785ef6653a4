// What the ops that put a batch together ask of their arguments, on CPU and CUDA alike.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include "worker/data/sample_order.h"
#include "worker/kernels/check.h"

namespace mantissa::trainer::kernels {

inline std::int64_t* Window(const at::Tensor& window) {
  TORCH_CHECK(window.scalar_type() == at::kLong && window.numel() == 1, "window must be one int64");
  return static_cast<std::int64_t*>(window.data_ptr());
}

inline const WindowRange* SkippedWindows(const at::Tensor& skipped) {
  TORCH_CHECK(
      skipped.scalar_type() == at::kLong && skipped.dim() == 2 && skipped.size(1) == 2 && skipped.is_contiguous(),
      "skipped must be int64 (ranges, 2)");
  return static_cast<const WindowRange*>(skipped.const_data_ptr());
}

// (N, ...) and (N) to (B, ...) and (B). The elements of a sample are returned.
inline std::int64_t CheckFeatureRows(const at::Tensor& features, const at::Tensor& labels, const at::Tensor& input,
                                     const at::Tensor& target) {
  TORCH_CHECK(features.scalar_type() == at::kFloat && features.is_contiguous() && features.dim() >= 1 &&
                  labels.scalar_type() == at::kLong && labels.is_contiguous() && labels.dim() == 1 &&
                  labels.size(0) == features.size(0) && features.numel() > 0,
              "features must be FP32 (N, ...) with an int64 label for each of them");
  TORCH_CHECK(input.scalar_type() == at::kFloat && input.is_contiguous() && input.dim() == features.dim() &&
                  input.sizes().slice(1) == features.sizes().slice(1) && target.scalar_type() == at::kLong &&
                  target.is_contiguous() && target.dim() == 1 && target.size(0) == input.size(0) && input.size(0) > 0,
              "input and target must be a batch of such samples");
  return features.numel() / features.size(0);
}

// (N) to (B, T) and (B x T).
inline void CheckTokenSequences(const at::Tensor& tokens, std::int64_t stride, const at::Tensor& input,
                                const at::Tensor& target) {
  TORCH_CHECK((tokens.scalar_type() == at::kByte || tokens.scalar_type() == at::kInt) && tokens.dim() == 1 &&
                  tokens.is_contiguous() && stride >= 1,
              "tokens must be uint8 or int32 (N)");
  TORCH_CHECK(input.scalar_type() == at::kLong && input.is_contiguous() && input.dim() == 2 && input.numel() > 0 &&
                  target.scalar_type() == at::kLong && target.is_contiguous() && target.dim() == 1 &&
                  target.numel() == input.numel() && tokens.numel() > input.size(1),
              "input and target must be int64 (B, T) and (B x T), with a sequence in the tokens");
}

}  // namespace mantissa::trainer::kernels
