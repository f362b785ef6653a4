// Who may say something for an attempt: everything is asked with every wrong reference.
#include "control_plane.h"

namespace mantissa::server {
namespace {

struct Word {
  const char* name;
  absl::Status (*say)(ControlPlane&, const v1::AttemptRef&);
};

const Word kWords[] = {
    {"telemetry",
     [](ControlPlane& p, const v1::AttemptRef& ref) { return p.Append(ref, {Records(1, 1, 1)}).status(); }},
    {"telemetry open", [](ControlPlane& p, const v1::AttemptRef& ref) { return p.Append(ref, {}).status(); }},
    {"checkpoint", [](ControlPlane& p, const v1::AttemptRef& ref) { return p.CommitCheckpoint(ref, 5).status(); }},
    {"fence", [](ControlPlane& p, const v1::AttemptRef& ref) { return p.scheduler->CheckFence(ref); }},
    {"wanted artifact",
     [](ControlPlane& p, const v1::AttemptRef& ref) { return p.scheduler->CheckWanted(ref, v1::Artifact()); }},
    {"artifact",
     [](ControlPlane& p, const v1::AttemptRef& ref) {
       return p.scheduler->RecordArtifact(ref, v1::Artifact(), p.now, p.changes);
     }},
};

void ExpectRefused(ControlPlane& plane, const v1::AttemptRef& ref, const char* why) {
  for (const Word& word : kWords) {
    const int commits = plane.store.commits();
    absl::Status status = word.say(plane, ref);
    EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << word.name << ", " << why << ": " << status;
    EXPECT_EQ(ReasonOf(status), kLeaseLost) << word.name << ", " << why;
    EXPECT_EQ(plane.store.commits(), commits) << word.name << ", " << why;
  }
}

class SchedulerFence : public testing::Test {
 protected:
  SchedulerFence() : worker_(plane_, "ws-1") {
    EXPECT_TRUE(worker_.Sync().ok());
    job_ = plane_.Submit().id();
    ref_ = worker_.RunFirst();
  }

  ControlPlane plane_;
  FakeWorker worker_;
  std::string job_;
  v1::AttemptRef ref_;
};

TEST_F(SchedulerFence, TheHolderIsHeard) {
  EXPECT_TRUE(plane_.Append(ref_, {Records(1, 1, 1)}).ok());
  EXPECT_TRUE(plane_.CommitCheckpoint(ref_, 1).ok());
  EXPECT_TRUE(plane_.scheduler->CheckFence(ref_).ok());
}

TEST_F(SchedulerFence, AWrongReferenceIsNot) {
  v1::AttemptRef ref = ref_;
  ref.mutable_token()->back() ^= 1;
  ExpectRefused(plane_, ref, "one bit of the token");
  ref.set_token("");
  ExpectRefused(plane_, ref, "no token");
  ref.set_token(ref_.token() + "x");
  ExpectRefused(plane_, ref, "a longer token");
  ref = ref_;
  ref.set_attempt(2);
  ExpectRefused(plane_, ref, "an attempt to come");
  ref.set_attempt(0);
  ExpectRefused(plane_, ref, "no attempt");
  ref = ref_;
  ref.set_job_id("nobody");
  ExpectRefused(plane_, ref, "another job");
  ref = ref_;
  ref.set_rank(1);
  ExpectRefused(plane_, ref, "a rank that does not exist");
  EXPECT_TRUE(plane_.scheduler->CheckFence(ref_).ok());
}

TEST_F(SchedulerFence, AStaleAttemptIsNot) {
  plane_.Pass(seconds(30));
  ASSERT_EQ(plane_.Attempt(job_, 1).state(), v1::Attempt::LOST);
  FakeWorker other(plane_, "ws-2");
  ASSERT_TRUE(other.Sync().ok());
  plane_.Pass(seconds(2));
  const v1::AttemptRef second = other.RunFirst();
  EXPECT_EQ(second.attempt(), 2);
  ExpectRefused(plane_, ref_, "a newer attempt runs");
  v1::AttemptRef mixed = second;
  mixed.set_token(ref_.token());
  ExpectRefused(plane_, mixed, "the old token on the new attempt");
  EXPECT_TRUE(plane_.Append(second, {Records(1, 1, 1)}).ok());
}

TEST_F(SchedulerFence, AnEndedAttemptIsNot) {
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED).ok());
  ASSERT_TRUE(worker_.Sync().ok());
  ExpectRefused(plane_, ref_, "ended and forgotten");
}

TEST_F(SchedulerFence, LogsAndFilesMayFollowAnEndUntilTheWorkerForgetsIt) {
  v1::Artifact artifact;
  artifact.set_name("model.safetensors");
  artifact.set_size_bytes(3);
  artifact.set_sha256(std::string(64, 'a'));
  *worker_.held[0].add_artifacts() = artifact;
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED).ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::SUCCEEDED);
  EXPECT_TRUE(plane_.scheduler->CheckFence(ref_).ok());
  EXPECT_EQ(ReasonOf(plane_.Append(ref_, {Records(1, 1, 1)}).status()), kLeaseLost) << "telemetry may not";
  EXPECT_EQ(ReasonOf(plane_.CommitCheckpoint(ref_, 1).status()), kLeaseLost) << "checkpoints may not";
}

TEST_F(SchedulerFence, AnEndedAttemptMaySpeakUntilItsWorkerLetsGo) {
  EXPECT_FALSE(plane_.scheduler->MaySpeak(job_, 2)) << "there is none";
  EXPECT_TRUE(plane_.scheduler->MaySpeak(job_, 1));
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED).ok());
  EXPECT_TRUE(plane_.scheduler->MaySpeak(job_, 1)) << "its last words may be on their way";
  EXPECT_THAT(plane_.last.silent_jobs, testing::IsEmpty());
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_FALSE(plane_.scheduler->MaySpeak(job_, 1));
  EXPECT_THAT(plane_.last.silent_jobs, testing::ElementsAre(job_)) << "who waits for it is told";
}

TEST_F(SchedulerFence, NobodyWaitsForTheLastWordsOfAWorkerThatIsSilent) {
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED).ok());
  plane_.Pass(seconds(14));
  EXPECT_TRUE(plane_.scheduler->MaySpeak(job_, 1));
  plane_.Pass(seconds(1));
  EXPECT_FALSE(plane_.scheduler->MaySpeak(job_, 1));
  EXPECT_THAT(plane_.last.silent_jobs, testing::ElementsAre(job_));
}

TEST_F(SchedulerFence, AnAttemptThatTheServerHasEndedMaySpeakNoMore) {
  for (int i = 0; i < 12; ++i) {
    ASSERT_TRUE(worker_.Sync().ok());
    plane_.Pass(seconds(25));
  }
  ASSERT_EQ(plane_.Attempt(job_, 1).reason(), v1::Reason::STALLED);
  EXPECT_FALSE(plane_.scheduler->MaySpeak(job_, 1)) << "though its worker has not let go of it yet";
}

TEST_F(SchedulerFence, AnotherWorkersReportSaysNothingForIt) {
  FakeWorker thief(plane_, "ws-2");
  thief.held = worker_.held;
  thief.held[0].set_state(v1::Attempt::SUCCEEDED);
  thief.request().set_report_number(1);
  ASSERT_TRUE(thief.Send().ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::RUNNING);
  plane_.Pass(seconds(29));
  ASSERT_TRUE(thief.Send().ok());
  plane_.Pass(seconds(1));
  EXPECT_EQ(plane_.Attempt(job_, 1).state(), v1::Attempt::LOST) << "nor does it extend the lease";
}

TEST_F(SchedulerFence, AReportWithTheWrongTokenSaysNothing) {
  worker_.held[0].mutable_ref()->set_token("wrong");
  worker_.held[0].set_state(v1::Attempt::SUCCEEDED);
  worker_.request().set_report_number(99);
  ASSERT_TRUE(worker_.Send().ok());
  EXPECT_EQ(plane_.Attempt(job_, 1).state(), v1::Attempt::LOST);
}

}  // namespace
}  // namespace mantissa::server
