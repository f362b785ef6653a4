#include <functional>
#include <map>
#include <thread>

#include "tests/unit/server_rpc/server_fixture.h"

namespace mantissa::server {
namespace {

class WatchJobsTest : public ServerTest {
 protected:
  WatchJobsTest() { StartServer(); }

  // A watch and what its client makes of it.
  struct Watcher {
    explicit Watcher(v1::JobService::Stub& stub, const v1::WatchJobsRequest& request = {})
        : stream(stub.WatchJobs(&context, request)) {}

    bool Read() {
      v1::WatchJobsResponse frame;
      if (!stream->Read(&frame)) return false;
      ++frames;
      for (const v1::Job& job : frame.jobs()) {
        EXPECT_FALSE(job.has_spec() || job.has_resolved_spec()) << "BASIC view";
        if (job.state() == v1::Job::STATE_UNSPECIFIED) {
          jobs.erase(job.id());
        } else {
          jobs[job.id()] = job;
        }
      }
      return true;
    }
    void ReadUntil(const std::function<bool()>& condition) {
      while (!condition()) ASSERT_TRUE(Read()) << "the stream ended";
    }
    grpc::Status Leave() {
      context.TryCancel();
      while (Read()) {
      }
      return stream->Finish();
    }

    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::WatchJobsResponse>> stream;
    std::map<std::string, v1::Job> jobs;
    int frames = 0;
  };
};

TEST_F(WatchJobsTest, AJobIsSeenFromItsSubmitToItsEnd) {
  const v1::Job waits = Submit(GoodSpec("waits"));
  Watcher watcher(*jobs);
  ASSERT_TRUE(watcher.Read());
  EXPECT_EQ(watcher.jobs.at(waits.id()).state(), v1::Job::QUEUED);
  EXPECT_EQ(watcher.jobs.at(waits.id()).name(), "waits");

  FakeWorker worker(*workers);
  worker.TakeAttempt();
  worker.Run();
  watcher.ReadUntil([&] { return watcher.jobs[waits.id()].state() == v1::Job::RUNNING; });
  EXPECT_EQ(watcher.jobs[waits.id()].progress().worker_id(), "ws-1");
  const v1::Job later = Submit(GoodSpec("later"));
  watcher.ReadUntil([&] { return watcher.jobs.contains(later.id()); });
  worker.Publish({worker.Records(1, 50)});
  watcher.ReadUntil([&] { return watcher.jobs[waits.id()].progress().iteration() == 50; });
  worker.End(v1::Attempt::SUCCEEDED, v1::Reason::COMPLETED, 50);
  watcher.ReadUntil([&] { return watcher.jobs[waits.id()].state() == v1::Job::SUCCEEDED; });

  grpc::ClientContext context;
  v1::DeleteJobRequest request;
  request.set_job_id(waits.id());
  v1::DeleteJobResponse response;
  ASSERT_TRUE(jobs->DeleteJob(&context, request, &response).ok());
  watcher.ReadUntil([&] { return !watcher.jobs.contains(waits.id()); });
  EXPECT_TRUE(watcher.jobs.contains(later.id()));
}

TEST_F(WatchJobsTest, TheFirstFrameComesWithoutAnyJob) {
  Watcher watcher(*jobs);
  ASSERT_TRUE(watcher.Read());
  EXPECT_TRUE(watcher.jobs.empty());
}

TEST_F(WatchJobsTest, ABadFilterIsRefusedAsAListRefusesIt) {
  v1::WatchJobsRequest request;
  request.mutable_filter()->add_states(v1::Job::STATE_UNSPECIFIED);
  Watcher watcher(*jobs, request);
  EXPECT_FALSE(watcher.Read());
  const grpc::Status status = watcher.stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(FieldOf(status), "filter.states[0]");
}

TEST_F(WatchJobsTest, AClientThatDoesNotReadHoldsNobodyUpAndFindsTheNewest) {
  Watcher stalled(*jobs);
  ASSERT_TRUE(stalled.Read());
  // More than the connection's windows hold, were every step sent.
  v1::Job job;
  for (int i = 0; i < 300; ++i) {
    v1::JobSpec spec = GoodSpec("job-" + std::to_string(i));
    (*spec.mutable_labels())["note"] = std::string(60, 'x');
    job = Submit(spec);
  }
  for (int priority = 1; priority <= 300; ++priority) {
    grpc::ClientContext context;
    v1::UpdateJobRequest request;
    request.set_job_id(job.id());
    request.mutable_spec()->set_priority(priority);
    request.mutable_update_mask()->add_paths("priority");
    v1::Job updated;
    ASSERT_TRUE(jobs->UpdateJob(&context, request, &updated).ok());
    job = updated;
  }
  stalled.ReadUntil([&] { return stalled.jobs.size() == 300 && stalled.jobs[job.id()].etag() == job.etag(); });
  EXPECT_EQ(stalled.jobs[job.id()].spec_revision(), 301);
}

TEST_F(WatchJobsTest, WatchersThatLeaveAreForgotten) {
  for (int i = 0; i < 20; ++i) {
    Watcher watcher(*jobs);
    ASSERT_TRUE(watcher.Read());
    EXPECT_EQ(watcher.Leave().error_code(), grpc::StatusCode::CANCELLED);
  }
  // The server still serves, and stops without waiting for them.
  EXPECT_EQ(Submit().state(), v1::Job::QUEUED);
  server->Drain(std::chrono::seconds(30));
}

TEST_F(WatchJobsTest, AServerThatStopsSaysWhenToWatchAgain) {
  const v1::Job job = Submit();
  Watcher watcher(*jobs);
  ASSERT_TRUE(watcher.Read());
  std::thread stops([this] { server->Drain(std::chrono::seconds(30)); });
  while (watcher.Read()) {
  }
  const grpc::Status status = watcher.stream->Finish();
  stops.join();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(HasRetryInfo(status));
  Restart();
  Watcher again(*jobs);
  ASSERT_TRUE(again.Read());
  EXPECT_TRUE(again.jobs.contains(job.id()));
}

}  // namespace
}  // namespace mantissa::server
