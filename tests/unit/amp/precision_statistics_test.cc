#include "worker/amp/precision_statistics.h"

#include "gtest/gtest.h"

namespace mantissa::trainer {
namespace {

using Verdict = PrecisionStats::Verdict;

IterationRecord Record(bool applied, double loss = 1, double loss_scale = 8, double next_loss_scale = 8) {
  IterationRecord record;
  record.applied = applied;
  record.loss = loss;
  record.loss_scale = loss_scale;
  record.next_loss_scale = next_loss_scale;
  return record;
}

PrecisionStatistics Observed(std::int32_t window, int applied, int skipped, int backoffs = 0, int growths = 0) {
  PrecisionStatistics statistics(window);
  for (int i = 0; i < applied; ++i) statistics.Observe(Record(true));
  for (int i = 0; i < skipped; ++i) statistics.Observe(Record(false));
  for (int i = 0; i < backoffs; ++i) statistics.Observe(Record(true, 1, 8, 4));
  for (int i = 0; i < growths; ++i) statistics.Observe(Record(true, 1, 4, 8));
  return statistics;
}

TEST(PrecisionStatisticsTest, BeforeAFullWindowThereIsNoVerdict) {
  EXPECT_EQ(PrecisionStatistics(100).stats().verdict, Verdict::kInsufficientData);
  const PrecisionStats stats = Observed(100, 99, 0).stats();
  EXPECT_EQ(stats.verdict, Verdict::kInsufficientData);
  EXPECT_FALSE(stats.stability_score.has_value());
  EXPECT_EQ(stats.window, 99);
}

TEST(PrecisionStatisticsTest, MoreThanTwoPercentBackoffsAreUnstable) {
  EXPECT_EQ(Observed(100, 98, 0, 2).stats().verdict, Verdict::kStable);
  EXPECT_DOUBLE_EQ(Observed(100, 98, 0, 2).stats().stability_score.value(), 0.98);
  EXPECT_EQ(Observed(100, 97, 0, 3).stats().verdict, Verdict::kUnstable);
}

TEST(PrecisionStatisticsTest, MoreThanFivePercentSkippedAreUnstable) {
  EXPECT_EQ(Observed(100, 95, 5).stats().verdict, Verdict::kStable);
  EXPECT_EQ(Observed(100, 94, 6).stats().verdict, Verdict::kUnstable);
  EXPECT_DOUBLE_EQ(Observed(100, 94, 6).stats().skipped_ratio, 0.06);
}

TEST(PrecisionStatisticsTest, GrowthIsHealthy) {
  const PrecisionStats stats = Observed(100, 50, 0, 0, 50).stats();
  EXPECT_EQ(stats.growths, 50);
  EXPECT_EQ(Observed(100, 97, 0, 3).stats().growths, 0) << "a scale that stays, or backs off, has not grown";
  EXPECT_EQ(stats.backoffs, 0);
  EXPECT_EQ(stats.stability_score, 1);
  EXPECT_EQ(stats.verdict, Verdict::kStable);
}

TEST(PrecisionStatisticsTest, TheWindowForgetsAndTheTotalsDoNot) {
  PrecisionStatistics statistics = Observed(10, 5, 5, 3);
  for (int i = 0; i < 10; ++i) statistics.Observe(Record(true, 2));
  const PrecisionStats stats = statistics.stats();
  EXPECT_EQ(stats.iterations, 23);
  EXPECT_EQ(stats.applied, 18);
  EXPECT_EQ(stats.skipped, 5);
  EXPECT_EQ(stats.window, 10);
  EXPECT_EQ(stats.skipped_ratio, 0);
  EXPECT_EQ(stats.backoffs, 0);
  EXPECT_EQ(stats.loss, 2);
}

TEST(PrecisionStatisticsTest, TheLossIsTheMeanOverAppliedIterations) {
  PrecisionStatistics statistics(10);
  EXPECT_FALSE(statistics.stats().loss.has_value());
  statistics.Observe(Record(false, 1e30));
  EXPECT_FALSE(statistics.stats().loss.has_value());
  statistics.Observe(Record(true, 1));
  statistics.Observe(Record(true, 4));
  EXPECT_EQ(statistics.stats().loss, 2.5);
}

TEST(PrecisionStatisticsTest, TheRangeOfTheScaleIsTheWindows) {
  PrecisionStatistics statistics(2);
  statistics.Observe(Record(true, 1, 64, 32));
  statistics.Observe(Record(true, 1, 32, 16));
  EXPECT_EQ(statistics.stats().loss_scale, 16);
  EXPECT_EQ(statistics.stats().min_loss_scale, 16);
  EXPECT_EQ(statistics.stats().max_loss_scale, 64);
  statistics.Observe(Record(true, 1, 16, 16));
  EXPECT_EQ(statistics.stats().max_loss_scale, 32);
}

TEST(PrecisionStatisticsTest, AnEmptiedWindowKeepsTheTotals) {
  PrecisionStatistics statistics = Observed(10, 3, 7);
  statistics.EmptyWindow();
  EXPECT_EQ(statistics.stats().iterations, 10);
  EXPECT_EQ(statistics.stats().window, 0);
  EXPECT_EQ(statistics.stats().skipped_ratio, 0);
  EXPECT_EQ(statistics.stats().verdict, Verdict::kInsufficientData);
}

}  // namespace
}  // namespace mantissa::trainer
