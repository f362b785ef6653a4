#include "server/store/group_commit.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <thread>

#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "process/fake_clock.h"
#include "process/mutex.h"
#include "proto/spec/defaults.h"
#include "server/store/fake_store.h"
#include "store_samples.h"

namespace mantissa::server {
namespace {

v1::JobSpec Spec() {
  v1::JobSpec spec;
  spec.mutable_training()->mutable_model()->mutable_mlp();
  spec.mutable_training()->mutable_data()->mutable_train()->mutable_synthetic();
  return spec;
}

// What happened, in order, and a way to wait for it.
class Journal final : public CommitListener {
 public:
  void Add(const std::string& line) {
    process::MutexLock lock(mutex_);
    lines_.push_back(line);
    changed_.NotifyAll();
  }
  void OnCommitted(const Changes& changes) override {
    if (changes.NeedsCommit()) Add(absl::StrCat("committed ", changes.jobs.size()));
  }
  void WaitFor(size_t count) {
    process::MutexLock lock(mutex_);
    while (lines_.size() < count) changed_.Wait(mutex_);
  }
  std::vector<std::string> lines() const {
    process::MutexLock lock(mutex_);
    return {lines_.begin(), lines_.end()};
  }

 private:
  mutable process::Mutex mutex_;
  process::CondVar changed_;
  std::deque<std::string> lines_ ABSL_GUARDED_BY(mutex_);
};

class GroupCommitTest : public testing::Test {
 protected:
  GroupCommitTest() : writer_(store_, [this] { return MakeScheduler(); }, clock_, {&journal_}) {}
  ~GroupCommitTest() override { writer_.Stop(); }

  std::unique_ptr<Scheduler> MakeScheduler() {
    SchedulerOptions options;
    options.epoch = 1;
    return std::make_unique<Scheduler>(
        options, IdSource{[this](auto) { return SampleId(++made_); }, [] { return std::string(16, 't'); }});
  }

  Command SubmitJob(const std::string& name, const std::string& request_id = "") {
    auto outcome = std::make_shared<absl::StatusOr<v1::Job>>(absl::UnknownError("not decided"));
    return {
        [outcome, request_id](Scheduler& scheduler, Moment now, Changes& changes) {
          const v1::JobSpec spec = Spec();
          *outcome = scheduler.Submit(spec, spec::ResolveDefaults(spec), "default", request_id, now, changes);
        },
        [this, name, outcome](const absl::Status& status) {
          const absl::Status& told = status.ok() ? outcome->status() : status;
          journal_.Add(name + " " + absl::StatusCodeToString(told.code()) + (told.ok() ? " " + (*outcome)->id() : ""));
        }};
  }

  FakeStore store_;
  process::FakeClock clock_;
  Journal journal_;
  std::atomic<int> made_ = 0;
  GroupCommit writer_;
};

TEST_F(GroupCommitTest, WhatWaitsIsOneTransactionAndRepliesComeAfterIt) {
  for (const char* name : {"a", "b", "c"}) writer_.Submit(SubmitJob(name));
  ASSERT_TRUE(writer_.Start().ok());
  journal_.WaitFor(4);
  EXPECT_EQ(store_.commits(), 1);
  EXPECT_THAT(journal_.lines(),
              testing::ElementsAre("committed 3", "a OK " + SampleId(1), "b OK " + SampleId(2), "c OK " + SampleId(3)));
}

TEST_F(GroupCommitTest, TheSameRequestTwiceInABatchIsOneJob) {
  writer_.Submit(SubmitJob("a", "r"));
  writer_.Submit(SubmitJob("b", "r"));
  ASSERT_TRUE(writer_.Start().ok());
  journal_.WaitFor(3);
  EXPECT_THAT(journal_.lines(), testing::ElementsAre("committed 1", "a OK " + SampleId(1), "b OK " + SampleId(1)));
}

TEST_F(GroupCommitTest, BatchesAreBounded) {
  GroupCommitOptions options;
  options.max_batch = 2;
  GroupCommit small(
      store_, [this] { return MakeScheduler(); }, clock_, {&journal_}, options);
  for (int i = 0; i < 5; ++i) small.Submit(SubmitJob("x"));
  ASSERT_TRUE(small.Start().ok());
  journal_.WaitFor(8);
  EXPECT_EQ(store_.commits(), 3);
  small.Stop();
}

TEST_F(GroupCommitTest, ACommandThatChangesNothingCommitsNothing) {
  ASSERT_TRUE(writer_.Start().ok());
  writer_.Submit({[](Scheduler&, Moment, Changes&) {},
                  [this](const absl::Status& status) { journal_.Add(status.ok() ? "read" : "failed"); }});
  journal_.WaitFor(1);
  EXPECT_THAT(journal_.lines(), testing::ElementsAre("read"));
  EXPECT_EQ(store_.commits(), 0);
}

TEST_F(GroupCommitTest, WhoIsWokenByACommitSeesItBeforeItsRepliesLeave) {
  // Asks what there is as soon as something is stored, as a worker's waiting call does.
  struct Asking final : CommitListener {
    void OnCommitted(const Changes&) override {
      writer->Read({[this](const Scheduler& scheduler, Moment) {
                      journal->Add(absl::StrCat("sees ", scheduler.QueuePosition(SampleId(2)) > 0 ? "both" : "less"));
                    },
                    [](const absl::Status& status) { EXPECT_TRUE(status.ok()); }});
    }
    GroupCommit* writer = nullptr;
    Journal* journal = nullptr;
  } asking;
  GroupCommit writer(store_, [this] { return MakeScheduler(); }, clock_, {&journal_, &asking});
  asking.writer = &writer;
  asking.journal = &journal_;
  writer.Submit(SubmitJob("a"));
  writer.Submit(SubmitJob("b"));
  ASSERT_TRUE(writer.Start().ok());
  journal_.WaitFor(4);
  writer.Stop();
  const std::vector<std::string> lines = journal_.lines();
  EXPECT_THAT(std::vector<std::string>(lines.begin(), lines.begin() + 4),
              testing::ElementsAre("committed 2", "sees both", "a OK " + SampleId(1), "b OK " + SampleId(2)));
}

TEST_F(GroupCommitTest, AQueryIsAnsweredHoweverLateItComes) {
  std::vector<absl::StatusCode> told;
  const auto ask = [&] {
    writer_.Read({[](const Scheduler&, Moment) { ADD_FAILURE() << "there is nothing to see"; },
                  [&](const absl::Status& status) { told.push_back(status.code()); }});
  };
  ask();  // before the start that never comes
  writer_.Stop();
  ask();
  EXPECT_THAT(told, testing::ElementsAre(absl::StatusCode::kUnavailable, absl::StatusCode::kUnavailable));
}

TEST_F(GroupCommitTest, AFailedCommitFailsItsWholeBatchAndTheStateIsLoadedAgain) {
  store_.FailCommit(absl::UnknownError("the disk went away"));
  for (const char* name : {"a", "b"}) writer_.Submit(SubmitJob(name, name));
  ASSERT_TRUE(writer_.Start().ok());
  journal_.WaitFor(2);
  EXPECT_THAT(journal_.lines(), testing::ElementsAre("a UNAVAILABLE", "b UNAVAILABLE"));
  // Tried again under the same ids: what failed was not remembered.
  for (const char* name : {"a", "b"}) writer_.Submit(SubmitJob(name, name));
  journal_.WaitFor(5);
  EXPECT_EQ(store_.ListJobs("", {}, "", 10)->jobs.size(), 2u);
}

TEST_F(GroupCommitTest, AFullDiskIsToldAsSuch) {
  store_.FailCommit(absl::ResourceExhaustedError("full"));
  writer_.Submit(SubmitJob("a"));
  ASSERT_TRUE(writer_.Start().ok());
  journal_.WaitFor(1);
  EXPECT_THAT(journal_.lines(), testing::ElementsAre("a RESOURCE_EXHAUSTED"));
}

TEST_F(GroupCommitTest, WhileTheDiskIsFullReadsGoOnWritesAreRefusedAndTimeStandsStill) {
  ASSERT_TRUE(writer_.Start().ok());
  v1::JobSpec spec = Spec();
  spec.mutable_timeouts()->mutable_queue()->set_seconds(10);
  writer_.Submit({[spec](Scheduler& scheduler, Moment now, Changes& changes) {
                    EXPECT_TRUE(scheduler.Submit(spec, spec::ResolveDefaults(spec), "default", "", now, changes).ok());
                  },
                  [this](const absl::Status&) { journal_.Add("waits"); }});
  journal_.WaitFor(2);
  for (int i = 0; i < 3; ++i) store_.FailCommit(absl::ResourceExhaustedError("full"));  // the third is a probe's
  writer_.Submit(SubmitJob("a"));
  writer_.Submit(SubmitJob("b"));
  journal_.WaitFor(4);
  const int commits = store_.commits();
  writer_.Submit(SubmitJob("c"));
  journal_.WaitFor(5);
  std::atomic<int> reads = 0, skipped = 0;
  writer_.Read({[&](const Scheduler& scheduler, Moment) { reads = scheduler.QueuePosition(SampleId(1)); },
                [this](const absl::Status& status) { journal_.Add(status.ok() ? "read" : "failed"); }});
  journal_.WaitFor(6);
  writer_.Submit({[&](Scheduler&, Moment, Changes&) { ++skipped; },
                  [this](const absl::Status& status) { journal_.Add(status.ok() ? "skipped" : "failed"); },
                  WhenReadOnly::kSkip});
  journal_.WaitFor(7);
  EXPECT_EQ(reads, 1) << "the job that is stored is seen";
  EXPECT_EQ(skipped, 0);
  clock_.Advance(std::chrono::seconds(20));
  writer_.Submit(SubmitJob("d"));  // wakes it: the fake clock does not
  journal_.WaitFor(8);
  EXPECT_EQ(store_.GetJob(SampleId(1), "")->state(), v1::Job::QUEUED) << "nothing that time brings could be stored";
  EXPECT_EQ(store_.commits(), commits);
  clock_.Advance(std::chrono::seconds(1));
  writer_.Submit(SubmitJob("e"));
  journal_.WaitFor(9);
  std::vector<std::string> lines = journal_.lines();
  EXPECT_THAT(std::vector<std::string>(lines.begin() + 2, lines.end()),
              testing::ElementsAre("a RESOURCE_EXHAUSTED", "b RESOURCE_EXHAUSTED", "c RESOURCE_EXHAUSTED", "read",
                                   "skipped", "d RESOURCE_EXHAUSTED", "e RESOURCE_EXHAUSTED"));
  clock_.Advance(std::chrono::seconds(1));
  writer_.Submit(SubmitJob("f"));
  journal_.WaitFor(11);
  EXPECT_EQ(journal_.lines()[9], "committed 1");
  EXPECT_EQ(journal_.lines()[10].substr(0, 4), "f OK");
}

TEST_F(GroupCommitTest, AStoreThatStaysUnreadableAfterAnUnknownOutcomeIsGivenUp) {
  GroupCommitOptions options;
  options.on_given_up = [this](const absl::Status& why) { journal_.Add("given up: " + std::string(why.message())); };
  GroupCommit writer(
      store_, [this] { return MakeScheduler(); }, clock_, {}, options);
  ASSERT_TRUE(writer.Start().ok());
  store_.FailLoads(1'000);
  store_.FailCommit(absl::UnknownError("the disk went away"));
  writer.Submit(SubmitJob("a"));
  journal_.WaitFor(1);
  for (int i = 0; i < 12; ++i) {
    clock_.Advance(std::chrono::seconds(1));
    writer.Submit(SubmitJob("b"));
    journal_.WaitFor(static_cast<size_t>(i + 2));
  }
  writer.Stop();
  const std::vector<std::string> lines = journal_.lines();
  const auto given_up = std::count(lines.begin(), lines.end(), "given up: the fake store was told to fail");
  EXPECT_EQ(given_up, 1);
  EXPECT_NE(lines[9].substr(0, 8), "given up") << "not before its time";
}

TEST_F(GroupCommitTest, WhileTheStoreCannotBeReadEveryCallIsUnavailable) {
  ASSERT_TRUE(writer_.Start().ok());
  store_.FailLoads(1);
  store_.FailCommit(absl::UnknownError("the disk went away"));
  writer_.Submit(SubmitJob("a"));
  journal_.WaitFor(1);
  writer_.Submit(SubmitJob("b"));
  journal_.WaitFor(2);
  EXPECT_THAT(journal_.lines(), testing::ElementsAre("a UNAVAILABLE", "b UNAVAILABLE"));
  clock_.Advance(std::chrono::seconds(1));
  writer_.Submit(SubmitJob("c"));
  journal_.WaitFor(4);
  EXPECT_EQ(store_.ListJobs("", {}, "", 10)->jobs.size(), 1u);
}

TEST_F(GroupCommitTest, WhetherNothingCanBeStoredIsToldWithEveryTransaction) {
  GroupCommitOptions options;
  options.on_transaction = [this](const TransactionReport& report) {
    journal_.Add(report.read_only ? "read-only" : report.status.ok() ? "stored" : "unknown");
  };
  GroupCommit writer(
      store_, [this] { return MakeScheduler(); }, clock_, {}, options);
  ASSERT_TRUE(writer.Start().ok());
  store_.FailCommit(absl::UnknownError("gone"));
  writer.Submit(SubmitJob("a"));
  journal_.WaitFor(2);
  store_.FailCommit(absl::ResourceExhaustedError("full"));
  writer.Submit(SubmitJob("a"));
  journal_.WaitFor(4);
  clock_.Advance(std::chrono::seconds(1));
  writer.Submit(SubmitJob("b"));
  journal_.WaitFor(7);
  writer.Stop();
  EXPECT_THAT(journal_.lines(), testing::ElementsAre("unknown", "a UNAVAILABLE", "read-only", "a RESOURCE_EXHAUSTED",
                                                     "stored", "stored", testing::StartsWith("b OK")));
}

TEST_F(GroupCommitTest, RevisionsGoOnAfterAReload) {
  ASSERT_TRUE(writer_.Start().ok());
  auto report = [](const std::string& session) {
    return Command{[session](Scheduler& scheduler, Moment now, Changes& changes) {
                     v1::SynchronizeRequest request;
                     request.set_worker_id("ws-1");
                     request.set_session_id(session);
                     request.set_report_number(1);
                     request.set_draining(session == "2");
                     EXPECT_TRUE(scheduler.Report(request, now, changes).ok());
                   },
                   nullptr};
  };
  int64_t before = 0, after = 0;
  writer_.Submit(report("1"));
  writer_.Submit(report("2"));
  writer_.Submit({[&](Scheduler& scheduler, Moment, Changes&) { before = scheduler.LastRevision(); },
                  [this](const absl::Status&) { journal_.Add("before"); }});
  journal_.WaitFor(1);
  store_.FailCommit(absl::UnknownError("the disk went away"));
  writer_.Submit(SubmitJob("a"));
  journal_.WaitFor(2);
  writer_.Submit({[&](Scheduler& scheduler, Moment, Changes&) { after = scheduler.LastRevision(); },
                  [this](const absl::Status&) { journal_.Add("after"); }});
  journal_.WaitFor(3);
  EXPECT_GT(before, int64_t{1} << 32);
  EXPECT_GE(after, before);
}

TEST_F(GroupCommitTest, DeadlinesComeWithoutCommands) {
  ASSERT_TRUE(writer_.Start().ok());
  v1::JobSpec spec = Spec();
  spec.mutable_timeouts()->mutable_queue()->set_seconds(10);
  writer_.Submit({[spec](Scheduler& scheduler, Moment now, Changes& changes) {
                    EXPECT_TRUE(scheduler.Submit(spec, spec::ResolveDefaults(spec), "default", "", now, changes).ok());
                  },
                  nullptr});
  journal_.WaitFor(1);
  clock_.Advance(std::chrono::seconds(10));
  writer_.Submit({});  // wakes it: the fake clock does not
  journal_.WaitFor(2);
  EXPECT_EQ(store_.GetJob(SampleId(1), "")->state(), v1::Job::FAILED);
}

TEST_F(GroupCommitTest, StopAnswersWhatWaits) {
  writer_.Submit(SubmitJob("never started"));
  writer_.Stop();
  writer_.Submit(SubmitJob("too late"));
  EXPECT_THAT(journal_.lines(), testing::ElementsAre("never started UNAVAILABLE", "too late UNAVAILABLE"));
  EXPECT_EQ(store_.commits(), 0);
}

TEST_F(GroupCommitTest, StartFailsWhenTheStoreCannotBeRead) {
  store_.FailLoads(1);
  EXPECT_FALSE(writer_.Start().ok());
}

TEST_F(GroupCommitTest, ManyThreadsSubmitAtOnce) {
  ASSERT_TRUE(writer_.Start().ok());
  constexpr int kThreads = 4, kEach = 25;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < kEach; ++i) writer_.Submit(SubmitJob("x", absl::StrCat(t, "-", i)));
    });
  }
  for (std::thread& thread : threads) thread.join();
  process::Mutex mutex;
  process::CondVar done;
  bool finished = false;
  writer_.Submit({nullptr, [&](const absl::Status&) {
                    process::MutexLock lock(mutex);
                    finished = true;
                    done.NotifyAll();
                  }});
  {
    process::MutexLock lock(mutex);
    while (!finished) done.Wait(mutex);
  }
  EXPECT_EQ(store_.ListJobs("", {}, "", 1000)->jobs.size(), static_cast<size_t>(kThreads * kEach));
}

}  // namespace
}  // namespace mantissa::server
