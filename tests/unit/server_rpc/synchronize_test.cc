#include <thread>

#include "tests/unit/server_rpc/server_fixture.h"

namespace mantissa::server {
namespace {

using std::chrono::milliseconds;

class SynchronizeTest : public ServerTest {};

TEST_F(SynchronizeTest, AnIdleWorkerIsAnsweredWhenTheIntervalHasPassed) {
  StartServer();
  FakeWorker worker(*workers);
  ASSERT_TRUE(worker.Synchronize().ok());
  const int64_t revision = worker.desired.desired_revision();
  ASSERT_TRUE(worker.Synchronize(milliseconds(60'000)).ok()) << "next_call, 200 ms, is less than the minute";
  EXPECT_EQ(worker.desired.desired_revision(), revision);
  EXPECT_EQ(worker.desired.report_number(), worker.report.report_number());
  EXPECT_EQ(worker.desired.next_call().nanos(), 200'000'000);
  EXPECT_EQ(worker.desired.lease().seconds(), 30);
  EXPECT_EQ(worker.desired.attempts_size(), 0);
}

TEST_F(SynchronizeTest, ACallThatHangsIsAnsweredByASubmit) {
  options.next_call = milliseconds(60'000);
  options.lease = milliseconds(360'000);
  StartServer();
  FakeWorker worker(*workers);
  ASSERT_TRUE(worker.Synchronize().ok());
  std::thread call([&worker] { worker.TakeAttempt(); });
  const v1::Job job = Submit();
  call.join();
  EXPECT_EQ(worker.ref.job_id(), job.id());
  EXPECT_EQ(worker.ref.attempt(), 1);
  EXPECT_EQ(worker.ref.token().size(), 16u);
  EXPECT_EQ(worker.assignment.spec().training().batch_size(), 64) << "every default is filled in";
}

TEST_F(SynchronizeTest, ACallThatHangsIsAnsweredByACancel) {
  options.next_call = milliseconds(60'000);
  options.lease = milliseconds(360'000);
  StartServer();
  const v1::Job job = Submit();
  FakeWorker worker(*workers);
  worker.TakeAttempt();
  worker.Run();
  ASSERT_TRUE(worker.Synchronize().ok());
  std::thread call([&worker] {
    do {
      ASSERT_TRUE(worker.Synchronize(milliseconds(60'000)).ok());
    } while (worker.desired.attempts_size() != 1 || worker.desired.attempts(0).goal() != v1::DesiredAttempt::CANCEL);
  });
  grpc::ClientContext context;
  v1::CancelJobRequest request;
  request.set_job_id(job.id());
  v1::Job cancelled;
  ASSERT_TRUE(jobs->CancelJob(&context, request, &cancelled).ok());
  call.join();
}

TEST_F(SynchronizeTest, ANewerCallTakesOver) {
  options.next_call = milliseconds(60'000);
  options.lease = milliseconds(360'000);
  StartServer();
  FakeWorker worker(*workers);
  ASSERT_TRUE(worker.Synchronize().ok());
  v1::SynchronizeRequest older = worker.report;
  older.set_report_number(worker.report.report_number() + 1);
  older.mutable_max_hang()->set_seconds(60);
  grpc::Status status;
  std::thread call([&] {
    grpc::ClientContext context;
    v1::SynchronizeResponse response;
    status = workers->Synchronize(&context, older, &response);
  });
  // The newer one may overtake the older on its way: then the older is refused on arrival, with the same word.
  worker.report.set_report_number(older.report_number());
  ASSERT_TRUE(worker.Synchronize().ok());
  call.join();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(ReasonOf(status), "SUPERSEDED");
}

TEST_F(SynchronizeTest, ALowerReportNumberIsRefused) {
  StartServer();
  FakeWorker worker(*workers);
  ASSERT_TRUE(worker.Synchronize().ok());
  ASSERT_TRUE(worker.Synchronize().ok());
  worker.report.set_report_number(0);
  const grpc::Status status = worker.Synchronize();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(ReasonOf(status), "SUPERSEDED");
}

TEST_F(SynchronizeTest, AReportThatIsNoneIsRefused) {
  StartServer();
  for (const char* const id :
       {"", "UPPER", "a/b", "0123456789012345678901234567890123456789012345678901234567890123"}) {
    FakeWorker worker(*workers, id);
    EXPECT_EQ(worker.Synchronize().error_code(), grpc::StatusCode::INVALID_ARGUMENT) << id;
  }
  FakeWorker worker(*workers);
  worker.report.clear_session_id();
  EXPECT_EQ(worker.Synchronize().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(SynchronizeTest, AWorkerThatHangsUpIsForgottenAndMayCallAgain) {
  options.next_call = milliseconds(60'000);
  options.lease = milliseconds(360'000);
  StartServer();
  FakeWorker worker(*workers);
  ASSERT_TRUE(worker.Synchronize().ok());
  for (int i = 0; i < 20; ++i) {
    v1::SynchronizeRequest request = worker.report;
    request.set_report_number(worker.report.report_number() + 1);
    request.mutable_max_hang()->set_seconds(60);
    worker.report.set_report_number(request.report_number());
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    v1::SynchronizeResponse response;
    grpc::Status status;
    auto call = workers->AsyncSynchronize(&context, request, &queue);
    call->Finish(&response, &status, nullptr);
    context.TryCancel();
    void* tag;
    bool ok;
    ASSERT_TRUE(queue.Next(&tag, &ok));
    EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
  }
  EXPECT_TRUE(worker.Synchronize().ok());
}

TEST_F(SynchronizeTest, AWorkerReattachesAfterARestart) {
  StartServer();
  const v1::Job job = Submit();
  FakeWorker worker(*workers);
  worker.TakeAttempt();
  worker.Run();
  worker.Publish({worker.Records(1, 10)});
  Restart();
  FakeWorker same(*workers);
  same.report = worker.report;
  same.ref = worker.ref;
  ASSERT_TRUE(same.Synchronize().ok());
  ASSERT_EQ(same.desired.attempts_size(), 1);
  EXPECT_EQ(same.desired.attempts(0).goal(), v1::DesiredAttempt::RUN);
  EXPECT_EQ(same.Publish({same.Records(11, 10)}).durable_through(), 20);
  same.End(v1::Attempt::SUCCEEDED, v1::Reason::COMPLETED, 20);
  const v1::Job done = Get(job.id());
  EXPECT_EQ(done.state(), v1::Job::SUCCEEDED);
  EXPECT_EQ(done.attempt(), 1);
}

}  // namespace
}  // namespace mantissa::server
