// Exports never touch a job: whatever an exporter does, nobody waits for it, and memory is bounded.
#include "worker/agent/exporters/export_lane.h"

#include <deque>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "prometheus/registry.h"

#include "tests/unit/agent/export_segments.h"
#include "worker/agent/exporters/export_hub.h"

namespace mantissa::agent {
namespace {

using process::MutexLock;
using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::IsEmpty;

// What a scripted exporter was asked, and what it answers. Thread-safe.
class Script {
 public:
  void Fail(const absl::Status& status) {
    MutexLock lock(mutex_);
    failures_.push_back(status);
  }
  void HoldOn() {
    MutexLock lock(mutex_);
    held_ = true;
  }
  void Release() {
    MutexLock lock(mutex_);
    held_ = false;
    changed_.NotifyAll();
  }
  absl::Status Call(const std::string& what) {
    MutexLock lock(mutex_);
    calls_.push_back(what);
    changed_.NotifyAll();
    while (held_) changed_.Wait(mutex_);
    if (failures_.empty()) {
      done_.push_back(what);
      changed_.NotifyAll();
      return absl::OkStatus();
    }
    const absl::Status failure = failures_.front();
    failures_.pop_front();
    return failure;
  }
  void AwaitCalls(std::size_t count) {
    MutexLock lock(mutex_);
    while (calls_.size() < count) changed_.Wait(mutex_);
  }
  void AwaitDone(std::size_t count) {
    MutexLock lock(mutex_);
    while (done_.size() < count) changed_.Wait(mutex_);
  }
  std::vector<std::string> done() {
    MutexLock lock(mutex_);
    return done_;
  }

 private:
  process::Mutex mutex_;
  process::CondVar changed_;
  std::deque<absl::Status> failures_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> calls_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> done_ ABSL_GUARDED_BY(mutex_);
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
};

class FakeExporter final : public Exporter {
 public:
  explicit FakeExporter(Script& script) : script_(script) {}

  const char* name() const override { return "fake"; }
  absl::Status Begin(const ExportedAttempt& attempt) override {
    return script_.Call(absl::StrCat("begin ", attempt.key.attempt));
  }
  absl::Status Add(const AttemptKey& key, const std::vector<ExportPoint>& points) override {
    return script_.Call(absl::StrCat(key.attempt, ": ", points.front().step, "-", points.back().step));
  }
  absl::Status End(const AttemptKey& key, v1::Attempt::State state) override {
    return script_.Call(absl::StrCat("end ", key.attempt, " ", v1::Attempt::State_Name(state)));
  }
  void Abort() override { script_.Release(); }

 private:
  Script& script_;
};

class ExportLaneTest : public testing::Test {
 protected:
  ExportLaneTest() {
    options_.first_retry = options_.last_retry = milliseconds(1);
    options_.close_grace = milliseconds(60'000);
  }

  void Open() { lane_.emplace(std::make_unique<FakeExporter>(script_), options_, failures_, dropped_); }
  static ExportedAttempt Attempt(int number) {
    ExportedAttempt attempt;
    attempt.key = {"job", number};
    return attempt;
  }

  prometheus::Registry registry_;
  prometheus::Counter& failures_ = prometheus::BuildCounter().Name("failures").Register(registry_).Add({});
  prometheus::Counter& dropped_ = prometheus::BuildCounter().Name("dropped").Register(registry_).Add({});
  ExportOptions options_;
  Script script_;
  std::optional<ExportLane> lane_;
};

TEST_F(ExportLaneTest, AnAttemptGoesFromItsBeginningToItsEndAndWhatWaitedGoesInOneCall) {
  script_.HoldOn();
  Open();
  lane_->Begin(Attempt(1));
  lane_->Begin(Attempt(2));
  script_.AwaitCalls(1);  // it is in the exporter's hands, and stays there
  lane_->Add({"job", 1}, ExportBatch(1, 4));
  lane_->Add({"job", 1}, ExportBatch(5, 9));
  lane_->Add({"job", 2}, ExportBatch(1, 2));
  lane_->Add({"job", 1}, ExportBatch(10, 11));
  lane_->End({"job", 1}, v1::Attempt::SUCCEEDED);
  script_.Release();
  lane_.reset();
  EXPECT_THAT(script_.done(), ElementsAre("begin 1", "begin 2", "1: 1-9", "2: 1-2", "1: 10-11", "end 1 SUCCEEDED"));
  EXPECT_EQ(failures_.Value(), 0);
  EXPECT_EQ(dropped_.Value(), 0);
}

TEST_F(ExportLaneTest, WhatMaySucceedLaterIsRepeatedUntilItDoesInOrder) {
  for (int i = 0; i < 3; ++i) script_.Fail(absl::UnavailableError("away"));
  script_.Fail(absl::ResourceExhaustedError("full"));
  Open();
  lane_->Begin(Attempt(1));
  lane_->Add({"job", 1}, ExportBatch(1, 4));
  script_.AwaitDone(2);
  EXPECT_EQ(failures_.Value(), 4);
  EXPECT_EQ(dropped_.Value(), 0);
  lane_.reset();
  EXPECT_THAT(script_.done(), ElementsAre("begin 1", "1: 1-4"));
}

TEST_F(ExportLaneTest, AnAttemptThatIsRefusedIsGivenUpAndOthersAreNot) {
  script_.Fail(absl::InvalidArgumentError("no such thing"));
  Open();
  lane_->Begin(Attempt(1));
  lane_->Add({"job", 1}, ExportBatch(1, 4));
  lane_->End({"job", 1}, v1::Attempt::FAILED);
  lane_->Begin(Attempt(2));
  lane_->Add({"job", 2}, ExportBatch(1, 2));
  lane_.reset();
  EXPECT_THAT(script_.done(), ElementsAre("begin 2", "2: 1-2"));
  EXPECT_EQ(failures_.Value(), 1);
  EXPECT_EQ(dropped_.Value(), 4) << "what was not exported is counted";
}

TEST_F(ExportLaneTest, PointsThatAreRefusedEndTheirAttempt) {
  Open();
  lane_->Begin(Attempt(1));
  script_.AwaitDone(1);
  script_.Fail(absl::NotFoundError("the run is gone"));
  lane_->Add({"job", 1}, ExportBatch(1, 4));
  lane_->Add({"job", 1}, ExportBatch(5, 6));
  lane_->End({"job", 1}, v1::Attempt::SUCCEEDED);
  lane_.reset();
  EXPECT_THAT(script_.done(), ElementsAre("begin 1"));
  EXPECT_EQ(dropped_.Value(), 6);
}

TEST_F(ExportLaneTest, AFullQueueLosesItsOldestRecordsAndNeitherBeginningNorEnd) {
  options_.max_queued_bytes = ExportBatch(1, 100)->ByteSizeLong() * 4;
  script_.HoldOn();
  Open();
  lane_->Begin(Attempt(1));
  script_.AwaitCalls(1);  // it is in the exporter's hands, and stays there
  lane_->Begin(Attempt(2));
  for (int i = 0; i < 1000; ++i) lane_->Add({"job", 1}, ExportBatch(100 * i + 1, 100 * i + 100));
  lane_->End({"job", 1}, v1::Attempt::SUCCEEDED);
  script_.Release();
  lane_.reset();
  const double lost = dropped_.Value();
  EXPECT_GT(lost, 0);
  EXPECT_GE(lost, 100'000 - 400) << "the queue holds four";
  EXPECT_LT(lost, 100'000) << "the newest are kept";
  EXPECT_THAT(script_.done(),
              ElementsAre("begin 1", "begin 2", absl::StrCat("1: ", lost + 1, "-100000"), "end 1 SUCCEEDED"));
}

TEST_F(ExportLaneTest, AnExporterThatHangsKeepsNobodyFromStopping) {
  options_.close_grace = milliseconds(1);
  script_.HoldOn();
  Open();
  lane_->Begin(Attempt(1));
  script_.AwaitCalls(1);
  lane_->Add({"job", 1}, ExportBatch(1, 4));
  lane_.reset();  // returns
  EXPECT_THAT(script_.done(), ElementsAre("begin 1")) << "what waited is dropped";
}

TEST_F(ExportLaneTest, AnExporterThatIsAwayIsNotTriedAgainWhenTheWorkerStops) {
  options_.first_retry = options_.last_retry = milliseconds(3'600'000);
  script_.Fail(absl::UnavailableError("away"));
  Open();
  lane_->Begin(Attempt(1));
  script_.AwaitCalls(1);
  lane_.reset();  // returns
  EXPECT_THAT(script_.done(), IsEmpty());
}

TEST_F(ExportLaneTest, SegmentsThatMakeNoSenseAreLeftOut) {
  Open();
  lane_->Begin(Attempt(1));
  auto batch = std::make_shared<v1::TelemetryBatch>();
  *batch->add_segments() = ExportRecords(1, 3);
  batch->mutable_segments(0)->set_count(200);  // more rows than values
  *batch->add_segments() = ExportRecords(4, 5);
  lane_->Add({"job", 1}, batch);
  lane_.reset();
  EXPECT_THAT(script_.done(), ElementsAre("begin 1", "1: 4-5"));
}

TEST(ExportHub, TellsEveryExporterOfWhatTrains) {
  process::RealClock clock;
  prometheus::Registry registry;
  WorkerMetrics metrics(registry);
  Script first, second;
  {
    ExportHub hub(clock, metrics);
    ExportOptions options;
    options.close_grace = milliseconds(60'000);
    hub.Add(std::make_unique<FakeExporter>(first), options);
    hub.Add(std::make_unique<FakeExporter>(second), options);
    v1::Assignment training;
    training.mutable_spec()->mutable_training();
    hub.Begin({"job", 1}, training);
    hub.Begin({"study", 2}, v1::Assignment());
    hub.Add({"job", 1}, *ExportBatch(1, 2));
    hub.Add({"study", 2}, *ExportBatch(1, 2));
    hub.End({"job", 1}, v1::Attempt::CANCELLED);
  }
  EXPECT_THAT(first.done(), ElementsAre("begin 1", "1: 1-2", "end 1 CANCELLED"));
  EXPECT_EQ(first.done(), second.done());
}

}  // namespace
}  // namespace mantissa::agent
