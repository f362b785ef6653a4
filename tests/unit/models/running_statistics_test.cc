#include "worker/models/running_statistics.h"

#include <limits>

#include "gtest/gtest.h"
#include <ATen/ATen.h>

namespace mantissa::trainer {
namespace {

const std::vector<spec::Parameter> kShapes = {{"norm.running_mean", {3}, spec::ParameterKind::kNorm},
                                              {"norm.running_var", {3}, spec::ParameterKind::kNorm}};

at::Tensor Said(bool applied) { return at::scalar_tensor(applied, at::kBool); }

TEST(RunningStatisticsTest, BeginAtMeanZeroAndVarianceOne) {
  const RunningStatistics statistics(kShapes, at::kCPU);
  ASSERT_EQ(statistics.committed().size(), 2u);
  EXPECT_EQ(statistics.committed()[0].name, "norm.running_mean");
  EXPECT_TRUE(statistics.committed("norm.running_mean").eq(0).all().item<bool>());
  EXPECT_TRUE(statistics.committed("norm.running_var").eq(1).all().item<bool>());
  EXPECT_TRUE(statistics.pending("norm.running_var").eq(1).all().item<bool>());
  EXPECT_THROW(statistics.committed("norm"), c10::Error);
}

TEST(RunningStatisticsTest, AnAppliedIterationMakesThePendingTheState) {
  RunningStatistics statistics(kShapes, at::kCPU);
  const void* const place = statistics.committed("norm.running_mean").const_data_ptr();
  statistics.pending("norm.running_mean").fill_(0.5);
  EXPECT_EQ(statistics.committed("norm.running_mean")[0].item<float>(), 0);
  statistics.Commit(Said(true));
  EXPECT_TRUE(statistics.committed("norm.running_mean").eq(0.5).all().item<bool>());
  EXPECT_TRUE(statistics.committed("norm.running_var").eq(1).all().item<bool>());
  EXPECT_EQ(statistics.committed("norm.running_mean").const_data_ptr(), place);
}

TEST(RunningStatisticsTest, ASkippedOneLeavesNoTraceOfInfAndNan) {
  RunningStatistics statistics(kShapes, at::kCPU);
  statistics.pending("norm.running_mean").fill_(std::numeric_limits<float>::quiet_NaN());
  statistics.pending("norm.running_var").fill_(std::numeric_limits<float>::infinity());
  statistics.Commit(Said(false));
  statistics.Begin();
  for (const auto& [name, value] : {std::pair("norm.running_mean", 0.0), std::pair("norm.running_var", 1.0)}) {
    EXPECT_TRUE(statistics.committed(name).eq(value).all().item<bool>());
    EXPECT_TRUE(statistics.pending(name).eq(value).all().item<bool>());
  }
}

TEST(RunningStatisticsTest, AModelWithoutAnyHasNothingToDo) {
  RunningStatistics statistics;
  statistics.Begin();
  statistics.Commit(Said(true));
  EXPECT_TRUE(statistics.committed().empty());
}

}  // namespace
}  // namespace mantissa::trainer
