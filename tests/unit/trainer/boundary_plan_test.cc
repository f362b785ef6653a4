#include "worker/trainer/boundary_plan.h"

#include <optional>

#include <gtest/gtest.h>

namespace mantissa::trainer {
namespace {

constexpr BoundaryPlanOptions kBoth = {
    .iterations = 100, .evaluate_every = 10, .checkpoint_every = 25, .has_evaluation = true};

TEST(BoundaryPlanTest, IsReachedByEitherNumber) {
  const Boundary boundary{.iteration = 100, .step = 10};
  EXPECT_FALSE(boundary.ReachedBy({.iteration = 99, .step = 9}));
  EXPECT_TRUE(boundary.ReachedBy({.iteration = 100, .step = 9}));
  EXPECT_TRUE(boundary.ReachedBy({.iteration = 99, .step = 10}));
}

TEST(BoundaryPlanTest, TheNearerOfEvaluationAndCheckpointComesNext) {
  const BoundaryPlan plan(kBoth);
  EXPECT_EQ(plan.Next({0, 0})->step, 10);
  EXPECT_EQ(plan.Next({9, 9})->step, 10);
  EXPECT_EQ(plan.Next({22, 21})->step, 25);
  EXPECT_EQ(plan.Next({22, 21})->iteration, 100);
}

TEST(BoundaryPlanTest, WorkOfAStepIsNotDoneTwiceWhenSkippedIterationsFollowIt) {
  const BoundaryPlan plan(kBoth);
  EXPECT_EQ(plan.Next({10, 10})->step, 20);
  EXPECT_EQ(plan.Next({17, 10})->step, 20);
}

TEST(BoundaryPlanTest, NothingComesAfterTheLastIteration) {
  const BoundaryPlan plan(kBoth);
  EXPECT_TRUE(plan.Next({99, 99}).has_value());
  EXPECT_FALSE(plan.Next({100, 80}).has_value());
  // A job whose checkpoint is from a longer run.
  EXPECT_FALSE(plan.Next({150, 150}).has_value());
}

TEST(BoundaryPlanTest, WithoutIntervalsOnlyTheEndIsABoundary) {
  const BoundaryPlan plan({.iterations = 100, .has_evaluation = true});
  const std::optional<Boundary> end = plan.Next({7, 7});
  ASSERT_TRUE(end.has_value());
  EXPECT_EQ(end->iteration, 100);
  EXPECT_FALSE(end->ReachedBy({99, 99}));
  const DueWork due = plan.At({7, 7});
  EXPECT_FALSE(due.evaluate);
  EXPECT_FALSE(due.checkpoint);
}

TEST(BoundaryPlanTest, AnEvaluationIntervalWithoutDataStopsNobody) {
  BoundaryPlanOptions options = kBoth;
  options.has_evaluation = false;
  const BoundaryPlan plan(options);
  EXPECT_EQ(plan.Next({0, 0})->step, 25);
  EXPECT_FALSE(plan.At({50, 50}).evaluate);
  EXPECT_FALSE(plan.At({100, 100}).evaluate);
}

TEST(BoundaryPlanTest, EachBoundaryBringsTheWorkWhoseIntervalItEnds) {
  const BoundaryPlan plan(kBoth);
  const DueWork evaluation = plan.At({12, 10});
  EXPECT_TRUE(evaluation.evaluate);
  EXPECT_FALSE(evaluation.checkpoint);
  EXPECT_FALSE(evaluation.final);
  const DueWork checkpoint = plan.At({26, 25});
  EXPECT_FALSE(checkpoint.evaluate);
  EXPECT_TRUE(checkpoint.checkpoint);
  EXPECT_FALSE(checkpoint.final);
  const DueWork both = plan.At({52, 50});
  EXPECT_TRUE(both.evaluate);
  EXPECT_TRUE(both.checkpoint);
}

TEST(BoundaryPlanTest, TheEndBringsEverythingWhateverTheStep) {
  const DueWork due = BoundaryPlan(kBoth).At({100, 93});
  EXPECT_TRUE(due.evaluate);
  EXPECT_TRUE(due.checkpoint);
  EXPECT_TRUE(due.final);
}

}  // namespace
}  // namespace mantissa::trainer
