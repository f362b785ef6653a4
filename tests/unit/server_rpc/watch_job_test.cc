#include <cmath>
#include <thread>

#include "gmock/gmock.h"

#include "tests/unit/server_rpc/server_fixture.h"

namespace mantissa::server {
namespace {

class WatchJobTest : public ServerTest {
 protected:
  WatchJobTest() { StartServer(); }

  struct Seen {
    std::vector<v1::WatchJobResponse> frames;
    std::vector<int64_t> sequences;
    grpc::Status status;
  };

  static v1::WatchJobRequest Request(const std::string& job_id) {
    v1::WatchJobRequest request;
    request.set_job_id(job_id);
    return request;
  }

  // To the end of the stream.
  Seen Watch(const v1::WatchJobRequest& request) {
    Seen seen;
    grpc::ClientContext context;
    auto stream = jobs->WatchJob(&context, request);
    v1::WatchJobResponse frame;
    int64_t next = 0;
    while (stream->Read(&frame)) {
      if (frame.has_covers()) {
        EXPECT_TRUE(next == 0 || frame.covers().from() == next) << "covers are contiguous";
        next = frame.covers().to() + 1;
      }
      for (const v1::Segment& segment : frame.segments()) {
        for (int i = 0; i < segment.count(); ++i) seen.sequences.push_back(segment.first_sequence() + i);
      }
      seen.frames.push_back(frame);
    }
    seen.status = stream->Finish();
    return seen;
  }

  // A job that a worker has run to its end, with `rows` records.
  v1::Job RunToTheEnd(int rows) {
    const v1::Job job = Submit();
    FakeWorker worker(*workers);
    worker.TakeAttempt();
    worker.Run();
    for (int first = 1; first <= rows; first += 10) worker.Publish({worker.Records(first, 10)});
    worker.End(v1::Attempt::SUCCEEDED, v1::Reason::COMPLETED, rows);
    EXPECT_EQ(Get(job.id()).state(), v1::Job::SUCCEEDED);
    return job;
  }
};

std::vector<int64_t> OneTo(int64_t last) {
  std::vector<int64_t> all;
  for (int64_t i = 1; i <= last; ++i) all.push_back(i);
  return all;
}

TEST_F(WatchJobTest, OfAnEndedJobReplaysEverythingAndEnds) {
  const v1::Job job = RunToTheEnd(100);
  const Seen seen = Watch(Request(job.id()));
  EXPECT_TRUE(seen.status.ok()) << seen.status.error_message();
  EXPECT_EQ(seen.sequences, OneTo(static_cast<int64_t>(seen.sequences.size())));
  EXPECT_GT(seen.sequences.size(), 100u) << "events, too";
  EXPECT_TRUE(seen.frames.back().end());
  EXPECT_EQ(seen.frames.back().job().state(), v1::Job::SUCCEEDED);
}

TEST_F(WatchJobTest, FollowsARunningJobToItsEnd) {
  const v1::Job job = Submit();
  Seen seen;
  std::thread watcher([&] { seen = Watch(Request(job.id())); });
  FakeWorker worker(*workers);
  worker.TakeAttempt();
  worker.Run();
  for (int first = 1; first <= 200; first += 20) worker.Publish({worker.Records(first, 20)});
  worker.End(v1::Attempt::SUCCEEDED, v1::Reason::COMPLETED, 200);
  watcher.join();
  EXPECT_TRUE(seen.status.ok());
  EXPECT_EQ(seen.sequences, OneTo(static_cast<int64_t>(seen.sequences.size())));
  EXPECT_GT(seen.sequences.size(), 200u);
  EXPECT_TRUE(seen.frames.back().end());
}

TEST_F(WatchJobTest, FromEveryCursorOfAWatchComesTheSameRest) {
  const v1::Job job = RunToTheEnd(60);
  const Seen whole = Watch(Request(job.id()));
  const int64_t last = whole.sequences.back();
  for (const v1::WatchJobResponse& frame : whole.frames) {
    v1::WatchJobRequest request = Request(job.id());
    request.set_cursor(frame.next_cursor());
    const Seen rest = Watch(request);
    EXPECT_TRUE(rest.status.ok());
    std::vector<int64_t> joined;
    for (const int64_t sequence : whole.sequences) {
      if (frame.has_covers() && sequence <= frame.covers().to()) joined.push_back(sequence);
    }
    joined.insert(joined.end(), rest.sequences.begin(), rest.sequences.end());
    EXPECT_EQ(joined, OneTo(last));
    EXPECT_TRUE(rest.frames.back().end());
  }
}

TEST_F(WatchJobTest, ACursorOutlivesTheServer) {
  const v1::Job job = RunToTheEnd(40);
  const Seen whole = Watch(Request(job.id()));
  Restart();
  v1::WatchJobRequest request = Request(job.id());
  request.set_cursor(whole.frames.front().next_cursor());
  const Seen rest = Watch(request);
  EXPECT_TRUE(rest.status.ok());
  EXPECT_EQ(whole.frames.front().covers().to() + static_cast<int64_t>(rest.sequences.size()),
            static_cast<int64_t>(whole.sequences.size()));
}

TEST_F(WatchJobTest, BadRequestsAreRefusedWithTheirField) {
  const v1::Job job = Submit();
  EXPECT_EQ(FieldOf(Watch(Request("")).status), "job_id");
  EXPECT_EQ(Watch(Request("01jd0000000000000000000000")).status.error_code(), grpc::StatusCode::NOT_FOUND);
  v1::WatchJobRequest request = Request(job.id());
  request.set_cursor("c1.nonsense");
  const grpc::Status status = Watch(request).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ReasonOf(status), "CURSOR_INVALID");
  request = Request(job.id());
  request.set_max_points(-10);
  EXPECT_EQ(FieldOf(Watch(request).status), "max_points");
  request = Request(job.id());
  for (int i = 0; i < 65; ++i) request.mutable_filter()->add_columns(v1::Column::LOSS);
  EXPECT_EQ(FieldOf(Watch(request).status), "filter.columns");
}

TEST_F(WatchJobTest, EventsOnlyCoversTheRecordsItLeavesOut) {
  const v1::Job job = RunToTheEnd(100);
  v1::WatchJobRequest request = Request(job.id());
  request.mutable_filter()->set_events_only(true);
  const Seen seen = Watch(request);
  for (const v1::WatchJobResponse& frame : seen.frames) {
    for (const v1::Segment& segment : frame.segments()) EXPECT_FALSE(segment.has_records());
  }
  EXPECT_EQ(seen.frames.front().covers().from(), 1);
  EXPECT_GT(seen.frames.back().covers().to(), 100);
}

TEST_F(WatchJobTest, ReplayOnlyEndsWhileTheJobGoesOn) {
  const v1::Job job = Submit();
  v1::WatchJobRequest request = Request(job.id());
  request.set_replay_only(true);
  const Seen seen = Watch(request);
  EXPECT_TRUE(seen.status.ok());
  EXPECT_FALSE(seen.frames.back().end());
  EXPECT_TRUE(seen.frames.back().live());
}

TEST_F(WatchJobTest, AWatcherThatDoesNotReadHoldsNobodyUp) {
  const v1::Job job = Submit();
  grpc::ClientContext stalled_context;
  auto stalled = jobs->WatchJob(&stalled_context, Request(job.id()));
  v1::WatchJobResponse frame;
  ASSERT_TRUE(stalled->Read(&frame));
  FakeWorker worker(*workers);
  worker.TakeAttempt();
  worker.Run();
  for (int first = 1; first <= 20'000; first += 250) worker.Publish({worker.Records(first, 250)});
  worker.End(v1::Attempt::SUCCEEDED, v1::Reason::COMPLETED, 20'000);
  EXPECT_TRUE(Watch(Request(job.id())).frames.back().end());
  // And when it reads at last, it gets everything.
  int64_t next = frame.has_covers() ? frame.covers().to() + 1 : 1;
  bool ended = false;
  while (stalled->Read(&frame)) {
    if (frame.has_covers()) {
      EXPECT_EQ(frame.covers().from(), next);
      next = frame.covers().to() + 1;
    }
    ended = frame.end();
  }
  EXPECT_TRUE(ended);
  EXPECT_GT(next, 20'000);
}

TEST_F(WatchJobTest, WatchersThatLeaveAreForgotten) {
  const v1::Job job = Submit();
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    auto stream = jobs->WatchJob(&context, Request(job.id()));
    v1::WatchJobResponse frame;
    ASSERT_TRUE(stream->Read(&frame));
    context.TryCancel();
    while (stream->Read(&frame)) {
    }
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  // The server still serves, and stops without waiting for them.
  EXPECT_EQ(Get(job.id()).state(), v1::Job::QUEUED);
  server->Drain(std::chrono::seconds(30));
}

TEST_F(WatchJobTest, AnAttemptAfterAnotherGoesOnWithTheSameNumbers) {
  v1::JobSpec spec = GoodSpec();
  spec.mutable_retry()->mutable_initial_backoff()->set_nanos(1'000'000);
  const v1::Job job = Submit(spec);
  FakeWorker first(*workers, "ws-1");
  first.TakeAttempt();
  first.Run();
  first.Publish({first.Records(1, 5)});
  first.report.set_draining(true);  // takes no more
  first.End(v1::Attempt::FAILED, v1::Reason::OOM_KILLED, 5);
  FakeWorker second(*workers, "ws-2");
  second.TakeAttempt();
  EXPECT_EQ(second.ref.attempt(), 2);
  second.Run();
  second.Publish({second.Records(1, 5)});
  second.End(v1::Attempt::SUCCEEDED, v1::Reason::COMPLETED, 5);
  const Seen seen = Watch(Request(job.id()));
  EXPECT_EQ(seen.sequences, OneTo(static_cast<int64_t>(seen.sequences.size())));
  std::vector<int32_t> attempts;
  for (const v1::WatchJobResponse& frame : seen.frames) {
    for (const v1::Segment& segment : frame.segments()) {
      if (segment.has_records()) attempts.push_back(segment.attempt());
    }
  }
  EXPECT_THAT(attempts, testing::ElementsAre(1, 2));
}

}  // namespace
}  // namespace mantissa::server
