// The residual stream of a transformer in one forward pass: parts are added to it, and norms of it are read.
#pragma once

#include <cstdint>

#include "worker/models/forward_context.h"

namespace mantissa::trainer {

// x in FP32. A part that was added waits for the next norm, so that dropout, sum and norm are one pass over memory. Not
// thread-safe.
class ResidualStream {
 public:
  // `x` (..., d) FP32; `dropout` is that of the parts. References outlive it.
  ResidualStream(const ForwardContext& context, at::Tensor x, double dropout, std::int32_t first_site)
      : context_(context), x_(std::move(x)), dropout_(dropout), site_(first_site) {}

  // At most one part between two norms.
  void Add(at::Tensor part) { part_ = std::move(part); }
  // Pre-norm blocks: the norm of the stream, in the type in which `reader` computes.
  at::Tensor Norm(const LinearParameters& norm, const LinearParameters& reader);
  // Post-norm layers: the stream becomes its norm. Returns it in the type in which `reader` computes; without one,
  // FP32.
  at::Tensor BecomeNorm(const LinearParameters& norm, const LinearParameters* reader);

  const at::Tensor& x() const { return x_; }

 private:
  // The sum and its norm, as `reader` reads it and, where wanted, in FP32.
  struct Normed {
    at::Tensor sum;
    at::Tensor norm;
    at::Tensor read;
  };
  Normed AddPart(const LinearParameters& norm, const LinearParameters* reader, bool wants_norm);

  const ForwardContext& context_;
  at::Tensor x_;
  at::Tensor part_;  // undefined: none waits
  const double dropout_;
  std::int32_t site_;
};

}  // namespace mantissa::trainer
