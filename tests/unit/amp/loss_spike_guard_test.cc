#include "worker/amp/loss_spike_guard.h"

#include <limits>
#include <optional>

#include "gtest/gtest.h"

namespace mantissa::trainer {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

TEST(RunningLossTest, TheMedianIsOfAFullWindowAndForgets) {
  RunningLoss running;
  for (int i = 0; i < 63; ++i) running.Remember(i);
  EXPECT_FALSE(running.median().has_value());
  EXPECT_EQ(running.Deviation(), 0);
  running.Remember(63);
  EXPECT_EQ(running.median(), 32);
  EXPECT_EQ(running.Deviation(), 16);
  running.Remember(kNan);
  running.Remember(kInf);
  EXPECT_EQ(running.median(), 32) << "of finite losses";
  for (int i = 0; i < 64; ++i) running.Remember(7);
  EXPECT_EQ(running.median(), 7);
  EXPECT_EQ(running.Deviation(), 0);
}

TEST(IsSpikeTest, IsAboveBothLimits) {
  const SpikeLimits limits{.times_median = 2, .deviations = 10};
  EXPECT_FALSE(IsSpike(100, std::nullopt, 0, limits));
  EXPECT_TRUE(IsSpike(2.1, 1, 0.1, limits));
  EXPECT_FALSE(IsSpike(2, 1, 0.1, limits)) << "not more than twice";
  EXPECT_FALSE(IsSpike(2.5, 1, 0.15, limits)) << "a noisy loss";
  EXPECT_FALSE(IsSpike(kNan, 1, 0.1, limits));
  EXPECT_FALSE(IsSpike(kInf, 1, 0.1, limits)) << "another guard's";
}

class GuardTest : public testing::Test {
 protected:
  static v1::LossSpikeGuard Spec(int iterations = 3, double factor = 2) {
    v1::LossSpikeGuard spec;
    spec.set_action(v1::LossSpikeGuard::ROLLBACK);
    spec.set_iterations(iterations);
    spec.set_factor(factor);
    return spec;
  }

  static std::optional<Spike> Observe(LossSpikeGuard& guard, std::int64_t iteration, double loss, bool applied = true) {
    IterationRecord record;
    record.iteration = iteration;
    record.loss = loss;
    record.applied = applied;
    return guard.Observe(record);
  }

  // 64 iterations at a loss of 1.
  static LossSpikeGuard Settled(const v1::LossSpikeGuard& spec) {
    LossSpikeGuard guard(spec);
    for (int i = 1; i <= 64; ++i) EXPECT_FALSE(Observe(guard, i, 1));
    return guard;
  }
};

TEST_F(GuardTest, SoManyInARowAreASpikeAndItIsFoundOnce) {
  LossSpikeGuard guard = Settled(Spec());
  EXPECT_FALSE(Observe(guard, 65, 5));
  EXPECT_FALSE(Observe(guard, 66, 6));
  const auto spike = Observe(guard, 67, 7);
  ASSERT_TRUE(spike.has_value());
  EXPECT_EQ(spike->first, 65);
  EXPECT_EQ(spike->last, 67);
  EXPECT_EQ(spike->loss, 7);
  EXPECT_EQ(spike->median, 1);
  for (int i = 68; i < 300; ++i) EXPECT_FALSE(Observe(guard, i, 8)) << "what is above never becomes the median";
}

TEST_F(GuardTest, OneThatComesBackStartsTheCountAnew) {
  LossSpikeGuard guard = Settled(Spec());
  Observe(guard, 65, 5);
  Observe(guard, 66, 5);
  EXPECT_FALSE(Observe(guard, 67, 1));
  EXPECT_FALSE(Observe(guard, 68, 5));
  EXPECT_FALSE(Observe(guard, 69, 5));
  const auto spike = Observe(guard, 70, 5);
  ASSERT_TRUE(spike.has_value());
  EXPECT_EQ(spike->first, 68);
}

TEST_F(GuardTest, SkippedIterationsNeitherCountNorEndIt) {
  LossSpikeGuard guard = Settled(Spec(2));
  Observe(guard, 65, 5);
  EXPECT_FALSE(Observe(guard, 66, 5, /*applied=*/false));
  EXPECT_FALSE(Observe(guard, 67, kNan, /*applied=*/false));
  EXPECT_FALSE(Observe(guard, 68, kInf));
  EXPECT_TRUE(Observe(guard, 69, 5));
}

TEST_F(GuardTest, TheFactorIsTheSpecs) {
  LossSpikeGuard guard = Settled(Spec(1, 4));
  EXPECT_FALSE(Observe(guard, 65, 3.9));
  EXPECT_TRUE(Observe(guard, 66, 4.1));
}

TEST_F(GuardTest, BeforeAFullWindowNothingIsASpike) {
  LossSpikeGuard guard(Spec(1));
  for (int i = 1; i < 64; ++i) Observe(guard, i, 1);
  EXPECT_FALSE(Observe(guard, 64, 1000));
}

TEST_F(GuardTest, OneThatAdvisesFindsNothing) {
  v1::LossSpikeGuard spec = Spec(1);
  spec.set_action(v1::LossSpikeGuard::ADVISE);
  LossSpikeGuard guard = Settled(spec);
  EXPECT_FALSE(Observe(guard, 65, 1000));
}

}  // namespace
}  // namespace mantissa::trainer
