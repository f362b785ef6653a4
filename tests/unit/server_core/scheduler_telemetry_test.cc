// Numbering: every entry once, in order, over attempts and restarts; progress of the job beside it.
#include "control_plane.h"

namespace mantissa::server {
namespace {

class SchedulerTelemetry : public testing::Test {
 protected:
  SchedulerTelemetry() : worker_(plane_, "ws-1") {
    EXPECT_TRUE(worker_.Sync().ok());
    job_ = plane_.Submit().id();
    EXPECT_TRUE(worker_.Sync().ok());
    ref_ = worker_.held.at(0).ref();
  }

  // Fails unless sequences are contiguous from 1; returns the iterations of all records, in order.
  std::vector<int32_t> Iterations() {
    std::vector<int32_t> iterations;
    int64_t next = 1;
    for (const v1::Segment& segment : plane_.Telemetry(job_)) {
      EXPECT_EQ(segment.first_sequence(), next);
      next += segment.count();
      if (!segment.has_records()) continue;
      for (int64_t value : segment.records().columns(0).integers().values()) {
        iterations.push_back(static_cast<int32_t>(value));
      }
    }
    return iterations;
  }

  ControlPlane plane_;
  FakeWorker worker_;
  std::string job_;
  v1::AttemptRef ref_;
};

TEST_F(SchedulerTelemetry, FirstEntriesMakeTheAttemptRun) {
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::STARTING);
  EXPECT_EQ(plane_.Append(ref_, {}).value(), 0);
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::STARTING);
  EXPECT_EQ(plane_.Append(ref_, {Records(1, 1, 3)}).value(), 3);
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::RUNNING);
  EXPECT_TRUE(plane_.Job(job_).has_start_time());
  // The watcher learns that it runs before it sees what it did.
  const auto telemetry = plane_.Telemetry(job_);
  EXPECT_EQ(telemetry[telemetry.size() - 2].event().state_change().to(), v1::Job::RUNNING);
  EXPECT_EQ(telemetry.back().attempt(), 1);
}

TEST_F(SchedulerTelemetry, OverlapIsDropped) {
  ASSERT_TRUE(plane_.Append(ref_, {Records(1, 1, 4)}).ok());
  EXPECT_EQ(plane_.Append(ref_, {Records(1, 1, 4)}).value(), 4);
  EXPECT_EQ(plane_.Append(ref_, {Records(3, 3, 4)}).value(), 6);
  EXPECT_EQ(plane_.Append(ref_, {Records(5, 5, 2), Records(6, 6, 3)}).value(), 8);
  EXPECT_EQ(Iterations(), (std::vector<int32_t>{1, 2, 3, 4, 5, 6, 7, 8}));
}

TEST_F(SchedulerTelemetry, AHoleIsRefusedWhole) {
  ASSERT_TRUE(plane_.Append(ref_, {Records(1, 1, 2)}).ok());
  auto refused = plane_.Append(ref_, {Records(3, 3, 1), Records(5, 5, 1)});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(ReasonOf(refused.status()), kTelemetryHole);
  EXPECT_EQ(plane_.Append(ref_, {}).value(), 2) << "nothing of the batch counts";
}

TEST_F(SchedulerTelemetry, ABadSegmentIsRefusedWhole) {
  v1::Segment bad = Records(2, 2, 1);
  bad.set_count(2);
  EXPECT_EQ(plane_.Append(ref_, {Records(1, 1, 1), bad}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(plane_.Append(ref_, {}).value(), 0);
}

TEST_F(SchedulerTelemetry, AGapTakesOneSequenceHoweverWide) {
  v1::Segment gap;
  gap.set_first_attempt_sequence(1);
  gap.set_count(1);
  gap.mutable_gap()->set_from(1);
  gap.mutable_gap()->set_to(1'000'000);
  EXPECT_EQ(plane_.Append(ref_, {gap, Records(1'000'001, 7, 1)}).value(), 1'000'001);
  EXPECT_EQ(Iterations(), std::vector<int32_t>{7});
}

TEST_F(SchedulerTelemetry, NumberingGoesOnOverARestart) {
  ASSERT_TRUE(plane_.Append(ref_, {Records(1, 1, 3)}).ok());
  plane_.Restart();
  EXPECT_EQ(plane_.Append(ref_, {Records(2, 2, 4)}).value(), 5);
  EXPECT_EQ(Iterations(), (std::vector<int32_t>{1, 2, 3, 4, 5}));
}

TEST_F(SchedulerTelemetry, ASecondAttemptCountsFromOneAndTheJobGoesOn) {
  ASSERT_TRUE(plane_.Append(ref_, {Records(1, 1, 3)}).ok());
  worker_.held.clear();
  ASSERT_TRUE(worker_.Sync().ok());
  plane_.Restart();
  ASSERT_TRUE(worker_.Sync().ok());
  plane_.PassUntilPlaced(job_);
  plane_.Restart();
  ASSERT_TRUE(worker_.Sync().ok());
  const v1::AttemptRef second = worker_.held.at(0).ref();
  EXPECT_EQ(plane_.Append(second, {}).value(), 0);
  EXPECT_EQ(plane_.Append(second, {Records(1, 3, 2)}).value(), 2);
  EXPECT_EQ(Iterations(), (std::vector<int32_t>{1, 2, 3, 3, 4}));
}

TEST_F(SchedulerTelemetry, TheJobRowIsNotRewrittenForEveryBatch) {
  ASSERT_TRUE(plane_.Append(ref_, {Records(1, 1, 1)}).ok());
  int rewritten = 0;
  for (int i = 2; i <= 100; ++i) {
    plane_.now.steady += milliseconds(10);
    ASSERT_TRUE(plane_.Append(ref_, {Records(i, i, 1)}).ok());
    rewritten += static_cast<int>(plane_.last.jobs.size());
  }
  EXPECT_EQ(rewritten, 0);
  v1::Job job = plane_.Job(job_);
  plane_.scheduler->Decorate(job, plane_.now);
  EXPECT_EQ(job.progress().iteration(), 100) << "the live value is newer than the row";
  plane_.Pass(seconds(1));
  EXPECT_EQ(plane_.Job(job_).progress().iteration(), 100) << "and the row follows";
  EXPECT_EQ(plane_.Attempt(job_, 1).iteration(), 100);
  const std::string etag = plane_.Job(job_).etag();
  ASSERT_TRUE(plane_.Append(ref_, {Records(101, 101, 1)}).ok());
  plane_.Pass(seconds(1));
  EXPECT_EQ(plane_.Job(job_).progress().iteration(), 101);
  EXPECT_EQ(plane_.Job(job_).etag(), etag);
}

TEST_F(SchedulerTelemetry, ProgressKnowsItsPlaceAndLength) {
  v1::Segment started;
  started.set_first_attempt_sequence(1);
  started.set_count(1);
  started.mutable_event()->mutable_started()->set_total_iterations(690);
  started.mutable_event()->mutable_started()->set_device("cpu");
  ASSERT_TRUE(plane_.Append(ref_, {started, Records(2, 1, 4)}).ok());
  v1::Job job = plane_.Job(job_);
  plane_.scheduler->Decorate(job, plane_.now);
  EXPECT_EQ(job.progress().total_iterations(), 690);
  EXPECT_EQ(job.progress().device(), "cpu");
  EXPECT_EQ(job.progress().worker_id(), "ws-1");
  EXPECT_DOUBLE_EQ(job.progress().loss(), 0.25);
  const auto events = plane_.store.ListEvents(job_, 1, v1::JobEvent::INFO, 100).value().segments;
  EXPECT_TRUE(events.back().event().has_started()) << "an event without a severity is information";
}

}  // namespace
}  // namespace mantissa::server
