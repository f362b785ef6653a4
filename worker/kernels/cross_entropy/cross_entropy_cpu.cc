#include "worker/kernels/cross_entropy/cross_entropy_cpu.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include <ATen/Parallel.h>

#include "worker/kernels/cpu/convert.h"
#include "worker/kernels/cpu/isa.h"
#include "worker/kernels/cpu/parallel.h"
#include "worker/kernels/cpu/scratch.h"
#include "worker/kernels/cpu/vector_math.h"
#include "worker/kernels/cross_entropy/cross_entropy.h"

namespace mantissa::trainer::cpu {
namespace {

using kernels::kIgnoredTarget;

// The last vector of a row is padded with -Inf, whose exponential is 0.
MANTISSA_INLINE void LoadLogits(const float* row, std::int64_t classes, std::int64_t at, Floats* to) {
  if (classes - at >= kLanes) {
    Load(row + at, to);
  } else {
    Fill(-__builtin_inff(), to);
    __builtin_memcpy(to, row + at, static_cast<std::size_t>(classes - at) * sizeof(float));
  }
}

struct Normalizer {
  // Writes the row's largest logit and the sum of exponentials below it. NaN anywhere in the row makes the sum NaN.
  static MANTISSA_INLINE void Run(const float* row, std::int64_t classes, float* largest, float* sum) {
    Floats running;
    Fill(-__builtin_inff(), &running);
    for (std::int64_t at = 0; at < classes; at += kLanes) {
      Floats x;
      LoadLogits(row, classes, at, &x);
      const Ints greater = x > running;
      Select(greater, x, running, &running);
    }
    float max = running[0];
    for (std::int64_t lane = 1; lane < kLanes; ++lane) max = running[lane] > max ? running[lane] : max;
    Floats total{};
    for (std::int64_t at = 0; at < classes; at += kLanes) {
      Floats x, e;
      LoadLogits(row, classes, at, &x);
      Exp(x - max, &e);
      total += e;
    }
    float result = 0;
    for (std::int64_t lane = 0; lane < kLanes; ++lane) result += total[lane];
    *largest = max;
    *sum = result;
  }
};

struct Softmax {
  // to = exp(row - normalizer) x gradient.
  static MANTISSA_INLINE void Run(const float* row, std::int64_t classes, float normalizer, float gradient, float* to) {
    for (std::int64_t at = 0; at < classes; at += kLanes) {
      Floats x, e;
      LoadLogits(row, classes, at, &x);
      Exp(x - normalizer, &e);
      e = e * gradient;
      const std::int64_t left = classes - at;
      __builtin_memcpy(to + at, &e, static_cast<std::size_t>(left < kLanes ? left : kLanes) * sizeof(float));
    }
  }
};

// Rows of logits as FP32, whatever their type.
class Rows {
 public:
  explicit Rows(const at::Tensor& logits)
      : type_(logits.scalar_type()),
        classes_(logits.size(1)),
        data_(static_cast<const char*>(logits.const_data_ptr())),
        scratch_(type_ == at::kFloat ? 0 : classes_) {}

  // Valid until the next call.
  const float* operator[](std::int64_t row) const {
    if (type_ == at::kFloat) return reinterpret_cast<const float*>(data_) + row * classes_;
    Widen(type_, data_ + row * classes_ * 2, classes_, scratch_.get());
    return scratch_.get();
  }

 private:
  at::ScalarType type_;
  std::int64_t classes_;
  const char* data_;
  Scratch scratch_;
};

std::int64_t RowGrain(std::int64_t classes) {
  return std::max<std::int64_t>(1, kParallelGrain / std::max<std::int64_t>(classes, 1));
}

template <class Body>
void ForRows(std::int64_t rows, std::int64_t classes, const Body& body) {
  if (rows * classes <= kParallelGrain) {
    body(std::int64_t{0}, rows);
  } else {
    at::parallel_for(0, rows, RowGrain(classes), body);
  }
}

}  // namespace

void CrossEntropyForward(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& sum,
                         const at::Tensor& normalizers) {
  const std::int64_t rows = logits.size(0);
  const std::int64_t classes = logits.size(1);
  const std::int64_t* const target = targets.const_data_ptr<std::int64_t>();
  for (std::int64_t row = 0; row < rows; ++row) {
    TORCH_CHECK((target[row] >= 0 && target[row] < classes) || target[row] == kIgnoredTarget, "target ", target[row],
                " in row ", row, " is not one of the ", classes, " classes");
  }
  float* const normalizer = normalizers.mutable_data_ptr<float>();
  const Scratch losses(rows);
  ForRows(rows, classes, [&](std::int64_t begin, std::int64_t end) {
    const Rows read(logits);
    for (std::int64_t row = begin; row < end; ++row) {
      if (target[row] == kIgnoredTarget) {
        normalizer[row] = 0;
        losses.get()[row] = 0;
        continue;
      }
      const float* const values = read[row];
      float largest = 0;
      float total = 0;
      ForHostIsa<Normalizer>(values, classes, &largest, &total);
      const double log_total = std::log(static_cast<double>(total));
      normalizer[row] = static_cast<float>(largest + log_total);
      // Not from the rounded normalizer: the two large numbers cancel.
      losses.get()[row] = static_cast<float>((static_cast<double>(largest) - values[target[row]]) + log_total);
    }
  });
  double total = 0;
  for (std::int64_t row = 0; row < rows; ++row) total += losses.get()[row];
  *sum.mutable_data_ptr<float>() = static_cast<float>(total);
}

void CrossEntropyBackward(const at::Tensor& gradient, const at::Tensor& logits, const at::Tensor& targets,
                          const at::Tensor& normalizers, const at::Tensor& result) {
  const std::int64_t rows = logits.size(0);
  const std::int64_t classes = logits.size(1);
  const std::int64_t* const target = targets.const_data_ptr<std::int64_t>();
  const float* const normalizer = normalizers.const_data_ptr<float>();
  const float incoming = *gradient.const_data_ptr<float>();
  const at::ScalarType type = result.scalar_type();
  const std::int64_t width = type == at::kFloat ? 4 : 2;
  char* const to = static_cast<char*>(result.mutable_data_ptr());
  ForRows(rows, classes, [&](std::int64_t begin, std::int64_t end) {
    const Rows read(logits);
    const Scratch row_gradient(classes);
    float* const out = row_gradient.get();
    for (std::int64_t row = begin; row < end; ++row) {
      if (target[row] == kIgnoredTarget) {
        std::memset(to + row * classes * width, 0, static_cast<std::size_t>(classes * width));
        continue;
      }
      ForHostIsa<Softmax>(read[row], classes, normalizer[row], incoming, out);
      out[target[row]] -= incoming;
      Narrow(type, out, classes, to + row * classes * width);
    }
  });
}

}  // namespace mantissa::trainer::cpu
