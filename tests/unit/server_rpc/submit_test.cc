#include "gmock/gmock.h"

#include "server/core/checkpoint_policy.h"
#include "tests/unit/server_rpc/server_fixture.h"

namespace mantissa::server {
namespace {

class SubmitTest : public ServerTest {
 protected:
  SubmitTest() { StartServer(); }

  grpc::Status SubmitOne(const v1::SubmitJobRequest& request, v1::Job* job) {
    grpc::ClientContext context;
    return jobs->SubmitJob(&context, request, job);
  }
  grpc::Status SubmitMany(const v1::SubmitJobsRequest& request, v1::SubmitJobsResponse* response) {
    grpc::ClientContext context;
    return jobs->SubmitJobs(&context, request, response);
  }
  static v1::SubmitJobRequest Request(const std::string& request_id = "") {
    v1::SubmitJobRequest request;
    *request.mutable_spec() = GoodSpec();
    request.set_request_id(request_id);
    return request;
  }
  int CountJobs() {
    grpc::ClientContext context;
    v1::ListJobsRequest request;
    request.set_page_size(1000);
    v1::ListJobsResponse response;
    EXPECT_TRUE(jobs->ListJobs(&context, request, &response).ok());
    return response.jobs_size();
  }
};

TEST_F(SubmitTest, AGoodSpecIsStoredWithItsDefaults) {
  v1::Job job;
  ASSERT_TRUE(SubmitOne(Request(), &job).ok());
  EXPECT_EQ(job.id().size(), 26u);
  EXPECT_EQ(job.state(), v1::Job::QUEUED);
  EXPECT_FALSE(job.spec().training().has_batch_size()) << "as submitted";
  EXPECT_EQ(job.resolved_spec().training().batch_size(), 64);
  const v1::Job stored = Get(job.id());
  EXPECT_EQ(stored.resolved_spec().training().batch_size(), 64);
  EXPECT_EQ(stored.tenant(), "default");
  EXPECT_EQ(stored.queue_position(), 1);
  EXPECT_FALSE(stored.state_message().empty()) << "it says why it waits";
}

TEST_F(SubmitTest, SurvivesARestart) {
  const v1::Job job = Submit();
  Restart();
  EXPECT_EQ(Get(job.id()).state(), v1::Job::QUEUED);
}

TEST_F(SubmitTest, EveryViolationIsNamedAtOnce) {
  v1::SubmitJobRequest request = Request(std::string(37, 'x'));
  request.mutable_spec()->mutable_training()->set_batch_size(0);
  request.mutable_spec()->mutable_training()->set_max_grad_norm(-1);
  v1::Job job;
  const grpc::Status status = SubmitOne(request, &job);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ReasonOf(status), "INVALID_SPEC");
  std::vector<std::string> fields;
  const google::rpc::BadRequest bad = BadRequestOf(status);
  for (const auto& violation : bad.field_violations()) fields.push_back(violation.field());
  EXPECT_THAT(fields, testing::UnorderedElementsAre("request_id", "training.batch_size", "training.max_grad_norm"));
  EXPECT_EQ(CountJobs(), 0);
}

TEST_F(SubmitTest, WithoutASpecIsRefused) {
  v1::Job job;
  const grpc::Status status = SubmitOne(v1::SubmitJobRequest(), &job);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(FieldOf(status), "spec");
}

TEST_F(SubmitTest, ASpecThatIsTooLargeIsRefused) {
  v1::SubmitJobRequest request = Request();
  request.mutable_spec()->mutable_training()->mutable_data()->mutable_train()->mutable_text()->add_files(
      std::string(300 << 10, 'x'));
  v1::Job job;
  const grpc::Status status = SubmitOne(request, &job);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_FALSE(BadRequestOf(status).field_violations().empty());
}

TEST_F(SubmitTest, WhatIsNotBuiltIsSaidToBe) {
  v1::SubmitJobRequest request = Request();
  request.mutable_spec()->mutable_resources()->set_gpus(4);
  v1::Job job;
  const grpc::Status status = SubmitOne(request, &job);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED) << status.error_message();
  EXPECT_EQ(ReasonOf(status), "SPEC_NOT_BUILT");
}

TEST_F(SubmitTest, ATenantIsRefused) {
  v1::SubmitJobRequest request = Request();
  request.set_tenant("other");
  v1::Job job;
  const grpc::Status status = SubmitOne(request, &job);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(ReasonOf(status), "TENANT_NOT_ALLOWED");
}

TEST_F(SubmitTest, ValidateOnlyStoresNothing) {
  v1::SubmitJobRequest request = Request();
  request.set_validate_only(true);
  v1::Job job;
  ASSERT_TRUE(SubmitOne(request, &job).ok());
  EXPECT_TRUE(job.id().empty());
  EXPECT_EQ(job.resolved_spec().training().batch_size(), 64);
  EXPECT_EQ(CountJobs(), 0);
}

TEST_F(SubmitTest, TheSameRequestIdIsOneJob) {
  v1::Job first, second, third;
  ASSERT_TRUE(SubmitOne(Request("once"), &first).ok());
  ASSERT_TRUE(SubmitOne(Request("once"), &second).ok());
  EXPECT_EQ(first.id(), second.id());
  Restart();
  ASSERT_TRUE(SubmitOne(Request("once"), &third).ok());
  EXPECT_EQ(first.id(), third.id());
  EXPECT_EQ(CountJobs(), 1);
}

TEST_F(SubmitTest, AnotherSpecUnderTheSameRequestIdIsRefused) {
  v1::Job job;
  ASSERT_TRUE(SubmitOne(Request("once"), &job).ok());
  v1::SubmitJobRequest changed = Request("once");
  changed.mutable_spec()->set_priority(5);
  const grpc::Status status = SubmitOne(changed, &job);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ReasonOf(status), "REQUEST_ID_REUSED");
  EXPECT_EQ(CountJobs(), 1);
}

TEST_F(SubmitTest, ConcurrentCallsWithOneRequestIdMakeOneJob) {
  constexpr int kCalls = 16;
  std::vector<grpc::ClientContext> contexts(kCalls);
  std::vector<v1::Job> made(kCalls);
  std::vector<grpc::Status> statuses(kCalls);
  grpc::CompletionQueue queue;
  std::vector<std::unique_ptr<grpc::ClientAsyncResponseReader<v1::Job>>> calls;
  const v1::SubmitJobRequest request = Request("many");
  for (int i = 0; i < kCalls; ++i) {
    calls.push_back(jobs->AsyncSubmitJob(&contexts[i], request, &queue));
    calls.back()->Finish(&made[i], &statuses[i], nullptr);
  }
  void* tag;
  bool ok;
  for (int i = 0; i < kCalls; ++i) ASSERT_TRUE(queue.Next(&tag, &ok));
  for (int i = 0; i < kCalls; ++i) {
    ASSERT_TRUE(statuses[i].ok()) << statuses[i].error_message();
    EXPECT_EQ(made[i].id(), made[0].id());
  }
  EXPECT_EQ(CountJobs(), 1);
}

TEST_F(SubmitTest, OfABatchEachSpecHasItsOwnOutcome) {
  v1::SubmitJobsRequest request;
  *request.add_specs() = GoodSpec("a");
  *request.add_specs() = GoodSpec("b");
  request.mutable_specs(1)->mutable_training()->set_batch_size(-1);
  *request.add_specs() = GoodSpec("c");
  v1::SubmitJobsResponse response;
  ASSERT_TRUE(SubmitMany(request, &response).ok());
  ASSERT_EQ(response.outcomes_size(), 3);
  EXPECT_EQ(response.outcomes(0).code(), 0);
  EXPECT_FALSE(response.outcomes(0).job().id().empty());
  EXPECT_FALSE(response.outcomes(0).job().has_spec()) << "BASIC view";
  EXPECT_EQ(response.outcomes(1).code(), 3);
  EXPECT_EQ(response.outcomes(1).violations(0).field(), "training.batch_size");
  EXPECT_EQ(response.outcomes(1).violations(0).reason(), "OUT_OF_RANGE");
  EXPECT_FALSE(response.outcomes(1).has_job());
  EXPECT_FALSE(response.outcomes(2).job().id().empty());
  EXPECT_EQ(CountJobs(), 2);
}

TEST_F(SubmitTest, ABatchOfTheWorstSpecsHasAnAnswerThatClientsAccept) {
  v1::JobSpec worst = GoodSpec();
  worst.set_name("Bad Name");
  for (int i = 0; i < 900; ++i) {
    worst.mutable_training()->mutable_data()->mutable_train()->mutable_text()->add_files("");
  }
  v1::SubmitJobsRequest request;
  for (int i = 0; i < 1000; ++i) *request.add_specs() = worst;
  v1::SubmitJobsResponse response;
  ASSERT_TRUE(SubmitMany(request, &response).ok());
  EXPECT_LT(response.ByteSizeLong(), size_t{4} << 20);
  ASSERT_EQ(response.outcomes_size(), 1000);
  for (const v1::SubmitOutcome& outcome : response.outcomes()) {
    ASSERT_EQ(outcome.code(), 3);
    EXPECT_EQ(outcome.violations(0).field(), "name");
    EXPECT_THAT(outcome.message(), testing::StartsWith("name: "));
    EXPECT_THAT(outcome.violations().rbegin()->description(), testing::HasSubstr(" more"));
  }
}

TEST_F(SubmitTest, ABatchSentAgainGetsTheSameAnswer) {
  v1::SubmitJobsRequest request;
  *request.add_specs() = GoodSpec("a");
  *request.add_specs() = GoodSpec("b");
  request.mutable_specs(0)->mutable_training()->set_batch_size(-1);
  request.set_request_id("batch");
  v1::SubmitJobsResponse first, second;
  ASSERT_TRUE(SubmitMany(request, &first).ok());
  ASSERT_TRUE(SubmitMany(request, &second).ok());
  EXPECT_EQ(second.outcomes(0).code(), 3);
  EXPECT_EQ(first.outcomes(1).job().id(), second.outcomes(1).job().id());
  EXPECT_EQ(CountJobs(), 1);
  request.mutable_specs(1)->set_priority(3);
  const grpc::Status changed = SubmitMany(request, &second);
  EXPECT_EQ(ReasonOf(changed), "REQUEST_ID_REUSED");
}

TEST_F(SubmitTest, AnEmptyOrHugeBatchIsRefused) {
  v1::SubmitJobsRequest request;
  v1::SubmitJobsResponse response;
  EXPECT_EQ(FieldOf(SubmitMany(request, &response)), "specs");
  for (int i = 0; i < 1001; ++i) *request.add_specs() = GoodSpec();
  EXPECT_EQ(FieldOf(SubmitMany(request, &response)), "specs");
  EXPECT_EQ(CountJobs(), 0);
}

TEST_F(SubmitTest, AWholeBatchIsStored) {
  v1::SubmitJobsRequest request;
  for (int i = 0; i < 1000; ++i) *request.add_specs() = GoodSpec("n" + std::to_string(i));
  v1::SubmitJobsResponse response;
  ASSERT_TRUE(SubmitMany(request, &response).ok());
  EXPECT_EQ(CountJobs(), 1000);
}

class InitFromTest : public SubmitTest {
 protected:
  // A job that has ended and left a checkpoint.
  InitFromTest() {
    source_ = Submit().id();
    worker_.TakeAttempt();
    worker_.Run();
    Commit(100, /*finite=*/true);
    Commit(200, /*finite=*/true);
    Commit(300, /*finite=*/false);
  }

  void Commit(int32_t step, bool finite) {
    v1::CommitCheckpointRequest request;
    *request.mutable_ref() = worker_.ref;
    v1::Checkpoint& checkpoint = *request.mutable_checkpoint();
    checkpoint.set_step(step);
    checkpoint.set_iteration(step);
    checkpoint.set_name(CheckpointName(worker_.ref.attempt(), step));
    checkpoint.set_path(source_ + "/" + checkpoint.name());
    checkpoint.set_storage_id("storage-1");
    checkpoint.set_manifest_sha256(std::string(64, 'a'));
    checkpoint.set_finite(finite);
    v1::CommitCheckpointResponse response;
    grpc::ClientContext context;
    const grpc::Status status = workers->CommitCheckpoint(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  static v1::SubmitJobRequest From(const std::string& job_id, int32_t step = 0) {
    v1::SubmitJobRequest request = Request();
    request.mutable_spec()->mutable_training()->mutable_init_from()->set_job_id(job_id);
    request.mutable_spec()->mutable_training()->mutable_init_from()->set_step(step);
    return request;
  }
  // The field that is wrong, and why.
  std::string Fault(const v1::SubmitJobRequest& request) {
    v1::Job job;
    const grpc::Status status = SubmitOne(request, &job);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
    const google::rpc::BadRequest bad = BadRequestOf(status);
    if (bad.field_violations_size() != 1) return "";
    return bad.field_violations(0).field() + ": " + bad.field_violations(0).description();
  }

  FakeWorker worker_{*workers};
  std::string source_;
};

TEST_F(InitFromTest, FindsTheCheckpointAtSubmitAndKeepsItInTheJob) {
  v1::Job newest;
  ASSERT_TRUE(SubmitOne(From(source_), &newest).ok());
  EXPECT_EQ(newest.init_from().step(), 200) << "the newest that is finite";
  EXPECT_EQ(Get(newest.id()).init_from().name(), "attempt-0001/step-00000200");
  Restart();
  EXPECT_EQ(Get(newest.id()).init_from().storage_id(), "storage-1");
  v1::SubmitJobRequest again = From(source_, 200);
  again.set_request_id("again");
  v1::Job first;
  v1::Job second;
  ASSERT_TRUE(SubmitOne(again, &first).ok());
  ASSERT_TRUE(SubmitOne(again, &second).ok());
  EXPECT_EQ(first.id(), second.id());
}

TEST_F(InitFromTest, AJobOrAStepThatIsNotThereIsRefusedByItsField) {
  EXPECT_THAT(Fault(From("01j00000000000000000000000")),
              testing::AllOf(testing::HasSubstr("training.init_from.job_id: "), testing::HasSubstr("no such job")));
  EXPECT_THAT(Fault(From(source_, 150)),
              testing::AllOf(testing::HasSubstr("training.init_from.step: is 150"), testing::HasSubstr("it has 200"),
                             testing::HasSubstr("leave it out for the newest")));
  EXPECT_THAT(Fault(From(source_, 300)), testing::HasSubstr("no finite checkpoint of it"));
  const std::string fresh = Submit().id();
  EXPECT_THAT(Fault(From(fresh)), testing::HasSubstr("training.init_from.job_id: has no finite checkpoint yet"));
  v1::SubmitJobRequest only_checked = From(source_, 150);
  only_checked.set_validate_only(true);
  EXPECT_THAT(Fault(only_checked), testing::HasSubstr("training.init_from.step"));
  only_checked = From(source_, 200);
  only_checked.set_validate_only(true);
  v1::Job preview;
  EXPECT_TRUE(SubmitOne(only_checked, &preview).ok());
  EXPECT_EQ(preview.id(), "");
}

TEST_F(InitFromTest, OneOfABatchIsRefusedAlone) {
  v1::SubmitJobsRequest request;
  *request.add_specs() = From(source_).spec();
  *request.add_specs() = From(source_, 7).spec();
  v1::SubmitJobsResponse response;
  ASSERT_TRUE(SubmitMany(request, &response).ok());
  ASSERT_EQ(response.outcomes_size(), 2);
  EXPECT_EQ(response.outcomes(0).code(), 0);
  EXPECT_EQ(response.outcomes(0).job().init_from().step(), 200);
  EXPECT_EQ(response.outcomes(1).code(), static_cast<int>(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_EQ(response.outcomes(1).violations(0).field(), "training.init_from.step");
}

TEST_F(InitFromTest, ARepeatedBatchIsAnsweredAsTheFirstWhateverBecameOfTheCheckpoint) {
  v1::SubmitJobsRequest request;
  *request.add_specs() = From(source_, 200).spec();
  *request.add_specs() = From(source_, 7).spec();
  request.set_request_id("batch");
  v1::SubmitJobsResponse first;
  ASSERT_TRUE(SubmitMany(request, &first).ok());
  const std::string id = first.outcomes(0).job().id();
  grpc::ClientContext context;
  v1::CancelJobRequest cancel;
  cancel.set_job_id(id);
  v1::Job cancelled;
  ASSERT_TRUE(jobs->CancelJob(&context, cancel, &cancelled).ok());
  // Nobody begins from it any more, and two newer ones take its place.
  Commit(400, /*finite=*/true);
  Commit(500, /*finite=*/true);
  v1::SubmitJobsResponse second;
  ASSERT_TRUE(SubmitMany(request, &second).ok());
  EXPECT_EQ(second.outcomes(0).code(), 0);
  EXPECT_EQ(second.outcomes(0).job().id(), id);
  EXPECT_EQ(second.outcomes(1).violations(0).field(), "training.init_from.step");
}

TEST_F(SubmitTest, AJobTakesTheTraceIdOfItsCallersTraceparent) {
  const std::string trace_id = "0af7651916cd43dd8448eb211c80319c";
  const auto submit = [this](const std::vector<std::string>& traceparents, const std::string& request_id = "") {
    grpc::ClientContext context;
    for (const std::string& traceparent : traceparents) context.AddMetadata("traceparent", traceparent);
    v1::Job job;
    EXPECT_TRUE(jobs->SubmitJob(&context, Request(request_id), &job).ok());
    EXPECT_EQ(Get(job.id()).trace_id(), job.trace_id());
    return job.trace_id();
  };
  const std::string good = "00-" + trace_id + "-b7ad6b7169203331-01";
  EXPECT_EQ(submit({good}), trace_id);
  EXPECT_EQ(submit({good}, "with-a-request-id"), trace_id);
  for (const std::vector<std::string>& none :
       std::vector<std::vector<std::string>>{{}, {"00-nonsense"}, {good, good}}) {
    const std::string made = submit(none);
    EXPECT_EQ(made.size(), 32u);
    EXPECT_NE(made, trace_id);
  }
  grpc::ClientContext context;
  context.AddMetadata("traceparent", good);
  v1::SubmitJobsRequest request;
  *request.add_specs() = GoodSpec();
  *request.add_specs() = GoodSpec();
  v1::SubmitJobsResponse response;
  ASSERT_TRUE(jobs->SubmitJobs(&context, request, &response).ok());
  for (const v1::SubmitOutcome& outcome : response.outcomes()) EXPECT_EQ(outcome.job().trace_id(), trace_id);
}

}  // namespace
}  // namespace mantissa::server
