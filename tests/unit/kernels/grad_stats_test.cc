#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "tests/unit/kernels/ops.h"
#include "tests/unit/kernels/with_isa.h"

namespace mantissa::trainer {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Element by element in long double, from the definition.
GradientStats Naive(const float* values, std::int64_t count, float scale) {
  GradientStats stats;
  long double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const float unscaled = scale < 1 ? values[i] * (1 / scale) : values[i];
    if (std::isinf(unscaled)) stats.inf_count += 1;
    if (std::isnan(unscaled)) stats.nan_count += 1;
    if (!std::isfinite(values[i])) continue;
    sum += static_cast<long double>(values[i]) * values[i];
    stats.largest = std::max(stats.largest, std::fabs(values[i]));
  }
  stats.sum_of_squares = static_cast<double>(sum);
  return stats;
}

void ExpectEqual(const GradientStats& got, const GradientStats& want) {
  EXPECT_EQ(got.inf_count, want.inf_count);
  EXPECT_EQ(got.nan_count, want.nan_count);
  EXPECT_EQ(got.largest, want.largest);
  // Squares of floats are exact in double; only the order of the additions differs.
  EXPECT_NEAR(got.sum_of_squares, want.sum_of_squares, 1e-12 * want.sum_of_squares);
}

StepState WithScale(float scale) {
  StepState state;
  state.loss_scale = scale;
  return state;
}

at::Tensor Flat(const std::vector<float>& values) { return at::tensor(values, at::TensorOptions(at::kFloat)); }

std::vector<GradientStats> OfOne(const std::vector<float>& values, float scale = 1) {
  return OpGradStats(Flat(values), {{0, static_cast<std::int64_t>(values.size()), 0, 0}}, 1, WithScale(scale));
}

TEST(GradStatsTest, AgreesWithADefinitionInDoubleAtEverySize) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (const std::int64_t size : {0, 1, 2, 7, 15, 16, 17, 31, 33, 100, 1023, 1024, 1025, 5000, 70000}) {
    std::vector<float> values(static_cast<std::size_t>(size));
    for (float& value : values) value = normal(random) * std::pow(10.f, static_cast<float>(random() % 20) - 10);
    const GradientStats want = Naive(values.data(), size, 1);
    WithEachIsa([&](cpu::Isa) { ExpectEqual(OfOne(values)[0], want); });
  }
}

TEST(GradStatsTest, CountsEachInfAndNanWhereverItStands) {
  for (const std::size_t at : {0u, 5u, 16u, 31u, 1023u, 1024u, 1999u}) {
    std::vector<float> values(2000, 0.5f);
    values[at] = kInf;
    EXPECT_EQ(OfOne(values)[0].inf_count, 1);
    EXPECT_EQ(OfOne(values)[0].nan_count, 0);
    values[at] = -kInf;
    EXPECT_EQ(OfOne(values)[0].inf_count, 1);
    values[at] = kNan;
    EXPECT_EQ(OfOne(values)[0].inf_count, 0);
    EXPECT_EQ(OfOne(values)[0].nan_count, 1);
    EXPECT_EQ(OfOne(values)[0].largest, 0.5f);
  }
  const std::vector<float> mixed = {kInf, -kInf, kNan, -kNan, kNan, 3, -4};
  ExpectEqual(OfOne(mixed)[0], Naive(mixed.data(), 7, 1));
}

TEST(GradStatsTest, HugeFiniteGradientsAreNoOverflow) {
  const GradientStats stats = OfOne({1e20f, 1, std::numeric_limits<float>::max()})[0];
  EXPECT_EQ(stats.inf_count, 0);
  EXPECT_EQ(stats.nan_count, 0);
  EXPECT_EQ(stats.largest, std::numeric_limits<float>::max());
  EXPECT_TRUE(std::isfinite(stats.sum_of_squares));
}

TEST(GradStatsTest, SubnormalsAreSeen) {
  const float tiny = std::numeric_limits<float>::denorm_min();
  const GradientStats stats = OfOne({tiny, 0, -tiny})[0];
  EXPECT_EQ(stats.largest, tiny);
  EXPECT_GT(stats.sum_of_squares, 0);
}

TEST(GradStatsTest, AnInfThatOnlyUnscalingMakesCounts) {
  // 2^-10: 1e37 / 2^-10 is beyond FP32.
  const std::vector<float> values = {1e37f, 1, -1e37f};
  EXPECT_EQ(OfOne(values, 1.0f / 1024)[0].inf_count, 2);
  EXPECT_EQ(OfOne(values, 1.0f / 1024)[0].largest, 1e37f);
  EXPECT_EQ(OfOne(values, 1)[0].inf_count, 0);
  EXPECT_EQ(OfOne(values, 1024)[0].inf_count, 0);
}

TEST(GradStatsTest, ChunksAddUpToTheirParametersAndPaddingIsNobodys) {
  std::vector<float> values(64, kNan);  // what no chunk covers must not count
  for (int i = 0; i < 20; ++i) values[static_cast<std::size_t>(i)] = 1;
  for (int i = 32; i < 40; ++i) values[static_cast<std::size_t>(i)] = 2;
  values[38] = kInf;
  const std::vector<GradientStats> stats =
      OpGradStats(Flat(values), {{0, 12, 0, 0}, {12, 8, 0, 0}, {32, 8, 1, 0}}, 3, WithScale(1));
  EXPECT_EQ(stats[0].sum_of_squares, 20);
  EXPECT_EQ(stats[0].nan_count, 0);
  EXPECT_EQ(stats[1].sum_of_squares, 28);
  EXPECT_EQ(stats[1].inf_count, 1);
  EXPECT_EQ(stats[1].largest, 2);
  ExpectEqual(stats[2], GradientStats());
}

TEST(GradStatsTest, TheBitsDoNotDependOnThreadsOrInstructionSet) {
  const at::Tensor gradients = at::randn({300000}, at::TensorOptions(at::kFloat));
  std::vector<Chunk> chunks;
  for (std::int64_t at = 0; at < 300000; at += 65536)
    chunks.push_back({at, std::min<std::int64_t>(65536, 300000 - at), 0, 0});
  const int threads = at::get_num_threads();
  std::vector<double> sums;
  for (const int count : {1, 2}) {
    at::set_num_threads(count);
    WithEachIsa([&](cpu::Isa) { sums.push_back(OpGradStats(gradients, chunks, 1, WithScale(1))[0].sum_of_squares); });
  }
  at::set_num_threads(threads);
  for (const double sum : sums) EXPECT_EQ(sum, sums[0]);
}

TEST(GradStatsTest, AHaltedRunIsLeftAlone) {
  StepState state;
  state.halt = static_cast<std::int32_t>(Halt::kSkipsInRow);
  const at::Tensor gradients = at::ones({4});
  const at::Tensor partial = at::full({32}, 0xAB, at::kByte);
  const at::Tensor stats = at::full({32}, 0xAB, at::kByte);
  FindOp<void(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&)>(
      "mantissa::grad_stats")
      .call(gradients, ChunkTensor({{0, 4, 0, 0}}), BytesOf(state), partial, stats);
  EXPECT_TRUE(at::equal(stats, at::full({32}, 0xAB, at::kByte)));
}

TEST(GradStatsTest, WrongBuffersAreRefused) {
  EXPECT_THROW(OpGradStats(at::ones({4}, at::kHalf), {{0, 4, 0, 0}}, 1, StepState()), c10::Error);
  EXPECT_THROW(OpGradStats(at::ones({2, 2}), {{0, 4, 0, 0}}, 1, StepState()), c10::Error);
}

}  // namespace
}  // namespace mantissa::trainer
