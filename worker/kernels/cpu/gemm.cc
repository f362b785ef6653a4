#include "worker/kernels/cpu/gemm.h"

#include <limits>

#include <ATen/ops/addmm.h>
#include <ATen/ops/from_blob.h>
#include <c10/util/Exception.h>

// The Fortran interface: column-major, so our row-major matrices are its transposes. Weak, because a LibTorch built
// with another BLAS need not export it.
extern "C" __attribute__((weak)) void sgemm_(const char* transa, const char* transb, const int* m, const int* n,
                                             const int* k, const float* alpha, const float* a, const int* lda,
                                             const float* b, const int* ldb, const float* beta, float* c,
                                             const int* ldc);

namespace mantissa::trainer::cpu {
namespace {

at::Tensor Matrix(const float* data, std::int64_t rows, std::int64_t columns) {
  return at::from_blob(const_cast<float*>(data), {rows, columns}, at::kFloat);
}

// c^T (n, m) = op(b) op(a) + beta c^T, all column-major.
void Sgemm(char transb, char transa, std::int64_t m, std::int64_t n, std::int64_t k, const float* b, std::int64_t ldb,
           const float* a, std::int64_t lda, float beta, float* c) {
  constexpr std::int64_t kMax = std::numeric_limits<int>::max();
  TORCH_CHECK(m <= kMax && n <= kMax && k <= kMax, "a matrix of ", m, " x ", n, " x ", k, " is too large");
  if (m == 0 || n == 0) return;
  if (sgemm_ == nullptr) {
    at::Tensor out = Matrix(c, m, n);
    const at::Tensor left = transa == 'N' ? Matrix(a, m, k) : Matrix(a, k, m).t();
    const at::Tensor right = transb == 'N' ? Matrix(b, k, n) : Matrix(b, n, k).t();
    at::addmm_out(out, out, left, right, beta);
    return;
  }
  const int rows = static_cast<int>(n);
  const int columns = static_cast<int>(m);
  const int inner = static_cast<int>(k);
  const int stride_b = static_cast<int>(ldb > 0 ? ldb : 1);
  const int stride_a = static_cast<int>(lda > 0 ? lda : 1);
  const float one = 1;
  sgemm_(&transb, &transa, &rows, &columns, &inner, &one, b, &stride_b, a, &stride_a, &beta, c, &rows);
}

}  // namespace

void MultiplyTransposed(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, const float* b, float beta,
                        float* c) {
  Sgemm('T', 'N', m, n, k, b, k, a, k, beta, c);
}

void Multiply(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, const float* b, float beta, float* c) {
  Sgemm('N', 'N', m, n, k, b, n, a, k, beta, c);
}

void TransposedMultiply(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, const float* b, float beta,
                        float* c) {
  Sgemm('N', 'T', m, n, k, b, n, a, m, beta, c);
}

}  // namespace mantissa::trainer::cpu
