#include "worker/trainer/tensor_type.h"

namespace mantissa::trainer {

std::optional<TensorType> TypeOf(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return TensorType::kF32;
    case at::kDouble:
      return TensorType::kF64;
    case at::kHalf:
      return TensorType::kF16;
    case at::kBFloat16:
      return TensorType::kBF16;
    case at::kLong:
      return TensorType::kI64;
    case at::kInt:
      return TensorType::kI32;
    case at::kByte:
      return TensorType::kU8;
    case at::kBool:
      return TensorType::kBool;
    default:
      return std::nullopt;
  }
}

std::optional<at::ScalarType> ScalarTypeOf(TensorType type) {
  for (const at::ScalarType candidate :
       {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kByte, at::kBool}) {
    if (TypeOf(candidate) == type) return candidate;
  }
  return std::nullopt;
}

}  // namespace mantissa::trainer
