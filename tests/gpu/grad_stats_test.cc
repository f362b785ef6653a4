// The statistics of gradients against those of the CPU twin, which its own tests hold against the definition.
#include <bit>
#include <limits>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/gpu/gpu.h"
#include "tests/unit/kernels/ops.h"

namespace mantissa::trainer {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr std::int64_t kChunk = 65536;

StepState WithScale(float scale) {
  StepState state;
  state.loss_scale = scale;
  return state;
}

// One parameter after another, without gaps: most chunks then begin where no float4 may.
std::vector<Chunk> Packed(const std::vector<std::int64_t>& sizes) {
  std::vector<Chunk> chunks;
  std::int64_t offset = 0;
  for (std::size_t p = 0; p < sizes.size(); ++p) {
    for (std::int64_t at = 0; at < sizes[p]; at += kChunk) {
      chunks.push_back({offset + at, std::min(kChunk, sizes[p] - at), static_cast<std::int64_t>(p), 0});
    }
    offset += sizes[p];
  }
  return chunks;
}

void ExpectTwins(const at::Tensor& gradients, const std::vector<Chunk>& chunks, std::int64_t parameters,
                 float scale = 1) {
  const auto cpu = OpGradStats(gradients, chunks, parameters, WithScale(scale));
  const auto gpu = OpGradStats(gradients.to(kGpu), chunks, parameters, WithScale(scale));
  ASSERT_EQ(cpu.size(), gpu.size());
  for (std::size_t i = 0; i < cpu.size(); ++i) {
    EXPECT_EQ(gpu[i].inf_count, cpu[i].inf_count) << i;
    EXPECT_EQ(gpu[i].nan_count, cpu[i].nan_count) << i;
    EXPECT_EQ(gpu[i].largest, cpu[i].largest) << i;
    // Both add exact squares in double; only the order differs.
    EXPECT_NEAR(gpu[i].sum_of_squares, cpu[i].sum_of_squares, 1e-12 * cpu[i].sum_of_squares) << i;
  }
}

at::Tensor Random(std::int64_t size) {
  at::manual_seed(static_cast<std::uint64_t>(size));
  return at::randn({size}) * at::pow(10, at::randint(-6, 6, {size}).to(at::kFloat));
}

TEST(GpuGradStatsTest, AgreesWithTheCpuAtEverySize) {
  for (const std::int64_t size : {1, 2, 3, 4, 5, 31, 33, 511, 513, 2047, 2049, 65535, 65536, 65537, 200001}) {
    ExpectTwins(Random(size), Packed({size}), 1);
  }
}

TEST(GpuGradStatsTest, AgreesWithTheCpuForManyParameters) {
  std::vector<std::int64_t> sizes;
  std::int64_t total = 0;
  for (std::int64_t i = 0; i < 300; ++i) {
    sizes.push_back(i % 50 == 7 ? 70000 + i : 1 + i * 37 % 901);
    total += sizes.back();
  }
  ExpectTwins(Random(total), Packed(sizes), 300);
}

TEST(GpuGradStatsTest, FindsWhatIsNotFiniteAtBothEndsOfEveryChunk) {
  const std::vector<Chunk> chunks = Packed({3 * kChunk + 5, 1, 700});
  for (const Chunk& chunk : chunks) {
    for (const std::int64_t at : {chunk.begin, chunk.begin + chunk.size - 1}) {
      for (const float bad : {kInf, -kInf, kNan}) {
        at::Tensor gradients = Random(3 * kChunk + 5 + 1 + 700);
        gradients[at] = bad;
        const auto stats = OpGradStats(gradients.to(kGpu), chunks, 3, WithScale(1));
        for (std::size_t p = 0; p < 3; ++p) {
          const bool here = static_cast<std::int64_t>(p) == chunk.parameter;
          EXPECT_EQ(stats[p].inf_count, here && std::isinf(bad) ? 1 : 0);
          EXPECT_EQ(stats[p].nan_count, here && std::isnan(bad) ? 1 : 0);
        }
        ExpectTwins(gradients, chunks, 3);
      }
    }
  }
}

TEST(GpuGradStatsTest, CountsMany) {
  const at::Tensor gradients = at::full({100000}, kInf);
  gradients.slice(0, 0, 100000, 3).fill_(kNan);
  const auto stats = OpGradStats(gradients.to(kGpu), Packed({100000}), 1, WithScale(1));
  EXPECT_EQ(stats[0].nan_count, 33334);
  EXPECT_EQ(stats[0].inf_count, 66666);
  EXPECT_EQ(stats[0].largest, 0);
  EXPECT_EQ(stats[0].sum_of_squares, 0);
}

// A small buffer, which one block takes, with chunks that are long enough to be looked at sixteen numbers at once.
TEST(GpuGradStatsTest, FindsWhatIsNotFiniteAnywhereInASmallBuffer) {
  const std::vector<Chunk> chunks = Packed({3000, 516, 1300});
  for (std::int64_t at = 0; at < 4816; at += 61) {
    for (const float bad : {kInf, -kInf, kNan}) {
      at::Tensor gradients = Random(4816);
      gradients[at] = bad;
      ExpectTwins(gradients, chunks, 3);
      const auto stats = OpGradStats(gradients.to(kGpu), chunks, 3, WithScale(1));
      const std::size_t p = at < 3000 ? 0 : at < 3516 ? 1 : 2;
      EXPECT_EQ(stats[p].inf_count, std::isinf(bad) ? 1 : 0) << at;
      EXPECT_EQ(stats[p].nan_count, std::isnan(bad) ? 1 : 0) << at;
    }
  }
}

TEST(GpuGradStatsTest, BelowScaleOneUnscalingCountsInLongRowsToo) {
  for (const std::int64_t size : {9000, 100000}) {
    at::Tensor gradients = at::ones({size});
    gradients.slice(0, 5, size, 1000).fill_(-1e37f);
    ExpectTwins(gradients, Packed({size}), 1, 1.0f / 1024);
    EXPECT_EQ(OpGradStats(gradients.to(kGpu), Packed({size}), 1, WithScale(1.0f / 1024))[0].inf_count, size / 1000);
    EXPECT_EQ(OpGradStats(gradients.to(kGpu), Packed({size}), 1, WithScale(1))[0].inf_count, 0);
  }
}

TEST(GpuGradStatsTest, SquaresThatLeaveFp32AreRight) {
  for (const float value : {1e20f, std::numeric_limits<float>::max(), 1e-25f, 1e-40f}) {
    const at::Tensor gradients = at::full({5000}, value);
    ExpectTwins(gradients, Packed({5000}), 1);
    const auto stats = OpGradStats(gradients.to(kGpu), Packed({5000}), 1, WithScale(1));
    EXPECT_GT(stats[0].sum_of_squares, 0);
    EXPECT_TRUE(std::isfinite(stats[0].sum_of_squares));
  }
}

TEST(GpuGradStatsTest, BelowScaleOneAnInfThatOnlyUnscalingMakesCounts) {
  const at::Tensor gradients = at::tensor({1e37f, 1.f, -1e37f, kNan, 5.f});
  ExpectTwins(gradients, Packed({5}), 1, 1.0f / 1024);
  ExpectTwins(gradients, Packed({5}), 1, 1024);
  EXPECT_EQ(OpGradStats(gradients.to(kGpu), Packed({5}), 1, WithScale(1.0f / 1024))[0].inf_count, 2);
  EXPECT_EQ(OpGradStats(gradients.to(kGpu), Packed({5}), 1, WithScale(1024))[0].inf_count, 0);
}

TEST(GpuGradStatsTest, PaddingIsNobodys) {
  at::Tensor gradients = at::full({64}, kNan);
  gradients.narrow(0, 0, 20).fill_(1);
  gradients.narrow(0, 32, 8).fill_(2);
  ExpectTwins(gradients, {{0, 12, 0, 0}, {12, 8, 0, 0}, {32, 8, 1, 0}}, 3);
}

TEST(GpuGradStatsTest, ABufferThatBeginsAnywhereIsRead) {
  const at::Tensor whole = Random(5001).to(kGpu);
  const auto off = OpGradStats(whole.narrow(0, 1, 5000), Packed({5000}), 1, WithScale(1));
  const auto own = OpGradStats(whole.narrow(0, 1, 5000).clone(), Packed({5000}), 1, WithScale(1));
  EXPECT_EQ(off[0].largest, own[0].largest);
  EXPECT_NEAR(off[0].sum_of_squares, own[0].sum_of_squares, 1e-12 * own[0].sum_of_squares);
}

TEST(GpuGradStatsTest, TheSameBitsEveryTime) {
  const at::Tensor gradients = Random(300001).to(kGpu);
  const double first = OpGradStats(gradients, Packed({300001}), 1, WithScale(1))[0].sum_of_squares;
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(std::bit_cast<std::uint64_t>(OpGradStats(gradients, Packed({300001}), 1, WithScale(1))[0].sum_of_squares),
              std::bit_cast<std::uint64_t>(first));
  }
}

TEST(GpuGradStatsTest, AHaltedRunIsLeftAlone) {
  StepState state;
  state.halt = static_cast<std::int32_t>(Halt::kSkipsInRow);
  const at::Tensor partial = at::full({32}, 0xAB, at::kByte).to(kGpu);
  const at::Tensor stats = at::full({32}, 0xAB, at::kByte).to(kGpu);
  FindOp<void(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&)>(
      "mantissa::grad_stats")
      .call(at::ones({4}).to(kGpu), ChunkTensor({{0, 4, 0, 0}}).to(kGpu), BytesOf(state).to(kGpu), partial, stats);
  EXPECT_TRUE(at::equal(stats.cpu(), at::full({32}, 0xAB, at::kByte)));
  EXPECT_TRUE(at::equal(partial.cpu(), at::full({32}, 0xAB, at::kByte)));
}

TEST(GpuGradStatsTest, MemoryOfTheHostIsRefused) {
  const auto op =
      FindOp<void(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&)>(
          "mantissa::grad_stats");
  EXPECT_THROW(op.call(at::ones({4}).to(kGpu), ChunkTensor({{0, 4, 0, 0}}), BytesOf(StepState()).to(kGpu),
                       at::empty({32}, at::kByte).to(kGpu), at::empty({32}, at::kByte).to(kGpu)),
               c10::Error);
}

}  // namespace
}  // namespace mantissa::trainer
