#include "worker/studies/scaler_trace.h"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mantissa::trainer {
namespace {

// Follows a scale of its own: halved by every skip, doubled when asked to.
class Story {
 public:
  explicit Story(double scale) : scale_(scale) {}

  void Apply(int iterations) {
    for (int i = 0; i < iterations; ++i) Tell(true, scale_);
  }
  void Skip(int iterations = 1) {
    for (int i = 0; i < iterations; ++i) Tell(false, scale_ / 2);
  }
  void Grow() { Tell(true, scale_ * 2); }

  const ScalerTrace& trace() const { return trace_; }
  v1::ScalerRow row() const {
    v1::ScalerRow row;
    trace_.Describe(row);
    return row;
  }

 private:
  void Tell(bool applied, double next) {
    IterationRecord record;
    record.iteration = ++iteration_;
    record.applied = applied;
    record.loss_scale = scale_;
    record.next_loss_scale = next;
    trace_.Observe(record);
    scale_ = next;
  }

  ScalerTrace trace_;
  double scale_;
  std::int64_t iteration_ = 0;
};

TEST(ScalerTraceTest, SettlingEndsWithTheLastSkipBeforeTwentyInARow) {
  Story story(1024);
  story.Skip(2);
  story.Apply(19);
  story.Skip();
  story.Apply(19);
  EXPECT_FALSE(story.trace().calibration()) << "one short of settled";
  story.Apply(1);
  EXPECT_EQ(story.trace().calibration(), 22);
  story.Skip();
  EXPECT_EQ(story.trace().calibration(), 22) << "what comes later is not calibration";
  EXPECT_EQ(story.row().skipped_iterations(), 4);
  EXPECT_EQ(story.row().calibration_iterations(), 22);
}

// The seed takes a scale that grows for one that is unstable.
TEST(ScalerTraceTest, AScaleThatGrowsSettlesAllTheSame) {
  Story story(1024);
  story.Skip();
  story.Apply(10);
  story.Grow();
  story.Apply(8);
  EXPECT_FALSE(story.trace().calibration());
  story.Grow();
  EXPECT_EQ(story.trace().calibration(), 1);
}

TEST(ScalerTraceTest, ARunWithoutASkipSettlesAtOnce) {
  Story story(1024);
  story.Apply(20);
  EXPECT_EQ(story.trace().calibration(), 0);
  EXPECT_TRUE(story.row().has_calibration_iterations());
}

TEST(ScalerTraceTest, ARunThatNeverSettlesHasNoCalibration) {
  Story story(1024);
  for (int i = 0; i < 10; ++i) {
    story.Skip();
    story.Apply(5);
  }
  EXPECT_FALSE(story.row().has_calibration_iterations());
}

TEST(ScalerTraceTest, ScalesAreThoseThatIterationsRanWithAndTheLast) {
  Story story(1024);
  story.Skip(3);
  story.Apply(20);
  story.Grow();
  const v1::ScalerRow row = story.row();
  EXPECT_EQ(row.first_scale(), 1024);
  EXPECT_EQ(row.min_scale(), 128);
  EXPECT_EQ(row.max_scale(), 1024);
  EXPECT_EQ(row.last_scale(), 256);
  EXPECT_EQ(row.iterations(), 24);
  EXPECT_DOUBLE_EQ(row.skipped_share(), 3.0 / 24);
  ASSERT_EQ(story.trace().changes().size(), 5u);
  EXPECT_EQ(story.trace().changes()[0].iteration, 1);
  EXPECT_EQ(story.trace().changes()[3].iteration, 4) << "the first that ran with it";
  EXPECT_EQ(story.trace().changes()[4].iteration, 25);
  EXPECT_EQ(story.trace().changes()[4].loss_scale, 256);
  EXPECT_FALSE(story.trace().thinned());
}

TEST(ScalerTraceTest, OfTooManyChangesEvenlyChosenOnesAreKept) {
  Story story(1);
  for (int i = 0; i < 1500; ++i) {
    story.Grow();
    story.Skip();
  }
  EXPECT_TRUE(story.trace().thinned());
  EXPECT_LE(story.trace().changes().size(), ScalerTrace::kMostChanges);
  EXPECT_GT(story.trace().changes().size(), ScalerTrace::kMostChanges / 2);
  std::int64_t step = story.trace().changes()[1].iteration - story.trace().changes()[0].iteration;
  for (std::size_t i = 1; i < story.trace().changes().size(); ++i) {
    ASSERT_EQ(story.trace().changes()[i].iteration - story.trace().changes()[i - 1].iteration, step);
  }
}

}  // namespace
}  // namespace mantissa::trainer
