#include "worker/trainer/report/telemetry_sink.h"

#include <chrono>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "process/fake_clock.h"
#include "tests/unit/trainer/agent_end.h"
#include "tests/unit/trainer/telemetry.h"
#include "worker/trainer/report/run_events.h"

namespace mantissa::trainer {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using std::chrono::milliseconds;
using std::chrono::seconds;

IterationRecord Record(std::int64_t iteration, double loss = 1) {
  IterationRecord record;
  record.iteration = iteration;
  record.step = iteration;
  record.loss = loss;
  return record;
}

v1::JobEvent Event(const std::string& reason) { return MakeEvent(0, v1::JobEvent::INFO, reason, "something"); }

class TelemetrySinkTest : public ::testing::Test {
 protected:
  TelemetrySinkTest() : TelemetrySinkTest(TelemetrySinkOptions()) {}
  explicit TelemetrySinkTest(const TelemetrySinkOptions& options) : sink_(conversation_.channel(), options) {}

  void Write(const IterationRecord& record) { sink_.Write(record, clock_.Now()); }
  std::vector<v1::Segment> Sent() { return SegmentsOf(conversation_.agent().ReadAll(conversation_.channel())); }

  Conversation conversation_;
  process::FakeClock clock_;
  TelemetrySink sink_;
};

TEST_F(TelemetrySinkTest, TheFirstRecordGoesOutAlone) {
  Write(Record(1));
  EXPECT_THAT(Sent(), SizeIs(1));
  Write(Record(2));
  EXPECT_THAT(Sent(), IsEmpty());
}

TEST_F(TelemetrySinkTest, RecordsWaitUntilTheFirstOfThemIsOldEnough) {
  Write(Record(1));
  Sent();
  Write(Record(2));
  clock_.Advance(milliseconds(7));
  Write(Record(3));
  sink_.Tick(clock_.Now());
  EXPECT_THAT(Sent(), IsEmpty());
  clock_.Advance(milliseconds(1));
  sink_.Tick(clock_.Now());
  const std::vector<v1::Segment> sent = Sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_THAT(IntegersIn(sent, v1::Column::ITERATION), ElementsAre(2, 3));
  EXPECT_EQ(sent.at(0).count(), 2);
  EXPECT_EQ(sent.at(0).attempt(), 1);
}

TEST_F(TelemetrySinkTest, AFullSegmentDoesNotWait) {
  Write(Record(1));
  Sent();
  for (int i = 2; i <= 256; ++i) Write(Record(i));
  EXPECT_THAT(Sent(), IsEmpty());
  Write(Record(257));
  const std::vector<v1::Segment> sent = Sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent.at(0).count(), 256);
}

TEST_F(TelemetrySinkTest, AnEventGoesOutAtOnceAfterTheRecordsBeforeIt) {
  Write(Record(1));
  Write(Record(2));
  sink_.Write(Event("PHASE_CHANGED"));
  Write(Record(3));
  sink_.Finish();
  const std::vector<v1::Segment> sent = Sent();
  ASSERT_THAT(sent, SizeIs(4));
  EXPECT_GT(sent.at(1).records().columns_size(), 0);
  EXPECT_EQ(sent.at(2).event().reason(), "PHASE_CHANGED");
  EXPECT_EQ(sent.at(2).count(), 1);
  EXPECT_EQ(sink_.last_sequence(), 4);
  ExpectContiguous(sent, 4);
}

TEST_F(TelemetrySinkTest, NothingWrittenIsNothingSent) {
  sink_.Finish();
  EXPECT_EQ(sink_.last_sequence(), 0);
  EXPECT_THAT(Sent(), IsEmpty());
}

TEST_F(TelemetrySinkTest, OnceASecondItSaysThatTheTrainerIsAlive) {
  const auto heartbeats = [&] {
    std::vector<std::int32_t> iterations;
    for (const v1::TrainerReport& report : conversation_.agent().ReadAll(conversation_.channel())) {
      if (report.has_heartbeat()) iterations.push_back(report.heartbeat().iteration());
    }
    return iterations;
  };
  sink_.Tick(clock_.Now());
  EXPECT_THAT(heartbeats(), ElementsAre(0));
  Write(Record(5));
  clock_.Advance(milliseconds(999));
  sink_.Tick(clock_.Now());
  EXPECT_THAT(heartbeats(), IsEmpty());
  clock_.Advance(milliseconds(1));
  sink_.Tick(clock_.Now());
  EXPECT_THAT(heartbeats(), ElementsAre(5));
}

TEST_F(TelemetrySinkTest, AHeartbeatCarriesTheStatisticsOfItsMonitor) {
  const auto precision = [&]() -> std::optional<v1::PrecisionStats> {
    const std::vector<v1::TrainerReport> reports = conversation_.agent().ReadAll(conversation_.channel());
    if (reports.empty() || !reports.back().heartbeat().has_precision()) return std::nullopt;
    return reports.back().heartbeat().precision();
  };
  PrecisionMonitor monitor;
  sink_.Heartbeat(&monitor);
  EXPECT_FALSE(precision().has_value()) << "no iteration yet";
  IterationRecord record;
  record.loss = 2.5;
  monitor.Observe(record);
  sink_.Tick(clock_.Now(), &monitor);
  const std::optional<v1::PrecisionStats> said = precision();
  ASSERT_TRUE(said.has_value());
  EXPECT_EQ(said->iterations(), 1);
  EXPECT_EQ(said->applied(), 1);
  EXPECT_EQ(said->loss(), 2.5);
  EXPECT_EQ(said->verdict(), v1::PrecisionStats::INSUFFICIENT_DATA);
  EXPECT_FALSE(said->has_stability_score());
}

class SparseSinkTest : public TelemetrySinkTest {
 protected:
  SparseSinkTest()
      : TelemetrySinkTest([] {
          TelemetrySinkOptions options;
          options.attempt = 3;
          options.every_iterations = 4;
          return options;
        }()) {}
};

TEST_F(SparseSinkTest, OneRecordInSoManyIterationsIsSentAndEverySkippedOne) {
  for (int i = 1; i <= 9; ++i) {
    IterationRecord record = Record(i);
    record.applied = i != 6;
    Write(record);
  }
  sink_.Finish();
  const std::vector<v1::Segment> sent = Sent();
  EXPECT_THAT(IntegersIn(sent, v1::Column::ITERATION), ElementsAre(4, 6, 8));
  EXPECT_EQ(sent.at(0).attempt(), 3);
  ExpectContiguous(sent, 3);
}

TEST_F(SparseSinkTest, AHeartbeatKnowsOfIterationsThatAreNotSent) {
  Write(Record(7));
  sink_.Tick(clock_.Now());
  const auto reports = conversation_.agent().ReadAll(conversation_.channel());
  ASSERT_THAT(reports, SizeIs(1));
  EXPECT_EQ(reports.at(0).heartbeat().iteration(), 7);
  EXPECT_EQ(reports.at(0).heartbeat().step(), 7);
}

// An agent that has stopped reading, with little room on the way to it.
class SlowAgentTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kRoom = 4096;

  void Write(std::int64_t iteration, double loss = 1) { sink_.Write(Record(iteration, loss), clock_.Now()); }
  void Tick() {
    clock_.Advance(milliseconds(10));
    sink_.Tick(clock_.Now());
  }
  // Records until the channel has no room for telemetry, and then some; returns the number of the last.
  std::int64_t Fill() {
    std::int64_t iteration = 0;
    for (int beyond = 0; beyond < 20; beyond += conversation_.channel().has_room() ? 0 : 1) {
      ++iteration;
      Write(iteration, static_cast<double>(iteration));
      Tick();
    }
    return iteration;
  }
  std::vector<v1::Segment> ReadAll() { return SegmentsOf(conversation_.agent().ReadAll(conversation_.channel())); }

  Conversation conversation_{{.max_telemetry_bytes = kRoom, .max_pending_bytes = 64 * kRoom}, 4096};
  process::FakeClock clock_;
  TelemetrySink sink_{conversation_.channel(), TelemetrySinkOptions()};
};

TEST_F(SlowAgentTest, RecordsWithoutRoomBecomeOneGapThatSaysWhatWasLost) {
  const std::int64_t last = Fill();
  std::vector<v1::Segment> sent = ReadAll();
  Write(last + 1);
  sink_.Finish();
  for (v1::Segment& segment : ReadAll()) sent.push_back(std::move(segment));
  ExpectContiguous(sent, last + 1);
  std::vector<v1::Gap> gaps;
  for (const v1::Segment& segment : sent) {
    if (segment.has_gap()) gaps.push_back(segment.gap());
  }
  ASSERT_THAT(gaps, SizeIs(1));
  EXPECT_EQ(gaps.at(0).to(), last);
  EXPECT_EQ(gaps.at(0).summary().records(), gaps.at(0).to() - gaps.at(0).from() + 1);
  EXPECT_GT(gaps.at(0).summary().records(), 1);
  EXPECT_EQ(gaps.at(0).summary().first_iteration(), gaps.at(0).from());
  EXPECT_EQ(gaps.at(0).summary().last_iteration(), last);
  EXPECT_EQ(gaps.at(0).summary().min_loss(), static_cast<double>(gaps.at(0).from()));
  EXPECT_EQ(gaps.at(0).summary().max_loss(), static_cast<double>(last));
  EXPECT_EQ(gaps.at(0).summary().last_loss(), static_cast<double>(last));
  EXPECT_EQ(gaps.at(0).summary().events(), 0);
  EXPECT_EQ(gaps.at(0).reason(), "the worker did not read as fast as the trainer wrote");
}

TEST_F(SlowAgentTest, EventsFindRoomWhereRecordsDoNot) {
  const std::int64_t last = Fill();
  ASSERT_FALSE(conversation_.channel().has_room());
  sink_.Write(Event("SCALE_GROWN"));
  Write(last + 1);
  sink_.Write(Event("CHECKPOINT_SAVED"));
  sink_.Finish();
  const std::vector<v1::Segment> sent = ReadAll();
  EXPECT_THAT(ReasonsOf(EventsIn(sent)), ElementsAre("SCALE_GROWN", "CHECKPOINT_SAVED"));
  ExpectContiguous(sent, last + 3);
}

TEST_F(SlowAgentTest, NoHeartbeatIsQueuedBehindAFullChannel) {
  Fill();
  clock_.Advance(seconds(5));
  sink_.Tick(clock_.Now());
  sink_.Tick(clock_.Now());
  std::vector<v1::TrainerReport> reports = conversation_.agent().ReadAll(conversation_.channel());
  EXPECT_FALSE(reports.back().has_heartbeat());
  // It comes as soon as there is room again.
  sink_.Tick(clock_.Now());
  reports = conversation_.agent().ReadAll(conversation_.channel());
  ASSERT_THAT(reports, SizeIs(::testing::Ge(1)));
  EXPECT_TRUE(reports.back().has_heartbeat());
}

TEST_F(SlowAgentTest, EventsThatFindNoRoomAtAllAreCountedInTheGap) {
  const std::string text(kRoom, 'x');
  // 64 of them fill the queue but for what a few gaps take; beyond those not even a gap has room.
  const std::int64_t written = 200;
  for (std::int64_t i = 0; i < written; ++i) sink_.Write(MakeEvent(0, v1::JobEvent::INFO, "LARGE", text));
  std::vector<v1::Segment> sent = ReadAll();
  sink_.Write(Event("SMALL"));
  for (v1::Segment& segment : ReadAll()) sent.push_back(std::move(segment));
  ExpectContiguous(sent, written + 1);
  ASSERT_TRUE(sent[sent.size() - 2].has_gap());
  const v1::Gap& gap = sent[sent.size() - 2].gap();
  EXPECT_GT(gap.summary().events(), 1);
  EXPECT_EQ(gap.summary().events(), gap.to() - gap.from() + 1);
  EXPECT_EQ(gap.summary().records(), 0);
  EXPECT_EQ(sent.back().event().reason(), "SMALL");
}

TEST_F(SlowAgentTest, GapsThatFollowEachOtherBecomeOne) {
  const std::string text(kRoom, 'x');
  std::int64_t written = 200;
  for (std::int64_t i = 0; i < written; ++i) sink_.Write(MakeEvent(0, v1::JobEvent::INFO, "LARGE", text));
  for (const double loss : {4.0, 9.0, 2.0}) {
    Write(++written, loss);
    Tick();
    sink_.Write(MakeEvent(0, v1::JobEvent::INFO, "LARGE", text));
    ++written;
  }
  std::vector<v1::Segment> sent = ReadAll();
  sink_.Finish();
  for (v1::Segment& segment : ReadAll()) sent.push_back(std::move(segment));
  ExpectContiguous(sent, written);
  ASSERT_TRUE(sent.back().has_gap());
  const v1::GapSummary& summary = sent.back().gap().summary();
  EXPECT_EQ(summary.records(), 3);
  EXPECT_EQ(summary.min_loss(), 2);
  EXPECT_EQ(summary.max_loss(), 9);
  EXPECT_EQ(summary.last_loss(), 2);
  EXPECT_EQ(summary.first_iteration(), 201);
  EXPECT_EQ(summary.last_iteration(), 205);
  EXPECT_GE(summary.events(), 3);
}

}  // namespace
}  // namespace mantissa::trainer
