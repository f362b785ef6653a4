// The operations a model is made of, each in the number formats of the precision table: casts are explicit, autocast
// is never used.
#pragma once

#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include "mantissa/v1/training.pb.h"

namespace mantissa::trainer {

enum class Activation { kNone, kRelu, kGelu, kTanh };  // kGelu: the tanh approximation

Activation ActivationFrom(v1::Activation::Function function);  // unspecified: kRelu

// Where a random draw stands. Equal keys draw equal numbers, on CPU and CUDA, whatever was drawn before.
struct RandomKey {
  std::uint64_t seed = 0;
  std::int32_t iteration = 0;
  std::int32_t micro_batch = 0;
};

// The type that weights are stored in beside their FP32 masters; nothing where there are no others.
std::optional<at::ScalarType> StoredWeightType(const v1::PrecisionSpec& precision);

// FP32 in FP32 mode; else products in the compute type and norms, softmax, sums and the loss in FP32. FP16 on CPU
// casts to FP32, computes there and rounds each result once, as tensor cores do: CPUs have no FP16 arithmetic worth
// using. Parameters are FP32 leaves whose .grad is set: gradients are added into it. Immutable; thread-safe.
class PrecisionPolicy {
 public:
  explicit PrecisionPolicy(v1::PrecisionSpec::Mode mode);

  v1::PrecisionSpec::Mode mode() const { return mode_; }
  at::ScalarType compute_type() const { return compute_type_; }

  // x (..., in), weight (out, in), bias (out) or undefined -> (..., out) in the compute type. The activation is applied
  // to the rounded product. `stored`: the weight in a low format, read instead where that is the compute type.
  at::Tensor Linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                    Activation activation = Activation::kNone, const at::Tensor& stored = {}) const;
  // x (..., d), FP32 inside and out.
  at::Tensor LayerNorm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                       double epsilon = 1e-5) const;
  // qkv (B, T, 3 d) -> (B, T, d) in the compute type; softmax in FP32.
  at::Tensor Attention(const at::Tensor& qkv, std::int64_t heads, bool causal) const;
  // x + y in the wider of their types.
  at::Tensor Add(const at::Tensor& x, const at::Tensor& y) const;
  // tokens (...) int64 -> (..., d) FP32.
  at::Tensor Embedding(const at::Tensor& weight, const at::Tensor& tokens) const;
  // Keeps the type of x. `site` tells apart the dropouts of one forward pass. probability 0: x itself.
  at::Tensor Dropout(const at::Tensor& x, double probability, const RandomKey& key, std::int32_t site) const;
  // logits (N, C), targets (N) int64 in [0, C) or kIgnored -> sum of the losses of the valid rows, FP32, 0-dim.
  at::Tensor CrossEntropy(const at::Tensor& logits, const at::Tensor& targets) const;

  static constexpr std::int64_t kIgnored = -100;

 private:
  v1::PrecisionSpec::Mode mode_;
  at::ScalarType compute_type_;
};

}  // namespace mantissa::trainer
