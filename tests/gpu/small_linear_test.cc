// Small linear layers against their CPU twin, through the op that models call.
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/gpu/gpu.h"
#include "tests/unit/kernels/ops.h"

namespace mantissa::trainer {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Sides {
  std::int64_t rows, in, out;
};

// Around a tile, around the terms that are in shared memory at once, and the longest.
const std::vector<Sides> kSides = {{1, 1, 1},   {16, 32, 64},  {16, 64, 32},  {16, 32, 10},   {15, 17, 33},
                                   {17, 63, 1}, {1, 65, 16},   {65, 1, 16},   {128, 129, 31}, {33, 16, 65},
                                   {3, 255, 7}, {255, 40, 90}, {7, 100, 256}, {256, 256, 256}};

struct Layer {
  at::Tensor x, weight, bias, stored, incoming;
};

struct Results {
  at::Tensor y, x, weight, bias;
};

Results RunOn(at::Device device, const Layer& layer, at::ScalarType type, std::int64_t activation, bool misaligned) {
  // One element further on than an allocation begins.
  const auto place = [&](const at::Tensor& tensor) {
    if (!tensor.defined()) return tensor;
    if (!misaligned) return tensor.to(device).clone();
    const at::Tensor whole = at::empty({tensor.numel() + 1}, tensor.options().device(device));
    return whole.narrow(0, 1, tensor.numel()).view(tensor.sizes()).copy_(tensor);
  };
  at::Tensor x = place(layer.x).requires_grad_(true);
  at::Tensor weight = place(layer.weight).requires_grad_(true);
  weight.mutable_grad() = place(at::full_like(layer.weight, 2));
  at::Tensor bias = place(layer.bias);
  if (bias.defined()) {
    bias.requires_grad_(true);
    bias.mutable_grad() = place(at::full_like(layer.bias, 3));
  }
  const at::Tensor y = OpLinear(x, weight, bias, type, activation, place(layer.stored));
  y.backward(place(layer.incoming));
  return {y.detach().cpu(), x.grad().cpu(), weight.grad().cpu(), bias.defined() ? bias.grad().cpu() : at::Tensor()};
}

Layer Random(const Sides& sides, at::ScalarType type, bool whole_numbers) {
  at::manual_seed(static_cast<std::uint64_t>(sides.rows * 7 + sides.in * 3 + sides.out));
  const auto draw = [&](at::IntArrayRef sizes) {
    return whole_numbers ? at::randint(-2, 3, sizes).to(at::kFloat) : at::randn(sizes);
  };
  return {draw({sides.rows, sides.in}),
          draw({sides.out, sides.in}),
          draw({sides.out}),
          {},
          draw({sides.rows, sides.out}).to(type)};
}

class GpuSmallLinearTest : public testing::TestWithParam<at::ScalarType> {};

// Sums of whole numbers are exact in any order, so that every bit is told.
TEST_P(GpuSmallLinearTest, OfWholeNumbersEveryBitIsTheCpus) {
  for (const Sides& sides : kSides) {
    for (const std::int64_t activation : {0, 1}) {
      for (const bool low_input : {false, true}) {
        Layer layer = Random(sides, GetParam(), /*whole_numbers=*/true);
        if (low_input) layer.x = layer.x.to(GetParam());
        const bool stored = (sides.rows + activation) % 2 == 0;
        if (stored) layer.stored = layer.weight.to(GetParam());
        if (sides.in % 3 == 0) layer.bias = at::Tensor();
        const Results cpu = RunOn(at::kCPU, layer, GetParam(), activation, false);
        const Results gpu = RunOn(kGpu, layer, GetParam(), activation, /*misaligned=*/stored != low_input);
        const std::string of = std::to_string(sides.rows) + " " + std::to_string(sides.in) + " " +
                               std::to_string(sides.out) + " " + std::to_string(activation);
        EXPECT_TRUE(at::equal(gpu.y, cpu.y)) << of;
        EXPECT_TRUE(at::equal(gpu.x, cpu.x)) << of;
        EXPECT_TRUE(at::equal(gpu.weight, cpu.weight)) << of;
        EXPECT_TRUE(!layer.bias.defined() || at::equal(gpu.bias, cpu.bias)) << of;
        EXPECT_EQ(gpu.x.scalar_type(), layer.x.scalar_type());
      }
    }
  }
}

// A rounding more or less of what is summed, and of the result.
TEST_P(GpuSmallLinearTest, OfAnyNumbersItIsTheCpusButForRoundings) {
  const double unit = GetParam() == at::kHalf ? 0x1p-10 : 0x1p-7;
  const auto expect_near = [&](const at::Tensor& got, const at::Tensor& want, const std::string& what) {
    const at::Tensor difference = (got.to(at::kDouble) - want.to(at::kDouble)).abs();
    const at::Tensor allowed = want.to(at::kDouble).abs() * unit + want.to(at::kDouble).abs().max() * unit + 1e-6;
    EXPECT_TRUE(difference.le(allowed).all().item<bool>()) << what << " " << difference.max().item<double>();
  };
  for (const Sides& sides : kSides) {
    for (const std::int64_t activation : {0, 1, 2, 3}) {
      const Layer layer = Random(sides, GetParam(), /*whole_numbers=*/false);
      const Results cpu = RunOn(at::kCPU, layer, GetParam(), activation, false);
      const Results gpu = RunOn(kGpu, layer, GetParam(), activation, true);
      const std::string of = std::to_string(sides.rows) + " " + std::to_string(sides.in) + " " +
                             std::to_string(sides.out) + " " + std::to_string(activation);
      expect_near(gpu.y, cpu.y, "result " + of);
      expect_near(gpu.x, cpu.x, "input " + of);
      expect_near(gpu.weight, cpu.weight, "weight " + of);
      expect_near(gpu.bias, cpu.bias, "bias " + of);
      EXPECT_GT(gpu.weight.sub(2).abs().max().item<float>(), 0);
    }
  }
}

TEST_P(GpuSmallLinearTest, WhatIsNotFiniteIsWhereItIsOnTheCpu) {
  const auto same_places = [](const at::Tensor& a, const at::Tensor& b) {
    return at::equal(a.isnan(), b.isnan()) && at::equal(a.isinf(), b.isinf());
  };
  for (const float bad : {kInf, -kInf, kNan, 3e38f}) {
    for (const int where : {0, 1, 2, 3}) {
      for (const std::int64_t activation : {0, 1, 3}) {
        Layer layer = Random({18, 70, 20}, GetParam(), true);
        // Of the input, the weight, the bias, or the gradient that comes in.
        at::Tensor spoilt = where == 0 ? layer.x : where == 1 ? layer.weight : where == 2 ? layer.bias : layer.incoming;
        spoilt.view({-1})[spoilt.numel() / 2] = bad;
        const Results cpu = RunOn(at::kCPU, layer, GetParam(), activation, false);
        const Results gpu = RunOn(kGpu, layer, GetParam(), activation, false);
        EXPECT_TRUE(same_places(gpu.y, cpu.y)) << bad << " " << where << " " << activation;
        EXPECT_TRUE(same_places(gpu.x, cpu.x)) << bad << " " << where << " " << activation;
        EXPECT_TRUE(same_places(gpu.weight, cpu.weight)) << bad << " " << where << " " << activation;
        EXPECT_TRUE(same_places(gpu.bias, cpu.bias)) << bad << " " << where << " " << activation;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, GpuSmallLinearTest, testing::Values(at::kHalf, at::kBFloat16),
                         [](const auto& info) { return info.param == at::kHalf ? "Half" : "Bfloat16"; });

TEST(GpuSmallLinearRefusalTest, MemoryOfTheHostIsRefused) {
  const at::Tensor x = at::ones({4, 4}).to(kGpu), weight = at::ones({4, 4});
  EXPECT_THROW(OpLinear(x, weight, {}, at::kHalf), c10::Error);
}

}  // namespace
}  // namespace mantissa::trainer
