// Gradients of weights: a product's added to the FP32 sum, or written as its first part. And the activation that a
// product applies itself. Against LibTorch's ops.
#include <cmath>
#include <limits>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/gpu/gpu.h"
#include "tests/unit/kernels/ops.h"
#include "worker/amp/op.h"
#include "worker/kernels/parameter_gradient.h"
#include "worker/models/parameter_buffer.h"

namespace mantissa::trainer {
namespace {

class GpuWeightGradientTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  GpuWeightGradientTest() { at::manual_seed(41); }
};

void Add(const at::Tensor& gradient, const at::Tensor& part) {
  FindOp<void(const at::Tensor&, const at::Tensor&)>("mantissa::add_gradient").call(gradient, part);
}

TEST_P(GpuWeightGradientTest, AddsTheBitsOfLibtorchAtAnySizeAndBegin) {
  for (const std::int64_t size : {0, 1, 7, 8, 9, 2047, 2048, 2049, 100003}) {
    for (const std::int64_t begin : {0, 1, 4}) {
      at::Tensor gradient = at::randn({size + begin}), part = at::randn({size + begin}).to(GetParam());
      if (size > 8) {
        part[begin + 3] = std::numeric_limits<float>::infinity();
        part[begin + 5] = std::numeric_limits<float>::quiet_NaN();
      }
      const at::Tensor got = gradient.to(kGpu), low = part.to(kGpu);
      Add(got.narrow(0, begin, size), low.narrow(0, begin, size));
      gradient.narrow(0, begin, size).add_(part.narrow(0, begin, size));
      EXPECT_TRUE(at::allclose(got.cpu(), gradient, 0, 0, /*equal_nan=*/true)) << size << " from " << begin;
    }
  }
}

TEST_P(GpuWeightGradientTest, TakesATransposedPart) {
  const at::Tensor gradient = at::randn({33, 65}), part = at::randn({65, 33}).to(GetParam());
  const at::Tensor got = gradient.to(kGpu);
  Add(got, part.to(kGpu).t());
  EXPECT_TRUE(at::equal(got.cpu(), gradient + part.t()));
}

// Wide enough for a product of LibTorch's.
TEST_P(GpuWeightGradientTest, AReluThatTheProductAppliesIsLibtorchs) {
  at::Tensor x = at::randn({192, 640}).to(kGpu);
  const at::Tensor weight = (at::randn({512, 640}) / 25).to(kGpu), bias = at::randn({512}).to(kGpu);
  x[1][2] = std::numeric_limits<float>::quiet_NaN();
  x[3][4] = std::numeric_limits<float>::infinity();
  const auto linear = [&](std::int64_t activation) { return OpLinear(x, weight, bias, GetParam(), activation); };
  const at::Tensor got = linear(1), want = at::relu(linear(0));
  EXPECT_TRUE(at::allclose(got, want, GetParam() == at::kFloat ? 1e-5 : 0x1p-7, 1e-5, /*equal_nan=*/true));
  EXPECT_TRUE(got[1].isnan().all().item<bool>());
  EXPECT_GT(got[3].isinf().sum().item<std::int64_t>(), 100);
}

// A layer that LibTorch's products compute, its gradients and what they should be.
struct WideLayer {
  at::ScalarType type;
  at::Tensor x = at::randn({512, 640}), weight = at::randn({384, 640}), incoming = at::randn({512, 384});
  at::Tensor on_gpu = weight.to(kGpu).requires_grad_();

  // In FP32, of what the products read.
  at::Tensor Part() const {
    return at::mm(incoming.to(type).to(at::kDouble).t(), x.to(type).to(at::kDouble)).to(at::kFloat);
  }
  void Backward() const { OpLinear(x.to(kGpu), on_gpu, {}, type).backward(incoming.to(kGpu).to(type)); }
};

double Distance(const at::Tensor& a, const at::Tensor& b) { return ((a.cpu() - b).norm() / b.norm()).item<double>(); }

TEST_P(GpuWeightGradientTest, AWeightsGradientIsAddedToWhatIsThere) {
  const WideLayer layer{GetParam()};
  const at::Tensor before = at::randn(layer.weight.sizes()) * 20;
  layer.on_gpu.mutable_grad() = before.to(kGpu);
  layer.Backward();
  layer.Backward();
  // The rounding of sums of 512 products in FP32; FP16's product is rounded to FP16 before.
  EXPECT_LE(Distance(layer.on_gpu.grad(), before + 2 * layer.Part()), GetParam() == at::kHalf ? 1e-3 : 1e-6);
}

// Whatever lay there; one that has no first part awaited is added to.
TEST_P(GpuWeightGradientTest, TheFirstPartIsWrittenAndTheSecondIsAdded) {
  const WideLayer layer{GetParam()};
  const at::Tensor gradient = at::full_like(layer.on_gpu, std::numeric_limits<float>::quiet_NaN()).detach();
  layer.on_gpu.mutable_grad() = gradient;
  kernels::FirstPart& part = kernels::LetFirstPartBeWritten(layer.on_gpu.grad());
  part.awaited = true;
  layer.Backward();
  EXPECT_FALSE(part.awaited);
  const at::Tensor first = gradient.clone();
  EXPECT_LE(Distance(first, layer.Part()), GetParam() == at::kHalf ? 1e-3 : 1e-6);
  layer.Backward();
  EXPECT_TRUE(at::equal(gradient, first + first));
  part.awaited = true;
  layer.Backward();
  EXPECT_TRUE(at::equal(gradient, first));
}

// A sum that BF16 cannot hold.
TEST(GpuBf16GradientTest, IsNotRoundedOnItsWay) {
  const at::TensorOptions options = at::TensorOptions(at::kFloat).device(kGpu);
  const at::Tensor weight = at::zeros({512, 512}, options).requires_grad_();
  at::Tensor x = at::zeros({512, 512}, options), incoming = at::zeros({512, 512}, options);
  x.narrow(0, 0, 2).fill_(1);
  incoming.select(0, 0).fill_(1);
  incoming.select(0, 1).fill_(0x1p-12f);
  OpLinear(x, weight, {}, at::kBFloat16).backward(incoming.to(at::kBFloat16));
  EXPECT_TRUE(weight.grad().eq(1 + 0x1p-12f).all().item<bool>());
}

// What the trainer does: large BF16 weights are written, the rest is zeroed, and no garbage is left.
TEST(GpuFirstPartsTest, AreOfLargeWeightsThatAreStoredInBf16) {
  const std::vector<spec::Parameter> shapes = {{"small.weight", {8, 8}, spec::ParameterKind::kWeight},
                                               {"small.bias", {8}, spec::ParameterKind::kBias},
                                               {"large.weight", {256, 512}, spec::ParameterKind::kWeight},
                                               {"large.bias", {256}, spec::ParameterKind::kBias},
                                               {"unused.weight", {512, 512}, spec::ParameterKind::kWeight}};
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    ParameterBuffer buffer(shapes, kGpu);
    buffer.StoreWeights({type, {true, false, true, false, true}});
    at::Tensor zeroed = at::zeros({buffer.gradients().numel()}, at::kBool);
    for (std::int64_t i = 0; i < buffer.zeroed().size(0); ++i) {
      const at::Tensor row = buffer.zeroed()[i].cpu();
      zeroed.narrow(0, row[0].item<std::int64_t>(), row[1].item<std::int64_t>()).fill_(true);
    }
    const std::int64_t written = type == at::kBFloat16 ? 256 * 512 + 512 * 512 : 0;
    EXPECT_EQ(zeroed.sum().item<std::int64_t>(), zeroed.numel() - written);
    // As a window begins: the rest holds what was there.
    buffer.gradients().fill_(NAN);
    buffer.gradients().masked_fill_(zeroed.to(kGpu), 0);
    buffer.AwaitFirstParts();
    const LinearParameters large = buffer.LinearAt("large");
    OpLinear(at::ones({300, 512}).to(kGpu), large.weight, large.bias, type, 0, large.stored().weight)
        .backward(at::ones({300, 256}).to(kGpu).to(type));
    buffer.ZeroMissingParts();
    EXPECT_TRUE(large.weight.grad().eq(300).all().item<bool>());
    EXPECT_TRUE(large.bias.grad().eq(300).all().item<bool>());
    EXPECT_TRUE(buffer.at("unused.weight").grad().eq(0).all().item<bool>());
    EXPECT_FALSE(buffer.gradients().isnan().any().item<bool>());
    // Twice without a backward pass between them: again nothing but zeros.
    buffer.ZeroGradients();
    buffer.ZeroMissingParts();
    EXPECT_EQ(buffer.gradients().abs().max().item<float>(), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Types, GpuWeightGradientTest, testing::Values(at::kFloat, at::kHalf, at::kBFloat16),
                         [](const auto& info) { return std::string(c10::toString(info.param)); });

}  // namespace
}  // namespace mantissa::trainer
