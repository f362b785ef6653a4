// Pause, resume, requeue, update, delete and drain, over a socket.
#include <thread>

#include "gtest/gtest.h"

#include "server_fixture.h"

namespace mantissa::server {
namespace {

class ChangeJobTest : public ServerTest {
 protected:
  ChangeJobTest() { StartServer(); }

  template <typename Request, typename Stub, typename Method>
  grpc::Status Ask(Stub& stub, Method method, const std::string& id, v1::Job* job = nullptr,
                   const std::string& etag = "") {
    grpc::ClientContext context;
    Request request;
    request.set_job_id(id);
    request.set_etag(etag);
    v1::Job answer;
    return (stub.*method)(&context, request, job != nullptr ? job : &answer);
  }
  grpc::Status Pause(const std::string& id, v1::Job* job = nullptr, const std::string& etag = "") {
    return Ask<v1::PauseJobRequest>(*jobs, &v1::JobService::Stub::PauseJob, id, job, etag);
  }
  grpc::Status Resume(const std::string& id, v1::Job* job = nullptr) {
    return Ask<v1::ResumeJobRequest>(*jobs, &v1::JobService::Stub::ResumeJob, id, job);
  }
  grpc::Status Requeue(const std::string& id, v1::Job* job = nullptr) {
    return Ask<v1::RequeueJobRequest>(*admin, &v1::AdminService::Stub::RequeueJob, id, job);
  }
  grpc::Status Cancel(const std::string& id) {
    return Ask<v1::CancelJobRequest>(*jobs, &v1::JobService::Stub::CancelJob, id);
  }
  grpc::Status Delete(const std::string& id, const std::string& etag = "") {
    grpc::ClientContext context;
    v1::DeleteJobRequest request;
    request.set_job_id(id);
    request.set_etag(etag);
    v1::DeleteJobResponse response;
    return jobs->DeleteJob(&context, request, &response);
  }
  grpc::Status Update(const std::string& id, const std::vector<std::string>& paths, const v1::JobSpec& spec,
                      v1::Job* job) {
    grpc::ClientContext context;
    v1::UpdateJobRequest request;
    request.set_job_id(id);
    *request.mutable_spec() = spec;
    for (const std::string& path : paths) request.mutable_update_mask()->add_paths(path);
    return jobs->UpdateJob(&context, request, job);
  }
  grpc::Status Drain(const std::string& worker, bool undo, v1::Worker* answer) {
    grpc::ClientContext context;
    v1::DrainWorkerRequest request;
    request.set_worker_id(worker);
    request.set_undo(undo);
    return admin->DrainWorker(&context, request, answer);
  }
};

TEST_F(ChangeJobTest, AJobIsPausedAndGoesOnWithAnotherAttempt) {
  FakeWorker worker(*workers);
  const std::string id = Submit().id();
  worker.TakeAttempt();
  worker.Run();
  v1::Job job;
  ASSERT_TRUE(Pause(id, &job).ok());
  EXPECT_EQ(job.state(), v1::Job::PAUSING);
  ASSERT_TRUE(worker.Synchronize().ok());
  EXPECT_EQ(worker.desired.attempts(0).goal(), v1::DesiredAttempt::STOP_WITH_CHECKPOINT);
  worker.End(v1::Attempt::FAILED, v1::Reason::WORKER_STOPPED);
  EXPECT_EQ(Get(id).state(), v1::Job::PAUSED);
  Restart();
  EXPECT_EQ(Get(id).state(), v1::Job::PAUSED) << "it was durable";
  ASSERT_TRUE(Resume(id, &job).ok());
  EXPECT_EQ(job.state(), v1::Job::QUEUED);
  FakeWorker again(*workers);
  again.TakeAttempt();
  EXPECT_EQ(again.ref.attempt(), 2);
}

TEST_F(ChangeJobTest, WhatHasEndedIsToldSoAndACancelOfItIsFine) {
  const std::string id = Submit().id();
  ASSERT_TRUE(Cancel(id).ok());
  EXPECT_TRUE(Cancel(id).ok());
  v1::Job job;
  for (const grpc::Status& status : {Pause(id), Resume(id), Requeue(id), Update(id, {"priority"}, {}, &job)}) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
    EXPECT_EQ(ReasonOf(status), "WRONG_STATE");
    EXPECT_NE(status.error_message().find("CANCELLED"), std::string::npos) << status.error_message();
  }
}

TEST_F(ChangeJobTest, AnotherEtagIsAborted) {
  const v1::Job job = Submit();
  EXPECT_EQ(ReasonOf(Pause(job.id(), nullptr, "99")), "ETAG_MISMATCH");
  EXPECT_EQ(Get(job.id()).state(), v1::Job::QUEUED);
  EXPECT_TRUE(Pause(job.id(), nullptr, job.etag()).ok());
}

TEST_F(ChangeJobTest, UpdateChangesWhatItNamesAndNothingElse) {
  v1::JobSpec spec = GoodSpec();
  spec.mutable_retry()->set_max_attempts(7);
  (*spec.mutable_labels())["team"] = "vision";
  const std::string id = Submit(spec).id();
  v1::JobSpec change = GoodSpec("another-name");
  change.set_priority(9);
  change.mutable_timeouts()->mutable_total()->set_seconds(60);
  (*change.mutable_labels())["team"] = "nlp";
  v1::Job job;
  ASSERT_TRUE(Update(id, {"priority", "timeouts.total"}, change, &job).ok());
  EXPECT_EQ(job.spec_revision(), 2);
  job = Get(id);
  EXPECT_EQ(job.spec().priority(), 9);
  EXPECT_EQ(job.resolved_spec().priority(), 9);
  EXPECT_EQ(job.resolved_spec().timeouts().total().seconds(), 60);
  EXPECT_EQ(job.resolved_spec().retry().max_attempts(), 7);
  EXPECT_EQ(job.name(), "job");
  EXPECT_EQ(job.labels().at("team"), "vision");
  ASSERT_TRUE(Update(id, {"labels"}, change, &job).ok());
  Restart();
  EXPECT_EQ(Get(id).labels().at("team"), "nlp");
  EXPECT_EQ(Get(id).resolved_spec().priority(), 9);
}

TEST_F(ChangeJobTest, UpdateRefusesWhatIsFixedWrongOrNothing) {
  const std::string id = Submit().id();
  v1::Job job;
  EXPECT_EQ(FieldOf(Update(id, {}, {}, &job)), "update_mask");
  EXPECT_EQ(FieldOf(Update(id, {"priority", "training"}, {}, &job)), "update_mask.paths[1]");
  EXPECT_EQ(FieldOf(Update(id, {"retry.nothing"}, {}, &job)), "update_mask.paths[0]");
  EXPECT_EQ(FieldOf(Update(id, {"labels.team"}, {}, &job)), "update_mask.paths[0]");
  v1::JobSpec bad;
  bad.set_priority(5'000);
  EXPECT_EQ(FieldOf(Update(id, {"priority"}, bad, &job)), "priority");
  EXPECT_EQ(Get(id).spec_revision(), 1);
}

TEST_F(ChangeJobTest, ADeletedJobIsGoneForEveryRead) {
  FakeWorker worker(*workers);
  const std::string id = Submit().id();
  EXPECT_EQ(ReasonOf(Delete(id)), "WRONG_STATE") << "it has not ended";
  worker.TakeAttempt();
  worker.Run();
  worker.Publish({worker.Records(1, 50)});
  worker.End(v1::Attempt::SUCCEEDED, v1::Reason::COMPLETED, 50);
  EXPECT_EQ(ReasonOf(Delete(id, "99")), "ETAG_MISMATCH");
  ASSERT_TRUE(Delete(id).ok());
  EXPECT_EQ(ReasonOf(Delete(id)), "JOB_NOT_FOUND");
  grpc::ClientContext get_context, list_context;
  v1::GetJobRequest get;
  get.set_job_id(id);
  v1::Job job;
  EXPECT_EQ(jobs->GetJob(&get_context, get, &job).error_code(), grpc::StatusCode::NOT_FOUND);
  v1::ListJobsResponse listed;
  ASSERT_TRUE(jobs->ListJobs(&list_context, {}, &listed).ok());
  EXPECT_EQ(listed.jobs_size(), 0);
  // Its rows go after it, without anybody waiting for that.
  while (std::filesystem::exists(folder / "jobs" / id)) std::this_thread::yield();
  Restart();
  EXPECT_EQ(ReasonOf(Delete(id)), "JOB_NOT_FOUND");
}

TEST_F(ChangeJobTest, ADrainIsTheOperatorsUntilItIsUndone) {
  FakeWorker worker(*workers);
  v1::Worker answer;
  EXPECT_EQ(ReasonOf(Drain("ws-1", false, &answer)), "WORKER_NOT_FOUND");
  const std::string id = Submit().id();
  worker.TakeAttempt();
  worker.Run();
  ASSERT_TRUE(Drain("ws-1", false, &answer).ok());
  EXPECT_TRUE(answer.draining());
  ASSERT_EQ(answer.attempts_size(), 1);
  EXPECT_TRUE(answer.attempts(0).token().empty()) << "the lease's secret is nobody's";
  worker.End(v1::Attempt::FAILED, v1::Reason::WORKER_STOPPED);
  Restart();
  FakeWorker again(*workers);
  ASSERT_TRUE(again.Synchronize().ok());
  EXPECT_TRUE(again.desired.drain());
  EXPECT_EQ(Get(id).state(), v1::Job::QUEUED);
  ASSERT_TRUE(Drain("ws-1", true, &answer).ok());
  EXPECT_EQ(Get(id).state(), v1::Job::STARTING);
}

TEST_F(ChangeJobTest, ARunningJobIsRequeued) {
  FakeWorker worker(*workers);
  const std::string id = Submit().id();
  worker.TakeAttempt();
  worker.Run();
  ASSERT_TRUE(Requeue(id).ok());
  worker.End(v1::Attempt::FAILED, v1::Reason::WORKER_STOPPED);
  EXPECT_EQ(Get(id).attempt(), 2);
}

}  // namespace
}  // namespace mantissa::server
