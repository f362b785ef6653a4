#include "server/metrics/job_metrics.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string>

#include "gmock/gmock.h"

#include "tests/unit/server_metrics/metrics_text.h"
#include "tests/unit/whole_job.h"

namespace mantissa::server {
namespace {

using testing::HasSubstr;
using testing::Not;

class JobMetricsTest : public testing::Test {
 protected:
  static v1::Job Job(const std::string& id, v1::Job::State state, int32_t attempt = 1) {
    v1::Job job;
    job.set_id(id);
    job.set_state(state);
    job.set_attempt(attempt);
    job.set_name("name-" + id);
    job.mutable_create_time()->set_seconds(100);
    job.mutable_state_time()->set_seconds(103);
    return job;
  }

  void Commit(const v1::Job& job, bool is_new = false) {
    Changes changes;
    PutWhole(changes, v1::Job(job), is_new ? "" : "before", {});
    job_metrics.OnCommitted(changes);
  }

  static TelemetryWrite Records(const std::string& id, int iteration, int step, double loss, double scale) {
    TelemetryWrite write;
    write.job_id = id;
    write.segment.set_count(1);
    const auto add = [&write](v1::Column::Standard column) -> v1::Column& {
      v1::Column& added = *write.segment.mutable_records()->add_columns();
      added.set_standard(column);
      return added;
    };
    add(v1::Column::ITERATION).mutable_integers()->add_values(iteration);
    add(v1::Column::STEP).mutable_integers()->add_values(step);
    add(v1::Column::LOSS).mutable_doubles()->add_values(loss);
    if (scale > 0) add(v1::Column::LOSS_SCALE).mutable_doubles()->add_values(scale);
    return write;
  }

  void Commit(TelemetryWrite write) {
    Changes changes;
    changes.telemetry.push_back(std::move(write));
    job_metrics.OnCommitted(changes);
  }

  std::string Text() { return TextOf(metrics); }

  ServerMetrics metrics;
  JobMetrics job_metrics{metrics, {.max_live_jobs = 2}};
};

TEST_F(JobMetricsTest, CountsJobsByStateThroughTheirLives) {
  Commit(Job("a", v1::Job::QUEUED), true);
  Commit(Job("b", v1::Job::QUEUED), true);
  EXPECT_THAT(Text(), HasSubstr("mantissa_jobs{state=\"queued\"} 2"));
  EXPECT_THAT(Text(), HasSubstr("mantissa_jobs_submitted_total 2"));
  Commit(Job("a", v1::Job::STARTING));
  Commit(Job("a", v1::Job::RUNNING));
  EXPECT_THAT(Text(), HasSubstr("mantissa_jobs{state=\"queued\"} 1"));
  EXPECT_THAT(Text(), HasSubstr("mantissa_jobs{state=\"running\"} 1"));
  Commit(Job("a", v1::Job::SUCCEEDED));
  Commit(Job("a", v1::Job::SUCCEEDED));  // written again, for a file that came late
  Commit(Job("b", v1::Job::CANCELLED));
  EXPECT_THAT(Text(), HasSubstr("mantissa_jobs{state=\"queued\"} 0"));
  EXPECT_THAT(Text(), HasSubstr("mantissa_jobs{state=\"running\"} 0"));
  EXPECT_THAT(Text(), HasSubstr("mantissa_jobs_ended_total{state=\"succeeded\"} 1"));
  EXPECT_THAT(Text(), HasSubstr("mantissa_jobs_ended_total{state=\"cancelled\"} 1"));
}

TEST_F(JobMetricsTest, AFreshServerShowsEveryStateAtZero) {
  for (const char* const state : {"queued", "starting", "running", "pausing", "paused", "cancelling"}) {
    EXPECT_THAT(Text(), HasSubstr("mantissa_jobs{state=\"" + std::string(state) + "\"} 0"));
  }
}

TEST_F(JobMetricsTest, JobsThatWereThereAtTheStartAreCountedAndNotSubmitted) {
  job_metrics.Seed(Job("a", v1::Job::STARTING));
  job_metrics.Seed(Job("b", v1::Job::RUNNING));
  Commit(Records("b", 5, 5, 0.5, 0));
  EXPECT_THAT(Text(), HasSubstr("mantissa_jobs{state=\"running\"} 1"));
  EXPECT_THAT(Text(), HasSubstr("mantissa_jobs_submitted_total 0"));
  EXPECT_THAT(Text(), HasSubstr("mantissa_job_queue_wait_seconds_count 0"));
  EXPECT_THAT(Text(), HasSubstr("mantissa_job_loss{job_id=\"b\",name=\"name-b\"} 0.5"));
}

TEST_F(JobMetricsTest, ObservesTheWaitForTheFirstAssignmentOnce) {
  Commit(Job("a", v1::Job::STARTING), true);  // submitted and placed by one commit
  Commit(Job("a", v1::Job::STARTING));
  Commit(Job("a", v1::Job::QUEUED));
  Commit(Job("a", v1::Job::STARTING, /*attempt=*/2));
  EXPECT_THAT(Text(), HasSubstr("mantissa_job_queue_wait_seconds_count 1"));
  EXPECT_THAT(Text(), HasSubstr("mantissa_job_queue_wait_seconds_sum 3"));
}

TEST_F(JobMetricsTest, ShowsTheNewestRecordOfARunningJob) {
  v1::Job job = Job("a", v1::Job::RUNNING);
  job.mutable_progress()->set_total_iterations(40);
  Commit(job, true);
  Commit(Records("a", 9, 9, 0.75, 65536));
  Commit(Records("a", 10, 8, 0.5, 32768));
  const std::string text = Text();
  EXPECT_THAT(text, HasSubstr("mantissa_job_iteration{job_id=\"a\",name=\"name-a\"} 10"));
  EXPECT_THAT(text, HasSubstr("mantissa_job_step{job_id=\"a\",name=\"name-a\"} 8"));
  EXPECT_THAT(text, HasSubstr("mantissa_job_loss{job_id=\"a\",name=\"name-a\"} 0.5"));
  EXPECT_THAT(text, HasSubstr("mantissa_job_loss_scale{job_id=\"a\",name=\"name-a\"} 32768"));
  EXPECT_THAT(text, HasSubstr("mantissa_job_skipped_ratio{job_id=\"a\",name=\"name-a\"} 0.2"));
  EXPECT_THAT(text, HasSubstr("mantissa_job_progress_ratio{job_id=\"a\",name=\"name-a\"} 0.25"));
  EXPECT_THAT(text, HasSubstr("mantissa_job_overflows_total{job_id=\"a\",name=\"name-a\"} 0"));
}

TEST_F(JobMetricsTest, AJobWithoutALossScaleShowsNone) {
  Commit(Job("a", v1::Job::RUNNING), true);
  Commit(Records("a", 1, 1, 0.5, 0));
  EXPECT_THAT(Text(), Not(HasSubstr("mantissa_job_loss_scale{")));
  EXPECT_THAT(Text(), Not(HasSubstr("mantissa_job_overflows_total{")));
}

// P21.
TEST_F(JobMetricsTest, AJobThatShowsAllItCanHasTwelveSeries) {
  v1::Job job = Job("a", v1::Job::RUNNING);
  job.mutable_progress()->set_total_iterations(40);
  job.mutable_progress()->mutable_precision()->set_stability_score(1);
  Commit(job, true);
  TelemetryWrite write = Records("a", 4, 1, 0.5, 65536);
  for (const auto column : {v1::Column::GRAD_NORM, v1::Column::SAMPLES_PER_SECOND}) {
    v1::Column& added = *write.segment.mutable_records()->add_columns();
    added.set_standard(column);
    added.mutable_doubles()->add_values(1);
  }
  v1::Column& phase = *write.segment.mutable_records()->add_columns();
  phase.set_standard(v1::Column::PHASE);
  phase.mutable_integers()->add_values(2);
  Commit(write);
  EXPECT_EQ(LinesWith(Text(), "job_id=\"a\""), 12) << Text();
}

TEST_F(JobMetricsTest, KnowsSinceWhenTheJobThatWaitsLongestWaits) {
  const auto waits = [](const std::string& id, int64_t since) {
    v1::Job job = Job(id, v1::Job::QUEUED);
    job.mutable_state_time()->set_seconds(since);
    return job;
  };
  const auto oldest = [this]() -> std::optional<int64_t> {
    const auto since = job_metrics.OldestQueued();
    return since ? std::optional(std::chrono::floor<std::chrono::seconds>(since->time_since_epoch()).count())
                 : std::nullopt;
  };
  EXPECT_EQ(oldest(), std::nullopt);
  job_metrics.Seed(waits("b", 200));
  Commit(waits("a", 300), true);
  EXPECT_EQ(oldest(), 200);
  Commit(waits("b", 200));  // another sentence why it waits
  EXPECT_EQ(oldest(), 200);
  Commit(Job("b", v1::Job::STARTING));
  EXPECT_EQ(oldest(), 300);
  Commit(waits("b", 400));  // its worker was lost: it waits from now on
  EXPECT_EQ(oldest(), 300);
  Commit(Job("a", v1::Job::CANCELLED));
  EXPECT_EQ(oldest(), 400);
  Commit(Job("b", v1::Job::PAUSED));
  EXPECT_EQ(oldest(), std::nullopt);
}

TEST_F(JobMetricsTest, CountsOverflowsAndNoOtherSkips) {
  Commit(Job("a", v1::Job::RUNNING), true);
  TelemetryWrite write = Records("a", 4, 1, 0.5, 65536);
  v1::Column& cause = *write.segment.mutable_records()->add_columns();
  cause.set_standard(v1::Column::SKIP_CAUSE);
  for (const auto code : {v1::SkipCause::OVERFLOW, v1::SkipCause::NAN_FORWARD, v1::SkipCause::OVERFLOW}) {
    cause.mutable_integers()->add_values(code);
  }
  Commit(write);
  Commit(write);
  EXPECT_THAT(Text(), HasSubstr("mantissa_job_overflows_total{job_id=\"a\",name=\"name-a\"} 4"));
}

TEST_F(JobMetricsTest, TheEndAndAReturnToTheQueueTakeTheSeriesAway) {
  for (const v1::Job::State state : {v1::Job::QUEUED, v1::Job::SUCCEEDED, v1::Job::FAILED, v1::Job::CANCELLED}) {
    Commit(Job("a", v1::Job::RUNNING), true);
    Commit(Records("a", 1, 1, 0.5, 65536));
    EXPECT_GT(LinesWith(Text(), "job_id=\"a\""), 5);
    Commit(Job("a", state));
    EXPECT_EQ(LinesWith(Text(), "job_id=\"a\""), 0) << v1::Job::State_Name(state);
    Commit(Records("a", 2, 2, 0.5, 65536));
    EXPECT_EQ(LinesWith(Text(), "job_id=\"a\""), 0) << "a late record brings nothing back";
  }
}

TEST_F(JobMetricsTest, SeriesAreBoundedAndAPlaceThatIsFreedIsTaken) {
  for (const char* const id : {"a", "b", "c"}) {
    Commit(Job(id, v1::Job::RUNNING), true);
    Commit(Records(id, 1, 1, 0.5, 0));
  }
  EXPECT_EQ(LinesWith(Text(), "mantissa_job_loss{"), 2);
  Commit(Job("a", v1::Job::SUCCEEDED));
  Commit(Job("c", v1::Job::RUNNING));
  Commit(Records("c", 2, 2, 0.25, 0));
  EXPECT_THAT(Text(), HasSubstr("mantissa_job_loss{job_id=\"c\",name=\"name-c\"} 0.25"));
  EXPECT_EQ(LinesWith(Text(), "mantissa_job_loss{"), 2);
}

TEST_F(JobMetricsTest, CountsEndsOfAttemptsAndLostLeases) {
  Changes changes;
  for (const auto& [state, reason] :
       {std::pair(v1::Attempt::RUNNING, v1::Reason::STARTED), std::pair(v1::Attempt::FAILED, v1::Reason::OOM_KILLED),
        std::pair(v1::Attempt::LOST, v1::Reason::NODE_LOST)}) {
    AttemptWrite write;
    write.attempt.set_state(state);
    write.attempt.set_reason(reason);
    changes.attempts.push_back(write);
  }
  changes.lease_expiries = 2;
  job_metrics.OnCommitted(changes);
  EXPECT_THAT(Text(), HasSubstr("mantissa_attempts_ended_total{outcome=\"failed\",reason=\"oom_killed\"} 1"));
  EXPECT_THAT(Text(), HasSubstr("mantissa_attempts_ended_total{outcome=\"lost\",reason=\"node_lost\"} 1"));
  EXPECT_THAT(Text(), HasSubstr("mantissa_attempts_ended_total{outcome=\"failed\",reason=\"crashed\"} 0"))
      << "an alert sees the increase that the first one is";
  EXPECT_THAT(Text(), HasSubstr("mantissa_lease_expiries_total 2"));
}

TEST_F(JobMetricsTest, CountsEntriesAndGaps) {
  Commit(Job("a", v1::Job::RUNNING), true);
  Commit(Records("a", 1, 1, 0.5, 0));
  TelemetryWrite gap;
  gap.job_id = "a";
  gap.segment.set_count(1);
  gap.segment.mutable_gap()->set_from(2);
  Commit(gap);
  EXPECT_THAT(Text(), HasSubstr("mantissa_telemetry_entries_stored_total 2"));
  EXPECT_THAT(Text(), HasSubstr("mantissa_telemetry_gaps_total 1"));
}

TEST_F(JobMetricsTest, PromtoolFindsNothingToComplainAbout) {
  if (std::system("command -v promtool > /dev/null") != 0) GTEST_SKIP() << "promtool is not installed";
  Commit(Job("a", v1::Job::RUNNING), true);
  Commit(Records("a", 3, 2, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()));
  FILE* const promtool = popen("promtool check metrics 2>&1", "w");
  ASSERT_NE(promtool, nullptr);
  const std::string text = Text();
  EXPECT_EQ(fwrite(text.data(), 1, text.size(), promtool), text.size());
  EXPECT_EQ(pclose(promtool), 0);
}

TEST_F(JobMetricsTest, PrecisionStatisticsAreShownWhileTheJobRuns) {
  v1::Job job = Job("a", v1::Job::RUNNING);
  Commit(job, true);
  EXPECT_THAT(Text(), Not(HasSubstr("mantissa_job_window_skipped_ratio{")));
  v1::PrecisionStats& stats = *job.mutable_progress()->mutable_precision();
  stats.set_verdict(v1::PrecisionStats::INSUFFICIENT_DATA);
  stats.set_skipped_ratio(0.25);
  Commit(job);
  EXPECT_THAT(Text(), HasSubstr("mantissa_job_window_skipped_ratio{job_id=\"a\",name=\"name-a\"} 0.25"));
  EXPECT_THAT(Text(), Not(HasSubstr("mantissa_job_stability_ratio{"))) << "before a full window there is no score";
  stats.set_stability_score(0.75);
  Commit(job);
  EXPECT_THAT(Text(), HasSubstr("mantissa_job_stability_ratio{job_id=\"a\",name=\"name-a\"} 0.75"));
  job.set_state(v1::Job::SUCCEEDED);
  Commit(job);
  EXPECT_THAT(Text(), Not(HasSubstr("mantissa_job_stability_ratio{")));
  EXPECT_THAT(Text(), Not(HasSubstr("mantissa_job_window_skipped_ratio{")));
}

}  // namespace
}  // namespace mantissa::server
