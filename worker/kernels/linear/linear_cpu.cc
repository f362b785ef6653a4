#include "worker/kernels/linear/linear_cpu.h"

#include <cstring>
#include <optional>

#include "worker/amp/cpu_arithmetic.h"
#include "worker/kernels/cpu/convert.h"
#include "worker/kernels/cpu/gemm.h"
#include "worker/kernels/cpu/isa.h"
#include "worker/kernels/cpu/parallel.h"
#include "worker/kernels/cpu/scratch.h"

namespace mantissa::trainer::cpu {
namespace {

// Above this many products the library's BF16 product is faster where the CPU has BF16 arithmetic (measured: equal at
// 128 x 128 x 128, 1.6x at 256 cubed, 2.5x at 512 cubed).
constexpr std::int64_t kBfloat16ProductsByFloat = std::int64_t{1} << 21;

const float* Floats32(const at::Tensor& tensor) { return tensor.const_data_ptr<float>(); }

// `tensor`, in FP32 or `compute`, as FP32 values that `compute` can hold; in place where that is nothing to do.
class Rounded {
 public:
  Rounded(at::ScalarType compute, const at::Tensor& tensor) {
    if (compute == at::kFloat) {
      data_ = Floats32(tensor);
      return;
    }
    const std::int64_t count = tensor.numel();
    scratch_.emplace(count);
    float* const to = scratch_->get();
    data_ = to;
    const at::ScalarType type = tensor.scalar_type();
    if (type == at::kFloat) {
      const float* const from = Floats32(tensor);
      ForRange(count, [&](std::int64_t begin, std::int64_t end) {
        RoundThrough(compute, from + begin, end - begin, to + begin);
      });
    } else {
      const char* const from = static_cast<const char*>(tensor.const_data_ptr());
      ForRange(count,
               [&](std::int64_t begin, std::int64_t end) { Widen(type, from + begin * 2, end - begin, to + begin); });
    }
  }

  const float* get() const { return data_; }

 private:
  std::optional<Scratch> scratch_;
  const float* data_ = nullptr;
};

// FP32 values into a tensor of either type.
void Write(const float* from, const at::Tensor& to) {
  const at::ScalarType type = to.scalar_type();
  char* const data = static_cast<char*>(to.mutable_data_ptr());
  const std::int64_t width = type == at::kFloat ? 4 : 2;
  ForRange(to.numel(), [&](std::int64_t begin, std::int64_t end) {
    Narrow(type, from + begin, end - begin, data + begin * width);
  });
}

void FillRows(const float* row, std::int64_t rows, std::int64_t columns, float* to) {
  for (std::int64_t i = 0; i < rows; ++i) {
    std::memcpy(to + i * columns, row, static_cast<std::size_t>(columns) * sizeof(float));
  }
}

// Sums of columns, in double: a bias gradient adds up as many terms as there are rows. 8 columns at a time.
struct SumColumns {
  static MANTISSA_INLINE void Run(const float* from, std::int64_t rows, std::int64_t columns, float* to) {
    std::int64_t column = 0;
    for (; column + kLanes <= columns; column += kLanes) {
      Doubles low{}, high{};
      for (std::int64_t row = 0; row < rows; ++row) {
        HalfFloats halves[2];
        __builtin_memcpy(halves, from + row * columns + column, sizeof(halves));
        low += __builtin_convertvector(halves[0], Doubles);
        high += __builtin_convertvector(halves[1], Doubles);
      }
      const HalfFloats sums[2] = {__builtin_convertvector(low, HalfFloats), __builtin_convertvector(high, HalfFloats)};
      __builtin_memcpy(to + column, sums, sizeof(sums));
    }
    for (; column < columns; ++column) {
      double sum = 0;
      for (std::int64_t row = 0; row < rows; ++row) sum += static_cast<double>(from[row * columns + column]);
      to[column] = static_cast<float>(sum);
    }
  }
};

}  // namespace

bool LinearPays(at::ScalarType compute, const LinearShape& shape) {
  if (compute != at::kBFloat16 || !CpuHasBfloat16()) return true;
  return shape.rows * shape.in * shape.out <= kBfloat16ProductsByFloat;
}

void LinearForward(at::ScalarType compute, const LinearShape& shape, const at::Tensor& x, const at::Tensor& weight,
                   const at::Tensor& bias, ActivationKind activation, const at::Tensor& before,
                   const at::Tensor& result) {
  const std::int64_t count = shape.rows * shape.out;
  const Rounded input(compute, x);
  const Rounded weights(compute, weight);
  std::optional<Scratch> scratch;
  const bool in_place = compute == at::kFloat;
  if (!in_place) scratch.emplace(count);
  float* const product = in_place ? result.mutable_data_ptr<float>() : scratch->get();
  if (bias.defined()) {
    const Rounded biases(compute, bias);
    FillRows(biases.get(), shape.rows, shape.out, product);
  }
  MultiplyTransposed(shape.rows, shape.out, shape.in, input.get(), weights.get(), bias.defined() ? 1.0f : 0.0f,
                     product);
  if (activation != ActivationKind::kNone && activation != ActivationKind::kRelu) {
    // The activation sees the rounded product. (ReLU of a rounded value is the rounded ReLU.)
    ForRange(count, [&](std::int64_t begin, std::int64_t end) {
      RoundThrough(compute, product + begin, end - begin, product + begin);
    });
  }
  if (before.defined()) Write(product, before);
  ForRange(count, [&](std::int64_t begin, std::int64_t end) { Activate(activation, end - begin, product + begin); });
  if (!in_place) Write(product, result);
}

void LinearBackward(at::ScalarType compute, const LinearShape& shape, const at::Tensor& gradient,
                    const at::Tensor& saved, ActivationKind activation, const at::Tensor& x, const at::Tensor& weight,
                    const at::Tensor& weight_gradient, const at::Tensor& bias_gradient,
                    const at::Tensor& input_gradient) {
  const std::int64_t count = shape.rows * shape.out;
  const Rounded incoming(compute, gradient);
  const float* outgoing = incoming.get();
  std::optional<Scratch> scratch;
  if (activation != ActivationKind::kNone) {
    scratch.emplace(count);
    float* const to = scratch->get();
    const Rounded kept(compute, saved);
    ForRange(count, [&](std::int64_t begin, std::int64_t end) {
      std::memcpy(to + begin, outgoing + begin, static_cast<std::size_t>(end - begin) * sizeof(float));
      ActivateBackward(activation, end - begin, kept.get() + begin, to + begin);
      RoundThrough(compute, to + begin, end - begin, to + begin);
    });
    outgoing = to;
  }

  if (weight_gradient.defined()) {
    const Rounded input(compute, x);
    float* const to = weight_gradient.mutable_data_ptr<float>();
    if (compute == at::kFloat) {
      TransposedMultiply(shape.out, shape.in, shape.rows, outgoing, input.get(), 1, to);
    } else {
      const Scratch product(shape.out * shape.in);
      TransposedMultiply(shape.out, shape.in, shape.rows, outgoing, input.get(), 0, product.get());
      ForRange(shape.out * shape.in, [&](std::int64_t begin, std::int64_t end) {
        RoundAndAdd(compute, product.get() + begin, end - begin, to + begin);
      });
    }
  }
  if (bias_gradient.defined()) {
    const Scratch sums(shape.out);
    ForHostIsa<SumColumns>(outgoing, shape.rows, shape.out, sums.get());
    RoundAndAdd(compute, sums.get(), shape.out, bias_gradient.mutable_data_ptr<float>());
  }
  if (input_gradient.defined()) {
    const Rounded weights(compute, weight);
    if (input_gradient.scalar_type() == at::kFloat && compute == at::kFloat) {
      Multiply(shape.rows, shape.in, shape.out, outgoing, weights.get(), 0, input_gradient.mutable_data_ptr<float>());
    } else {
      const Scratch product(shape.rows * shape.in);
      Multiply(shape.rows, shape.in, shape.out, outgoing, weights.get(), 0, product.get());
      RoundThrough(compute, product.get(), shape.rows * shape.in, product.get());
      Write(product.get(), input_gradient);
    }
  }
}

}  // namespace mantissa::trainer::cpu
