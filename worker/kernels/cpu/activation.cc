#include "worker/kernels/cpu/activation.h"

#include <cstring>

#include "worker/kernels/cpu/isa.h"
#include "worker/kernels/cpu/vector_math.h"

namespace mantissa::trainer::cpu {
namespace {

constexpr float kSqrtTwoOverPi = 0.7978845608028654f;
constexpr float kCubic = 0.044715f;

struct Relu {
  static MANTISSA_INLINE void Run(std::int64_t count, float* values) {
    for (std::int64_t i = 0; i < count; ++i) values[i] = values[i] < 0 ? 0 : values[i];
  }
};

struct ReluBackward {
  static MANTISSA_INLINE void Run(std::int64_t count, const float* result, float* gradient) {
    for (std::int64_t i = 0; i < count; ++i) gradient[i] = result[i] <= 0 ? 0 : gradient[i];
  }
};

// Calls `body` on 16 values at a time; the last ones padded with zeros.
template <class Body>
MANTISSA_INLINE void ForVectors(std::int64_t count, const float* saved, float* values, const Body& body) {
  for (std::int64_t i = 0; i < count; i += kLanes) {
    const std::size_t bytes = static_cast<std::size_t>(count - i < kLanes ? count - i : kLanes) * sizeof(float);
    Floats x{}, y{};
    if (bytes == sizeof(Floats)) {
      Load(saved + i, &x);
      Load(values + i, &y);
      body(x, &y);
      Store(y, values + i);
    } else {
      std::memcpy(&x, saved + i, bytes);
      std::memcpy(&y, values + i, bytes);
      body(x, &y);
      std::memcpy(values + i, &y, bytes);
    }
  }
}

struct GeluBody {
  MANTISSA_INLINE void operator()(const Floats& x, Floats* y) const {
    Floats t;
    Tanh((x + x * x * x * kCubic) * kSqrtTwoOverPi, &t);
    *y = 0.5f * x * (1.0f + t);
  }
};

struct GeluBackwardBody {
  MANTISSA_INLINE void operator()(const Floats& x, Floats* gradient) const {
    Floats t;
    Tanh((x + x * x * x * kCubic) * kSqrtTwoOverPi, &t);
    const Floats inner = (1.0f + 3.0f * kCubic * x * x) * kSqrtTwoOverPi;
    *gradient *= 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * inner;
  }
};

struct TanhBody {
  MANTISSA_INLINE void operator()(const Floats& x, Floats* y) const { Tanh(x, y); }
};

struct TanhBackwardBody {
  MANTISSA_INLINE void operator()(const Floats& result, Floats* gradient) const { *gradient *= 1.0f - result * result; }
};

template <class Body>
struct Vectors {
  static MANTISSA_INLINE void Run(std::int64_t count, const float* saved, float* values) {
    ForVectors(count, saved, values, Body());
  }
};

}  // namespace

void Activate(ActivationKind kind, std::int64_t count, float* values) {
  const float* const input = values;
  switch (kind) {
    case ActivationKind::kNone:
      return;
    case ActivationKind::kRelu:
      return ForHostIsa<Relu>(count, values);
    case ActivationKind::kGelu:
      return ForHostIsa<Vectors<GeluBody>>(count, input, values);
    case ActivationKind::kTanh:
      return ForHostIsa<Vectors<TanhBody>>(count, input, values);
  }
}

void ActivateBackward(ActivationKind kind, std::int64_t count, const float* saved, float* gradient) {
  switch (kind) {
    case ActivationKind::kNone:
      return;
    case ActivationKind::kRelu:
      return ForHostIsa<ReluBackward>(count, saved, gradient);
    case ActivationKind::kGelu:
      return ForHostIsa<Vectors<GeluBackwardBody>>(count, saved, gradient);
    case ActivationKind::kTanh:
      return ForHostIsa<Vectors<TanhBackwardBody>>(count, saved, gradient);
  }
}

}  // namespace mantissa::trainer::cpu
