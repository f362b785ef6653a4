#include "worker/agent/forward/telemetry_buffer.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

#include "tests/unit/agent/fake_server_link.h"
#include "worker/agent/forward/telemetry_segment.h"

namespace mantissa::agent {
namespace {

constexpr std::size_t kPlenty = std::size_t{64} << 20;

// (first, last) of everything that is left to send; checks that it is contiguous.
std::vector<std::pair<std::int64_t, std::int64_t>> TakeAll(TelemetryBuffer& buffer, std::int64_t from = 1) {
  std::vector<std::pair<std::int64_t, std::int64_t>> ranges;
  while (buffer.unsent_rows() > 0) {
    for (const v1::Segment& segment : buffer.Take(256)) {
      EXPECT_EQ(segment.first_attempt_sequence(), from);
      ranges.emplace_back(segment.first_attempt_sequence(), LastAttemptSequence(segment));
      from = ranges.back().second + 1;
    }
  }
  return ranges;
}

TEST(TelemetryBufferTest, GivesOutInOrderAndDropsWhatIsAcknowledged) {
  TelemetryBuffer buffer(1, kPlenty);
  buffer.Append(MakeRecords(1, 10));
  buffer.Append(MakeEvent(11));
  buffer.Append(MakeRecords(12, 5));
  EXPECT_EQ(buffer.last_sequence(), 16);
  EXPECT_EQ(buffer.unsent_rows(), 16);
  EXPECT_EQ(TakeAll(buffer).size(), 3u);
  buffer.Acknowledge(11);
  EXPECT_FALSE(buffer.empty());
  buffer.Acknowledge(16);
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer.bytes(), 0u);
  EXPECT_EQ(buffer.sent_bytes(), 0u);
}

TEST(TelemetryBufferTest, ABatchHasAtMostSoManyRowsButAtLeastOneSegment) {
  TelemetryBuffer buffer(1, kPlenty);
  buffer.Append(MakeRecords(1, 200));
  buffer.Append(MakeRecords(201, 56));
  buffer.Append(MakeRecords(257, 1));
  EXPECT_EQ(buffer.Take(256).size(), 2);
  EXPECT_EQ(buffer.Take(256).size(), 1);
  EXPECT_TRUE(buffer.Take(256).empty());
  buffer.Rewind(0);
  EXPECT_EQ(buffer.Take(10).size(), 1) << "one that is over the limit goes alone";
  buffer.Rewind(0);
  EXPECT_EQ(buffer.Take(256, /*max_bytes=*/1).size(), 1);
}

TEST(TelemetryBufferTest, ANewStreamSendsAgainWhatTheServerDoesNotHave) {
  TelemetryBuffer buffer(1, kPlenty);
  for (int i = 0; i < 10; ++i) buffer.Append(MakeRecords(1 + i * 10, 10));
  TakeAll(buffer);
  buffer.Rewind(30);
  EXPECT_EQ(buffer.unsent_rows(), 70);
  EXPECT_EQ(TakeAll(buffer, 31).front(), std::pair(std::int64_t{31}, std::int64_t{40}));
}

TEST(TelemetryBufferTest, AHighWaterMarkInsideASegmentSendsItWhole) {
  TelemetryBuffer buffer(1, kPlenty);
  buffer.Append(MakeRecords(1, 10));
  TakeAll(buffer);
  buffer.Rewind(4);
  EXPECT_EQ(TakeAll(buffer).size(), 1u) << "the server drops the overlap";
}

TEST(TelemetryBufferTest, AHoleInWhatComesInBecomesAGap) {
  TelemetryBuffer buffer(1, kPlenty);
  buffer.Append(MakeRecords(1, 2));
  buffer.Append(MakeRecords(6, 1));
  EXPECT_EQ(TakeAll(buffer), (std::vector<std::pair<std::int64_t, std::int64_t>>{{1, 2}, {3, 5}, {6, 6}}));
  EXPECT_EQ(buffer.gaps_made(), 1);
}

TEST(TelemetryBufferTest, RepetitionsAreDroppedAndOverlapNeverGoesOutTwice) {
  TelemetryBuffer buffer(1, kPlenty);
  buffer.Append(MakeRecords(1, 10));
  buffer.Append(MakeRecords(1, 10));
  buffer.Append(MakeRecords(5, 10));
  EXPECT_EQ(TakeAll(buffer), (std::vector<std::pair<std::int64_t, std::int64_t>>{{1, 10}, {11, 14}}));
}

TEST(TelemetryBufferTest, BeyondItsBoundTheOldestRecordsCoalesceAndEventsStay) {
  TelemetryBuffer buffer(1, 100'000);
  std::int64_t sequence = 1;
  for (int i = 0; i < 1'000; ++i) {
    buffer.Append(MakeRecords(sequence, 10, /*loss=*/i));
    sequence += 10;
    if (i % 100 == 0) buffer.Append(MakeEvent(sequence++));
  }
  EXPECT_LE(buffer.bytes(), 100'000u);
  int events = 0, gaps = 0, dropped = 0, kept = 0;
  double max_loss = 0;
  std::int64_t next = 1;
  while (buffer.unsent_rows() > 0) {
    for (const v1::Segment& segment : buffer.Take(256)) {
      EXPECT_EQ(segment.first_attempt_sequence(), next) << "nothing is missing without a gap that says so";
      next = LastAttemptSequence(segment) + 1;
      events += segment.has_event() ? 1 : 0;
      gaps += segment.has_gap() ? 1 : 0;
      dropped += segment.gap().summary().records();
      if (segment.has_gap()) {
        EXPECT_EQ(segment.gap().reason(), "BUFFER_FULL");
        EXPECT_EQ(segment.gap().summary().records(), segment.gap().to() - segment.gap().from() + 1);
        max_loss = std::max(max_loss, segment.gap().summary().max_loss());
      }
      if (segment.has_records()) {
        EXPECT_EQ(dropped > 0 && kept == 0 ? segment.first_attempt_sequence() > 5'000 : true, true)
            << "the oldest go first";
        kept += segment.count();
      }
    }
  }
  EXPECT_EQ(next, sequence);
  EXPECT_EQ(events, 10);
  EXPECT_GT(gaps, 0);
  EXPECT_LE(gaps, 11) << "neighbours are one gap";
  EXPECT_EQ(dropped + kept, 10'000);
  EXPECT_GT(max_loss, 0);
}

TEST(TelemetryBufferTest, EventsGoToWhenTheyAloneAreTooMany) {
  TelemetryBuffer buffer(1, 50'000);
  for (std::int64_t i = 1; i <= 5'000; ++i) buffer.Append(MakeEvent(i));
  EXPECT_LE(buffer.bytes(), 50'000u);
  std::int64_t next = 1;
  int events = 0;
  while (buffer.unsent_rows() > 0) {
    for (const v1::Segment& segment : buffer.Take(256)) {
      EXPECT_EQ(segment.first_attempt_sequence(), next);
      next = LastAttemptSequence(segment) + 1;
      events += segment.has_event() ? 1 : segment.gap().summary().events();
    }
  }
  EXPECT_EQ(events, 5'000);
}

TEST(TelemetryBufferTest, WhatIsOnItsWayDoesNotCoalesce) {
  TelemetryBuffer buffer(1, 20'000);
  for (int i = 0; i < 20; ++i) buffer.Append(MakeRecords(1 + i * 10, 10));
  EXPECT_EQ(buffer.Take(100).size(), 10);
  for (int i = 20; i < 200; ++i) buffer.Append(MakeRecords(1 + i * 10, 10));
  EXPECT_EQ(TakeAll(buffer, 101).back().second, 2'000);
  buffer.Acknowledge(100);
  buffer.Rewind(100);
  EXPECT_EQ(TakeAll(buffer, 101).back().second, 2'000);
}

TEST(TelemetryBufferTest, AGapThatTheServerHadPartOfBeginsAfterIt) {
  TelemetryBuffer buffer(1, 10'000);
  buffer.Append(MakeRecords(1, 100));
  TakeAll(buffer);
  buffer.Rewind(0);  // the connection broke before the server said that it has the first 50
  for (int i = 1; i < 100; ++i) buffer.Append(MakeRecords(1 + i * 100, 100));
  buffer.Rewind(50);
  const auto batch = buffer.Take(256);
  ASSERT_TRUE(batch.Get(0).has_gap());
  EXPECT_EQ(batch.Get(0).first_attempt_sequence(), 51);
  EXPECT_EQ(batch.Get(0).gap().from(), 51);
}

TEST(TelemetryBufferTest, AServerThatLostWhatItAcknowledgedGetsAGap) {
  TelemetryBuffer buffer(1, kPlenty);
  buffer.Append(MakeRecords(1, 10));
  TakeAll(buffer);
  buffer.Acknowledge(10);
  buffer.Append(MakeRecords(11, 10));
  buffer.Rewind(4);
  EXPECT_EQ(TakeAll(buffer, 5), (std::vector<std::pair<std::int64_t, std::int64_t>>{{5, 10}, {11, 20}}));
}

TEST(TelemetryBufferTest, WhatTheServerRefusesIsNotSentForEver) {
  TelemetryBuffer buffer(1, kPlenty);
  buffer.Append(MakeRecords(1, 10));
  buffer.Append(MakeRecords(11, 10));
  TakeAll(buffer);
  buffer.Append(MakeRecords(21, 10));
  buffer.Refused();
  buffer.Rewind(10);
  const auto batch = buffer.Take(256);
  ASSERT_EQ(batch.size(), 2);
  EXPECT_EQ(batch.Get(0).gap().reason(), "REFUSED");
  EXPECT_EQ(batch.Get(0).gap().from(), 11);
  EXPECT_EQ(batch.Get(0).gap().to(), 20);
  EXPECT_TRUE(batch.Get(1).has_records());
}

TEST(TelemetryBufferTest, MalformedSegmentsBecomeGapsOrNothing) {
  std::vector<v1::Segment> hostile;
  hostile.push_back(MakeRecords(1, 1));
  hostile.back().set_count(1'000'000'000);
  hostile.push_back(MakeRecords(1, 10));
  hostile.back().mutable_records()->mutable_columns(0)->mutable_integers()->add_values(7);
  hostile.push_back(MakeRecords(1, 1));
  hostile.back().set_first_attempt_sequence(std::numeric_limits<std::int64_t>::max());
  hostile.push_back(MakeRecords(1, 1));
  hostile.back().set_first_attempt_sequence(-5);
  hostile.push_back(MakeEvent(1));
  hostile.back().set_count(0);
  hostile.push_back(MakeEvent(1));
  hostile.back().clear_event();
  hostile.push_back(MakeGap(1, 1, std::numeric_limits<std::int64_t>::max(), "X", {}));
  hostile.push_back(MakeGap(1, 5, 2, "X", {}));
  hostile.push_back(MakeEvent(1));
  hostile.back().mutable_event()->set_message(std::string(std::size_t{2} << 20, 'x'));
  for (const v1::Segment& segment : hostile) {
    TelemetryBuffer buffer(1, kPlenty);
    buffer.Append(segment);
    for (const v1::Segment& sent : buffer.Take(256)) {
      EXPECT_TRUE(sent.has_gap()) << segment.ShortDebugString();
      EXPECT_TRUE(CheckSegment(sent).ok());
    }
    buffer.Append(MakeRecords(2'000'000'000, 1));
    EXPECT_EQ(buffer.last_sequence(), 2'000'000'000) << "what comes later is heard all the same";
  }
}

TEST(TelemetrySegmentTest, ASummaryKeepsTheExtremesAndTheLastLoss) {
  v1::Segment first = MakeRecords(1, 3, 2.0), second = MakeRecords(4, 2, std::nan(""));
  const v1::GapSummary sum = Merge(Summarize(first), Summarize(second));
  EXPECT_EQ(sum.records(), 5);
  EXPECT_EQ(sum.skipped_iterations(), 2);
  EXPECT_EQ(sum.first_iteration(), 1);
  EXPECT_EQ(sum.last_iteration(), 5);
  EXPECT_EQ(sum.min_loss(), 2.0);
  EXPECT_EQ(sum.max_loss(), 2.0);
  EXPECT_TRUE(std::isnan(sum.last_loss()));
  EXPECT_EQ(Merge(Summarize(MakeEvent(1)), sum).events(), 1);
}

TEST(GapSummaryTest, CountsOfATrainerGoneWrongDoNotOverflow) {
  v1::GapSummary many;
  many.set_records(std::numeric_limits<std::int32_t>::max());
  many.set_events(std::numeric_limits<std::int32_t>::min());
  const v1::GapSummary sum = Merge(many, many);
  EXPECT_EQ(sum.records(), many.records());
  EXPECT_EQ(sum.events(), many.events());
}

// Found by fuzzing: a number of a trainer gone bad that no 32 bits hold was cast to them all the same.
TEST(TelemetrySegmentTest, ACountThatIsNoneIsNoProgress) {
  for (const double number : {1e19, -1.0, std::nan(""), HUGE_VAL}) {
    v1::Segment segment = MakeRecords(1, 1);
    for (v1::Column& column : *segment.mutable_records()->mutable_columns()) {
      column.mutable_doubles()->clear_values();
      column.mutable_doubles()->add_values(number);
    }
    EXPECT_EQ(ProgressOf(segment).iteration, 0) << number;
    EXPECT_EQ(ProgressOf(segment).step, 0) << number;
    EXPECT_EQ(Summarize(segment).last_iteration(), 0) << number;
  }
}

TEST(TelemetrySegmentTest, ProgressIsTheNewestRow) {
  EXPECT_EQ(ProgressOf(MakeRecords(5, 3)).iteration, 7);
  EXPECT_EQ(ProgressOf(MakeEvent(1)).iteration, 0);
}

TEST(TelemetrySegmentTest, APresentBitmapIsCounted) {
  v1::Segment segment = MakeRecords(1, 10);
  v1::Column& norm = *segment.mutable_records()->add_columns();
  norm.set_standard(v1::Column::GRAD_NORM);
  norm.set_present(std::string("\x05\x02", 2));  // rows 0, 2 and 9
  for (int i = 0; i < 3; ++i) norm.mutable_doubles()->add_values(i);
  EXPECT_TRUE(CheckSegment(segment).ok());
  norm.mutable_doubles()->add_values(3);
  EXPECT_FALSE(CheckSegment(segment).ok());
}

}  // namespace
}  // namespace mantissa::agent
