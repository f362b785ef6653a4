// attention on the GPU against its twin on the CPU, in FP32 from the same low operands.
#include <cmath>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/gpu/gpu.h"
#include "tests/unit/kernels/ops.h"

namespace mantissa::trainer {
namespace {

struct Mixed {
  at::Tensor result;
  at::Tensor gradient;
};

Mixed On(at::Device device, at::ScalarType type, const at::Tensor& qkv, const at::Tensor& incoming, std::int64_t heads,
         bool causal) {
  const at::Tensor leaf = qkv.to(device).to(type).clone().requires_grad_(true);
  const at::Tensor result = OpAttention(leaf, heads, causal);
  result.backward(incoming.to(device).to(type));
  return {result.detach().cpu().to(at::kDouble), leaf.grad().cpu().to(at::kDouble)};
}

void ExpectClose(const at::Tensor& got, const at::Tensor& want, double tolerance) {
  EXPECT_LE(((got - want).norm() / want.norm()).item<double>(), tolerance) << got.sizes();
}

TEST(GpuAttentionTest, AgreesWithTheCpu) {
  at::manual_seed(41);
  for (const at::ScalarType type : {at::kHalf, at::kBFloat16, at::kFloat}) {
    for (const bool causal : {false, true}) {
      // Time 1 and odd; head dimensions that fused kernels take, and one that they do not.
      for (const auto& [time, width, heads] : {std::tuple(128, 128, 2), std::tuple(77, 64, 4), std::tuple(1, 64, 1),
                                               std::tuple(33, 30, 3), std::tuple(256, 64, 1)}) {
        const at::Tensor qkv = at::randn({3, time, 3 * width}).to(type),
                         incoming = at::randn({3, time, width}).to(type);
        const Mixed cpu = On(at::kCPU, at::kFloat, qkv, incoming, heads, causal);
        const Mixed gpu = On(kGpu, type, qkv, incoming, heads, causal);
        // A few roundings of the type: of the weights, of their gradients, of the result.
        const double tolerance = type == at::kFloat ? 1e-4 : type == at::kHalf ? 2e-3 : 1.5e-2;
        ExpectClose(gpu.result, cpu.result, tolerance);
        ExpectClose(gpu.gradient, cpu.gradient, tolerance);
      }
    }
  }
}

// Each of the three gradients lies where its operand does.
TEST(GpuAttentionTest, GradientsAreThoseOfLibtorchsOwnNodes) {
  at::manual_seed(42);
  const at::Tensor qkv = at::randn({2, 64, 3 * 128}).to(at::kBFloat16).to(kGpu);
  const at::Tensor incoming = at::randn({2, 64, 128}).to(at::kBFloat16).to(kGpu);
  const Mixed ours = On(kGpu, at::kBFloat16, qkv, incoming, 2, true);
  const at::Tensor leaf = qkv.clone().requires_grad_(true);
  const std::vector<at::Tensor> parts = leaf.view({2, 64, 3, 2, 64}).permute({2, 0, 3, 1, 4}).unbind(0);
  const at::Tensor mixed = at::scaled_dot_product_attention(parts[0], parts[1], parts[2], std::nullopt, 0.0, true);
  const at::Tensor result = mixed.transpose(1, 2).reshape({2, 64, 128});
  result.backward(incoming);
  EXPECT_TRUE(at::equal(ours.result, result.detach().cpu().to(at::kDouble)));
  ExpectClose(ours.gradient, leaf.grad().cpu().to(at::kDouble), 1e-3);
}

TEST(GpuAttentionTest, NanReachesTheResultAndTheGradient) {
  at::Tensor qkv = at::randn({1, 64, 3 * 64});
  qkv[0][5][130] = NAN;
  const Mixed gpu = On(kGpu, at::kBFloat16, qkv, at::randn({1, 64, 64}), 1, false);
  EXPECT_TRUE(gpu.result.isnan().any().item<bool>());
  EXPECT_TRUE(gpu.gradient.isnan().any().item<bool>());
}

}  // namespace
}  // namespace mantissa::trainer
