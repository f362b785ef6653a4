#include "worker/agent/forward/log_forwarder.h"

#include <chrono>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/unit/agent/fake_server_link.h"

namespace mantissa::agent {
namespace {

using process::SteadyTime;
using std::chrono::milliseconds;

TEST(LogBufferTest, OffsetsAreThoseOfTheStream) {
  LogBuffer buffer(1'000);
  buffer.Append("hello ");
  buffer.Append("world");
  EXPECT_EQ(buffer.Take(8).bytes, "hello wo");
  const LogBuffer::Chunk rest = buffer.Take(8);
  EXPECT_EQ(rest.bytes, "rld");
  EXPECT_EQ(rest.offset, 8);
  buffer.Acknowledge(8);
  EXPECT_FALSE(buffer.empty());
  buffer.Acknowledge(11);
  EXPECT_TRUE(buffer.empty());
  EXPECT_TRUE(buffer.Take(8).bytes.empty());
}

TEST(LogBufferTest, ANewStreamGoesOnWhereTheServerIs) {
  LogBuffer buffer(1'000);
  buffer.Append("0123456789");
  buffer.Take(10);
  buffer.Rewind(4);
  const LogBuffer::Chunk chunk = buffer.Take(100);
  EXPECT_EQ(chunk.offset, 4);
  EXPECT_EQ(chunk.bytes, "456789");
}

TEST(LogBufferTest, WhatDoesNotFitGivesWayToALineThatSaysSo) {
  LogBuffer buffer(1'000);
  for (int i = 0; i < 1'000; ++i) buffer.Append("line " + std::to_string(i) + "\n");
  EXPECT_LE(buffer.unsent_bytes(), 1'000u);
  const LogBuffer::Chunk chunk = buffer.Take(10'000);
  EXPECT_EQ(chunk.offset, 0) << "no hole";
  EXPECT_THAT(chunk.bytes, testing::StartsWith("["));
  EXPECT_THAT(chunk.bytes, testing::EndsWith("line 999\n"));
  std::size_t kept = chunk.bytes.size() - (chunk.bytes.find('\n') + 1);
  std::size_t all = 0;
  for (int i = 0; i < 1'000; ++i) all += ("line " + std::to_string(i) + "\n").size();
  EXPECT_THAT(chunk.bytes, testing::HasSubstr("[" + std::to_string(all - kept) + " bytes"));
}

TEST(LogBufferTest, WhatWasSentIsNotDropped) {
  LogBuffer buffer(100);
  buffer.Append(std::string(90, 'a'));
  EXPECT_EQ(buffer.Take(90).bytes.size(), 90u);
  buffer.Append(std::string(90, 'b'));
  buffer.Rewind(0);
  EXPECT_THAT(buffer.Take(1'000).bytes, testing::StartsWith(std::string(90, 'a')));
}

class LogForwarderTest : public testing::Test {
 protected:
  void Tick(milliseconds later = milliseconds(0)) {
    now_ += later;
    for (int i = 0; i < 2; ++i) {
      for (const Inbox::Action& action : inbox_.TakeAll()) action();
      forwarder_.Tick(now_);
    }
  }
  void Answer(v1::LogStream::Name stream, std::int64_t through, bool lost = false) {
    v1::PublishLogsResponse response;
    response.set_job_id("job-1");
    response.set_attempt(1);
    response.set_stream(stream);
    response.set_durable_through(through);
    response.set_lease_lost(lost);
    link_.Logs().back()->events.received(response);
    Tick();
  }
  std::string Sent(v1::LogStream::Name stream) {
    std::string text;
    for (const v1::PublishLogsRequest& request : link_.Logs().back()->Written()) {
      if (request.stream() == stream) text += request.data();
    }
    return text;
  }

  FakeServerLink link_;
  Inbox inbox_;
  LogForwarder forwarder_{LogOptions{}, link_, inbox_};
  SteadyTime now_{std::chrono::hours(1)};
};

TEST_F(LogForwarderTest, StdoutAndStderrAreApart) {
  forwarder_.Append(MakeRef(), v1::LogStream::STDOUT, "out");
  forwarder_.Append(MakeRef(), v1::LogStream::STDERR, "err");
  Tick();
  Answer(v1::LogStream::STDOUT, 0);
  Answer(v1::LogStream::STDERR, 0);
  EXPECT_EQ(Sent(v1::LogStream::STDOUT), "out");
  EXPECT_EQ(Sent(v1::LogStream::STDERR), "err");
  EXPECT_FALSE(forwarder_.Drained(AttemptKey{"job-1", 1}));
  Answer(v1::LogStream::STDOUT, 3);
  Answer(v1::LogStream::STDERR, 3);
  EXPECT_TRUE(forwarder_.Drained(AttemptKey{"job-1", 1}));
  EXPECT_TRUE(forwarder_.Drained());
}

TEST_F(LogForwarderTest, ABrokenStreamLosesNothing) {
  forwarder_.Append(MakeRef(), v1::LogStream::STDERR, "abcdef");
  Tick();
  Answer(v1::LogStream::STDERR, 0);
  link_.Logs().back()->events.closed(absl::UnavailableError("gone"));
  Tick();
  Tick(milliseconds(200));
  Answer(v1::LogStream::STDERR, 2);
  EXPECT_EQ(Sent(v1::LogStream::STDERR), "cdef");
}

TEST_F(LogForwarderTest, ALostLeaseEndsIt) {
  forwarder_.Append(MakeRef(), v1::LogStream::STDERR, "abc");
  Tick();
  Answer(v1::LogStream::STDERR, 0, /*lost=*/true);
  EXPECT_TRUE(forwarder_.Drained());
  EXPECT_TRUE(link_.Logs().back()->LetGo());
}

TEST_F(LogForwarderTest, AClosedAttemptIsDroppedOnceItIsDelivered) {
  forwarder_.Append(MakeRef(), v1::LogStream::STDERR, "abc");
  Tick();
  forwarder_.Close(AttemptKey{"job-1", 1}, now_);
  Answer(v1::LogStream::STDERR, 0);
  EXPECT_FALSE(link_.Logs().back()->LetGo());
  Answer(v1::LogStream::STDERR, 3);
  Tick();
  EXPECT_TRUE(link_.Logs().back()->LetGo());
}

}  // namespace
}  // namespace mantissa::agent
