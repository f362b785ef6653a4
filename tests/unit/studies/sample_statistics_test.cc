#include "worker/studies/sample_statistics.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace mantissa::trainer {
namespace {

TEST(SampleStatisticsTest, QuantilesLieBetweenTheValuesAroundThem) {
  EXPECT_EQ(Quantile({4, 1, 3, 2}, 0.5), 2.5);
  EXPECT_EQ(Quantile({5, 1, 3}, 0.5), 3);
  EXPECT_EQ(Quantile({7}, 0.95), 7);
  EXPECT_EQ(Quantile({1, 2, 3, 4, 5}, 0), 1);
  EXPECT_EQ(Quantile({1, 2, 3, 4, 5}, 1), 5);
  EXPECT_DOUBLE_EQ(Quantile({10, 20, 30, 40, 50}, 0.95), 48);  // NumPy's answer
}

TEST(SampleStatisticsTest, StudentsQuantilesAreThoseOfTheTables) {
  EXPECT_NEAR(StudentQuantile(1, 0.95), 12.7062, 1e-4);
  EXPECT_NEAR(StudentQuantile(2, 0.95), 4.30265, 1e-5);
  EXPECT_NEAR(StudentQuantile(3, 0.95), 3.18245, 1e-5);
  EXPECT_NEAR(StudentQuantile(4, 0.95), 2.77645, 1e-5);
  EXPECT_NEAR(StudentQuantile(9, 0.95), 2.26216, 1e-5);
  EXPECT_NEAR(StudentQuantile(30, 0.95), 2.04227, 1e-5);
  EXPECT_NEAR(StudentQuantile(99, 0.95), 1.98422, 1e-5);
  EXPECT_NEAR(StudentQuantile(5, 0.99), 4.03214, 1e-5);
}

TEST(SampleStatisticsTest, AnIntervalWantsTwoValues) {
  EXPECT_FALSE(MeanInterval({}));
  const std::vector<double> one = {3};
  EXPECT_FALSE(MeanInterval(one));
}

TEST(SampleStatisticsTest, AnIntervalIsAsWideAsFewValuesMakeIt) {
  const std::vector<double> two = {1, 3};
  const auto wide = MeanInterval(two);
  ASSERT_TRUE(wide);
  EXPECT_NEAR(wide->low, 2 - 12.7062, 1e-4);  // t(1) times sqrt(2) / sqrt(2)
  EXPECT_NEAR(wide->high, 2 + 12.7062, 1e-4);
  const std::vector<double> equal = {5, 5, 5};
  EXPECT_EQ(MeanInterval(equal)->low, 5);
  EXPECT_EQ(MeanInterval(equal)->high, 5);
}

}  // namespace
}  // namespace mantissa::trainer
