#include <limits>
#include <set>

#include "gmock/gmock.h"

#include "tests/unit/server_rpc/server_fixture.h"

namespace mantissa::server {
namespace {

class JobServiceTest : public ServerTest {
 protected:
  JobServiceTest() { StartServer(); }

  grpc::Status List(const v1::ListJobsRequest& request, v1::ListJobsResponse* response) {
    grpc::ClientContext context;
    response->Clear();
    return jobs->ListJobs(&context, request, response);
  }
  grpc::Status Cancel(const std::string& job_id, v1::Job* job, const std::string& etag = "") {
    grpc::ClientContext context;
    v1::CancelJobRequest request;
    request.set_job_id(job_id);
    request.set_etag(etag);
    return jobs->CancelJob(&context, request, job);
  }
  grpc::Status CancelMany(const v1::CancelJobsRequest& request, std::vector<std::string>* ids) {
    grpc::ClientContext context;
    v1::CancelJobsResponse response;
    const grpc::Status status = jobs->CancelJobs(&context, request, &response);
    ids->assign(response.job_ids().begin(), response.job_ids().end());
    return status;
  }
};

TEST_F(JobServiceTest, AJobIdThatIsNoneIsInvalidAndOneThatIsNotThereIsNotFound) {
  v1::Job job;
  for (const char* const id : {"", "x", "../../etc/passwd", "01JD0000000000000000000000"}) {
    grpc::ClientContext context;
    v1::GetJobRequest request;
    request.set_job_id(id);
    const grpc::Status status = jobs->GetJob(&context, request, &job);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << id;
    EXPECT_EQ(FieldOf(status), "job_id");
  }
  grpc::ClientContext context;
  v1::GetJobRequest request;
  request.set_job_id("01jd0000000000000000000000");
  const grpc::Status status = jobs->GetJob(&context, request, &job);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ReasonOf(status), "JOB_NOT_FOUND");
}

TEST_F(JobServiceTest, TheBasicViewHasNameAndLabelsAndNoSpec) {
  v1::JobSpec spec = GoodSpec("night-run");
  (*spec.mutable_labels())["team"] = "nlp";
  const v1::Job job = Submit(spec);
  grpc::ClientContext context;
  v1::GetJobRequest request;
  request.set_job_id(job.id());
  request.set_view(v1::JobView::BASIC);
  v1::Job basic;
  ASSERT_TRUE(jobs->GetJob(&context, request, &basic).ok());
  EXPECT_FALSE(basic.has_spec());
  EXPECT_FALSE(basic.has_resolved_spec());
  EXPECT_EQ(basic.name(), "night-run");
  EXPECT_EQ(basic.labels().at("team"), "nlp");
  EXPECT_TRUE(Get(job.id()).has_spec()) << "FULL is the default";
  grpc::ClientContext again;
  request.set_view(static_cast<v1::JobView::Level>(77));
  EXPECT_EQ(FieldOf(jobs->GetJob(&again, request, &basic)), "view");
}

TEST_F(JobServiceTest, ListsNewestFirstInPagesWithoutAHoleWhileJobsComeIn) {
  std::vector<std::string> submitted;
  for (int i = 0; i < 7; ++i) submitted.push_back(Submit().id());
  v1::ListJobsRequest request;
  request.set_page_size(3);
  v1::ListJobsResponse page;
  std::vector<std::string> listed;
  do {
    ASSERT_TRUE(List(request, &page).ok());
    ASSERT_LE(page.jobs_size(), 3);
    for (const v1::Job& job : page.jobs()) listed.push_back(job.id());
    EXPECT_FALSE(page.jobs(0).has_spec()) << "BASIC is the default";
    request.set_page_token(page.next_page_token());
    Submit();  // newer than every page still to come
  } while (!page.next_page_token().empty());
  std::reverse(submitted.begin(), submitted.end());
  EXPECT_EQ(listed, submitted);
}

TEST_F(JobServiceTest, APageTokenOfAnotherQueryIsRefused) {
  for (int i = 0; i < 3; ++i) Submit();
  v1::ListJobsRequest request;
  request.set_page_size(1);
  v1::ListJobsResponse page;
  ASSERT_TRUE(List(request, &page).ok());
  request.set_page_token(page.next_page_token());
  request.set_page_size(2);
  EXPECT_TRUE(List(request, &page).ok()) << "the size may change";
  request.mutable_filter()->set_name("else");
  EXPECT_EQ(FieldOf(List(request, &page)), "page_token");
  request.clear_filter();
  request.set_view(v1::JobView::FULL);
  EXPECT_EQ(FieldOf(List(request, &page)), "page_token");
  request.clear_view();
  request.set_page_token("p1.abc");
  EXPECT_EQ(FieldOf(List(request, &page)), "page_token");
  request.clear_page_token();
  request.set_page_size(-1);
  EXPECT_EQ(FieldOf(List(request, &page)), "page_size");
}

TEST_F(JobServiceTest, FiltersByStateNameAndLabels) {
  v1::JobSpec labelled = GoodSpec("a");
  (*labelled.mutable_labels())["team"] = "x";
  const std::string a = Submit(labelled).id();
  const std::string b = Submit(GoodSpec("b")).id();
  v1::Job cancelled;
  ASSERT_TRUE(Cancel(b, &cancelled).ok());

  const auto ids = [this](const v1::JobFilter& filter) {
    v1::ListJobsRequest request;
    *request.mutable_filter() = filter;
    v1::ListJobsResponse page;
    EXPECT_TRUE(List(request, &page).ok());
    std::vector<std::string> found;
    for (const v1::Job& job : page.jobs()) found.push_back(job.id());
    return found;
  };
  v1::JobFilter by_state, by_name, by_label, by_none;
  by_state.add_states(v1::Job::CANCELLED);
  by_name.set_name("a");
  (*by_label.mutable_labels())["team"] = "x";
  (*by_none.mutable_labels())["team"] = "y";
  EXPECT_THAT(ids(by_state), testing::ElementsAre(b));
  EXPECT_THAT(ids(by_name), testing::ElementsAre(a));
  EXPECT_THAT(ids(by_label), testing::ElementsAre(a));
  EXPECT_THAT(ids(by_none), testing::IsEmpty());

  v1::ListJobsRequest wrong;
  wrong.mutable_filter()->add_states(static_cast<v1::Job::State>(99));
  v1::ListJobsResponse page;
  EXPECT_EQ(FieldOf(List(wrong, &page)), "filter.states[0]");
}

TEST_F(JobServiceTest, AFilterOfAnySizeIsAnsweredOrRefusedWithItsField) {
  v1::ListJobsResponse page;
  v1::ListJobsRequest request;
  for (int i = 0; i < 9; ++i) request.mutable_filter()->add_states(v1::Job::QUEUED);
  for (int i = 0; i < 64; ++i) (*request.mutable_filter()->mutable_labels())["k" + std::to_string(i)] = "v";
  EXPECT_TRUE(List(request, &page).ok());
  (*request.mutable_filter()->mutable_labels())["k64"] = "v";
  EXPECT_EQ(FieldOf(List(request, &page)), "filter.labels");
  request.mutable_filter()->clear_labels();
  request.mutable_filter()->add_states(v1::Job::QUEUED);
  EXPECT_EQ(FieldOf(List(request, &page)), "filter.states");
  request.mutable_filter()->clear_states();
  request.mutable_filter()->mutable_created_after()->set_seconds(std::numeric_limits<int64_t>::max());
  EXPECT_EQ(FieldOf(List(request, &page)), "filter.created_after");
  request.mutable_filter()->clear_created_after();
  request.mutable_filter()->mutable_created_before()->set_nanos(-1);
  EXPECT_EQ(FieldOf(List(request, &page)), "filter.created_before");
}

TEST_F(JobServiceTest, APageEndsAtTwoMebibytes) {
  v1::JobSpec large = GoodSpec();
  for (int i = 0; i < 60; ++i) {
    (*large.mutable_resources()->mutable_worker_selector())["k" + std::to_string(i)] = std::string(250, 'v');
    (*large.mutable_labels())["k" + std::to_string(i)] = std::string(250, 'v');
  }
  v1::SubmitJobsRequest batch;
  for (int i = 0; i < 60; ++i) *batch.add_specs() = large;
  v1::SubmitJobsResponse submitted;
  for (int i = 0; i < 2; ++i) {
    grpc::ClientContext context;
    const grpc::Status status = jobs->SubmitJobs(&context, batch, &submitted);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_EQ(submitted.outcomes(0).code(), 0) << submitted.outcomes(0).message();
  }
  v1::ListJobsRequest request;
  request.set_page_size(1000);
  request.set_view(v1::JobView::FULL);
  v1::ListJobsResponse page;
  std::set<std::string> seen;
  int pages = 0;
  do {
    ASSERT_TRUE(List(request, &page).ok());
    EXPECT_LT(page.ByteSizeLong(), size_t{3} << 20);
    for (const v1::Job& job : page.jobs()) EXPECT_TRUE(seen.insert(job.id()).second);
    request.set_page_token(page.next_page_token());
    ++pages;
  } while (!page.next_page_token().empty());
  EXPECT_EQ(seen.size(), 120u);
  EXPECT_GT(pages, 1);
}

TEST_F(JobServiceTest, AQueuedJobIsCancelledAtOnceAndAgainChangesNothing) {
  const v1::Job job = Submit();
  v1::Job cancelled, again;
  ASSERT_TRUE(Cancel(job.id(), &cancelled).ok());
  EXPECT_EQ(cancelled.state(), v1::Job::CANCELLED);
  EXPECT_EQ(cancelled.reason(), v1::Reason::CANCELLED_BY_USER);
  ASSERT_TRUE(Cancel(job.id(), &again).ok());
  EXPECT_EQ(again.etag(), cancelled.etag());
  EXPECT_EQ(again.end_time().nanos(), cancelled.end_time().nanos());
}

TEST_F(JobServiceTest, CancelWithAnOldEtagIsRefused) {
  const v1::Job job = Submit();
  v1::Job cancelled;
  const grpc::Status status = Cancel(job.id(), &cancelled, "not-the-etag");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(ReasonOf(status), "ETAG_MISMATCH");
  EXPECT_EQ(Get(job.id()).state(), v1::Job::QUEUED);
  EXPECT_TRUE(Cancel(job.id(), &cancelled, Get(job.id()).etag()).ok());
}

TEST_F(JobServiceTest, CancelOfWhatIsNotThereIsNotFound) {
  v1::Job job;
  EXPECT_EQ(Cancel("01jd0000000000000000000000", &job).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(FieldOf(Cancel("", &job)), "job_id");
}

TEST_F(JobServiceTest, ARunningJobGoesThroughCancelling) {
  const v1::Job job = Submit();
  FakeWorker worker(*workers);
  worker.TakeAttempt();
  worker.Run();
  EXPECT_EQ(Get(job.id()).state(), v1::Job::RUNNING);
  v1::Job cancelled;
  ASSERT_TRUE(Cancel(job.id(), &cancelled).ok());
  EXPECT_EQ(cancelled.state(), v1::Job::CANCELLING);
  ASSERT_TRUE(worker.Synchronize().ok());
  ASSERT_EQ(worker.desired.attempts_size(), 1);
  EXPECT_EQ(worker.desired.attempts(0).goal(), v1::DesiredAttempt::CANCEL);
  worker.End(v1::Attempt::CANCELLED, v1::Reason::CANCELLED_BY_USER);
  EXPECT_EQ(Get(job.id()).state(), v1::Job::CANCELLED);
}

TEST_F(JobServiceTest, AttemptsEventsAndCheckpointsAreListed) {
  const v1::Job job = Submit();
  FakeWorker worker(*workers);
  worker.TakeAttempt();
  worker.Run();

  grpc::ClientContext commit_context;
  v1::CommitCheckpointRequest commit;
  *commit.mutable_ref() = worker.ref;
  v1::Checkpoint& checkpoint = *commit.mutable_checkpoint();
  checkpoint.set_job_id(job.id());
  checkpoint.set_attempt(worker.ref.attempt());
  checkpoint.set_name("attempt-0001/step-00000010");
  checkpoint.set_step(10);
  checkpoint.set_iteration(10);
  checkpoint.set_storage_id("6ba7b810-9dad-41d1-80b4-00c04fd430c8");
  checkpoint.set_path(job.id() + "/attempt-0001/step-00000010");
  checkpoint.set_size_bytes(100);
  checkpoint.set_manifest_sha256(std::string(64, 'a'));
  checkpoint.set_finite(true);
  v1::CommitCheckpointResponse committed;
  const grpc::Status status = workers->CommitCheckpoint(&commit_context, commit, &committed);
  ASSERT_TRUE(status.ok()) << status.error_message();
  grpc::ClientContext again_context;
  EXPECT_TRUE(workers->CommitCheckpoint(&again_context, commit, &committed).ok()) << "idempotent";
  commit.mutable_ref()->set_token(std::string(16, 'z'));
  grpc::ClientContext stale_context;
  const grpc::Status stale = workers->CommitCheckpoint(&stale_context, commit, &committed);
  EXPECT_EQ(stale.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(ReasonOf(stale), "LEASE_LOST");

  grpc::ClientContext attempts_context;
  v1::ListAttemptsRequest attempts_request;
  attempts_request.set_job_id(job.id());
  v1::ListAttemptsResponse attempts;
  ASSERT_TRUE(jobs->ListAttempts(&attempts_context, attempts_request, &attempts).ok());
  ASSERT_EQ(attempts.attempts_size(), 1);
  EXPECT_EQ(attempts.attempts(0).state(), v1::Attempt::RUNNING);
  EXPECT_EQ(attempts.attempts(0).placements(0).worker_id(), "ws-1");
  EXPECT_TRUE(attempts.attempts(0).placements(0).token().empty()) << "the lease's secret stays a secret";

  grpc::ClientContext checkpoints_context;
  v1::ListCheckpointsRequest checkpoints_request;
  checkpoints_request.set_job_id(job.id());
  v1::ListCheckpointsResponse checkpoints;
  ASSERT_TRUE(jobs->ListCheckpoints(&checkpoints_context, checkpoints_request, &checkpoints).ok());
  ASSERT_EQ(checkpoints.checkpoints_size(), 1);
  EXPECT_EQ(checkpoints.checkpoints(0).name(), "attempt-0001/step-00000010");

  v1::ListEventsRequest events_request;
  events_request.set_job_id(job.id());
  events_request.set_page_size(1);
  std::vector<int64_t> sequences;
  do {
    grpc::ClientContext context;
    v1::ListEventsResponse events;
    ASSERT_TRUE(jobs->ListEvents(&context, events_request, &events).ok());
    for (const v1::Segment& event : events.events()) {
      EXPECT_TRUE(event.has_event());
      sequences.push_back(event.first_sequence());
    }
    events_request.set_page_token(events.next_page_token());
  } while (!events_request.page_token().empty());
  EXPECT_GE(sequences.size(), 2u) << "assigned, started";
  EXPECT_TRUE(std::is_sorted(sequences.begin(), sequences.end()));
  EXPECT_EQ(std::set<int64_t>(sequences.begin(), sequences.end()).size(), sequences.size());
}

TEST_F(JobServiceTest, ListsAboutOneJobNeedTheJob) {
  const std::string nobody = "01jd0000000000000000000000";
  grpc::ClientContext a, b, c, d;
  v1::ListAttemptsRequest attempts;
  attempts.set_job_id(nobody);
  v1::ListAttemptsResponse attempts_response;
  EXPECT_EQ(jobs->ListAttempts(&a, attempts, &attempts_response).error_code(), grpc::StatusCode::NOT_FOUND);
  v1::ListEventsRequest events;
  events.set_job_id(nobody);
  v1::ListEventsResponse events_response;
  EXPECT_EQ(jobs->ListEvents(&b, events, &events_response).error_code(), grpc::StatusCode::NOT_FOUND);
  v1::ListCheckpointsRequest checkpoints;
  checkpoints.set_job_id(nobody);
  v1::ListCheckpointsResponse checkpoints_response;
  EXPECT_EQ(jobs->ListCheckpoints(&c, checkpoints, &checkpoints_response).error_code(), grpc::StatusCode::NOT_FOUND);
  v1::ListArtifactsRequest artifacts;
  artifacts.set_job_id(nobody);
  v1::ListArtifactsResponse artifacts_response;
  EXPECT_EQ(jobs->ListArtifacts(&d, artifacts, &artifacts_response).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(JobServiceTest, CancelsWhatAFilterNamesAndNothingElse) {
  FakeWorker worker(*workers);
  v1::JobSpec spec = GoodSpec("sweep");
  (*spec.mutable_labels())["team"] = "nlp";
  const std::string running = Submit(spec).id();
  worker.TakeAttempt();
  worker.Run();
  const std::string ended = Submit(spec).id(), queued = Submit(spec).id(), other = Submit(GoodSpec("sweep")).id();
  v1::Job job;
  ASSERT_TRUE(Cancel(ended, &job).ok());
  const std::string etag = Get(ended).etag();

  v1::CancelJobsRequest request;
  request.mutable_filter()->set_name("sweep");
  (*request.mutable_filter()->mutable_labels())["team"] = "nlp";
  request.set_validate_only(true);
  std::vector<std::string> ids;
  ASSERT_TRUE(CancelMany(request, &ids).ok());
  EXPECT_THAT(ids, testing::ElementsAre(queued, running)) << "newest first";
  EXPECT_EQ(Get(queued).state(), v1::Job::QUEUED);
  EXPECT_EQ(Get(running).state(), v1::Job::RUNNING);

  request.set_validate_only(false);
  ASSERT_TRUE(CancelMany(request, &ids).ok());
  EXPECT_THAT(ids, testing::ElementsAre(queued, running));
  EXPECT_EQ(Get(queued).state(), v1::Job::CANCELLED);
  EXPECT_EQ(Get(running).state(), v1::Job::CANCELLING);
  EXPECT_EQ(Get(ended).etag(), etag);
  EXPECT_EQ(Get(other).state(), v1::Job::QUEUED);
  ASSERT_TRUE(CancelMany(request, &ids).ok()) << "again";
  EXPECT_THAT(ids, testing::IsEmpty());
  Restart();
  EXPECT_EQ(Get(queued).state(), v1::Job::CANCELLED) << "it was durable";
}

TEST_F(JobServiceTest, CancelsOnlyInTheStatesThatAreNamed) {
  FakeWorker worker(*workers);
  const std::string running = Submit().id();
  worker.TakeAttempt();
  worker.Run();
  const std::string queued = Submit().id();
  std::vector<std::string> ids;
  v1::CancelJobsRequest ended;
  ended.mutable_filter()->add_states(v1::Job::SUCCEEDED);
  ASSERT_TRUE(CancelMany(ended, &ids).ok());
  EXPECT_THAT(ids, testing::IsEmpty());
  v1::CancelJobsRequest request;
  request.mutable_filter()->add_states(v1::Job::QUEUED);
  request.mutable_filter()->add_states(v1::Job::SUCCEEDED);
  ASSERT_TRUE(CancelMany(request, &ids).ok());
  EXPECT_THAT(ids, testing::ElementsAre(queued));
  EXPECT_EQ(Get(running).state(), v1::Job::RUNNING);
}

TEST_F(JobServiceTest, AnEmptyOrWrongFilterCancelsNothing) {
  const std::string id = Submit().id();
  std::vector<std::string> ids;
  v1::CancelJobsRequest request;
  EXPECT_EQ(FieldOf(CancelMany(request, &ids)), "filter");
  request.mutable_filter();
  EXPECT_EQ(FieldOf(CancelMany(request, &ids)), "filter");
  request.mutable_filter()->add_states(static_cast<v1::Job::State>(99));
  EXPECT_EQ(FieldOf(CancelMany(request, &ids)), "filter.states[0]");
  EXPECT_EQ(Get(id).state(), v1::Job::QUEUED);
}

TEST_F(JobServiceTest, OneCallCancelsAtMostTenThousandJobs) {
  v1::SubmitJobsRequest batch;
  for (int i = 0; i < 1000; ++i) *batch.add_specs() = GoodSpec("sweep");
  for (int i = 0; i < 10; ++i) {
    grpc::ClientContext context;
    v1::SubmitJobsResponse response;
    ASSERT_TRUE(jobs->SubmitJobs(&context, batch, &response).ok());
  }
  const std::string one_more = Submit(GoodSpec("sweep")).id();
  v1::CancelJobsRequest request;
  request.mutable_filter()->set_name("sweep");
  std::vector<std::string> ids;
  EXPECT_EQ(FieldOf(CancelMany(request, &ids)), "filter");
  EXPECT_EQ(Get(one_more).state(), v1::Job::QUEUED) << "none, rather than some";
  v1::Job job;
  ASSERT_TRUE(Cancel(one_more, &job).ok());
  const process::SteadyTime began = clock.Now();
  ASSERT_TRUE(CancelMany(request, &ids).ok());
  RecordProperty("cancel_ms", static_cast<int>(std::chrono::duration<double, std::milli>(clock.Now() - began).count()));
  EXPECT_EQ(ids.size(), 10'000u);
  EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), ids.size());
}

TEST_F(JobServiceTest, RootsAndWorkersAreThoseThatTheWorkersReport) {
  FakeWorker one(*workers, "ws-1"), two(*workers, "ws-2");
  ASSERT_TRUE(one.Synchronize().ok());
  ASSERT_TRUE(two.Synchronize().ok());
  grpc::ClientContext roots_context;
  v1::ListRootsResponse roots;
  ASSERT_TRUE(jobs->ListRoots(&roots_context, v1::ListRootsRequest(), &roots).ok());
  ASSERT_EQ(roots.workers_size(), 2);
  EXPECT_EQ(roots.workers(0).roots(0).name(), "data");
  EXPECT_TRUE(roots.workers(0).connected());
  EXPECT_EQ(roots.next_page_token(), "");

  v1::ListRootsRequest one_by_one;
  one_by_one.set_page_size(1);
  grpc::ClientContext first_context, second_context;
  ASSERT_TRUE(jobs->ListRoots(&first_context, one_by_one, &roots).ok());
  ASSERT_EQ(roots.workers_size(), 1);
  EXPECT_EQ(roots.workers(0).worker_id(), "ws-1");
  one_by_one.set_page_token(roots.next_page_token());
  ASSERT_TRUE(jobs->ListRoots(&second_context, one_by_one, &roots).ok());
  ASSERT_EQ(roots.workers_size(), 1);
  EXPECT_EQ(roots.workers(0).worker_id(), "ws-2");

  v1::ListWorkersRequest request;
  request.set_page_size(1);
  std::vector<std::string> ids;
  do {
    grpc::ClientContext context;
    v1::ListWorkersResponse response;
    ASSERT_TRUE(admin->ListWorkers(&context, request, &response).ok());
    for (const v1::Worker& worker : response.workers()) {
      ids.push_back(worker.id());
      EXPECT_EQ(worker.host_name(), "host-of-" + worker.id());
      for (const v1::AttemptRef& ref : worker.attempts()) EXPECT_TRUE(ref.token().empty());
    }
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_THAT(ids, testing::ElementsAre("ws-1", "ws-2"));
}

TEST_F(JobServiceTest, ServerInfoSaysWhatRuns) {
  grpc::ClientContext context;
  v1::ServerInfo info;
  ASSERT_TRUE(admin->GetServerInfo(&context, v1::GetServerInfoRequest(), &info).ok());
  EXPECT_FALSE(info.version().empty());
  EXPECT_EQ(info.grpc_version(), grpc::Version());
  EXPECT_EQ(info.store(), "sqlite");
  EXPECT_GE(info.schema_version(), 1);
  EXPECT_GE(info.epoch(), 1);
  EXPECT_GT(info.start_time().seconds(), 0);
  EXPECT_GT(info.features_size(), 0);
}

}  // namespace
}  // namespace mantissa::server
