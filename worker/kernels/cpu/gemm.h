// FP32 matrix products of row-major matrices without strides: a thin layer over the BLAS in LibTorch, because a call
// through at::mm costs as much as the product itself at the sizes of a small model.
#pragma once

#include <cstdint>

namespace mantissa::trainer::cpu {

// c (m, n) = a (m, k) b^T (n, k) + beta c: x w^T of a linear layer.
void MultiplyTransposed(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, const float* b, float beta,
                        float* c);
// c (m, n) = a (m, k) b (k, n) + beta c: the gradient of x.
void Multiply(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, const float* b, float beta, float* c);
// c (m, n) = a^T (k, m) b (k, n) + beta c: the gradient of w.
void TransposedMultiply(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, const float* b, float beta,
                        float* c);

}  // namespace mantissa::trainer::cpu
