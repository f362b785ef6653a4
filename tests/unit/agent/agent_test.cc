#include "worker/agent/agent.h"

#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <utility>

#include "gmock/gmock.h"

#include "tests/unit/agent/agent_fixture.h"

namespace mantissa::agent {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

TEST_F(AgentTest, SaysWhoItIsAndWhatItHas) {
  options_.labels = {{"zone", "a"}};
  StartAgent();
  Until("a device", [&] { return newest_.request.devices_size() == 1; });
  EXPECT_EQ(newest_.request.worker_id(), "ws-1");
  EXPECT_EQ(newest_.request.session_id(), "session");
  EXPECT_EQ(newest_.request.devices(0).id(), "cpu-0");
  EXPECT_EQ(newest_.request.labels().at("zone"), "a");
  EXPECT_EQ(newest_.request.roots(0).storage_id(), "storage");
  EXPECT_THAT(newest_.request.features(), testing::Contains("model.mlp"));
  EXPECT_GT(TimeUtil::DurationToMilliseconds(newest_.request.max_hang()), 0);
}

TEST_F(AgentTest, RunsAnAttemptFromAssignmentToForgetting) {
  Begin("started,records=700,out=hello");
  EXPECT_NE(Report(), nullptr) << "held from the very next report on";
  EXPECT_EQ(newest_.request.applied_revision(), revision_);
  Until("the end", [&] { return ReportSays(v1::Attempt::SUCCEEDED); });
  EXPECT_EQ(Report()->last_attempt_sequence(), 700);
  EXPECT_EQ(Report()->iteration(), 700);
  EXPECT_EQ(Report()->ref().token(), MakeRef().token());
  Until("telemetry is stored", [&] { return stored_ == 700; });
  Want(Goal::FORGET);
  for (int i = 0; i < 20 && !agent_->attempts().empty(); ++i) Answer();
  EXPECT_TRUE(agent_->attempts().empty());
  EXPECT_EQ(newest_.request.attempts_size(), 0);
  EXPECT_EQ(logs_[v1::LogStream::STDOUT], "hello\n") << "stored before it was forgotten";
  EXPECT_EQ(metrics_.attempts_succeeded.Value(), 1);
}

TEST_F(AgentTest, LineagesGoToTheTrainerAndInterventionsToTheServer) {
  StartAgent();
  Until("a device", [&] { return newest_.request.devices_size() == 1; });
  Want(Goal::RUN, "started,lineage,rollback=42");
  desired_.mutable_attempts(0)->mutable_assignment()->mutable_lineage()->set_number(3);
  Answer();
  Until("the end", [&] { return ReportSays(v1::Attempt::FAILED); });
  EXPECT_EQ(Report()->intervention().kind(), v1::Intervention::ROLLBACK);
  EXPECT_EQ(Report()->intervention().iterations().first(), 42);
  Until("the log is stored", [&] { return logs_[v1::LogStream::STDOUT] == "lineage 3\n"; });
}

TEST_F(AgentTest, IsNotForgottenBeforeItsLastWordsAreStored) {
  serve_streams_ = false;
  Begin("started,out=last words");
  Until("the end", [&] { return ReportSays(v1::Attempt::SUCCEEDED); });
  Want(Goal::FORGET);
  Answer();
  EXPECT_FALSE(agent_->attempts().empty());
  EXPECT_LT(newest_.request.applied_revision(), revision_) << "it does not claim to have forgotten";
  serve_streams_ = true;
  Until("the log is stored", [&] { return logs_[v1::LogStream::STDOUT] == "last words\n"; });
  for (int i = 0; i < 20 && !agent_->attempts().empty(); ++i) Answer();
  EXPECT_TRUE(agent_->attempts().empty());
}

TEST_F(AgentTest, TellsOfTheStartWithoutWaitingForTheHangingCall) {
  Begin("started,wait");
  Until("RUNNING", [&] { return ReportSays(v1::Attempt::RUNNING); });
}

TEST_F(AgentTest, AnAnswerToAnOlderCallIsIgnored) {
  Begin("started,wait");
  FakeServerLink::SyncCall older = std::move(newest_);
  Until("a newer call", [&] { return newest_.request.report_number() > older.request.report_number(); });
  v1::SynchronizeResponse response;  // names no attempt: it would end ours
  response.set_server_epoch(1);
  response.set_report_number(older.request.report_number());
  response.set_desired_revision(99);
  older.done(response);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(agent_->Turn(milliseconds(10)).ok());
  EXPECT_TRUE(agent_->attempts().AnyLive());
}

TEST_F(AgentTest, CancelStopsTheTrainerAndIsReportedAsCancelled) {
  Begin("started,wait");
  Until("RUNNING", [&] { return ReportSays(v1::Attempt::RUNNING); });
  Want(Goal::CANCEL);
  Answer();
  Until("CANCELLED", [&] { return ReportSays(v1::Attempt::CANCELLED); });
  EXPECT_EQ(Report()->reason(), v1::Reason::CANCELLED_BY_USER);
  EXPECT_TRUE(commits_.empty());
}

TEST_F(AgentTest, CancelKillsATrainerThatDoesNotListen) {
  options_.cancel_grace = milliseconds(50);
  Begin("started,deaf");
  Until("RUNNING", [&] { return ReportSays(v1::Attempt::RUNNING); });
  Want(Goal::CANCEL);
  Answer();
  Until("CANCELLED", [&] { return ReportSays(v1::Attempt::CANCELLED); });
}

TEST_F(AgentTest, AnAttemptThatTheServerNoLongerNamesIsKilledAndForgotten) {
  Begin("started,deaf");
  Until("RUNNING", [&] { return ReportSays(v1::Attempt::RUNNING); });
  desired_.clear_attempts();
  Answer();
  EXPECT_TRUE(agent_->attempts().empty());
  Want(Goal::RUN, "started", MakeRef("job-2"));
  Answer();
  Until("the next job", [&] { return ReportSays(v1::Attempt::SUCCEEDED); });
}

TEST_F(AgentTest, ACrashedTrainerIsReportedWithWhatItHadSent) {
  Begin("started,records=300,crash");
  Until("FAILED", [&] { return ReportSays(v1::Attempt::FAILED); });
  EXPECT_EQ(Report()->reason(), v1::Reason::CRASHED);
  EXPECT_THAT(Report()->message(), HasSubstr("signal 6"));
  EXPECT_EQ(Report()->last_attempt_sequence(), 300);
  Until("all of it is stored", [&] { return stored_ == 300; });
  EXPECT_EQ(metrics_.attempts_failed.Value(), 1);
}

TEST_F(AgentTest, ACheckpointIsCommittedUnderTheAttemptsStorage) {
  v1::CommitCheckpointResponse committed;
  committed.add_deletions()->set_path("job-1/attempt-0001/step-1");
  commit_answer_ = committed;
  Begin("started,save=5");
  Until("the end", [&] { return ReportSays(v1::Attempt::SUCCEEDED); });
  ASSERT_EQ(commits_.size(), 1u);
  EXPECT_EQ(commits_[0].checkpoint().storage_id(), "storage");
  EXPECT_EQ(commits_[0].checkpoint().attempt(), 1);
  EXPECT_EQ(commits_[0].ref().token(), MakeRef().token());
  EXPECT_EQ(Report()->last_checkpoint(), "attempt-0001/step-5");
  Until("the trainer heard of it", [&] {
    return logs_[v1::LogStream::STDOUT] == "committed attempt-0001/step-5 deleted job-1/attempt-0001/step-1\n";
  });
}

TEST_F(AgentTest, TheEndOfADeadTrainerWaitsForItsCheckpointToBeCommitted) {
  commit_answer_ = absl::UnavailableError("away");
  Begin("started,save_only=5,records=1,kill");
  Until("a refused commit", [&] { return commits_.size() == 1 && stored_ == 1; });
  Until("its trainer is gone", [&] {
    const HeldAttempt* attempt = agent_->attempts().Find({"job-1", 1});
    return attempt->stage == HeldAttempt::Stage::kEnding;
  });
  EXPECT_FALSE(ReportSays(v1::Attempt::FAILED));
  commit_answer_ = v1::CommitCheckpointResponse();
  Until("the end is told", [&] { return ReportSays(v1::Attempt::FAILED); });
  EXPECT_EQ(Report()->reason(), v1::Reason::KILLED);
}

TEST_F(AgentTest, TelemetrySurvivesALostConnection) {
  serve_streams_ = false;
  Begin("started,records=5000,wait");
  Until("a stream", [&] { return link_.Telemetry().size() == 1; });
  link_.Telemetry()[0]->events.closed(absl::UnavailableError("gone"));
  Until("another", [&] { return link_.Telemetry().size() == 2; });
  serve_streams_ = true;
  Until("all of it is stored", [&] { return stored_ == 5'000; });
}

TEST_F(AgentTest, AsksForAFreshChannelAfterTwoMissedDeadlines) {
  options_.sync.backoff_first = options_.sync.backoff_most = milliseconds(1);
  StartAgent();
  Until("a fresh channel", [&] {
    if (newest_.done != nullptr) std::exchange(newest_.done, nullptr)(absl::DeadlineExceededError("silence"));
    return link_.renewals() == 1;
  });
}

TEST_F(AgentTest, DrainsWithACheckpointAndLeavesWhenTheServerKnows) {
  Begin("started,wait");
  Until("RUNNING", [&] { return ReportSays(v1::Attempt::RUNNING); });
  agent_->RequestDrain();
  Until("the end", [&] { return ReportSays(v1::Attempt::FAILED); });
  EXPECT_TRUE(newest_.request.draining());
  EXPECT_EQ(Report()->reason(), v1::Reason::WORKER_STOPPED);
  EXPECT_EQ(commits_.size(), 1u);
  EXPECT_FALSE(agent_->Finished()) << "the server does not know yet";
  Want(Goal::FORGET);
  for (int i = 0; i < 20 && !agent_->Finished(); ++i) Answer();
  Until("finished", [&] { return agent_->Finished(); });
  EXPECT_FALSE(agent_->LeftUndone());
  EXPECT_EQ(metrics_.attempts_stopped.Value(), 1);
}

TEST_F(AgentTest, AnAttemptThatCannotBeSavedStaysWhereItIsAndTheServerIsTold) {
  options_.move_grace = milliseconds(50);
  Begin("started,declines,wait");
  Until("RUNNING", [&] { return ReportSays(v1::Attempt::RUNNING); });
  Want(Goal::STOP_WITH_CHECKPOINT);
  Answer();
  Until("it is told", [&] { return Report() != nullptr && Report()->declined_stops() == 1; });
  EXPECT_EQ(Report()->state(), v1::Attempt::RUNNING);
  Want(Goal::CANCEL);
  Answer();
  Until("the end", [&] { return ReportSays(v1::Attempt::CANCELLED); });  // not killed for the stop that it declined
}

TEST_F(AgentTest, AnIdleWorkerLeavesOnceTheServerHasHeardThatItDrains) {
  StartAgent();
  Until("a device", [&] { return newest_.request.devices_size() == 1; });
  Answer();
  agent_->RequestDrain();
  Until("it says so", [&] { return newest_.request.draining(); });
  EXPECT_FALSE(agent_->Finished());
  Want(Goal::RUN, "started");  // assigned just before the server heard of it
  Answer();
  EXPECT_TRUE(agent_->attempts().empty()) << "it starts nothing any more";
  EXPECT_TRUE(agent_->Finished());
}

TEST_F(AgentTest, AnIdleWorkerLeavesAtOnceWhenThereIsNoServer) {
  StartAgent();
  Until("a device", [&] { return newest_.request.devices_size() == 1; });
  std::exchange(newest_.done, nullptr)(absl::UnavailableError("away"));
  agent_->RequestDrain();
  Until("finished", [&] { return agent_->Finished(); });
  EXPECT_FALSE(agent_->LeftUndone());
}

TEST_F(AgentTest, ADrainThatTakesTooLongEndsAndSaysSo) {
  options_.drain_grace = milliseconds(100);
  Begin("started,deaf");
  Until("RUNNING", [&] { return ReportSays(v1::Attempt::RUNNING); });
  agent_->RequestDrain();
  Until("finished", [&] { return agent_->Finished(); });
  EXPECT_TRUE(agent_->LeftUndone());
}

TEST_F(AgentTest, ATrainerThatDoesNotStopIsKilledEarlyEnoughForTheServerToHearOfIt) {
  options_.leave_grace = milliseconds(50);
  Begin("started,deaf");
  Until("RUNNING", [&] { return ReportSays(v1::Attempt::RUNNING); });
  agent_->RequestDrain();
  Until("the end", [&] { return ReportSays(v1::Attempt::FAILED); });
  EXPECT_EQ(Report()->reason(), v1::Reason::WORKER_STOPPED);
  Want(Goal::FORGET);
  for (int i = 0; i < 20 && !agent_->Finished(); ++i) Answer();
  EXPECT_FALSE(agent_->LeftUndone());
}

TEST_F(AgentTest, AnEndedAttemptDoesNotKeepItAwakeWhileTheServerIsAway) {
  grace_ = milliseconds(1);
  options_.space_interval = std::chrono::hours(1);
  StartAgent();
  Until("a device", [&] { return newest_.request.devices_size() == 1; });
  Want(Goal::RUN, "started");
  desired_.mutable_attempts(0)->mutable_assignment()->mutable_placement()->set_device_ids(0, "cuda-5");
  Answer();
  Until("FAILED", [&] { return ReportSays(v1::Attempt::FAILED); });
  const process::SteadyTime told = clock_.Now();
  Until("the grace is over", [&] { return clock_.Now() > told + grace_; });
  EXPECT_GT(agent_->NextDeadline(), clock_.Now());
}

TEST_F(AgentTest, DeletesWhatTheServerNamesAndSaysSoOnlyWhenItIsDone) {
  fs::create_directories(folder_ / "job-0/attempt-0001/step-1");
  std::ofstream(folder_ / "job-0/attempt-0001/step-1/MANIFEST.json") << "{}";
  StartAgent();
  Until("a device", [&] { return newest_.request.devices_size() == 1; });
  v1::CheckpointDeletion& deletion = *desired_.add_deletions();
  deletion.set_storage_id("storage");
  deletion.set_path("job-0/attempt-0001/step-1");
  v1::CheckpointDeletion& elsewhere = *desired_.add_deletions();
  elsewhere.set_storage_id("another");
  elsewhere.set_path("x/y");
  Answer();
  Until("a report that it is done", [&] {
    if (newest_.request.applied_revision() == revision_) return true;
    Answer(/*news=*/false);
    return false;
  });
  EXPECT_FALSE(fs::exists(folder_ / "job-0"));
  EXPECT_EQ(metrics_.checkpoints_deleted.Value() >= 1, true);
}

TEST_F(AgentTest, UploadsTheFilesThatTheServerAsksFor) {
  const fs::path job = folder_ / "tenants/t" / MakeRef().job_id();
  fs::create_directories(job);
  std::ofstream(job / "model") << "tensors";
  Begin("started,artifact=" + MakeRef().job_id() + "/model");
  Until("the end", [&] { return ReportSays(v1::Attempt::SUCCEEDED); });
  EXPECT_EQ(Report()->artifacts(0).name(), "model.safetensors");
  Want(Goal::RUN);
  v1::ArtifactRequest& request = *desired_.add_artifacts();
  *request.mutable_ref() = MakeRef();
  *request.mutable_artifact() = Report()->artifacts(0);
  Answer();
  Until("the upload", [&] { return link_.Uploads().size() == 1; });
  EXPECT_EQ(link_.Uploads()[0].bytes, "tensors");
}

TEST_F(AgentTest, AnAssignmentItCannotCarryOutFailsAndSaysWhy) {
  StartAgent();
  Until("a device", [&] { return newest_.request.devices_size() == 1; });
  Want(Goal::RUN, "started");
  desired_.mutable_attempts(0)->mutable_assignment()->mutable_placement()->set_device_ids(0, "cuda-5");
  Answer();
  Until("FAILED", [&] { return ReportSays(v1::Attempt::FAILED); });
  EXPECT_THAT(Report()->message(), HasSubstr("cuda-5"));
}

TEST_F(AgentTest, EndsWhenItsLauncherDies) {
  StartAgent();
  ::kill(launcher_.pid(), SIGKILL);
  absl::Status turned = absl::OkStatus();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (turned.ok() && std::chrono::steady_clock::now() < deadline) turned = agent_->Turn(milliseconds(50));
  EXPECT_THAT(std::string(turned.message()), HasSubstr("launcher"));
}

// The fake answers from a thread of its own, as gRPC does: what ThreadSanitizer looks at.
TEST_F(AgentTest, AnswersFromOtherThreadsAreTakenInOrder) {
  StartAgent();
  Want(Goal::RUN, "started,records=3000,event,records=3000");
  std::atomic<bool> over{false}, ended{false};
  std::thread server([&] {
    std::int64_t stored = 0, revision = 0;
    while (!over) {
      for (FakeServerLink::SyncCall& call : link_.TakeSyncs()) {
        if (call.request.devices_size() == 0) {
          call.done(absl::UnavailableError("not yet"));
          continue;
        }
        v1::SynchronizeResponse response = desired_;
        response.set_server_epoch(1);
        response.set_report_number(call.request.report_number());
        response.set_desired_revision(++revision);
        for (const v1::AttemptReport& report : call.request.attempts()) {
          if (report.state() != v1::Attempt::SUCCEEDED || stored < report.last_attempt_sequence()) continue;
          response.mutable_attempts(0)->set_goal(Goal::FORGET);
          ended = true;
        }
        if (ended && call.request.attempts().empty()) response.clear_attempts();
        call.done(response);
      }
      for (const std::shared_ptr<TelemetrySide>& side : link_.Telemetry()) {
        for (const v1::PublishTelemetryRequest& request : Fresh(*side)) {
          for (const v1::Segment& segment : request.segments()) stored = std::max(stored, LastAttemptSequence(segment));
          v1::PublishTelemetryResponse response;
          response.set_job_id("job-1");
          response.set_attempt(1);
          response.set_durable_through(stored);
          side->events.received(response);
        }
      }
      std::this_thread::yield();
    }
  });
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!(ended && agent_->attempts().empty()) && std::chrono::steady_clock::now() < deadline) {
    if (!agent_->Turn(milliseconds(50)).ok()) break;
  }
  over = true;
  server.join();
  EXPECT_TRUE(ended);
  EXPECT_TRUE(agent_->attempts().empty());
  EXPECT_EQ(metrics_.telemetry_acknowledged.Value(), 6'001);
}

}  // namespace
}  // namespace mantissa::agent
