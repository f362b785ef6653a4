// What the ops ask of their arguments, on CPU and CUDA alike.
#pragma once

#include <optional>

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include "worker/amp/step_state.h"

namespace mantissa::trainer::kernels {

inline void CheckFlat(const at::Tensor& tensor, const char* name) {
  TORCH_CHECK(tensor.scalar_type() == at::kFloat && tensor.dim() == 1 && tensor.is_contiguous(), name,
              " must be one flat FP32 buffer");
}

inline void CheckLowFlat(const at::Tensor& tensor, const char* name) {
  TORCH_CHECK((tensor.scalar_type() == at::kHalf || tensor.scalar_type() == at::kBFloat16) && tensor.dim() == 1 &&
                  tensor.is_contiguous(),
              name, " must be one flat FP16 or BF16 buffer");
}

// Plain data in a byte tensor.
template <class T>
T* Struct(const at::Tensor& tensor, const char* name) {
  TORCH_CHECK(tensor.scalar_type() == at::kByte && tensor.is_contiguous() &&
                  tensor.numel() >= static_cast<std::int64_t>(sizeof(T)),
              name, " must be a byte tensor of at least ", sizeof(T), " bytes");
  return reinterpret_cast<T*>(tensor.data_ptr());
}

// As many structs as the tensor holds.
template <class T>
std::int64_t StructCount(const at::Tensor& tensor) {
  return tensor.numel() / static_cast<std::int64_t>(sizeof(T));
}

inline const Chunk* Chunks(const at::Tensor& tensor) {
  TORCH_CHECK(tensor.scalar_type() == at::kLong && tensor.dim() == 2 && tensor.size(1) == 4 && tensor.is_contiguous(),
              "chunks must be int64 (chunks, 4)");
  return reinterpret_cast<const Chunk*>(tensor.data_ptr());
}

// The buffers of an Adam step.
inline void CheckAdamBuffers(const at::Tensor& parameters, const at::Tensor& gradients, const at::Tensor& exp_avg,
                             const at::Tensor& exp_avg_sq) {
  CheckFlat(parameters, "parameters");
  CheckFlat(gradients, "gradients");
  CheckFlat(exp_avg, "exp_avg");
  CheckFlat(exp_avg_sq, "exp_avg_sq");
  const std::int64_t size = parameters.numel();
  TORCH_CHECK(gradients.numel() == size && exp_avg.numel() == size && exp_avg_sq.numel() == size,
              "parameters, gradients and moments must have one layout");
}

// The buffers of an SGD step. Returns the momentum's values, null where there is none.
inline float* CheckSgdBuffers(const at::Tensor& parameters, const at::Tensor& gradients,
                              const std::optional<at::Tensor>& momentum) {
  CheckFlat(parameters, "parameters");
  CheckFlat(gradients, "gradients");
  const std::int64_t size = parameters.numel();
  TORCH_CHECK(gradients.numel() == size, "parameters and gradients must have one layout");
  if (!momentum.has_value() || !momentum->defined()) return nullptr;
  CheckFlat(*momentum, "momentum");
  TORCH_CHECK(momentum->numel() == size, "parameters and momentum must have one layout");
  return momentum->mutable_data_ptr<float>();
}

inline void CheckLogits(const at::Tensor& logits, const at::Tensor& targets) {
  TORCH_CHECK(logits.dim() == 2 && logits.is_floating_point(), "logits must be (rows, classes) of a float type");
  TORCH_CHECK(targets.dim() == 1 && targets.scalar_type() == at::kLong && targets.size(0) == logits.size(0),
              "targets must be int64, one per row of the logits");
}

}  // namespace mantissa::trainer::kernels
