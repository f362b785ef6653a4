#include "worker/agent/forward/telemetry_forwarder.h"

#include <chrono>

#include "gtest/gtest.h"

#include "tests/unit/agent/fake_server_link.h"

namespace mantissa::agent {
namespace {

using process::SteadyTime;
using std::chrono::milliseconds;

class TelemetryForwarderTest : public testing::Test {
 protected:
  void Tick(milliseconds later = milliseconds(0)) {
    now_ += later;
    for (const Inbox::Action& action : inbox_.TakeAll()) action();
    forwarder_.Tick(now_);
    for (const Inbox::Action& action : inbox_.TakeAll()) action();
    forwarder_.Tick(now_);
  }
  std::shared_ptr<TelemetrySide> Newest() { return link_.Telemetry().back(); }
  void Answer(const v1::AttemptRef& ref, std::int64_t through, bool lost = false) {
    v1::PublishTelemetryResponse response;
    response.set_job_id(ref.job_id());
    response.set_attempt(ref.attempt());
    response.set_durable_through(through);
    response.set_lease_lost(lost);
    Newest()->events.received(response);
    Tick();
  }
  void Append(const v1::AttemptRef& ref, v1::Segment segment) {
    v1::TelemetryBatch batch;
    *batch.add_segments() = std::move(segment);
    forwarder_.Append(KeyOf(ref), std::move(batch));
  }
  // First and last attempt_sequence of each batch written on the newest stream.
  std::vector<std::pair<std::int64_t, int>> Batches() {
    std::vector<std::pair<std::int64_t, int>> batches;
    for (const v1::PublishTelemetryRequest& request : Newest()->Written()) {
      if (!request.has_attempt()) continue;
      int rows = 0;
      for (const v1::Segment& segment : request.segments()) rows += segment.count();
      batches.emplace_back(request.segments(0).first_attempt_sequence(), rows);
    }
    return batches;
  }

  FakeServerLink link_;
  Inbox inbox_;
  TelemetryForwarder forwarder_{TelemetryOptions{}, link_, inbox_};
  SteadyTime now_{std::chrono::hours(1)};
  const v1::AttemptRef ref_ = MakeRef();
};

TEST_F(TelemetryForwarderTest, NoStreamWithoutAnAttempt) {
  Tick();
  EXPECT_TRUE(link_.Telemetry().empty());
  EXPECT_TRUE(forwarder_.Drained());
}

TEST_F(TelemetryForwarderTest, OpensAnAttemptAndWaitsForTheHighWaterMark) {
  forwarder_.Open(ref_, "trace");
  Append(ref_, MakeRecords(1, 10));
  Tick();
  ASSERT_EQ(Newest()->Written().size(), 1u);
  EXPECT_EQ(Newest()->Written()[0].open().token(), ref_.token());
  Answer(ref_, 0);
  EXPECT_EQ(Batches(), (std::vector<std::pair<std::int64_t, int>>{{1, 10}}));
  EXPECT_FALSE(forwarder_.Drained());
  Answer(ref_, 10);
  EXPECT_TRUE(forwarder_.Drained());
  EXPECT_EQ(forwarder_.counts().acknowledged, 10);
}

TEST_F(TelemetryForwarderTest, BatchesWhatComesWithinTheIntervalButSendsAFullBatchAtOnce) {
  forwarder_.Open(ref_, "trace");
  Tick();
  Answer(ref_, 0);
  Append(ref_, MakeRecords(1, 1));
  Tick();
  for (int i = 2; i <= 5; ++i) Append(ref_, MakeRecords(i, 1));
  Tick(milliseconds(4));
  EXPECT_EQ(Batches().size(), 1u);
  EXPECT_EQ(forwarder_.NextDeadline(), now_ + milliseconds(1));
  Tick(milliseconds(1));
  EXPECT_EQ(Batches(), (std::vector<std::pair<std::int64_t, int>>{{1, 1}, {2, 4}}));
  Append(ref_, MakeRecords(6, 256));
  Tick();
  EXPECT_EQ(Batches().back(), (std::pair<std::int64_t, int>{6, 256}));
}

TEST_F(TelemetryForwarderTest, WhatIsLeftOfAnAttemptThatIsOverDoesNotWaitForCompany) {
  forwarder_.Open(ref_, "trace");
  Tick();
  Answer(ref_, 0);
  Append(ref_, MakeRecords(1, 1));
  Tick();
  Append(ref_, MakeRecords(2, 1));
  forwarder_.Complete(KeyOf(ref_));
  EXPECT_LE(forwarder_.NextDeadline(), now_);
  Tick();
  EXPECT_EQ(Batches(), (std::vector<std::pair<std::int64_t, int>>{{1, 1}, {2, 1}}));
}

TEST_F(TelemetryForwarderTest, OneWriteIsInFlight) {
  forwarder_.Open(ref_, "trace");
  Tick();
  Answer(ref_, 0);
  {
    process::MutexLock lock(Newest()->mutex);
    Newest()->hold_writes = true;
  }
  Append(ref_, MakeRecords(1, 256));
  Append(ref_, MakeRecords(257, 256));
  Tick();
  EXPECT_EQ(Batches().size(), 1u);
  Newest()->events.written();
  Tick();
  EXPECT_EQ(Batches().size(), 2u);
}

TEST_F(TelemetryForwarderTest, StopsSendingWhileTooMuchIsUnacknowledged) {
  TelemetryForwarder small(TelemetryOptions{.max_sent_bytes = 10'000}, link_, inbox_);
  small.Open(ref_, "trace");
  small.Tick(now_);
  for (const Inbox::Action& action : inbox_.TakeAll()) action();
  v1::PublishTelemetryResponse response;
  response.set_job_id(ref_.job_id());
  response.set_attempt(ref_.attempt());
  Newest()->events.received(response);
  for (const Inbox::Action& action : inbox_.TakeAll()) action();
  for (int i = 0; i < 100; ++i) {
    v1::TelemetryBatch batch;
    *batch.add_segments() = MakeRecords(1 + i * 256, 256);
    small.Append(KeyOf(ref_), std::move(batch));
    small.Tick(now_);
    for (const Inbox::Action& action : inbox_.TakeAll()) action();
  }
  const std::size_t stopped_at = Batches().size();
  EXPECT_LT(stopped_at, 20u);
  response.set_durable_through(static_cast<std::int64_t>(stopped_at) * 256);
  Newest()->events.received(response);
  for (const Inbox::Action& action : inbox_.TakeAll()) action();
  small.Tick(now_);
  EXPECT_GT(Batches().size(), stopped_at);
}

TEST_F(TelemetryForwarderTest, AfterABrokenStreamItOpensANewOneAndGoesOnWhereTheServerIs) {
  forwarder_.Open(ref_, "trace");
  Tick();
  Answer(ref_, 0);
  for (int i = 0; i < 4; ++i) Append(ref_, MakeRecords(1 + i * 256, 256));
  for (int i = 0; i < 4; ++i) Tick();
  EXPECT_EQ(Batches().size(), 4u);
  const auto broken = Newest();
  broken->events.closed(absl::UnavailableError("gone"));
  Tick();
  EXPECT_EQ(link_.Telemetry().size(), 1u) << "not at once";
  EXPECT_GT(forwarder_.NextDeadline(), now_);
  Tick(milliseconds(200));
  ASSERT_EQ(link_.Telemetry().size(), 2u);
  EXPECT_TRUE(broken->LetGo());
  v1::PublishTelemetryResponse late;  // of the old stream
  late.set_job_id(ref_.job_id());
  late.set_attempt(ref_.attempt());
  late.set_durable_through(1024);
  broken->events.received(late);
  Tick();
  EXPECT_TRUE(Batches().empty()) << "the old stream's words count for nothing";
  Answer(ref_, 512);
  for (int i = 0; i < 2; ++i) Tick();
  EXPECT_EQ(Batches(), (std::vector<std::pair<std::int64_t, int>>{{513, 256}, {769, 256}}));
}

TEST_F(TelemetryForwarderTest, BacksOffFromAServerThatKeepsEndingTheStream) {
  forwarder_.Open(ref_, "trace");
  Tick();
  for (const int wait : {200, 400, 800, 1'000, 1'000}) {
    const std::size_t streams = link_.Telemetry().size();
    Newest()->events.closed(absl::UnavailableError("away"));
    Tick();
    Tick(milliseconds(wait - 1));
    EXPECT_EQ(link_.Telemetry().size(), streams) << wait;
    Tick(milliseconds(1));
    EXPECT_EQ(link_.Telemetry().size(), streams + 1) << wait;
  }
}

TEST_F(TelemetryForwarderTest, ALostLeaseIsNotSpokenOfAgain) {
  forwarder_.Open(ref_, "trace");
  Tick();
  Answer(ref_, 0);
  Append(ref_, MakeRecords(1, 10));
  Answer(ref_, 0, /*lost=*/true);
  EXPECT_TRUE(forwarder_.Drained());
  Append(ref_, MakeRecords(11, 10));
  Tick(milliseconds(10));
  EXPECT_EQ(forwarder_.buffered_bytes(), 0u);
  EXPECT_TRUE(Newest()->LetGo()) << "nobody is left to speak for";
}

TEST_F(TelemetryForwarderTest, ALostLeaseDoesNotKeepTheAgentAwakeOnTheNextStream) {
  const v1::AttemptRef other = MakeRef("job-2");
  forwarder_.Open(ref_, "trace");
  forwarder_.Open(other, "trace");
  Tick();
  Answer(ref_, 0, /*lost=*/true);
  Answer(other, 0);
  Newest()->events.closed(absl::UnavailableError("gone"));
  Tick();
  Tick(milliseconds(200));
  Answer(other, 0);
  ASSERT_EQ(link_.Telemetry().size(), 2u);
  EXPECT_EQ(forwarder_.NextDeadline(), SteadyTime::max());
}

TEST_F(TelemetryForwarderTest, TheRestOfAForgottenAttemptIsDeliveredAndThenTheStreamGoes) {
  forwarder_.Open(ref_, "trace");
  Tick();
  Answer(ref_, 0);
  Append(ref_, MakeRecords(1, 10));
  forwarder_.Close(KeyOf(ref_), now_);
  Tick();
  EXPECT_EQ(Batches().size(), 1u);
  EXPECT_FALSE(Newest()->LetGo());
  Answer(ref_, 10);
  Tick();
  EXPECT_TRUE(Newest()->LetGo());
  EXPECT_EQ(forwarder_.NextDeadline(), SteadyTime::max());
}

TEST_F(TelemetryForwarderTest, TheRestOfAForgottenAttemptIsNotKeptForEver) {
  forwarder_.Open(ref_, "trace");
  Append(ref_, MakeRecords(1, 10));
  forwarder_.Close(KeyOf(ref_), now_);
  Tick(milliseconds(59'999));
  EXPECT_GT(forwarder_.buffered_bytes(), 0u);
  Tick(milliseconds(1));
  EXPECT_EQ(forwarder_.buffered_bytes(), 0u);
}

TEST_F(TelemetryForwarderTest, AttemptsTakeTurns) {
  const v1::AttemptRef other = MakeRef("job-2");
  forwarder_.Open(ref_, "trace");
  forwarder_.Open(other, "trace");
  Tick();
  Tick();
  Answer(ref_, 0);
  Answer(other, 0);
  {
    process::MutexLock lock(Newest()->mutex);
    Newest()->hold_writes = true;
  }
  for (int i = 0; i < 3; ++i) {
    Append(ref_, MakeRecords(1 + i * 256, 256));
    Append(other, MakeRecords(1 + i * 256, 256));
  }
  for (int i = 0; i < 6; ++i) {
    Tick();
    Newest()->events.written();
  }
  std::string order;
  for (const v1::PublishTelemetryRequest& request : Newest()->Written()) {
    if (request.has_attempt()) order += request.attempt().job_id() == "job-1" ? 'a' : 'b';
  }
  EXPECT_EQ(order, "ababab");
}

TEST_F(TelemetryForwarderTest, WhatTheServerRefusesBecomesAGapOnTheNextStream) {
  forwarder_.Open(ref_, "trace");
  Tick();
  Answer(ref_, 0);
  Append(ref_, MakeRecords(1, 10));
  Tick();
  Newest()->events.closed(absl::InvalidArgumentError("no"));
  Tick();
  Tick(milliseconds(200));
  Answer(ref_, 0);
  const auto written = Newest()->Written();
  ASSERT_EQ(written.size(), 2u);
  EXPECT_TRUE(written[1].segments(0).has_gap());
}

}  // namespace
}  // namespace mantissa::agent
