// What every op over the flat buffers asks of its arguments, on CPU and CUDA alike.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include "worker/amp/step_state.h"

namespace mantissa::trainer::kernels {

inline void CheckFlat(const at::Tensor& tensor, const char* name) {
  TORCH_CHECK(tensor.scalar_type() == at::kFloat && tensor.dim() == 1 && tensor.is_contiguous(), name,
              " must be one flat FP32 buffer");
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

}  // namespace mantissa::trainer::kernels
