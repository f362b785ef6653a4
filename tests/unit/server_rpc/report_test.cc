// GetReport, and the way of a report from its worker to there.
#include <memory>

#include "tests/unit/server_rpc/server_fixture.h"

namespace mantissa::server {
namespace {

v1::JobSpec StudySpec() {
  v1::JobSpec spec;
  spec.mutable_study()->mutable_format_table()->set_iterations(0);
  return spec;
}

v1::Report SomeReport() {
  v1::Report report;
  report.set_finding("BF16 keeps the range and loses digits");
  report.add_limits("of two formats only");
  for (const auto format : {v1::NumberFormat::FP16, v1::NumberFormat::BF16}) {
    report.mutable_format_table()->add_formats()->set_format(format);
    report.mutable_format_table()->add_values()->set_format(format);
  }
  return report;
}

class ReportTest : public ServerTest {
 protected:
  ReportTest() {
    StartServer();
    worker = std::make_unique<FakeWorker>(*workers);
  }

  grpc::Status GetReport(const std::string& job_id, v1::Report* report = nullptr, const std::string& section = "") {
    grpc::ClientContext context;
    v1::GetReportRequest request;
    request.set_job_id(job_id);
    request.set_section(section);
    v1::GetReportResponse response;
    const grpc::Status status = jobs->GetReport(&context, request, &response);
    if (report != nullptr) *report = response.report();
    return status;
  }

  // A study that ended with the report.
  std::string Done() {
    const std::string id = Submit(StudySpec()).id();
    worker->TakeAttempt();
    worker->Run();
    *worker->report.mutable_attempts(0)->mutable_report() = SomeReport();
    worker->End(v1::Attempt::SUCCEEDED, v1::Reason::COMPLETED);
    return id;
  }

  std::unique_ptr<FakeWorker> worker;
};

TEST_F(ReportTest, WhatAStudyFoundOutlivesTheServer) {
  const std::string id = Done();
  EXPECT_EQ(Get(id).state(), v1::Job::SUCCEEDED);
  EXPECT_EQ(Get(id).result().finding(), SomeReport().finding());
  Restart();
  v1::Report report;
  const grpc::Status status = GetReport(id, &report);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(report.SerializeAsString(), SomeReport().SerializeAsString());
}

TEST_F(ReportTest, OneSectionComesWithWhatIsSaidOfTheWhole) {
  const std::string id = Done();
  v1::Report report;
  ASSERT_TRUE(GetReport(id, &report, "values").ok());
  EXPECT_EQ(report.finding(), SomeReport().finding());
  EXPECT_EQ(report.limits_size(), 1);
  EXPECT_EQ(report.format_table().values_size(), 2);
  EXPECT_EQ(report.format_table().formats_size(), 0);
}

TEST_F(ReportTest, AnUnknownSectionIsToldWhichThereAre) {
  const std::string id = Done();
  for (const std::string& section : {std::string("format"), std::string("finding"), std::string(100'000, 'x')}) {
    const grpc::Status status = GetReport(id, nullptr, section);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(FieldOf(status), "section");
    EXPECT_NE(status.error_message().find("formats, values, gradients"), std::string::npos) << status.error_message();
    EXPECT_LT(status.error_message().size(), 300u);
  }
}

TEST_F(ReportTest, AStudyThatHasNoneYetSaysWhereItIs) {
  const std::string id = Submit(StudySpec()).id();
  grpc::Status status = GetReport(id);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ReasonOf(status), "NO_REPORT");
  EXPECT_NE(status.error_message().find("QUEUED"), std::string::npos) << status.error_message();
  worker->TakeAttempt();
  worker->Run();
  EXPECT_NE(GetReport(id).error_message().find("RUNNING"), std::string::npos);
  worker->report.mutable_attempts(0)->set_message("no such file");
  worker->End(v1::Attempt::FAILED, v1::Reason::BAD_DATA);
  status = GetReport(id);
  EXPECT_EQ(ReasonOf(status), "NO_REPORT");
  EXPECT_NE(status.error_message().find("ended FAILED without a report (no such file)"), std::string::npos)
      << status.error_message();
}

TEST_F(ReportTest, ATrainingIsNoStudy) {
  const grpc::Status status = GetReport(Submit().id());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonOf(status), "NOT_A_STUDY");
}

TEST_F(ReportTest, AJobThatIsNotThereIsNot) {
  EXPECT_EQ(ReasonOf(GetReport("01j00000000000000000000000")), "JOB_NOT_FOUND");
  EXPECT_EQ(FieldOf(GetReport("nonsense")), "job_id");
}

TEST_F(ReportTest, ABadStudyIsRefusedWithItsFields) {
  grpc::ClientContext context;
  v1::SubmitJobRequest request;
  request.mutable_spec()->mutable_study()->mutable_tensor_core()->set_rounds(1);
  request.set_validate_only(true);
  v1::Job job;
  const grpc::Status status = jobs->SubmitJob(&context, request, &job);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(FieldOf(status), "study.tensor_core.rounds");
}

TEST_F(ReportTest, AReportThatIsTooLargeEndsTheJobAndNotTheServer) {
  const std::string id = Submit(StudySpec()).id();
  worker->TakeAttempt();
  worker->Run();
  v1::Report large = SomeReport();
  large.set_finding(std::string((1 << 20) + 1, 'x'));
  *worker->report.mutable_attempts(0)->mutable_report() = large;
  worker->End(v1::Attempt::SUCCEEDED, v1::Reason::COMPLETED);
  EXPECT_EQ(Get(id).state(), v1::Job::FAILED);
  EXPECT_EQ(Get(id).reason(), v1::Reason::INTERNAL_ERROR);
  EXPECT_EQ(ReasonOf(GetReport(id)), "NO_REPORT");
}

}  // namespace
}  // namespace mantissa::server
