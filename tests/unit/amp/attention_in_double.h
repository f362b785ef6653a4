// Attention from its definition, in double: what the policy's and the models' are compared with.
#pragma once

#include <cmath>
#include <limits>

#include <ATen/ATen.h>

namespace mantissa::trainer {

// qkv (B, T, 3 d) double -> (B, T, d). Causal: a position that may not be seen has the score -Inf.
inline at::Tensor AttentionInDouble(const at::Tensor& qkv, std::int64_t heads, bool causal) {
  const std::int64_t batch = qkv.size(0), time = qkv.size(1), width = qkv.size(2) / 3, each = width / heads;
  const auto part = [&](std::int64_t i) {
    return qkv.narrow(2, i * width, width).reshape({batch, time, heads, each}).transpose(1, 2);
  };
  at::Tensor scores = part(0).matmul(part(1).transpose(-2, -1)) / std::sqrt(static_cast<double>(each));
  if (causal) {
    const at::Tensor later = at::ones({time, time}, at::kBool).triu(1);
    scores = scores.masked_fill(later, -std::numeric_limits<double>::infinity());
  }
  return at::softmax(scores, -1).matmul(part(2)).transpose(1, 2).reshape({batch, time, width});
}

}  // namespace mantissa::trainer
