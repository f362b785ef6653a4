// Ranges of values against those of the CPU twin, which its own tests hold against the definition.
#include <limits>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/gpu/gpu.h"
#include "tests/unit/kernels/ops.h"
#include "worker/amp/value_range.h"

namespace mantissa::trainer {
namespace {

constexpr RangeLimits kOfHalf = {0x1p-25f, 32752.0f};

// From below FP16's smallest to above its largest.
at::Tensor TinyToHuge(std::int64_t size) {
  at::manual_seed(static_cast<std::uint64_t>(size));
  return at::randn({size}) * at::exp2(at::randint(-40, 18, {size}, at::kFloat));
}

void ExpectSameRange(const at::Tensor& values, const at::Tensor& on_device) {
  const RangeCounts cpu = OpCountRange(values, kOfHalf);
  const RangeCounts gpu = OpCountRange(on_device, kOfHalf);
  EXPECT_EQ(gpu.max_bits, cpu.max_bits) << values.numel();
  EXPECT_EQ(gpu.not_zero, cpu.not_zero) << values.numel();
  EXPECT_EQ(gpu.flushed, cpu.flushed) << values.numel();
  EXPECT_EQ(gpu.near_max, cpu.near_max) << values.numel();
}

TEST(GpuCountRangeTest, AgreesWithTheCpuAtEverySize) {
  for (const std::int64_t size : {0, 1, 2, 3, 4, 5, 31, 33, 255, 257, 4095, 4096, 4097, 65537, 3000001}) {
    const at::Tensor values = TinyToHuge(size);
    ExpectSameRange(values, values.to(kGpu));
  }
}

TEST(GpuCountRangeTest, AgreesWithTheCpuWhereverTheValuesBegin) {
  const at::Tensor values = TinyToHuge(10007);
  const at::Tensor on_device = values.to(kGpu);
  for (std::int64_t begin = 0; begin < 5; ++begin) ExpectSameRange(values.slice(0, begin), on_device.slice(0, begin));
}

TEST(GpuCountRangeTest, CountsWhatIsNotFiniteAtEitherEnd) {
  constexpr float kInfinite = std::numeric_limits<float>::infinity();
  for (const std::int64_t at : {0, 1, 5000, 10005, 10006}) {
    for (const float bad : {kInfinite, -kInfinite, std::numeric_limits<float>::quiet_NaN(), 0.0f, -0.0f, 0x1p-149f}) {
      at::Tensor values = TinyToHuge(10007);
      values[at] = bad;
      ExpectSameRange(values, values.to(kGpu));
    }
  }
}

TEST(GpuCountRangeTest, ManyTensorsAreReadAtOnce) {
  const spec::NumberFacts half = spec::FactsOf(spec::NumberFormat::kFloat16);
  RangeMeter cpu, gpu;
  for (int i = 0; i < 600; ++i) {
    const at::Tensor values = TinyToHuge(1 + i * 31 % 700).view({-1, 1}).expand({-1, 2}).t();
    cpu.Add(values, half);
    gpu.Add(values.to(kGpu), half);
  }
  const std::vector<ValueRange> expected = cpu.Read(), ranges = gpu.Read();
  ASSERT_EQ(ranges.size(), expected.size());
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    EXPECT_EQ(ranges[i].max, expected[i].max) << i;
    EXPECT_EQ(ranges[i].flushed_ratio, expected[i].flushed_ratio) << i;
    EXPECT_EQ(ranges[i].near_max_ratio, expected[i].near_max_ratio) << i;
  }
}

TEST(GpuCountRangeTest, RefusesCountsElsewhere) {
  EXPECT_THROW(OpCountRange(at::zeros({4}).to(kGpu), kOfHalf, at::zeros({4}, at::kLong)), c10::Error);
}

}  // namespace
}  // namespace mantissa::trainer
