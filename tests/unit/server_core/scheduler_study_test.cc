// Studies: placed by what they need of a worker, counted by their cases, and recorded with what they found.
#include "control_plane.h"

namespace mantissa::server {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

v1::JobSpec StudySpec() {
  v1::JobSpec spec;
  spec.mutable_study()->mutable_format_table()->set_iterations(0);
  spec.mutable_resources()->set_device(v1::ResourceSpec::CPU);
  return spec;
}

v1::Report GoodReport(const std::string& finding = "FP16 loses a third of the gradients") {
  v1::Report report;
  report.set_finding(finding);
  report.mutable_format_table()->add_formats()->set_format(v1::NumberFormat::FP16);
  return report;
}

class SchedulerStudy : public testing::Test {
 protected:
  SchedulerStudy() : worker_(plane_, "ws-1") { EXPECT_TRUE(worker_.Sync().ok()); }

  void Begin(const v1::JobSpec& spec = StudySpec()) {
    job_ = plane_.Submit(spec).id();
    ref_ = worker_.RunFirst();
  }
  absl::Status End(v1::Attempt::State state, const v1::Report& report,
                   v1::Reason::Code reason = v1::Reason::REASON_UNSPECIFIED) {
    *worker_.held[0].mutable_report() = report;
    return worker_.End(state, reason);
  }
  std::optional<v1::Report> Stored() { return plane_.store.GetReport(job_).value(); }

  ControlPlane plane_;
  FakeWorker worker_;
  std::string job_;
  v1::AttemptRef ref_;
};

TEST_F(SchedulerStudy, WhatItFoundIsStoredInTheCommitThatEndsIt) {
  Begin();
  worker_.held[0].mutable_result()->set_finding("what the worker says beside it");
  ASSERT_TRUE(End(v1::Attempt::SUCCEEDED, GoodReport()).ok());
  ASSERT_EQ(plane_.last.reports.size(), 1u);
  EXPECT_EQ(plane_.last.reports[0].attempt, 1);
  EXPECT_EQ(plane_.last.reports[0].create_micros, 1'767'225'600'000'000);
  ASSERT_EQ(plane_.last.jobs.size(), 1u);
  EXPECT_EQ(plane_.last.jobs[0].job.state(), v1::Job::SUCCEEDED);
  EXPECT_EQ(Stored()->SerializeAsString(), GoodReport().SerializeAsString());
  EXPECT_EQ(plane_.Job(job_).result().finding(), GoodReport().finding()) << "of the report, not the worker's word";
}

TEST_F(SchedulerStudy, ALongFindingIsCutInTheJobOnly) {
  Begin();
  ASSERT_TRUE(End(v1::Attempt::SUCCEEDED, GoodReport(std::string(10'000, 'x'))).ok());
  EXPECT_LT(plane_.Job(job_).result().finding().size(), 5'000u);
  EXPECT_EQ(Stored()->finding().size(), 10'000u);
}

TEST_F(SchedulerStudy, ASuccessWithoutAReportIsNone) {
  Begin();
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED).ok());
  const v1::Job job = plane_.Job(job_);
  EXPECT_EQ(job.state(), v1::Job::FAILED);
  EXPECT_EQ(job.reason(), v1::Reason::INTERNAL_ERROR);
  EXPECT_THAT(job.state_message(), HasSubstr("without a report"));
  EXPECT_EQ(plane_.Attempt(job_, 1).state(), v1::Attempt::FAILED);
}

TEST_F(SchedulerStudy, AReportOfAnotherStudyIsNotBelieved) {
  Begin();
  v1::Report other;
  other.mutable_tensor_core();
  ASSERT_TRUE(End(v1::Attempt::SUCCEEDED, other).ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::FAILED);
  EXPECT_EQ(plane_.Job(job_).reason(), v1::Reason::INTERNAL_ERROR);
  EXPECT_THAT(plane_.Job(job_).state_message(), HasSubstr("tensor_core"));
  EXPECT_FALSE(Stored().has_value());
}

TEST_F(SchedulerStudy, NeitherIsOneThatIsTooLarge) {
  Begin();
  ASSERT_TRUE(End(v1::Attempt::SUCCEEDED, GoodReport(std::string((1 << 20) + 1, 'x'))).ok());
  EXPECT_EQ(plane_.Job(job_).reason(), v1::Reason::INTERNAL_ERROR);
  EXPECT_THAT(plane_.Job(job_).state_message(), HasSubstr("1048576"));
  EXPECT_FALSE(Stored().has_value());
}

TEST_F(SchedulerStudy, AFailureKeepsItsReasonAndWhatWasFoundUntilThen) {
  Begin();
  v1::Report report = GoodReport();
  report.set_partial(true);
  ASSERT_TRUE(End(v1::Attempt::FAILED, report, v1::Reason::BAD_DATA).ok());
  EXPECT_EQ(plane_.Job(job_).reason(), v1::Reason::BAD_DATA);
  EXPECT_TRUE(Stored()->partial());
}

TEST_F(SchedulerStudy, AFailureWithABadReportKeepsItsReasonAndNoReport) {
  Begin();
  v1::Report other;
  other.mutable_tensor_core();
  ASSERT_TRUE(End(v1::Attempt::FAILED, other, v1::Reason::BAD_DATA).ok());
  EXPECT_EQ(plane_.Job(job_).reason(), v1::Reason::BAD_DATA);
  EXPECT_FALSE(Stored().has_value());
}

TEST_F(SchedulerStudy, ACancelKeepsWhatWasFoundUntilThen) {
  Begin();
  ASSERT_TRUE(plane_.Cancel(job_).ok());
  ASSERT_TRUE(worker_.Sync().ok());
  ASSERT_TRUE(End(v1::Attempt::CANCELLED, GoodReport(), v1::Reason::CANCELLED_BY_USER).ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::CANCELLED);
  EXPECT_TRUE(Stored().has_value());
}

TEST_F(SchedulerStudy, ALaterAttemptsReportTakesThePlaceOfAnEarlierOnes) {
  Begin();
  v1::Report partial = GoodReport("half of it");
  partial.set_partial(true);
  ASSERT_TRUE(End(v1::Attempt::FAILED, partial, v1::Reason::OOM_KILLED).ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::QUEUED);
  EXPECT_EQ(Stored()->finding(), "half of it");
  plane_.PassUntilPlaced(job_);
  worker_.RunFirst();
  ASSERT_TRUE(End(v1::Attempt::SUCCEEDED, GoodReport()).ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::SUCCEEDED);
  EXPECT_EQ(Stored()->finding(), GoodReport().finding());
}

TEST_F(SchedulerStudy, ATrainingHasNoReport) {
  Begin(SyntheticSpec());
  worker_.held[0].mutable_result()->set_finding("none of a training's");
  ASSERT_TRUE(End(v1::Attempt::SUCCEEDED, GoodReport()).ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::FAILED);
  EXPECT_THAT(plane_.Job(job_).state_message(), HasSubstr("no study"));
  EXPECT_THAT(plane_.Job(job_).result().finding(), IsEmpty());
  EXPECT_FALSE(Stored().has_value());
}

TEST_F(SchedulerStudy, AReportThatWaitsForTelemetryOutlivesItsAgent) {
  Begin();
  *worker_.held[0].mutable_report() = GoodReport();
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED, v1::Reason::REASON_UNSPECIFIED, 10).ok());
  EXPECT_FALSE(Stored().has_value()) << "not before its end is recorded";
  worker_.RestartAgent();
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::SUCCEEDED);
  EXPECT_TRUE(Stored().has_value());
}

TEST_F(SchedulerStudy, CasesThatAreDoneAreItsProgress) {
  Begin();
  worker_.held[0].set_iteration(3);
  ASSERT_TRUE(worker_.Sync().ok());
  plane_.Pass(seconds(2));
  EXPECT_EQ(plane_.Job(job_).progress().iteration(), 3);
  EXPECT_TRUE(plane_.Job(job_).progress().has_time());
}

TEST_F(SchedulerStudy, ATrainingsProgressIsWhatItsRecordsSay) {
  Begin(SyntheticSpec());
  worker_.held[0].set_iteration(3);
  ASSERT_TRUE(worker_.Sync().ok());
  plane_.Pass(seconds(2));
  EXPECT_EQ(plane_.Job(job_).progress().iteration(), 0);
}

TEST_F(SchedulerStudy, NoDeviceIsTooPoorForAStudyButAWorkerMustKnowIt) {
  v1::JobSpec spec;
  v1::TrainingSpec& training = *spec.mutable_study()->mutable_precision_comparison()->mutable_training();
  training.mutable_model()->mutable_mlp()->add_hidden(8);
  training.mutable_data()->mutable_train()->mutable_synthetic();
  spec.mutable_study()->mutable_precision_comparison()->add_precisions(v1::PrecisionSpec::TF32);
  FakeWorker older(plane_, "ws-0");
  older.request().clear_features();
  older.request().add_features("workload.training");
  worker_.request().mutable_devices(0)->add_precisions(v1::PrecisionSpec::FP32);
  ASSERT_TRUE(older.Sync().ok());
  ASSERT_TRUE(worker_.Sync().ok());
  const std::string job = plane_.Submit(spec).id();
  EXPECT_EQ(plane_.Job(job).progress().worker_id(), "ws-1");
}

TEST_F(SchedulerStudy, WhatItsResourcesAskForHolds) {
  v1::JobSpec spec = StudySpec();
  spec.mutable_resources()->set_device(v1::ResourceSpec::CUDA);
  EXPECT_EQ(plane_.Submit(spec).state(), v1::Job::QUEUED);
}

}  // namespace
}  // namespace mantissa::server
